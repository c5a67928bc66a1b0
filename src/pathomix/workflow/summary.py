"""What a run says: a line per finished stage, and in the end what ran, was reused, set aside or failed."""

from __future__ import annotations

import csv
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Snakemake's logger. Its records carry `event` (documented for its logger plug-ins) and what the event is about.
LOGGER = "snakemake.logging"
_TERMINAL = "DefaultStreamHandler"
_CHATTER = frozenset({"job_finished", "progress", "job_started"})
_EVERY_S = 60.0
_LONGEST_LIST = 10


@dataclass(frozen=True)
class Failure:
    """A job that failed.

    Attributes:
        rule: Its rule.
        logs: Where to read why: the rule's own log first, then those of the executor.
    """

    rule: str
    logs: tuple[str, ...]


@dataclass(frozen=True)
class Quarantine:
    """What quarantine lists hold.

    Attributes:
        slides: Distinct slides set aside.
        rows: Distinct rows of patients' tables set aside.
        files: The lists that are not empty, with their number of rows.
    """

    slides: int
    rows: int
    files: Mapping[str, int]


def read_quarantines(lists: Iterable[str | Path]) -> Quarantine:
    """Count what quarantine lists hold; lists that are not made yet count nothing.

    Args:
        lists: Tab-separated files whose first column is ``slide_id`` or ``patient_id``.

    Returns:
        The counts. A slide that several encoders or regions set aside counts once.
    """
    slides: set[str] = set()
    rows: set[tuple[str, ...]] = set()
    files: dict[str, int] = {}
    for path in map(Path, lists):
        if not path.is_file():
            continue
        with path.open(newline="", encoding="utf-8") as stream:
            table = list(csv.reader(stream, delimiter="\t"))
        if len(table) < 2:
            continue
        files[str(path)] = len(table) - 1
        if table[0][0] == "slide_id":
            slides.update(row[0] for row in table[1:])
        else:
            rows.update(tuple(row) for row in table[1:])
    return Quarantine(len(slides), len(rows), files)


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(59), duration(61), duration(7320)
    ('59 s', '1 min 1 s', '2 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class RunWatch(logging.Handler):
    """Listens to the log of a running Snakemake, speaks through it, so that terminal and log file say the same.

    Args:
        planned: Rule to the number of jobs that are to run.
        reused: Number of jobs whose outputs stand.
    """

    def __init__(self, planned: Mapping[str, int], reused: int) -> None:
        super().__init__(logging.INFO)
        self.planned, self.reused = dict(planned), reused
        self.done: Counter[str] = Counter()
        self.failures: dict[int, Failure] = {}
        self._rules: dict[int, str] = {}
        self._begin = self._last = time.monotonic()
        self._first: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of a job that begins, ends or fails; records of other events are none of its business."""
        event = getattr(record, "event", None)
        about = record.__dict__
        if event == "job_info":
            self._rules[about["jobid"]] = about["rule_name"]
            self._first.setdefault(about["rule_name"], time.monotonic())
        elif event == "job_error":
            self._failed(about)
        elif event == "group_error":
            for job in about["job_error_info"]:
                self._failed({**job, "log": [*job["log"], *about["aux_logs"]]})
        elif event == "job_finished":
            self._finished(about["job_id"])

    def _failed(self, about: Mapping[str, Any]) -> None:
        failure = Failure(about["rule_name"], tuple(about["log"]))
        self.failures[about["jobid"]] = failure
        self._say(f"{failure.rule}: a job failed, read {' and '.join(failure.logs) or 'the log of Snakemake'}")

    def _finished(self, job: int) -> None:
        rule = self._rules.get(job, "")
        # A job that failed and came through at a later attempt has not failed.
        self.failures.pop(job, None)
        if rule not in self.planned:
            return
        self.done[rule] += 1
        now = time.monotonic()
        count, total = self.done[rule], self.planned[rule]
        stages = sum(self.done[name] == jobs for name, jobs in self.planned.items())
        if count == total:
            took = duration(now - self._first[rule])
            self._say(f"{rule} done ({_jobs(total)}, {took}); {stages} of {len(self.planned)} stages")
        elif now - self._last >= _EVERY_S:
            left = f"{self.done.total()} of {sum(self.planned.values())} jobs in all"
            self._say(f"{rule}: {count} of {total} jobs; {left}")

    def _say(self, line: str) -> None:
        self._last = time.monotonic()
        logging.getLogger(LOGGER).info(line)

    def summary(self, *, succeeded: bool, quarantines: Sequence[str | Path], page: str | Path) -> str:
        """What the run did.

        Args:
            succeeded: Whether Snakemake says so.
            quarantines: The lists of what was set aside.
            page: The report.

        Returns:
            A few lines for the terminal.
        """
        after = duration(time.monotonic() - self._begin)
        lines = [f"pathomix: {'finished' if succeeded else 'stopped'} after {after}"]
        lines += _entry("ran", _counted(self.done))
        lines += _entry(
            "reused", f"{_jobs(self.reused)}: inputs, parameters and code as they were" if self.reused else "nothing"
        )
        for failure in self.failures.values():
            lines += _entry("failed", f"{failure.rule}: read {' and '.join(failure.logs) or 'the log of Snakemake'}")
        left = Counter(self.planned) - self.done
        if left:
            lines += _entry("not done", f"{_counted(left)}; the same command goes on from here")
        held = read_quarantines(quarantines)
        if held.files:
            lines += _entry("quarantined", f"slides: {held.slides}, rows of tables: {held.rows}; the reasons:")
            lines += _entry("", *(f"{path} ({count})" for path, count in held.files.items()))
        else:
            lines += _entry("quarantined", "nothing")
        if not Path(page).is_file():
            state = "not made yet"
        elif succeeded:
            state = str(page)
        else:
            state = f"{page} (of an earlier run, if it was not made by this one)"
        return "\n".join([*lines, *_entry("report", state)])


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


def _counted(jobs: Mapping[str, int]) -> str:
    named = [f"{rule} {count}" for rule, count in sorted(jobs.items()) if count]
    total = sum(jobs.values())
    return f"{_jobs(total)}: {', '.join(named)}" if total else "nothing"


def _entry(name: str, *texts: str) -> list[str]:
    shown = [*texts[:_LONGEST_LIST], f"and {len(texts) - _LONGEST_LIST} more"] if len(texts) > _LONGEST_LIST else texts
    return [f"  {name if place == 0 else '':<12}{text}" for place, text in enumerate(shown)]


def _terse(record: logging.LogRecord) -> bool:
    return getattr(record, "event", None) not in _CHATTER and record.msg != "Select jobs to execute..."


def watch(planned: Mapping[str, int], reused: int, *, terse: bool) -> RunWatch:
    """Begin to listen to the Snakemake of this process.

    Args:
        planned: Rule to the number of jobs that are to run.
        reused: Number of jobs whose outputs stand.
        terse: Whether the terminal is spared the lines about single jobs; the log file keeps them.

    Returns:
        The watch, to be asked for its `summary` in the end.
    """
    logger = logging.getLogger(LOGGER)
    watching = RunWatch(planned, reused)
    logger.addHandler(watching)
    if terse:
        for handler in logger.handlers:
            if handler.name == _TERMINAL:
                handler.addFilter(_terse)
    return watching
