"""Late fusion: methods fitted on their own, predictions combined per patient from what is available."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.fitting import note_fitted
from pathomix.core.parameters import filled
from pathomix.core.seeds import derived_seed
from pathomix.methods.base import Method, Model, Task
from pathomix.methods.build import build_method
from pathomix.methods.per_task import PerTaskMethod, probability_frame, risk_frame, strata
from pathomix.training.batches import stratified_folds

_INNER_FOLDS = 4
_FLOOR = 1e-6


@dataclass(frozen=True)
class Settings:
    """Parameters; `components`: one configuration per method, each with its key `method`."""

    components: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Component:
    """A fitted component with the mean and standard deviation of its risk on patients it had not seen."""

    model: Model
    mean: float
    sd: float


@dataclass(frozen=True)
class FusedModel:
    """Fitted components and how they are combined.

    Survival: sum of standardised risks, a missing component counting as its average (0). Subtype: mean of the log
    probabilities of the available components, renormalised.
    """

    task: Task
    components: tuple[Component, ...]

    def predict(self, cases: Cases) -> pd.DataFrame:
        """Predictions for patients whom at least one component can predict."""
        frames = [c.model.predict(cases)[self.task].reindex(cases.ids) for c in self.components]
        if self.task == "survival":
            scaled = [(f["risk"] - c.mean) / c.sd for f, c in zip(frames, self.components, strict=True)]
            total = pd.concat(scaled, axis=1).sum(axis=1, min_count=1).dropna()
            return risk_frame(total.to_numpy(), total.index)
        columns = sorted(set().union(*(f.columns for f in frames)))
        logs = np.stack([np.log(f.reindex(columns=columns).clip(lower=_FLOOR).to_numpy()) for f in frames])
        present = ~np.isnan(logs).all(axis=(0, 2))
        mean = np.nanmean(logs[:, present], axis=0)
        weights = np.exp(mean - mean.max(axis=1, keepdims=True))
        names = [column.removeprefix("probability_") for column in columns]
        return probability_frame(weights / weights.sum(axis=1, keepdims=True), names, cases.ids[present])

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Arrays of every component under ``component<i>.`` with its mean and standard deviation."""
        result: dict[str, NDArray[np.generic]] = {}
        for number, component in enumerate(self.components):
            result |= {f"component{number}.{name}": value for name, value in component.model.state().items()}
            result[f"component{number}.risk_moments"] = np.array([component.mean, component.sd])
        return result

    def history(self) -> pd.DataFrame:
        """Histories of the components with the column `component` (number)."""
        parts = [c.model.history().drop(columns="task").assign(component=i) for i, c in enumerate(self.components)]
        return pd.concat(parts, ignore_index=True)


class LateFusion(PerTaskMethod):
    """Every component decides itself whether the valid part is joined or selects.

    Scales: a component that joins the valid part would show in-sample, too wide risks there. For such a component the
    mean and standard deviation come from a copy fitted without the valid part (where there is none: without a quarter
    of the training part) and predicting what was left out; the component itself is fitted on everything.
    """

    def __init__(self, **parameters: Any) -> None:
        self.settings = filled(Settings, parameters, "late_fusion")
        if not self.settings.components:
            raise PathomixError("late_fusion has no components", remedy="list methods under `components`")
        self.methods = [build_method(component) for component in self.settings.components]

    @property
    def fitted_parts(self) -> tuple[str, ...]:
        """See `PerTaskMethod.fitted_parts`: those of any component."""
        joins = any("valid" in getattr(method, "fitted_parts", ()) for method in self.methods)
        return ("train", "valid") if joins else ("train",)

    def fit_task(self, train: Cases, valid: Cases, task: Task, seed: int) -> FusedModel:
        """Fit all components."""
        components = []
        for number, method in enumerate(self.methods):
            own = derived_seed(seed, "late_fusion", number)
            try:
                model = method.fit(train, valid, tasks=(task,), seed=own)
                mean, sd = (0.0, 1.0) if task == "subtype" else _moments(method, model, train, valid, own)
            except PathomixError as error:
                name = self.settings.components[number]["method"]
                fact = f"component {number} ({name}) of late_fusion: {error.fact}"
                raise PathomixError(fact, offending=error.offending, remedy=error.remedy) from error
            components.append(Component(model, mean, sd))
        return FusedModel(task, tuple(components))


def _moments(method: Method, model: Model, train: Cases, valid: Cases, seed: int) -> tuple[float, float]:
    """Mean and standard deviation of the risk on patients that took no part in the fit of its parameters."""
    if len(valid.ids) and not getattr(method, "joins_valid", False):
        risk = _risk(model, valid)
    elif len(valid.ids):
        risk = _risk(method.fit(train, valid.subset([]), tasks=("survival",), seed=seed), valid)
    else:
        generator = np.random.default_rng(seed)
        left_out = stratified_folds(strata(train, "survival"), _INNER_FOLDS, generator) == 0
        inner = method.fit(
            train.subset(train.ids[~left_out]), valid, tasks=("survival",), seed=seed
        )  # The empty valid part: such a component cannot be one that selects.
        risk = _risk(inner, train.subset(train.ids[left_out]))
    if len(risk) < 2 or not risk.std() > 0:
        raise PathomixError(
            f"the risks of a component cannot be standardised: {len(risk)} held-out patients, "
            f"{len(np.unique(risk))} distinct values",
            remedy="use a scheme with a larger valid part, or take the component out of late_fusion",
        )
    return float(risk.mean()), float(risk.std())


def _risk(model: Model, cases: Cases) -> NDArray[np.float64]:
    note_fitted("risk_scale", cases.ids)
    return model.predict(cases)["survival"]["risk"].dropna().to_numpy()
