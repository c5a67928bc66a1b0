"""The eyes of these tests: what they would not see, no test here could fail on."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from pathomix.core.files import atomic_path, write_text
from tests.chaos.machinery import (
    VICTIMS,
    Kill,
    Round,
    Site,
    artefacts,
    at_work,
    differences,
    kills,
    orphans,
    wait_for_the_orphaned,
)


def test_every_byte_and_every_name_is_compared_except_what_is_exempt(tmp_path: Path) -> None:
    for name in (
        "tables/a.csv",
        "runs/p.parquet",
        ".code/x.json",
        "logs/a.log",
        "benchmarks/a.tsv",
        ".a.verified.json",
    ):
        write_text(tmp_path / name, "same")
    before = artefacts(tmp_path)
    assert sorted(before) == [".code/x.json", "runs/p.parquet", "tables/a.csv"]
    write_text(tmp_path / "logs" / "a.log", "another")
    assert differences(before, artefacts(tmp_path)) == []
    write_text(tmp_path / "tables" / "a.csv", "sane")
    (tmp_path / "runs" / "p.parquet").unlink()
    write_text(tmp_path / "runs" / "q.parquet", "same")
    changed = [line.split(":")[0] for line in differences(before, artefacts(tmp_path))]
    assert changed == ["runs/p.parquet", "runs/q.parquet", "tables/a.csv"]


def test_what_a_killed_writer_leaves_is_an_orphan(tmp_path: Path) -> None:
    writer = atomic_path(tmp_path / "deep" / "table.parquet")
    half = writer.__enter__()
    for name in ("slide.svs.part", ".slide.svs.part.version", ".slide.0123.partial", "department.csv", "part.json"):
        (tmp_path / name).write_text("")
    assert orphans(tmp_path) == sorted(
        [str(half.relative_to(tmp_path)), "slide.svs.part", ".slide.svs.part.version", ".slide.0123.partial"]
    )


def test_every_victim_has_its_turn_and_the_plan_is_seeded() -> None:
    plan = kills(20, most_passed=1, seed=2)
    assert plan == kills(20, most_passed=1, seed=2) != kills(20, most_passed=1, seed=3)
    assert {kill.victim for kill in plan} == set(VICTIMS)
    assert sum(kill.delay is None for kill in plan) == 10


# A controller that runs one job in a shell, as Snakemake does; the job writes for ever.
_CONTROLLER = """#!{python}
import subprocess
subprocess.run(["bash", "-c", "set -e; {python} workflow_scripts/job.py; true"], check=False)
"""
_JOB = """
import time
from pathlib import Path
Path("results").mkdir(exist_ok=True)
with Path("results/.table.abcdefgh.writing.csv").open("w") as stream:
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("victim", "left"), [("controller", True), ("shell", True), ("worker", False), ("machine", False)]
)
def test_the_victim_is_killed_while_it_writes_and_nobody_else(tmp_path: Path, victim: str, left: bool) -> None:
    (tmp_path / "workflow_scripts").mkdir()
    (tmp_path / "workflow_scripts" / "job.py").write_text(_JOB)
    program = tmp_path / "controller"
    program.write_text(_CONTROLLER.format(python=sys.executable))
    program.chmod(0o755)
    game = Round(Site(tmp_path, program, tmp_path, (), tmp_path / "results"), Kill(victim, 0, None), ())
    assert game.play() == "job"
    assert orphans(tmp_path / "results") == [".table.abcdefgh.writing.csv"]
    # A killed process is gone when the kernel has had the time for it, not at once.
    for _ in range(100):
        if at_work(game.session) is left:
            break
        time.sleep(0.1)
    assert at_work(game.session) is left
    for process in game.seen:
        if process.is_running():
            process.kill()
    wait_for_the_orphaned([game.session])
    assert not at_work(game.session)
    assert not [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(tmp_path)]


def test_a_run_that_ends_unharmed_is_told(tmp_path: Path) -> None:
    site = Site(tmp_path, Path("/bin/true"), tmp_path, (), tmp_path / "results")
    assert Round(site, Kill("worker", 0, 0.0), ()).play() is None
