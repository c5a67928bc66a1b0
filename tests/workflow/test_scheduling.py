"""Snakemake's own limit of jobs a second is taken away when a run starts, a limit the user asked for is not."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.cli import get_argument_parser
from snakemake.scheduling.job_scheduler import JobRateLimiter
from snakemake.settings.types import MaxJobsPerTimespan

ROOT = Path(__file__).resolve().parents[2]


def after_the_start(limit: str) -> JobRateLimiter | None:
    """The limiter of a run that was started with this limit."""
    functions = {
        node.name: node
        for node in ast.parse((ROOT / "rules/common.smk").read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    scheduler = SimpleNamespace(job_rate_limiter=JobRateLimiter(MaxJobsPerTimespan.parse_choice(limit)))
    scope = {"workflow": SimpleNamespace(scheduler=scheduler)}
    exec(ast.unparse(functions["start_without_waiting"]), scope)
    scope["start_without_waiting"]()
    return scheduler.job_rate_limiter


def test_the_limit_nobody_asked_for_is_taken_away() -> None:
    assert after_the_start(get_argument_parser().get_default("max_jobs_per_timespan")) is None


@pytest.mark.parametrize("limit", ["5/1s", "100/1m"])
def test_a_limit_the_user_asked_for_stays(limit: str) -> None:
    assert after_the_start(limit) is not None


def test_every_run_starts_so() -> None:
    text = (ROOT / "Snakefile").read_text()
    started = text[text.index("onstart:") : text.index("onsuccess:")]
    assert "    start_without_waiting()\n" in started
