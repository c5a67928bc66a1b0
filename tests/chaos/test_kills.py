"""SIGKILL at random moments: what is resumed ends with the bytes of the run that nobody disturbed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.conftest import CONFIG, QUICK, RESULTS, Log, checkout
from tests.chaos.machinery import (
    Kill,
    Round,
    Site,
    artefacts,
    kills,
    orphans,
    wait_for_the_orphaned,
)


def disturbed(site: Site, plan: list[Kill], *options: str) -> list[str]:
    """Play all kills, each on a run that resumes the one before, then finish; says what was hit."""
    events, sessions = [], []
    for number, kill in enumerate(plan):
        if number:
            assert site.run("--unlock") == 0, site.said()
        game = Round(site, kill, options)
        hit = game.play()
        assert hit, f"the run ended before {kill} could be done\n{site.said()}"
        sessions.append(game.session)
        events.append(f"kill {number + 1}: {kill} ({hit}); {len(orphans(site.results))} unfinished files")
    # Jobs outlive their controller: the next run begins while they still write.
    site.finish(*options)
    wait_for_the_orphaned(sessions)
    return events


def test_five_kills_leave_no_trace(
    root: Path, tmp_path: Path, quick: Site, quick_hashes: dict[str, str], compare: Log
) -> None:
    site = checkout(root, tmp_path / "disturbed", CONFIG, RESULTS, QUICK)
    events = disturbed(site, kills(5, most_passed=2, seed=1), "--cores", "1")
    assert orphans(site.results) == []
    compare("five kills", events, quick_hashes, artefacts(site.results))


@pytest.mark.slow
def test_twenty_kills_from_the_archive_to_the_report_leave_no_trace(
    root: Path, tmp_path: Path, whole: Site, compare: Log
) -> None:
    site = checkout(root, tmp_path / "disturbed", CONFIG, RESULTS)
    events = disturbed(site, kills(20, most_passed=1, seed=2), "--cores", "2")
    assert orphans(site.results) == []
    compare("twenty kills", events, artefacts(whole.results), artefacts(site.results))
