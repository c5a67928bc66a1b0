"""Where Snakemake may start jobs, and how soon."""

from __future__ import annotations

from typing import Any

from pathomix.core.errors import PathomixError

_OWN = (100, 1)
# Slurm's plug-in puts a job's command line between double quotes, in which a shell reads these.
_READ_BETWEEN_QUOTES = frozenset("$`\\")


def check_folder(executor: str | None, folder: str) -> None:
    """Refuse a folder that jobs of a cluster cannot start in.

    Args:
        executor: Name of Snakemake's executor plug-in, None for a dry-run.
        folder: Where Snakemake was started.

    Raises:
        PathomixError: The name of the folder would be read by the shell of a Slurm job.
    """
    if executor == "slurm" and _READ_BETWEEN_QUOTES & set(folder):
        fact = "Slurm jobs cannot start in a folder whose name holds $, ` or a backslash"
        raise PathomixError(fact, offending=[folder], remedy="move the repository")


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
