"""Parameters of the split schemes, and the draft that a scheme fills: rows, notes, what was relaxed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pathomix.core import seeds
from pathomix.core.errors import PathomixError

_log = logging.getLogger(__name__)


class SplitParameters(BaseModel):
    """What every scheme reads.

    Attributes:
        seed: Changes the draw.
        valid_fraction: Share of each training part that becomes the valid part.
        stratify: Outcomes whose shares are kept alike in all parts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    valid_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    stratify: tuple[Literal["event", "class_label"], ...] = Field(default=("event", "class_label"), min_length=1)


class GivenParameters(SplitParameters):
    """Folds of the description's split set `set`; `valid_fraction` of each training part becomes the valid part."""

    scheme: Literal["given"]
    set: str


class KFoldParameters(SplitParameters):
    """`folds` test parts that together hold every patient once."""

    scheme: Literal["stratified_kfold"]
    folds: int = Field(default=5, ge=2)


class MonteCarloParameters(SplitParameters):
    """`folds` independent draws of a test part with `test_fraction` of the patients."""

    scheme: Literal["monte_carlo"]
    folds: int = Field(default=15, ge=1)
    test_fraction: float = Field(default=0.2, gt=0.0, lt=1.0)


class HoldoutParameters(SplitParameters):
    """One split by ModalTune's rule (spec modaltune 6.2): only complete patients are tested, all others train.

    Attributes:
        test_fraction: Share of the complete patients that is tested (rounded up, as the authors' tables are).
        valid_fraction: Share of the remaining complete patients that validates (rounded up).
        require: What makes a patient complete: a class, measured expression.
    """

    scheme: Literal["holdout"]
    test_fraction: float = Field(default=0.2, gt=0.0, lt=1.0)
    valid_fraction: float = Field(default=0.15, ge=0.0, lt=1.0)
    stratify: tuple[Literal["event", "class_label"], ...] = Field(default=("class_label",), min_length=1)
    require: tuple[Literal["class_label", "expression"], ...] = ("class_label", "expression")


class SiteWeights(BaseModel):
    """What one patient too many or too few costs, by quantity; 0 leaves the quantity out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(default=1, ge=0, le=100)
    event: int = Field(default=3, ge=0, le=100)
    class_label: int = Field(default=1, ge=0, le=100)
    follow_up: int = Field(default=1, ge=0, le=100)


class SiteKFoldParameters(SplitParameters):
    """`folds` test parts of whole tissue source sites, balanced by a solver (see `site_solver`).

    Attributes:
        weights: Weights of the objective; an outcome that is not in `stratify` has none.
        event_points: A fold's share of events stays within so many percentage points of the cohort's, if possible.
        size_tolerance: A fold's size stays within this share of the intended one, if possible.
        effort: The solver's deterministic time for the folds (about a second each on an idle core), and once more
            for all valid parts together. Not wall time: the result does not depend on the machine's load.
    """

    scheme: Literal["site_kfold"]
    folds: int = Field(default=5, ge=2)
    weights: SiteWeights = SiteWeights()
    event_points: int = Field(default=5, ge=1, le=100)
    size_tolerance: float = Field(default=0.25, gt=0.0, le=1.0)
    effort: float = Field(default=10.0, gt=0.0)


@dataclass
class Draft:
    """A split table under construction, and what a user should know about it.

    Attributes:
        notes: Sentences for people.
        relaxed: Rules that could not be kept: `rule`, `fold` (None for all), `why`, `proved`.
        solver: Status, objective, bound and gap of every problem that a solver was given.
        unavoidable: What no assignment could have avoided.
    """

    notes: list[str] = field(default_factory=list)
    relaxed: list[dict[str, Any]] = field(default_factory=list)
    solver: list[dict[str, Any]] = field(default_factory=list)
    unavoidable: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep a note once; folds tend to repeat them."""
        if text not in self.notes:
            self.notes.append(text)
            _log.warning(text)

    def relax(self, rule: str, fold: int | None, why: str, *, proved: bool) -> None:
        """A rule of the scheme was given up."""
        self.relaxed.append({"rule": rule, "fold": fold, "why": why, "proved": proved})
        self.note(f"{'all folds' if fold is None else f'fold {fold}'}: {rule} is given up: {why}")


def parsed(name: str, model: type[SplitParameters], parameters: Mapping[str, Any]) -> SplitParameters:
    """Parameters of scheme `name`.

    Raises:
        PathomixError: A parameter is unknown, missing or out of range.
    """
    try:
        return model.model_validate(dict(parameters))
    except ValidationError as error:
        shown = [f"`{'.'.join(map(str, e['loc']))}` {e['msg']}" for e in error.errors()]
        raise PathomixError(
            f"split scheme {name}: parameters are not understood",
            offending=shown,
            remedy=f"known: {', '.join(sorted(model.model_fields))}",
        ) from error


def rows_of(fold: int, parts: Mapping[str, str]) -> pd.DataFrame:
    """SPLITS rows of one fold."""
    return pd.DataFrame({"fold": fold, "patient_id": list(parts), "part": list(parts.values())})


def derived_seed(seed: int, *path: object) -> int:
    """A seed of its own for a step inside a scheme; 31 bits, which the solver takes."""
    return seeds.derived_seed(seed, *path) >> 1
