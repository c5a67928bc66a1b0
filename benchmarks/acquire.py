"""Locks of 11,000 slides, and what it costs to resume a file of 1 GB: one thread each, over HTTP from a local archive.

The lock is compared with pandas writing and reading the same table; the resumed file with one plain pass of hashlib
over it. What is read of files is counted by the kernel: the part once, the missing end once by the server.

Usage: python -m benchmarks.acquire
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pathomix.acquire.download import fetch
from pathomix.acquire.gdc import Gdc
from pathomix.acquire.http import Client
from pathomix.acquire.lock import read_lock, write_lock
from pathomix.acquire.part import part_path
from pathomix.simulate.archive.server import serve

SLIDES = 11_000
SIZE = 1_000_000_000
MISSING = 10_000_000


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def described(folder: Path, files: list[dict[str, Any]]) -> None:
    """Write a description of an archive with some files."""
    content = {
        "data_release": "benchmark", "date": "Thu, 01 Jan 2026 00:00:00 GMT", "root": ".",
        "projects": [{"id": "TCGA-XX", "project_id": "TCGA-XX"}], "files": files, "cases": [], "datasets": {},
        "tables": {}, "atlases": [],
    }  # fmt: skip
    (folder / "archive.json").write_text(json.dumps(content))


def document(number: int, name: str, size: int, md5: str) -> dict[str, Any]:
    """One slide as the GDC describes it."""
    patient, identity = (
        f"TCGA-{number // 10_000:02d}-{number % 10_000:04d}",
        f"{number:08d}-0000-4000-8000-000000000000",
    )
    return {
        "id": identity, "file_id": identity, "file_name": name.format(patient), "md5sum": md5, "file_size": size,
        "data_format": "SVS", "data_type": "Slide Image", "experimental_strategy": "Diagnostic Slide",
        "access": "open", "state": "released", "path": "data",
        "cases": [{"case_id": identity, "submitter_id": patient, "project": {"project_id": "TCGA-XX"},
                   "samples": [{"submitter_id": f"{patient}-01Z", "sample_type": "Primary Tumor"}]}],
    }  # fmt: skip


def lock(folder: Path) -> None:
    """Search, write and read."""
    name = "{}-01Z-00-DX1.11111111-2222-4333-8444-555555555555.svs"
    described(folder, [document(k, name, 10**9, f"{k:032x}") for k in range(SLIDES)])
    path = folder / "x.slides.tsv"
    with serve(folder) as url, Client() as client:
        start = time.perf_counter()
        made = Gdc(client, url).lock(["TCGA-XX"])
        searched = time.perf_counter() - start
    own = seconds(lambda: write_lock(made, path)) + seconds(lambda: read_lock(path))
    frame = pd.DataFrame([dataclasses.asdict(slide) for slide in made.slides])
    other = seconds(lambda: frame.to_csv(folder / "y.tsv", sep="\t", index=False))
    other += seconds(lambda: pd.read_csv(folder / "y.tsv", sep="\t", dtype=str))
    print(
        f"{len(made.slides):,} slides: search over HTTP, server included {searched:.2f} s; written and read {own:.2f} s"
    )
    print(f"pandas, without any check: {other:.2f} s (ours / pandas {own / other:.1f})")


def read_so_far() -> int:
    """Bytes that this process has read from files."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


def resume(folder: Path) -> None:
    """Fetch the last hundredth of a file."""
    block = np.random.default_rng(0).bytes(MISSING)
    with (folder / "data").open("wb") as stream:
        for _ in range(SIZE // MISSING):
            stream.write(block)
    with (folder / "data").open("rb") as stream:
        md5 = hashlib.file_digest(stream, "md5").hexdigest()
    described(folder, [document(0, "{}.svs", SIZE, md5)])
    target = folder / "resumed.svs"
    with part_path(target).open("wb") as stream:
        for _ in range(SIZE // MISSING - 1):
            stream.write(block)

    def plain() -> None:
        with (folder / "data").open("rb") as stream:
            hashlib.file_digest(stream, "md5")

    before = seconds(plain)
    with serve(folder) as url, Client() as client:
        address = f"{url}/data/00000000-0000-4000-8000-000000000000"
        count = read_so_far()
        own = seconds(lambda: fetch(address, target, client=client, size=SIZE, md5=md5))
        count = read_so_far() - count
        again = seconds(lambda: fetch(address, target, client=client, size=SIZE, md5=md5))
    other = (before + seconds(plain)) / 2
    share = f"{count / SIZE:.3f} of the file read"
    print(f"resume of the last {MISSING / 1e6:.0f} of {SIZE / 1e6:,.0f} MB: {own:.2f} s, {share}")
    print(f"one plain md5 pass: {other:.2f} s (ours / plain {own / other:.2f}); found complete: {again * 1e3:.1f} ms")


def main() -> None:
    """Both measurements."""
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n")
    for work in (lock, resume):
        with tempfile.TemporaryDirectory() as folder:
            work(Path(folder))
    print(f"\nload average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
