"""The reproduction certificate: every cell that a paper printed, with what this configuration has to say about it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pathomix.report.fidelity import row_profile
from pathomix.report.published import read_printed
from pathomix.report.verdicts import NOT_RUN, Ours, judge

SIMULATED = "simulated cohorts answer no published value"
# The papers' own mean over the cohorts of a table (verified as such, spec modaltune.md section 8).
OVERALL = "Overall"
_NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Printed:
    """One published cell, itself its key (a spread that is not printed is NaN, which equals nothing)."""

    file: str
    table: str
    method: str
    cohort: str
    metric: str
    value: float
    spread: float


@dataclass(frozen=True)
class Line:
    """One published cell and one answer to it, or the reason why there is none.

    Attributes:
        printed: The published cell.
        verdict: One of `verdicts.VERDICTS`.
        reason: Why it was not run, or in which direction ours lies.
        study, row, label, cohort, scheme: Where the answer stands; empty without one.
        profile: Fidelity profile of the row, empty where its method has none.
        ours: Our value and its interval.
        sd_seeds: Spread over seeds.
        sd_folds: Spread over folds.
    """

    printed: Printed
    verdict: str
    reason: str = ""
    study: str = ""
    row: str = ""
    label: str = ""
    cohort: str = ""
    scheme: str = ""
    profile: str = ""
    ours: Ours = field(default=Ours(_NAN, _NAN, _NAN))
    sd_seeds: float = _NAN
    sd_folds: float = _NAN


def read_cells(paths: Sequence[str | Path]) -> list[Printed]:
    """All cells of the files, in their order.

    Raises:
        PathomixError: A file is not a table of published values.
    """
    return [
        Printed(str(path), row["table"], row["method"], row["cohort"], row["metric"], row["mean"], row["std"])
        for path in paths
        for row in read_printed(path).to_dict("records")
    ]


def certify(
    cells: Sequence[Printed],
    config: Mapping[str, Any],
    rows: Mapping[str, pd.DataFrame],
    left_out: Mapping[str, str],
) -> list[Line]:
    """Every cell with each of its answers, or once with the reason why it has none.

    Args:
        cells: Published cells.
        config: Configuration of the run; ``studies.<study>.published`` says which row answers which published one.
        rows: Reported study to its rows in long form (`tables.read_csv`, both tasks).
        left_out: Row of the configuration to the reason why it was not run.
    """
    everything_simulated = _only_simulated(config)
    found: dict[Printed, list[Line]] = {}
    for cell in cells:
        answers = list(_answers(cell, config, rows, left_out))
        judged = [line for line in answers if not math.isnan(line.ours.mean)]
        nothing = SIMULATED if everything_simulated else f"no study of this configuration answers {cell.table}"
        found[cell] = judged or answers[:1] or [Line(cell, NOT_RUN, nothing)]
    for cell in cells:
        if cell.cohort == OVERALL and all(math.isnan(line.ours.mean) for line in found[cell]):
            found[cell] = _overall(cell, found) or found[cell]
    return [line for cell in cells for line in found[cell]]


def _only_simulated(config: Mapping[str, Any]) -> bool:
    simulated = set((config.get("simulation") or {}).get("cohorts") or {})
    unions = {name for name, entry in (config.get("cohorts") or {}).items() if "union" in (entry or {})}
    used = {cohort for study in (config.get("studies") or {}).values() for cohort in study.get("cohorts", ())}
    return bool(simulated) and used <= simulated | unions and set(config.get("cohorts") or {}) <= simulated | unions


def _answers(
    cell: Printed,
    config: Mapping[str, Any],
    rows: Mapping[str, pd.DataFrame],
    left_out: Mapping[str, str],
) -> Iterator[Line]:
    for study, entry in (config.get("studies") or {}).items():
        given = entry.get("published") or {}
        if not given or Path(given["file"]) != Path(cell.file) or cell.table not in given["tables"]:
            continue
        cohorts = [here for here, there in given["cohorts"].items() if there == cell.cohort]
        names = [row for row, there in (given.get("rows") or {}).items() if there == cell.method]
        if not cohorts:
            absent = f"no row of study {study} covers every cohort of {cell.table}"
            if cell.cohort != OVERALL:
                absent = f"cohort {cell.cohort} is not in study {study}"
            yield Line(cell, NOT_RUN, absent, study=study)
        elif not names:
            yield Line(cell, NOT_RUN, f"no row of study {study} answers it", study=study)
        for row in names if cohorts else ():
            for cohort in cohorts:
                at = Line(cell, NOT_RUN, study=study, row=row, cohort=cohort, profile=row_profile(config, row))
                if row in left_out:
                    yield replace(at, reason=f"row {row} is left out: {left_out[row]}")
                elif study not in rows:
                    yield replace(at, reason=f"study {study} is planned, not among the reported ones")
                else:
                    yield from _judged(at, rows[study])


def _judged(at: Line, rows: pd.DataFrame) -> Iterator[Line]:
    mine = rows[(rows["method"] == at.row) & (rows["cohort"] == at.cohort) & (rows["metric"] == at.printed.metric)]
    mine = mine[mine["source"] == "run"]
    if mine.empty:
        yield replace(at, reason=f"study {at.study} has no {at.printed.metric} of row {at.row}")
    for score in mine.to_dict("records"):
        ours = Ours(float(score["mean"]), float(score["lower"]), float(score["upper"]))
        verdict = judge(at.printed.value, at.printed.spread, ours)
        why = score["reason"] if math.isnan(ours.mean) and isinstance(score["reason"], str) else ""
        yield replace(
            at,
            verdict=verdict.word,
            reason=f"{verdict.reason}: {why}" if why else verdict.reason,
            label=str(score["label"]),
            scheme=str(score["scheme"]),
            ours=ours,
            sd_seeds=float(score["sd_seeds"]),
            sd_folds=float(score["sd_folds"]),
        )


def _overall(cell: Printed, found: Mapping[Printed, list[Line]]) -> list[Line]:
    """Mean over the cohorts of the table, where one row answers all of them.

    Cohorts share no patient, so the deviations of their limits add in squares (MOVER, Zou and Donner 2008).
    """
    same = (cell.file, cell.table, cell.method, cell.metric)
    parts = [
        lines
        for other, lines in found.items()
        if other.cohort != OVERALL and (other.file, other.table, other.method, other.metric) == same
    ]
    if not parts:
        return []
    by_row = [{(line.study, line.row): line for line in lines if not math.isnan(line.ours.mean)} for lines in parts]
    result = []
    for key in by_row[0]:
        if not all(key in lines for lines in by_row):
            continue
        members = [lines[key] for lines in by_row]
        count = len(members)
        mean = sum(line.ours.mean for line in members) / count
        below = math.sqrt(sum((line.ours.mean - line.ours.lower) ** 2 for line in members)) / count
        above = math.sqrt(sum((line.ours.upper - line.ours.mean) ** 2 for line in members)) / count
        ours = Ours(mean, mean - below, mean + above)
        verdict = judge(cell.value, cell.spread, ours)
        first = members[0]
        result.append(Line(cell, *verdict, first.study, first.row, first.label, OVERALL, "", first.profile, ours))
    return result


def counted(lines: Sequence[Line]) -> dict[str, int]:
    """Verdict to the number of published cells, a cell with several answers counted under its first."""
    first = {line.printed: line for line in reversed(lines)}
    result: dict[str, int] = {}
    for line in first.values():
        result[line.verdict] = result.get(line.verdict, 0) + 1
    return result
