"""Rows whose settings are chosen by inner folds: their grids checked, the files they read, what a caption says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pathomix.core.errors import PathomixError
from pathomix.methods.registry import METHODS
from pathomix.workflow.settings import check_parameters, parameter_names


class TuningPlan:
    """The tuned rows of the configuration.

    Args:
        config: Snakemake's configuration after schema validation.
        root: The repository.

    Raises:
        PathomixError: A grid names what its method does not know, an empty or no list, or the same value twice; there
            is no budget; or a study has a tuned row and a scheme without inner folds.
    """

    def __init__(self, config: Mapping[str, Any], root: Path) -> None:
        self.results: str = config["results"]
        self.methods: Mapping[str, Any] = config["methods"]
        self.grids = {name: entry["tuning"]["grid"] for name, entry in self.methods.items() if "tuning" in entry}
        self.inner = {name: entry["inner"] for name, entry in config["splits"].items() if "inner" in entry}
        self.budget: int = config.get("tuning", {}).get("budget", 0)
        if self.grids and self.budget < 1:
            raise PathomixError(
                "rows are tuned, but there is no budget",
                offending=sorted(self.grids),
                remedy="set `tuning: {budget: 4}` at the top of the configuration",
            )
        for name, grid in self.grids.items():
            _check_grid(grid, self.methods[name], root / "src", f"methods.{name}.tuning.grid")
        for study, entry in config["studies"].items():
            self._check_study(study, entry)

    def _check_study(self, study: str, entry: Mapping[str, Any]) -> None:
        tuned = [name for name in entry["methods"] if name in self.grids]
        if tuned and "folds" not in self.inner.get(entry["scheme"], {}):
            raise PathomixError(
                f"study {study} tunes rows, but its scheme {entry['scheme']} has no number of inner folds",
                offending=tuned,
                remedy=f"set splits.{entry['scheme']}.inner, e.g. {{scheme: stratified_kfold, folds: 3, seed: 0}}",
            )

    def files(self, method: str, cohort: str, scheme: str) -> list[str]:
        """Inner splits a row reads, if it is tuned."""
        return [f"{self.results}/splits/{cohort}/{scheme}.inner.parquet"] if method in self.grids else []

    def parameters(self, method: str) -> str:
        """JSON argument of a tuned row, empty for others."""
        if method not in self.grids:
            return ""
        content = {"grid": self.grids[method], "budget": self.budget}
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    def caption(self, methods: Sequence[str], scheme: str) -> str:
        """How the rows of a table were tuned; empty where none was.

        Args:
            methods: Rows of the table.
            scheme: Its splitting scheme.
        """
        tuned = [name for name in methods if name in self.grids]
        if not tuned:
            return ""
        sizes = {name: math.prod(map(len, self.grids[name].values())) for name in tuned}
        small = [f"{self.methods[n].get('label', n)} ({sizes[n]})" for n in tuned if sizes[n] < self.budget]
        sentences = [
            f"Each tuned row: best of {self.budget} settings by {self.inner[scheme]['folds']} inner folds.",
            f"Grid smaller than that, used whole: {'; '.join(small)}." if small else "",
            "Rows that are not tuned: " + "; ".join(self.methods[n].get("label", n) for n in methods if n not in tuned)
            + "." if len(tuned) < len(methods) else "",
        ]  # fmt: skip
        return " ".join(sentence for sentence in sentences if sentence)


def _check_grid(grid: Mapping[str, Any], entry: Mapping[str, Any], source: Path, key: str) -> None:
    if entry.get("method") not in METHODS:
        raise PathomixError(
            f"{key}: there is no method {entry.get('method')!r}", remedy=f"use one of {', '.join(METHODS)}"
        )
    known = parameter_names(source, METHODS[entry["method"]].partition(":")[0], "Settings")
    check_parameters(grid, known, key)
    no_list = sorted(name for name, values in grid.items() if not isinstance(values, list) or not values)
    if no_list or not grid:
        raise PathomixError(
            f"configuration key {key}: no list of values", offending=no_list, remedy="give [value, value, ...]"
        )
    nested = sorted(name for name, values in grid.items() if any(not _is_plain(value) for value in values))
    if nested:
        raise PathomixError(
            f"configuration key {key}: values are mappings",
            offending=nested,
            remedy="tune numbers, words, or lists of them",
        )
    twice = sorted(name for name, values in grid.items() if len({_identity(v) for v in values}) < len(values))
    if twice:
        raise PathomixError(
            f"configuration key {key}: the same value twice", offending=twice, remedy="give each value once"
        )
    if math.prod(map(len, grid.values())) < 2:
        raise PathomixError(
            f"configuration key {key} leaves no choice",
            offending=sorted(grid),
            remedy="give a second value, or set the parameter itself",
        )


def _is_plain(value: object) -> bool:
    return not isinstance(value, Mapping) and (not isinstance(value, list) or all(map(_is_plain, value)))


def _identity(value: Any) -> str:
    """Equal for values that a method takes alike: 1 is 1.0, but not true."""
    if isinstance(value, list):
        return f"[{','.join(map(_identity, value))}]"
    return json.dumps(float(value) if isinstance(value, int) and not isinstance(value, bool) else value)
