"""How soon Snakemake starts jobs."""

from __future__ import annotations

from typing import Any

_OWN = (100, 1)


def lift_own_limit(scheduler: Any) -> None:
    """Take Snakemake's own limit of 100 jobs a second away; a limit the user asked for stays.

    While a limit is set, Snakemake 9.27 looks at all ready jobs once a second more for every job that finished: after
    200 jobs that costs as much as the jobs do.

    Args:
        scheduler: Snakemake's, before it starts.
    """
    limiter = scheduler.job_rate_limiter
    if limiter and (limiter.max_jobs, limiter.timespan) == _OWN:
        scheduler.job_rate_limiter = None
