from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pathomix import plan as commands
from pathomix.acquire.gdc import URL
from pathomix.acquire.weights import missing_weights, read_registry
from pathomix.acquire.xena import HUBS
from pathomix.workflow import doctor, machine
from pathomix.workflow.amounts import exactly, unknown
from pathomix.workflow.doctor import FAIL, OK, SKIP, WARN, Finding, Options, examine, is_ready
from pathomix.workflow.estimate import current_estimate
from pathomix.workflow.needs import weight_entries
from pathomix.workflow.screen import plain_table, show_table

SECRET = "s3cret"


@pytest.fixture(autouse=True)
def a_machine_that_is_always_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("GDC_TOKEN", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(machine, "gpus", lambda: ["H200, 143771 MiB, 570.1"])
    monkeypatch.setattr(machine, "memory_bytes", lambda: 256 * 2**30)
    monkeypatch.setattr(machine, "free_bytes", lambda folder: 10**13)
    monkeypatch.setattr(machine, "rules_environment", lambda root: "this environment")
    monkeypatch.setattr(doctor, "snakemake_command", lambda root: ["snakemake"])


def look(checkout: Any, reach: Callable[[str], str] | None = None, **changes: Any) -> list[Finding]:
    file = checkout.configure(**changes)
    options = Options((file,), offline=reach is None)
    return examine(checkout.root, options, reach or (lambda url: ""))


def of(findings: list[Finding], topic: str) -> list[Finding]:
    return [finding for finding in findings if finding.topic.startswith(topic)]


def failed(findings: list[Finding]) -> list[str]:
    return [finding.topic for finding in findings if finding.status == FAIL]


def test_ready(checkout: Any) -> None:
    checkout.complete()
    found = look(checkout)
    assert is_ready(found) and failed(found) == []
    assert {f.topic: f.status for f in found} == {
        "python": OK, "snakemake": OK, "rules": OK, "configuration": OK, "cohorts": OK, "weights": OK, "disk": OK,
        "memory": OK, "gpu": OK, "token gdc": OK, "token hub": OK, "network": SKIP,
    }  # fmt: skip


def test_nothing_is_there(checkout: Any) -> None:
    found = look(checkout)
    assert failed(found) == ["cohort one", "weights"]
    (cohort,), (weights,) = of(found, "cohort "), of(found, "weights")
    assert cohort.todo.startswith("python workflow_scripts/lock_slides.py --projects TCGA-AAA --output locks/shared")
    assert "UNI; licence: CC-BY-NC-ND-4.0" in weights.fact and "ask for access at" in weights.todo
    assert of(found, "token hub")[0].status == WARN and of(found, "disk")[0].status == WARN
    checkout.lock()
    (cohort,) = of(look(checkout), "cohort ")
    assert "the folder with its tables does not exist" in cohort.fact and "--config data=FOLDER" in cohort.todo
    (checkout.root / "data").mkdir()
    (cohort,) = of(look(checkout), "cohort ")
    assert cohort.fact == "tables are not there: data/cases.csv"


def test_a_damaged_lock_is_named(checkout: Any) -> None:
    checkout.complete()
    path = checkout.root / "locks/shared.slides.tsv"
    path.write_text(path.read_text().replace("\t" + "0" * 32, "\tabc", 1))
    (cohort,) = of(look(checkout), "cohort ")
    assert (
        cohort.status == FAIL and "md5 is not 32 hexadecimal" in cohort.fact and "lock the slides again" in cohort.todo
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"studies__main__tasks": ["nothing"]}, "studies.main.tasks.0"),
        ({"studies__main__methods": ["abmil", "agee"]}, "agee"),
        ({"encoders__uni__modell": "x"}, "modell"),
        ({"cohorts__one__description": "config/none.yaml"}, "config/none.yaml"),
    ],
)
def test_a_configuration_that_is_not_understood(checkout: Any, changes: dict[str, Any], said: str) -> None:
    found = look(checkout, **changes)
    assert failed(found) == ["configuration"] and said in of(found, "configuration")[0].fact
    assert of(found, "memory") and of(found, "python")  # the machine is looked at all the same


def test_the_table_of_overrides(checkout: Any) -> None:
    checkout.complete()
    table = checkout.root / "overrides.tsv"
    changes = {"slides__overrides": "overrides.tsv"}
    assert "cannot be read" in of(look(checkout, **changes), "overrides")[0].fact
    table.write_text("slide_id\tmmp\nS1\t0.5\n")
    (wrong,) = of(look(checkout, **changes), "overrides")
    assert wrong.status == FAIL and "mmp" in wrong.fact and wrong.todo.startswith("the header is slide_id")
    table.write_text("slide_id\tmpp\nS1\t0.5\n")
    assert of(look(checkout, **changes), "overrides") == [Finding(OK, "overrides", "overrides.tsv: 1 slides")]


def test_published_values_that_are_not_there(checkout: Any) -> None:
    checkout.complete()
    given = {"file": "resources/none.csv", "tables": {}, "cohorts": {}}
    assert failed(look(checkout, studies__main__published=given)) == ["published values"]


def test_optional_rows_do_not_hold_up_the_others(checkout: Any) -> None:
    checkout.complete()
    found = look(
        checkout,
        slide_encoders={"titan": {"architecture": "titan", "weights": "{data}/weights/titan", "optional": True}},
        representations={"titan": {"representation": "slide_vector", "encoder": "uni", "slide_encoder": "titan"}},
        methods__probe={"method": "probe", "representation": "titan"},
        studies__main__methods=["age", "probe"],
    )
    (rows,) = of(found, "rows")
    assert rows.status == WARN and "probe is left out: slide encoder titan has no copy" in rows.fact
    assert is_ready(found)


# the machine


def test_disk(checkout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout.complete()
    monkeypatch.setattr(machine, "free_bytes", lambda folder: 5 * 10**9)
    (disk,) = of(look(checkout), "disk")
    assert disk.status == FAIL and "5 GB free, 6.1 GB needed" in disk.fact and "make room for 1 GB more" in disk.todo
    plan = checkout.plan()
    figures, _ = current_estimate(plan)
    monkeypatch.setattr(machine, "free_bytes", lambda folder: 10**12)
    enough = replace(figures, download=exactly(1), features=exactly(1))
    assert [f.status for f in doctor.check_disk(plan, enough)] == [OK]
    some = replace(figures, download=unknown("no lock"), features=exactly(1))
    (finding,) = doctor.check_disk(plan, some)
    assert finding.status == WARN and "(no lock)" in finding.fact


def test_memory_is_that_of_the_largest_rule(
    checkout: Any, monkeypatch: pytest.MonkeyPatch, root: Path, tmp_path: Path
) -> None:
    rules = tmp_path / "other/rules"
    rules.mkdir(parents=True)
    (rules / "a.smk").write_text("mem_mb=memory(4000),\n\nmem_mb=memory(64000),")
    assert machine.largest_job_mb(tmp_path / "other") == 64000
    assert machine.largest_job_mb(root) >= 16000
    monkeypatch.setattr(machine, "memory_bytes", lambda: 2**30)
    monkeypatch.setattr(machine, "gpus", list)
    memory, gpu = doctor.check_machine(root, needs_gpu=True)
    assert (memory.status, gpu.status) == (WARN, WARN) and "profiles/slurm" in memory.todo and gpu.todo
    assert doctor.check_machine(root, needs_gpu=False)[1].status == OK


def test_an_environment_that_is_not_set_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "snakemake_command", lambda root: None)
    monkeypatch.setattr(machine, "rules_environment", lambda root: "")
    assert failed(doctor.check_environment(tmp_path)) == ["snakemake", "rules"]


def test_gpus_as_their_tool_tells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.gpus() == []
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771 MiB, 570.10'\necho\n")
    tool.chmod(0o755)
    assert machine.gpus() == ["NVIDIA H200, 143771 MiB, 570.10"]
    tool.write_text("#!/bin/sh\necho 'driver is broken'\nexit 9\n")
    assert machine.gpus() == []


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert machine.existing(tmp_path / "a/b/c") == tmp_path


# tokens


def test_tokens_are_there_private_and_never_shown(checkout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout.complete()
    file = checkout.root / "token"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o644)
    options = Options((checkout.file,), offline=True, token_files=(("gdc", file),))
    found = examine(checkout.root, options)
    assert failed(found) == ["token gdc"] and f"chmod 600 {file}" in of(found, "token gdc")[0].todo
    file.chmod(0o600)
    assert of(examine(checkout.root, options), "token gdc") == [Finding(OK, "token gdc", f"from {file}")]
    monkeypatch.setenv("GDC_TOKEN", f"{SECRET}\n{SECRET}")
    found = examine(checkout.root, options)
    assert failed(found) == ["token gdc"] and SECRET not in str(found)


# the network


def test_only_what_has_something_to_be_fetched_is_asked(checkout: Any) -> None:
    asked: list[str] = []

    def reach(url: str) -> str:
        asked.append(url)
        return "no route to host" if "gdc" in url else ""

    checkout.complete()
    found = look(checkout, reach, acquire__files={"raw/nobody_reads_it.gz": "TCGA.AAA.sampleMap/HiSeqV2.gz"})
    assert asked == [f"{URL}/status"] and failed(found) == ["network gdc"]
    assert "no route to host" in of(found, "network gdc")[0].fact
    (checkout.root / "data/weights/uni/pytorch_model.bin").unlink()
    asked.clear()
    look(checkout, reach)
    assert asked == [f"{URL}/status", "https://huggingface.co"]


def test_addresses_of_the_configuration_for_tcga(root: Path) -> None:
    from pathomix.workflow.configuration import read_configuration
    from pathomix.workflow.plan import Plan

    plan = Plan(read_configuration([root / "config/config.yaml"], root, ["data=/nowhere"]), root)
    missing = missing_weights(weight_entries(plan), root, read_registry(root / "resources/weights.yaml"))
    found = doctor.addresses(plan, missing)
    assert found["gdc"] == f"{URL}/status" and found["xena tcga"] == HUBS["tcga"]
    assert found["huggingface.co"] == "https://huggingface.co"
    assert doctor.addresses(Plan(read_configuration([root / "config/demo.yaml"], root), root), []) == {}


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A server that answers everything with one status."""
    address: Future[str] = Future()
    stop = threading.Event()

    async def run() -> None:
        async def handle(request: web.Request) -> web.Response:
            return web.Response(status=status)

        application = web.Application()
        application.router.add_get("/{path:.*}", handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address.set_result(site.name)
        while not stop.is_set():
            await asyncio.sleep(0.01)
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        yield address.result(timeout=10)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(("status", "why"), [(200, ""), (403, ""), (404, ""), (503, "503 Service Unavailable")])
def test_a_server_is_reached_by_any_answer_below_500(status: int, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with answering(status) as url:
        assert machine.unreachable(f"{url}/status") == why
    assert "refused" in machine.unreachable(url)
    assert machine.unreachable("nonsense")


# the screen and the commands


def test_plain_columns() -> None:
    text = plain_table("Title", ("a", "b", "c"), [("1", "22", "x " * 80), ("333", "", "y")])
    lines = text.splitlines()
    assert lines[0] == "Title" and lines[1] == "a    b   c" and lines[2].startswith("1    22  x x")
    assert lines[3].startswith("         x") and max(map(len, lines)) <= 110 and lines[-1] == "333      y"
    out = io.StringIO()
    show_table("", ("", ""), [("ok", "fine")], out)
    assert out.getvalue() == "ok  fine\n\n"


def test_colours_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    show_table("Title", ("", "fact"), [("fail", "[x] is not markup")], out)
    assert "fail" in out.getvalue() and "[x] is not markup" in out.getvalue()


@pytest.mark.parametrize("environment", ["rules", "runner"])
def test_the_commands_run_in_both_environments(root: Path, environment: str) -> None:
    python = Path(sys.executable) if environment == "rules" else root / ".venv/runner/bin/python"
    if not python.is_file():
        pytest.skip("the runner's environment is not set up")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(python), "-m", *arguments]
        variables = {"PYTHONPATH": str(root / "src"), "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True, check=False)

    told = run("pathomix.doctor", "config/config.yaml", "--config", "data=/nowhere", "--offline")
    assert told.returncode == 1 and "NOT READY" in told.stdout and "  1. " in told.stdout, told.stderr
    if environment == "runner":
        planned = run("pathomix.plan", "config/demo.yaml", "--no-jobs")
        assert planned.returncode == 0 and "Tile encoders" in planned.stdout, planned.stderr


def test_two_plans_side_by_side(
    checkout: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout.complete()
    other = checkout.root / "config/other.yaml"
    other.write_text(checkout.configure(studies__main__methods=["age"]).read_text())
    checkout.configure()
    monkeypatch.setattr(commands, "ROOT", checkout.root)
    monkeypatch.setattr(sys, "argv", ["plan", "config/own.yaml", "--against", "config/other.yaml"])
    assert commands.main() == 0
    rows = {line.split("  ")[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert rows["to download"][2:] == ["6", "GB", "0", "GB"] and rows["slides"][1:] == ["3", "3"]
    monkeypatch.setattr(sys, "argv", ["plan", "config/none.yaml"])
    assert commands.main() == 1
    assert capsys.readouterr().err.startswith("error: config/none.yaml: cannot be read")


def test_jobs_that_are_left(checkout: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    checkout.complete()
    monkeypatch.setattr(commands, "ROOT", checkout.root)
    monkeypatch.setattr(sys, "argv", ["plan", "config/own.yaml"])
    monkeypatch.setattr(commands, "remaining_jobs", lambda *_: ({"fit_method": 2, "draw_splits": 1}, ""))
    assert commands.main() == 0
    out = capsys.readouterr().out
    assert "45,000" in out and "fit_method   2     unknown" in out and "in all       3     unknown" in out
    monkeypatch.setattr(commands, "remaining_jobs", lambda *_: ({}, "no lock"))
    assert commands.main() == 0
    assert "unknown  no lock" in capsys.readouterr().out
