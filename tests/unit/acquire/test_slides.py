"""The scripts over real HTTP, through every fault of the local archive."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pathomix.acquire.download import FetchErrors
from pathomix.acquire.gdc import Gdc
from pathomix.acquire.http import Client
from pathomix.acquire.lock import Lock
from pathomix.acquire.slides import fetch_slides
from pathomix.simulate.archive.faults import Faults
from pathomix.simulate.archive.server import Seen, serve

from .conftest import LocalArchive

PROJECTS = ["TCGA-AAA", "TCGA-BBB"]


@pytest.fixture
def lock(archive: LocalArchive, client: Client) -> Lock:
    with serve(archive.folder) as url:
        return Gdc(client, url).lock(PROJECTS)


def test_shards_cover_the_lock(archive: LocalArchive, client: Client, lock: Lock, tmp_path: Path) -> None:
    journal: list[Seen] = []
    with serve(archive.folder, journal=journal) as url:
        for shard in range(3):
            fetch_slides(lock, Gdc(client, url), tmp_path / "raw", tmp_path / f"{shard}.tsv", shard, 3)
    assert len(journal) == 5
    tables = [(tmp_path / f"{shard}.tsv").read_text().splitlines() for shard in range(3)]
    assert {table[0] for table in tables} == {"slide_id\tpath\tmd5\tsize"}
    rows = sorted(row.split("\t") for table in tables for row in table[1:])
    assert rows == [[s.slide_id, f"{s.project}/{s.file_name}", s.md5, str(s.size)] for s in lock.slides]
    for slide in archive.slides:
        path = tmp_path / "raw" / slide["cases"][0]["project"]["project_id"] / slide["file_name"]
        assert path.read_bytes() == archive.path(slide).read_bytes()


def test_superseded_slide_is_named_with_its_successor(
    archive: LocalArchive, client: Client, lock: Lock, tmp_path: Path
) -> None:
    gone = lock.slides[1]
    with (
        serve(archive.folder, Faults(superseded=(gone.file_id,))) as url,
        pytest.raises(FetchErrors, match=f"{gone.slide_id}: .*404.*file {gone.file_id} is superseded by "),
    ):
        fetch_slides(lock, Gdc(client, url), tmp_path / "raw", tmp_path / "i.tsv")
    assert not (tmp_path / "i.tsv").exists() and len(list((tmp_path / "raw").rglob("TCGA*.svs"))) == 4


def run(root: Path, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "workflow_scripts" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_scripts_through_a_folder(archive: LocalArchive, root: Path, tmp_path: Path) -> None:
    lock = tmp_path / "x.slides.tsv"
    common = ["--archive", archive.folder]
    made = run(
        root, "lock_slides", "--projects", *PROJECTS, "--output", lock, "--clinical", tmp_path / "c.tsv", *common
    )
    assert made.returncode == 0, made.stderr
    first = lock.read_bytes(), lock.with_suffix(".yaml").read_bytes()
    assert b"source: local archive" in first[1] and len((tmp_path / "c.tsv").read_text().splitlines()) == 4
    made = run(root, "lock_slides", "--projects", *PROJECTS, "--output", lock, *common)
    assert "nothing has changed" in made.stderr
    assert (lock.read_bytes(), lock.with_suffix(".yaml").read_bytes()) == first
    made = run(root, "lock_slides", "--projects", "TCGA-AAB", "--output", tmp_path / "y.tsv", *common)
    assert made.returncode == 1 and "error: unknown project: TCGA-AAB; " in made.stderr and "TCGA-AAA" in made.stderr

    bad = archive.slides[2]
    fetch = ["--lock", lock, "--output-dir", tmp_path / "raw", "--index", tmp_path / "i.tsv", "--attempts", 2, *common]
    made = run(root, "fetch_slides", *fetch, "--archive-faults", f'{{"forbidden": ["{bad["id"]}"]}}')
    assert made.returncode == 1 and "error: 1 of 5 files" in made.stderr and "403 Forbidden" in made.stderr
    assert bad["file_name"][:23] in made.stderr and not (tmp_path / "i.tsv").exists()
    made = run(root, "fetch_slides", *fetch, "--archive-faults", '{"cut_after": 100000, "unavailable": 1}')
    assert made.returncode == 0, made.stderr
    assert len((tmp_path / "i.tsv").read_text().splitlines()) == 6
    files = ["--requests", '{"s.txt": "survival/AAA_survival.txt"}', "--pins", tmp_path / "p.yaml"]
    made = run(root, "fetch_files", *files, "--output-dir", tmp_path / "raw", *common)
    assert made.returncode == 0 and (tmp_path / "raw" / "s.txt").is_file() and (tmp_path / "p.yaml").is_file()


def test_token_never_reaches_the_log(
    archive: LocalArchive, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = ["--projects", "TCGA-AAA", "--output", tmp_path / "x.tsv", "--archive", archive.folder]
    monkeypatch.setenv("MY_TOKEN", "very-secret\n")
    made = run(root, "lock_slides", *lock, "--token-env", "MY_TOKEN", "--log-level", "DEBUG")
    assert made.returncode == 0 and "secret" not in made.stdout + made.stderr
    monkeypatch.setenv("MY_TOKEN", "very\nsecret")
    made = run(root, "lock_slides", *lock, "--token-env", "MY_TOKEN")
    assert made.returncode == 1 and "error: the token in $MY_TOKEN" in made.stderr and "secret" not in made.stderr
