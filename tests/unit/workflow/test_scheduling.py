"""Folders that Slurm jobs cannot start in are refused; Snakemake's own limit of jobs a second is lifted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.cli import get_argument_parser
from snakemake.scheduling.job_scheduler import JobRateLimiter
from snakemake.settings.types import MaxJobsPerTimespan

from pathomix.core.errors import PathomixError
from pathomix.workflow.scheduling import check_folder, lift_own_limit


def after_the_start(limit: str) -> JobRateLimiter | None:
    """The limiter of a run that was started with this limit."""
    scheduler = SimpleNamespace(job_rate_limiter=JobRateLimiter(MaxJobsPerTimespan.parse_choice(limit)))
    lift_own_limit(scheduler)
    return scheduler.job_rate_limiter


def test_the_limit_nobody_asked_for_is_lifted() -> None:
    assert after_the_start(get_argument_parser().get_default("max_jobs_per_timespan")) is None


@pytest.mark.parametrize("limit", ["5/1s", "100/1m"])
def test_a_limit_the_user_asked_for_stays(limit: str) -> None:
    assert after_the_start(limit) is not None


def test_a_run_without_a_limit_is_left_alone() -> None:
    scheduler = SimpleNamespace(job_rate_limiter=None)
    lift_own_limit(scheduler)
    assert scheduler.job_rate_limiter is None


def test_every_run_starts_so(root: Path) -> None:
    text = (root / "Snakefile").read_text()
    started = text[text.index("onstart:") : text.index("onsuccess:")]
    assert "    lift_own_limit(workflow.scheduler)\n" in started


@pytest.mark.parametrize("folder", ["/data/a$b", "/data/`a`", "/data/a\\b"])
def test_a_folder_that_the_shell_of_a_slurm_job_would_read_is_refused(folder: str) -> None:
    with pytest.raises(PathomixError, match=r"Slurm jobs cannot start in a folder.*move the repository") as raised:
        check_folder("slurm", folder)
    assert folder in str(raised.value)
    check_folder("local", folder)
    check_folder(None, folder)
    check_folder("slurm", "/data/a b;c 'd' \"e\"")
