"""What the jobs of a plan cost, by what their like has taken here."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pathomix.workflow.amounts import Amount, exactly, total, unknown
from pathomix.workflow.dry_run import Job
from pathomix.workflow.rates import Measured, RuleTime

_HOUR = 3600.0


@dataclass(frozen=True)
class Price:
    """What the jobs of one rule, or of all, cost.

    Attributes:
        jobs: How many.
        cpu_hours: Hours of one processor core.
        gpu_hours: Hours of one GPU, 0 for jobs that ask for none.
    """

    jobs: int
    cpu_hours: Amount
    gpu_hours: Amount


def price_jobs(jobs: Sequence[Job], root: Path, measured: Measured) -> dict[str, Price]:
    """Price of the jobs of each rule, in the order of the jobs.

    A job that has run here before costs what it took then, another one what the jobs of its rule take on average; where
    no job of the rule has run, its hours are unknown.

    Args:
        jobs: The jobs.
        root: Folder that their paths start from.
        measured: Mean times of the rules.
    """
    by_rule: dict[str, list[Price]] = {}
    for job in jobs:
        by_rule.setdefault(job.rule, []).append(_price(job, root, measured))
    return {rule: in_all(prices) for rule, prices in by_rule.items()}


def _price(job: Job, root: Path, measured: Measured) -> Price:
    time = _time(job, root, measured)
    if time is None:
        hours = unknown(f"no job of {job.rule} has run here")
        return Price(1, hours, hours if job.gpus else exactly(0))
    core = time.seconds if time.cpu_seconds is None else time.cpu_seconds
    return Price(1, exactly(core / _HOUR), exactly(job.gpus * time.seconds / _HOUR))


def in_all(prices: Iterable[Price]) -> Price:
    """The price of all of them together."""
    given = list(prices)
    return Price(
        sum(price.jobs for price in given),
        total(price.cpu_hours for price in given),
        total(price.gpu_hours for price in given),
    )


def _time(job: Job, root: Path, measured: Measured) -> RuleTime | None:
    """What the job itself took the last time, else what its rule's jobs take."""
    path = root / job.benchmark
    if job.benchmark and path.is_file():
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        try:
            return RuleTime(1, float(rows[-1]["s"]), _processor_seconds(rows[-1].get("cpu_time")))
        except (IndexError, KeyError, TypeError, ValueError):
            pass
    return measured.rules.get(job.rule)


def _processor_seconds(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
