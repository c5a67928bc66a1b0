"""Values printed in a paper, beside the rows of a study and never among them.

The printed numbers travel in columns of their own (`PUBLISHED_COLUMNS`) of the tables' long form: `mean` and everything
else that was computed here stays empty in a row that was not run. The score tables never see them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import filled
from pathomix.evaluate.oracles import is_oracle

RUN, PUBLISHED = "run", "published"
NOT_RUN = "published, not run"
PUBLISHED_COLUMNS = ("published_method", "published_mean", "published_spread", "published_source")
_OWNER = "studies.<study>.published"
_TEXTS = ("table", "method", "cohort", "metric")


@dataclass(frozen=True)
class Settings:
    """What a study shows of a paper.

    Attributes:
        file: CSV with the columns table, method, cohort, metric, mean, std; `std` is the ± as printed, or empty.
        tables: Tables of the file to read.
        cohorts: Cohort of the study to its name in the file.
        rows: Row of the study to the published row it answers to.
        carried: Published rows to show that the study does not run.
        title: The paper, for captions; without it the name of the file.
        plus_minus: What the paper's ± is, for captions.
    """

    file: str
    tables: tuple[str, ...]
    cohorts: Mapping[str, str]
    rows: Mapping[str, str] = field(default_factory=dict)
    carried: tuple[str, ...] = ()
    title: str = ""
    plus_minus: str = "not defined there"


@dataclass(frozen=True)
class Published:
    """Printed values of the chosen tables, under the study's names of the cohorts.

    Attributes:
        values: (published method, cohort, metric) to the values of `PUBLISHED_COLUMNS`.
        rows: Row of the study to published method.
        carried: Published methods to show as rows.
    """

    values: Mapping[tuple[str, str, str], Mapping[str, Any]]
    rows: Mapping[str, str]
    carried: tuple[str, ...]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Published:
        """Read the file of a study's `published` section.

        Raises:
            PathomixError: A key, a table, a cohort or a row is not known, or the file does not say what it must.
        """
        settings = filled(Settings, given, _OWNER)
        if not isinstance(settings.cohorts, Mapping) or not isinstance(settings.rows, Mapping):
            raise PathomixError(
                f"{_OWNER}: cohorts and rows are mappings", remedy="write `name here: name in the file` for each"
            )
        if not isinstance(settings.tables, tuple):
            raise PathomixError(f"{_OWNER}: tables is {settings.tables!r}", remedy="give a list of table names")
        values = _values(settings)
        named = [*settings.rows.values(), *settings.carried]
        methods = [method for method, _, _ in values]
        _known(named, methods, f"{settings.file}: no value of these rows for the chosen cohorts")
        both = set(settings.rows.values()) & set(settings.carried)
        if both:
            raise PathomixError(
                f"{_OWNER}: published rows are both carried and answered by a row of the study",
                offending=sorted(both),
                remedy="take them out of `carried`",
            )
        return cls(values, dict(settings.rows), settings.carried)

    def beside(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Tidy rows (`tables.tidy`) with the published columns filled, and the carried rows before the oracles.

        Raises:
            PathomixError: A row that names a published one is not part of the study.
        """
        _known(self.rows, rows["method"], f"{_OWNER}.rows: not rows of this study")
        keys = zip(rows["method"].map(self.rows), rows["cohort"], rows["metric"], strict=True)
        found = pd.DataFrame([self.values.get(key, {}) for key in keys], index=rows.index, columns=PUBLISHED_COLUMNS)
        blocks = []
        for _, block in rows.assign(**_typed(found)).groupby(["task", "metric"], sort=False):
            oracle = block["method"].map(is_oracle)
            blocks += [block[~oracle], self._carried(block), block[oracle]]
        filled_blocks = [block for block in blocks if len(block)]
        return pd.concat(filled_blocks, ignore_index=True) if filled_blocks else rows

    def _carried(self, block: pd.DataFrame) -> pd.DataFrame:
        """Rows of one metric that were not run, one per carried method and column of the table."""
        first = block.iloc[0]
        same = {"task": first["task"], "metric": first["metric"], "source": PUBLISHED, "group": "Published"}
        places = list(block[["cohort", "scheme"]].drop_duplicates().itertuples(index=False, name=None))
        records = []
        for method in self.carried:
            found = [self.values.get((method, cohort, first["metric"]), {}) for cohort, _ in places]
            names = {"method": f"{PUBLISHED}: {method}", "label": f"{method} ({NOT_RUN})"}
            for (cohort, scheme), values in zip(places, found, strict=True):
                if any(found):
                    records.append({**same, **names, "cohort": cohort, "scheme": scheme, **values})
        return pd.DataFrame(records, columns=block.columns).astype(block.dtypes.to_dict())


def _typed(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """The published columns with one type each, whether or not anything was found."""
    numbers = ("published_mean", "published_spread")
    return {name: frame[name].astype(float if name in numbers else object) for name in PUBLISHED_COLUMNS}


def read_printed(path: str | os.PathLike[str]) -> pd.DataFrame:
    """A file of published values: `table`, `method`, `cohort` and `metric` as text, `mean`, and `std` or NaN.

    Raises:
        PathomixError: No such file, a column is missing, or a value is not a number.
    """
    path = Path(path)
    if not path.is_file():
        raise PathomixError(f"{path}: no such file", remedy=f"correct {_OWNER}.file")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = sorted({*_TEXTS, "mean", "std"} - set(table.columns))
    if missing:
        raise PathomixError(f"{path}: columns are missing", offending=missing, remedy="add them to the header")
    numbers = {name: pd.to_numeric(table[name].replace("", None), errors="coerce") for name in ("mean", "std")}
    wrong = numbers["mean"].isna() | (numbers["std"].isna() & (table["std"] != ""))
    if wrong.any():
        raise PathomixError(
            f"{path}: mean or std is not a number", offending=table.loc[wrong, "method"], remedy="correct"
        )
    return table.assign(**numbers)


def _values(settings: Settings) -> dict[tuple[str, str, str], dict[str, Any]]:
    table = read_printed(settings.file)
    path = settings.file
    _known(settings.tables, table["table"], f"{path}: no such tables")
    table = table[table["table"].isin(settings.tables)]
    _known(settings.cohorts.values(), table["cohort"], f"{path}: no such cohorts in the chosen tables")
    source = settings.title or Path(path).stem
    values: dict[tuple[str, str, str], dict[str, Any]] = {}
    twice = []
    for row in table.to_dict("records"):
        for cohort in (here for here, there in settings.cohorts.items() if there == row["cohort"]):
            key = (str(row["method"]), cohort, str(row["metric"]))
            twice += [key[0]] if key in values else []
            words = f"{source}, {row['table']} (±: {settings.plus_minus})"
            values[key] = dict(zip(PUBLISHED_COLUMNS, (key[0], row["mean"], row["std"], words), strict=True))
    if twice:
        raise PathomixError(
            f"{path}: the chosen tables print several values for one row, cohort and metric",
            offending=twice,
            remedy="choose one of the tables",
        )
    return values


def _known(names: Iterable[str], known: Iterable[str], fact: str) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        shown = ", ".join(sorted(set(known)))
        raise PathomixError(fact, offending=unknown, remedy=f"use {shown}")
