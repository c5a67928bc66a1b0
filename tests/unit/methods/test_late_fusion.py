from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.methods.late_fusion import LateFusion
from pathomix.survival.concordance import harrell_c

Parts = Callable[..., tuple[Cases, Cases, Cases]]
COMPONENTS = [
    {"method": "ridge", "blocks": ["expression"], "penalties": [10.0]},
    {"method": "ridge", "blocks": ["mutation"], "penalties": [1000.0]},
]


def test_equal_weight_sum_of_standardised_risks(cohort: Cases, parts_of: Parts) -> None:
    train, valid, test = parts_of(cohort)
    model = LateFusion(components=COMPONENTS).fit(train, valid, tasks=("survival",), seed=0)
    fused = model.models["survival"]  # type: ignore[attr-defined]
    total = np.zeros(len(test.ids))
    for component in fused.components:
        risk = component.model.predict(test)["survival"]["risk"].to_numpy()
        total += (risk - component.mean) / component.sd
    assert model.predict(test)["survival"]["risk"].to_numpy() == pytest.approx(total)


def test_scales_come_from_patients_the_component_had_not_seen(cohort: Cases, parts_of: Parts) -> None:
    """A nearly unpenalised model is far too sure of itself in-sample: the honest spread is much wider."""
    train, valid, _ = parts_of(cohort)
    few = train.subset(train.ids[:60])
    loose = [{"method": "ridge", "blocks": ["expression"], "penalties": [0.1]}]
    component = (
        LateFusion(components=loose).fit(few, valid, tasks=("survival",), seed=0).models["survival"].components[0]
    )  # type: ignore[attr-defined]
    inner = LateFusion(components=loose).methods[0].fit(few, valid.subset([]), tasks=("survival",), seed=0)
    risk = inner.predict(valid)["survival"]["risk"]
    assert (component.mean, component.sd) == pytest.approx((risk.mean(), risk.std(ddof=0)))


def test_patient_with_one_component(cohort: Cases, parts_of: Parts) -> None:
    train, valid, test = parts_of(cohort)
    model = LateFusion(components=COMPONENTS).fit(train, valid, tasks=("survival", "subtype"), seed=0)
    alone = replace(test, mutation=None)
    component = model.models["survival"].components[0]  # type: ignore[attr-defined]
    risk = component.model.predict(test)["survival"]["risk"].to_numpy()
    assert model.predict(alone)["survival"]["risk"].to_numpy() == pytest.approx((risk - component.mean) / component.sd)
    first = model.models["subtype"].components[0].model.predict(test)["subtype"]  # type: ignore[attr-defined]
    assert model.predict(alone)["subtype"].to_numpy() == pytest.approx(first.to_numpy())


def test_fusion_of_complementary_parts_is_better_than_each(make_cohort: Callable[..., Cases], parts_of: Parts) -> None:
    cohort = make_cohort(600, seed=2)
    train, valid, test = parts_of(cohort)
    generator = np.random.default_rng(0)
    noise = {k: getattr(cohort, k) + 2 * generator.normal(size=getattr(cohort, k).shape) for k in ("expression",)}
    blurred = replace(cohort, mutation=noise["expression"].iloc[:, :5], expression=noise["expression"].iloc[:, 5:10])
    train, valid, test = parts_of(blurred)
    scores = []
    for components in (COMPONENTS[:1], COMPONENTS[1:], COMPONENTS):
        model = LateFusion(components=components).fit(train, valid, tasks=("survival",), seed=0)
        risk = model.predict(test)["survival"]["risk"]
        scores.append(harrell_c(test.patients["time"], test.patients["event"], risk))
    assert scores[2] > max(scores[:2])


def test_a_failing_component_is_named(cohort: Cases, parts_of: Parts) -> None:
    train, valid, _ = parts_of(replace(cohort, mutation=None))
    with pytest.raises(PathomixError, match=r"component 1 \(ridge\) of late_fusion: no training patient has"):
        LateFusion(components=COMPONENTS).fit(train, valid, tasks=("survival",), seed=0)
