"""A token goes to its host and nowhere else, and only one room fetches: the one that verifies what it fetched."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pathomix.acquire.lock import HEADER_KEYS, Lock, LockedSlide, write_lock
from pathomix.simulate.archive.server import Seen, serve
from tests.unit.acquire.conftest import LocalArchive, build_archive

ROOT = Path(__file__).resolve().parents[2]
SECRET = "planted-token-41d7c2"
CLIENTS = {"httpx", "requests", "urllib3", "aiohttp", "http.client", "urllib.request", "ftplib", "huggingface_hub"}
# Where requests are sent from; the archive that stands in for the hosts answers them, and the doctor asks hosts for one
# byte to see whether they answer, and keeps nothing.
MAY_FETCH = ("src/pathomix/acquire/", "src/pathomix/simulate/archive/", "src/pathomix/workflow/machine.py")


@pytest.fixture
def controlled(tmp_path: Path) -> tuple[LocalArchive, Path]:
    """An archive with a slide that only a token opens, and a lock of that slide."""
    archive = build_archive(tmp_path / "archive")
    described = json.loads((archive.folder / "archive.json").read_text())["files"]
    (entry,) = [file for file in described if file["access"] == "controlled"]
    patient = entry["cases"][0]["submitter_id"]
    slide = LockedSlide(
        file_id=entry["id"], file_name=entry["file_name"], md5=entry["md5sum"], size=entry["file_size"],
        project="TCGA-AAA", patient_id=patient, slide_id=entry["file_name"].split(".")[0],
        sample_id=f"{patient}-01Z", sample_type="Primary Tumor",
    )  # fmt: skip
    path = tmp_path / "x.slides.tsv"
    write_lock(Lock((slide,), dict.fromkeys(HEADER_KEYS, "made up for this test")), path)
    return archive, path


def watched(command: list[str], environment: dict[str, str]) -> tuple[subprocess.CompletedProcess[str], list[bytes]]:
    """Run a command; also every command line that anybody could see of processes of this machine meanwhile."""
    seen: set[bytes] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            for process in Path("/proc").iterdir():
                if process.name.isdigit():
                    try:
                        seen.add((process / "cmdline").read_bytes())
                    except OSError:
                        continue
            ended.wait(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    finally:
        ended.set()
        watcher.join()
    return done, list(seen)


@pytest.mark.parametrize("by_file", [False, True], ids=["variable", "file"])
def test_the_token_opens_a_slide_and_is_seen_by_nobody_else(
    controlled: tuple[LocalArchive, Path], tmp_path: Path, by_file: bool
) -> None:
    archive, lock = controlled
    journal: list[Seen] = []
    given = tmp_path / "token"
    given.write_text(SECRET)
    given.chmod(0o600)
    folder = tmp_path / "made"
    script = str(ROOT / "workflow_scripts/fetch_slides.py")
    options = ["--lock", str(lock), "--output-dir", str(folder), "--index", str(folder / "index.tsv")]
    options += ["--log-level", "DEBUG", "--token-env", "OWN_TOKEN", *(["--token-file", str(given)] if by_file else [])]
    environment = {**os.environ, **({} if by_file else {"OWN_TOKEN": SECRET})}
    with serve(archive.folder, tokens=[SECRET], journal=journal) as url:
        done, lines = watched([sys.executable, script, *options, "--gdc", url], environment)
        assert done.returncode == 0, done.stderr
        wrong = {**os.environ, "OWN_TOKEN": "planted-but-expired"}
        refused, _ = watched([sys.executable, script, *options[:5], str(tmp_path / "i"), *options[6:], "--gdc", url,
                              "--output-dir", str(tmp_path / "other"), "--attempts", "1"], wrong)  # fmt: skip
    assert any(seen.token == SECRET for seen in journal)
    assert any(b"fetch_slides.py" in line for line in lines), "the watch saw nothing"
    assert not [line for line in lines if SECRET.encode() in line]
    assert refused.returncode == 1 and "403" in refused.stderr and "planted-but-expired" not in refused.stderr
    assert SECRET not in done.stdout + done.stderr + refused.stdout + refused.stderr
    assert not [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_only_acquisition_fetches() -> None:
    """What it fetches is held to a lock or a pin: tests/unit/acquire (lock, pins, verified, weights)."""
    found = {}
    for folder in ("src", "workflow_scripts"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            used = {c for c in CLIENTS for i in _imports(path) if i == c or i.startswith(f"{c}.")}
            if used and not name.startswith(MAY_FETCH):
                found[name] = sorted(used)
    assert not found


def calls(name: str) -> list[tuple[str, str]]:
    """File and text of every call of a function or method of that name."""
    return [
        (path.relative_to(ROOT).as_posix(), ast.unparse(node))
        for path in sorted((ROOT / "src").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name
    ]


def test_libraries_load_models_from_files() -> None:
    loaded = calls("from_pretrained")
    assert loaded and not [name for name, text in loaded if "local_files_only=True" not in text]
    # The one exception: an encoder of timm that the user's configuration gives `pretrained: true`.
    fetching = [name for name, text in calls("create_model") if "pretrained=False" not in text]
    assert fetching == ["src/pathomix/slides/encoders/families/any_timm.py"]


def test_every_fetching_rule_names_what_it_is_held_to() -> None:
    text = (ROOT / "rules/acquire.smk").read_text()
    commands = {
        block.partition(":")[0]: block.partition("shell:")[2]
        for block in text.split("\nrule ")
        if block.startswith("fetch_")
    }
    held = {
        "fetch_slides": "--lock {input.lock:q}",
        "fetch_file": "{params.pins}",
        "fetch_weights": "--pins {params.pins:q}",
    }
    assert set(commands) == set(held)
    assert all(held[rule] in command for rule, command in commands.items())
