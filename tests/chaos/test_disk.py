"""A disk that is full or cannot be written: the run stops and says so, and goes on when there is room again."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.conftest import CONFIG, QUICK, RESULTS, Log, checkout
from tests.chaos.machinery import Site, artefacts, orphans

_SMALL = "tables/quick/survival.csv"
_REFUSED = ("Write-protected output files", "Read-only file system", "Permission denied")


@pytest.fixture
def mount() -> Iterator[Callable[[Path, str], None]]:
    """Mounts a folder in memory with the given options, or changes these; all are gone at the end."""
    mounted: list[Path] = []

    def make(folder: Path, options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        again = ["-o", f"remount,{options}"] if folder in mounted else ["-o", options]
        done = subprocess.run(
            ["mount", "-t", "tmpfs", *again, "tmpfs", str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode and folder not in mounted:
            pytest.skip(f"a small disk can be mounted by root only ({done.stderr.strip()})")
        assert done.returncode == 0, done.stderr
        mounted.append(folder)

    yield make
    for folder in set(mounted):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def reasons(site: Site) -> str:
    """What the logs of the jobs say."""
    return "\n".join(path.read_text(errors="replace") for path in (site.results / "logs").rglob("*.log"))


def test_files_that_may_not_grow_stop_the_run_until_they_may(
    tmp_path: Path, quick: Site, quick_hashes: dict[str, str], compare: Log
) -> None:
    site = quick.copy(tmp_path / "limited")
    largest = max((site.results / "cohort").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    limit = largest.stat().st_size - 1
    for name in ("cohort", "splits", "runs", "evaluation", "tables"):
        shutil.rmtree(site.results / name)
    limited = site.run(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert limited != 0
    assert "large" in reasons(site), reasons(site)[-2000:]
    assert not largest.exists()
    assert orphans(site.results) == []  # an error is no kill: the writer itself tidies up
    site.finish("--cores", "1")
    event = f"no file could be larger than {limit} bytes: {largest.relative_to(site.results)} failed"
    compare("file size limit", [event], quick_hashes, artefacts(site.results))


@pytest.mark.slow
def test_a_full_disk_stops_the_run_until_there_is_room(
    root: Path,
    tmp_path: Path,
    quick: Site,
    quick_hashes: dict[str, str],
    mount: Callable[[Path, str], None],
    compare: Log,
) -> None:
    needed = sum(path.stat().st_blocks * 512 for path in quick.results.rglob("*") if path.is_file())
    site = checkout(root, tmp_path / "full", CONFIG, RESULTS, QUICK)
    events, rounds = [], 0
    for share in (0.2, 0.6, 0.9):
        mount(site.results, f"size={int(share * needed)}")
        code = site.run()
        rounds += code != 0
        events.append(f"{share:.0%} of the room: Snakemake ended with {code}")
    mount(site.results, f"size={10 * needed}")
    site.finish("--cores", "1")
    assert rounds >= 2, "the disk was never full"
    assert orphans(site.results) == []
    compare("full disk", events, quick_hashes, artefacts(site.results))


def test_results_that_cannot_be_written_are_left_as_they_are(
    tmp_path: Path, quick: Site, quick_hashes: dict[str, str], compare: Log, request: pytest.FixtureRequest
) -> None:
    site = quick.copy(tmp_path / "locked")
    (site.results / _SMALL).unlink()
    before = artefacts(site.results)
    if os.geteuid() == 0:
        subprocess.run(["mount", "--bind", str(site.results), str(site.results)], check=False)
        request.addfinalizer(lambda: subprocess.run(["umount", "--lazy", str(site.results)], check=False))
        locked = subprocess.run(["mount", "-o", "remount,bind,ro", str(site.results)], check=False).returncode == 0
        if not locked:
            pytest.skip("root writes where it may not, and nothing can be mounted here")
    else:
        _writable(site.results, False)
    code = site.run()
    after = artefacts(site.results)
    if os.geteuid() == 0:
        subprocess.run(["mount", "-o", "remount,bind,rw", str(site.results)], check=True)
    else:
        _writable(site.results, True)
    assert code != 0
    assert any(fact in site.said() for fact in _REFUSED), site.said()
    assert after == before
    assert orphans(site.results) == []
    site.finish("--cores", "1")
    compare("read-only results", [f"Snakemake ended with {code}"], quick_hashes, artefacts(site.results))


def _writable(folder: Path, allowed: bool) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(stat.S_IRWXU if allowed else stat.S_IRUSR | stat.S_IXUSR)
