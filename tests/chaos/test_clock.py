"""A clock that jumped: times of files decide nothing, contents do."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.chaos.machinery import Site, artefacts

_TEN_YEARS_S = 10 * 365 * 86400


def set_times(paths: Iterable[Path], drawn: random.Random) -> None:
    """Give every file a time of its own within ten years before or after its present one."""
    for path in sorted(paths):
        if path.is_file() and not path.is_symlink():
            at = path.stat().st_mtime + drawn.uniform(-_TEN_YEARS_S, _TEN_YEARS_S)
            os.utime(path, (at, at))


def planned(site: Site) -> str:
    """What a dry-run says; the log of former runs is dropped."""
    (site.folder / "said.log").unlink()
    assert site.run("--dry-run", "--quiet", "host") == 0, site.said()
    return site.said()


def test_times_alone_rerun_nothing(tmp_path: Path, quick: Site) -> None:
    site = quick.copy(tmp_path / "jumped")
    before = artefacts(site.results)
    code = [p for name in ("src", "workflow_scripts", "config", "rules") for p in (site.folder / name).rglob("*.*")]
    set_times([*code, *site.results.rglob("*")], random.Random(1))
    assert "Nothing to be done" in planned(site), site.said()
    assert artefacts(site.results) == before


@pytest.mark.parametrize("years", [-10, 10])
def test_a_changed_description_counts_whatever_its_time(tmp_path: Path, quick: Site, years: int) -> None:
    site = quick.copy(tmp_path / "edited")
    description = site.folder / "config" / "cohorts" / "simulated.yaml"
    at = description.stat().st_mtime + years / 10 * _TEN_YEARS_S
    description.write_text(description.read_text() + "# corrected\n")
    os.utime(description, (at, at))
    said = planned(site)
    assert "build_cohort" in said, said
    assert "simulate_tables" not in said, said
