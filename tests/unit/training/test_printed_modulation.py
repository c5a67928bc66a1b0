"""Golden sets compare the formulas with numbers of others; here is what they show."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pathomix.training.printed_modulation import (
    hazard_sums,
    ogm_coefficients,
    own_risk_set_term,
    printed_batch_ratio,
    printed_coefficients,
    printed_ratios,
    true_class_score,
)

TIME = torch.tensor([3.0, 1.0, 2.0, 2.0], dtype=torch.float64)
GENOMIC = torch.tensor([0.5, -0.2, 0.0, 1.0], dtype=torch.float64)
IMAGE = torch.tensor([0.1, 0.4, 0.0, -1.0], dtype=torch.float64)


def test_the_printed_formula_by_hand() -> None:
    e = np.exp
    sums = [e(0.5), e(0.5) + e(-0.2) + 1 + e(1), e(0.5) + 1 + e(1), e(0.5) + 1 + e(1)]
    assert hazard_sums(GENOMIC, TIME).tolist() == pytest.approx(sums)
    first = 0.5 / e(0.5) / (0.1 / e(0.1))
    ratios = printed_ratios(GENOMIC, IMAGE, TIME)
    assert ratios.genomic[0].item() == pytest.approx(first)
    assert ratios.image[0].item() == pytest.approx(1 / first)
    assert math.isnan(ratios.genomic[2])  # 0 / 0
    assert ratios.genomic[3] < 0
    assert printed_coefficients(ratios)[0][3] == 1.0


def test_readings_agree_until_they_overflow() -> None:
    plain, logs = (printed_ratios(GENOMIC, IMAGE, TIME, reading) for reading in ("exponential", "log_domain"))
    assert plain.genomic.tolist() == pytest.approx(logs.genomic.tolist())
    large = [printed_ratios(1000 * GENOMIC, IMAGE, TIME, reading) for reading in ("exponential", "log_domain")]
    assert not torch.isfinite(large[0].genomic).all()
    assert torch.isfinite(large[1].genomic).all()


def test_reductions() -> None:
    everyone = torch.ones(4, dtype=torch.bool)
    ratios = printed_ratios(GENOMIC, IMAGE, TIME, "log_domain").genomic
    mean = printed_batch_ratio(GENOMIC, IMAGE, TIME, everyone, "log_domain", "per_sample_ratio_mean")
    assert mean == pytest.approx(ratios.mean().item())
    few = torch.tensor([False, True, False, False])
    single = printed_batch_ratio(GENOMIC, IMAGE, TIME, few, "log_domain", "mean_then_ratio")
    assert single == pytest.approx(ratios[1].item())


def test_the_printed_derivative_ignores_other_risk_sets() -> None:
    term = own_risk_set_term(GENOMIC, TIME)
    assert term[0].item() == 0.0  # alone in its risk set
    assert term[1].item() == pytest.approx(1 - np.exp(-0.2) / float(hazard_sums(GENOMIC, TIME)[1]))


def test_ogm_slows_the_one_ahead_and_the_first_at_a_tie() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    labels = torch.tensor([0, 1])
    score = true_class_score(logits, labels)
    assert score.item() == pytest.approx(1 / (1 + math.exp(-2)) + 1 / (1 + math.exp(-1)))
    low = true_class_score(torch.zeros(2, 2), labels)
    assert low.item() == pytest.approx(1.0)
    found = ogm_coefficients(score, low, 0.5)
    assert found.first == pytest.approx(1 - math.tanh(0.5 * score.item()))
    assert found.second == 1.0
    swapped = ogm_coefficients(low, score, 0.5)
    assert (swapped.first, swapped.second) == (1.0, pytest.approx(found.first))
    tie = ogm_coefficients(low, low, 0.5)
    assert (tie.first, tie.second) == (pytest.approx(1 - math.tanh(0.5)), 1.0)
