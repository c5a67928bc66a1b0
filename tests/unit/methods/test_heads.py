from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch

from pathomix.cohort.cases import Cases
from pathomix.losses.cox import cox_loss
from pathomix.methods.heads import ClassHead, CoxHead, DiscreteHead, build_head

Maker = Callable[..., Cases]


def test_cox_head_takes_the_rows_asked_for(cohort: Cases) -> None:
    head = CoxHead(cohort, "pf")
    rows = np.array([5, 0, 17, 3, 40])
    theta = torch.randn(5, 1, generator=torch.Generator().manual_seed(0))
    table = cohort.patients.iloc[rows]
    expected = cox_loss(theta, torch.tensor(table["time"].to_numpy()), torch.tensor(table["event"].to_numpy()), "pf")
    assert head.loss(theta, rows).item() == pytest.approx(expected.item())  # type: ignore[union-attr]
    censored = np.flatnonzero(cohort.patients["event"] == 0)[:4]
    assert head.loss(theta[:4], censored) is None
    assert head.frame(theta, table.index)["risk"].tolist() == pytest.approx(theta[:, 0].tolist())


def test_discrete_head_orders_patients_by_their_hazards(cohort: Cases) -> None:
    head = DiscreteHead(cohort, 4, 0.0)
    assert head.outputs == 4
    counts = np.bincount(head.label[head.event == 1].numpy())
    assert counts.max() - counts.min() <= 1
    logits = torch.linspace(-2, 2, len(cohort.ids))[:, None].expand(-1, 4)
    order = cohort.ids[np.argsort(-cohort.patients["time"].to_numpy(), kind="stable")]
    assert head.score(logits, cohort.subset(order)) == 1.0
    assert head.frame(logits, cohort.ids)["risk"].is_monotonic_increasing


def test_every_class_has_the_same_total_weight(cohort: Cases) -> None:
    table = cohort.patients.assign(class_label=np.where(np.arange(len(cohort.ids)) % 6 == 0, "rare", "usual"))
    head = ClassHead(Cases(table))
    rows = np.arange(len(table))
    right_on_rare = torch.tensor([[8.0, 0.0]]).expand(len(table), -1)
    right_on_usual = torch.tensor([[0.0, 8.0]]).expand(len(table), -1)
    first, second = head.loss(right_on_rare, rows), head.loss(right_on_usual, rows)
    assert first is not None
    assert second is not None
    assert first.item() == pytest.approx(second.item(), rel=1e-4)
    assert head.score(right_on_rare, Cases(table)) == pytest.approx(0.5, abs=0.02)
    frame = head.frame(right_on_rare, pd.Index(table.index))
    assert list(frame.columns) == ["probability_rare", "probability_usual"]


def test_choice_of_head(cohort: Cases) -> None:
    assert isinstance(build_head(cohort, "survival", "nll", 3, 0.0), DiscreteHead)
    assert isinstance(build_head(cohort, "survival", "paper", 3, 0.0), CoxHead)
    assert isinstance(build_head(cohort, "subtype", "nll", 3, 0.0), ClassHead)
