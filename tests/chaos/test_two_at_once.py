"""Two Snakemakes on one folder: the second is refused and disturbs nothing."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from tests.chaos.conftest import Log
from tests.chaos.machinery import Site, artefacts, at_work, orphans


def test_the_second_is_refused_while_the_first_works(
    tmp_path: Path, quick: Site, quick_hashes: dict[str, str], compare: Log
) -> None:
    site = quick.copy(tmp_path / "shared")
    for name in ("evaluation", "tables"):
        shutil.rmtree(site.results / name)
    first = site.start("--cores", "1")
    while not at_work(first.pid):
        assert first.poll() is None, site.said()
        time.sleep(0.02)
    # What the first is writing at this moment must still be there afterwards.
    writing = site.results / "runs" / ".scores.abcdefgh.writing.parquet"
    writing.write_text("half")
    second = site.run()
    assert second != 0
    assert "cannot be locked" in site.said()
    assert writing.exists()
    writing.unlink()
    assert first.wait() == 0, site.said()
    assert not list((site.folder / ".snakemake").glob("locks/*"))
    assert orphans(site.results) == []
    compare("two at once", [f"the second ended with {second}"], quick_hashes, artefacts(site.results))
    assert site.run() == 0
    assert "Nothing to be done" in site.said()
