"""A download that is cut, wrong and killed again and again ends with the bytes of the archive."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from tests.chaos.conftest import Log
from tests.chaos.machinery import Site, orphans

_KILLS = 4


def fetch(site: Site, target: Path, faults: dict[str, object]) -> subprocess.Popen[bytes]:
    """The script of rule fetch_slides, against an archive with faults."""
    command = [
        sys.executable, "workflow_scripts/fetch_slides.py", "--lock", str(site.results / "locks" / "sim_a.slides.tsv"),
        "--archive", str(site.results / "raw" / "simulated" / "archive" / "sim_a"), "--archive-faults",
        json.dumps(faults), "--output-dir", str(target), "--index", str(target / "index.tsv"), "--parallel", "2",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(site.folder / "src")}
    with (site.folder / "fetch.log").open("ab") as log:
        return subprocess.Popen(command, cwd=site.folder, env=environment, stdout=log, stderr=log)


def digests(folder: Path) -> dict[str, str]:
    """Digest of every slide below a folder, by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.tiff")}


def test_cut_and_wrong_and_killed_downloads_end_right(tmp_path: Path, quick: Site, compare: Log) -> None:
    target = tmp_path / "acquired"
    truth = digests(quick.results / "raw" / "simulated" / "slides")
    draw = random.Random(4)
    events = []
    for number in range(_KILLS):
        job = fetch(quick, target, {"cut_after": 40_000, "cuts": 1, "delay_s": 0.3})
        # Killed when the next slide or part of one has come, at a random moment after.
        before = _bytes(target)
        while job.poll() is None and _bytes(target) <= before:
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 0.5))
        job.kill()
        assert job.wait() != 0, "it was finished before it could be killed"
        whole = digests(target)
        assert whole.items() <= truth.items(), "a file has its name before it is right"
        events.append(f"kill {number + 1}: {len(whole)} of {len(truth)} slides, {_bytes(target)} bytes")
    for path in list(target.rglob("*.tiff"))[:1]:
        path.write_bytes(path.read_bytes()[:1000])
        events.append(f"{path.name} was truncated in its place")
    last = fetch(quick, target, {"wrong_bytes": 1})
    assert last.wait() == 0, (quick.folder / "fetch.log").read_text()[-3000:]
    assert orphans(target) == []
    compare("slides of the archive and those fetched", events, truth, digests(target))


def _bytes(folder: Path) -> int:
    return sum(
        path.stat().st_size for path in folder.rglob("*.tiff*") if path.is_file() and ".verified" not in path.name
    )
