"""The same configuration in another folder, with another number of jobs at once: the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.conftest import QUICK, Log, checkout
from tests.chaos.machinery import Site, artefacts, orphans

_CONFIG = "tests/workflow/config.yaml"
_RESULTS = "results/miniature"


@pytest.mark.slow
def test_two_runs_of_every_stage_have_equal_bytes(root: Path, tmp_path: Path, compare: Log) -> None:
    hashes, machines = [], []
    for name, cores in (("one", "1"), ("another checkout, with a longer name", "3")):
        site = checkout(root, tmp_path / name, _CONFIG, _RESULTS)
        assert site.run("--cores", cores) == 0, site.said()
        assert orphans(site.results) == []
        hashes.append(artefacts(site.results))
        machines.append(f"{name}: {cores} jobs at once")
    compare("the miniature twice", machines, *hashes)


def test_a_run_in_another_folder_with_more_jobs_at_once_has_equal_bytes(
    root: Path, tmp_path: Path, quick: Site, quick_hashes: dict[str, str], compare: Log
) -> None:
    site = checkout(root, tmp_path / "another checkout, with a longer name", *_of(quick), QUICK)
    assert site.run("--cores", "3") == 0, site.said()
    compare("one table twice", ["1 and 3 jobs at once"], quick_hashes, artefacts(site.results))


def _of(site: Site) -> tuple[str, str]:
    configuration = site.options[site.options.index("--configfile") + 1]
    return configuration, str(site.results.relative_to(site.folder))
