"""Survival intervals in months, and the sentence about each patient (spec modaltune 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from pathomix.core.errors import PathomixError
from pathomix.core.fitting import note_fitted
from pathomix.text.wording import EndpointWords


@dataclass(frozen=True)
class SurvivalBins:
    """Intervals [edge, next edge); times before the first and after the last edge belong to the outer intervals.

    Attributes:
        edges: Months [bins + 1]; the last one is infinite where the last interval is open.
        fitted_on: Patients whose times made them.
    """

    edges: tuple[float, ...]
    fitted_on: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def inner(self) -> tuple[float, ...]:
        """Edges between the intervals."""
        return self.edges[1:-1]

    def label(self, time: float) -> int:
        """Number of the interval of a time in months."""
        return int(np.searchsorted(self.inner, time, side="right"))


def quantile_edges(times: pd.Series, bins: int, where: str) -> SurvivalBins:
    """Equally filled intervals (linear interpolation), the outer edges being the extremes.

    Raises:
        PathomixError: So few distinct times that an interval would be empty.
    """
    edges = np.quantile(times.to_numpy(np.float64), np.linspace(0.0, 1.0, bins + 1))
    if (np.diff(edges) <= 0).any():
        raise PathomixError(
            f"{where}: {len(times)} times do not fill {bins} survival intervals", remedy="set `bins` of the texts lower"
        )
    return SurvivalBins(tuple(edges.tolist()))


def survival_bins(
    outcome: pd.DataFrame, train: pd.Index, bins: int, rules: Mapping[str, str], where: str
) -> SurvivalBins | None:
    """The intervals of one fold.

    Args:
        outcome: ``time`` (months) and ``event`` of the fold's patients, missing where not known.
        train: Its training part.
        bins: Number of intervals.
        rules: Switches `bins_from`, `bins_of` and `edges` of `TextParameters`.
        where: Cohort and fold, for messages.

    Returns:
        None when no patient of the fold has an outcome.

    Raises:
        PathomixError: The patients asked have too few events or times.
    """
    if not outcome["time"].notna().any():
        return None
    asked = outcome if rules["bins_from"] == "all" else outcome.loc[outcome.index.isin(train)]
    asked = asked[asked["time"].notna()]
    if rules["bins_of"] == "events":
        asked = asked[asked["event"] == 1]
    if asked.empty:
        raise PathomixError(
            f"{where}: no {'event' if rules['bins_of'] == 'events' else 'outcome'} to make survival intervals of",
            remedy="use folds stratified by event, or set `bins_of: everyone` for the texts",
        )
    note_fitted("text_bins", asked.index)
    found = replace(quantile_edges(asked["time"], bins, where), fitted_on=tuple(sorted(map(str, asked.index))))
    if rules["edges"] == "quantiles":
        return found
    inner = np.rint(found.inner)
    if inner[0] < 1 or (np.diff(inner) <= 0).any():
        raise PathomixError(
            f"{where}: {bins} survival intervals are not whole months apart ({np.round(found.inner, 2).tolist()})",
            remedy="set `bins` of the texts lower, or `edges: quantiles`",
        )
    return SurvivalBins((0.0, *inner.tolist(), float("inf")), found.fitted_on)


def survival_sentence(
    time: float, event: int, bins: SurvivalBins, words: EndpointWords, sentences: Mapping[str, str], censored: str
) -> str:
    """What is said about one patient.

    Args:
        time: Months.
        event: 1 = happened.
        bins: Of the fold.
        words: Of the endpoint.
        sentences: `Wording.survival`.
        censored: ``as_event`` places the follow-up of a censored patient like the time of an event; ``alive_beyond``
            says the last edge that was passed, or that not even the first one was.
    """
    number = bins.label(time)
    start, end = bins.edges[number], bins.edges[number + 1]
    if not event and censored == "alive_beyond":
        kind, who = ("beyond" if number else "unknown"), words.free
    else:
        kind = "first" if number == 0 else "last" if np.isinf(end) else "between"
        who = words.event if event else words.censored
    return sentences[kind].format(who=who, start=f"{start:.0f}", end=f"{end:.0f}")
