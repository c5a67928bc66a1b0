"""Modulation as printed: Path-GPTomic equations (3) and (5) to (8) patient by patient, and the original OGM-GE.

Nothing is protected here: a ratio may be negative, infinite or NaN, as the formulas say (spec path_gptomic 4.2, 4.3).
Training uses `modulation`; these are what it is compared with.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pathomix.losses.risk_sets import risk_sums
from pathomix.training.modulation import Aggregate, coefficient, log_ratio_of_shares, log_shares

Reading = Literal["printed", "exponential", "log_domain"]


class PrintedRatios(NamedTuple):
    """Ratios [n] of every patient: genomic over image score, and its inverse."""

    genomic: Tensor
    image: Tensor


def hazard_sums(score: Tensor, time: Tensor) -> Tensor:
    """Denominators of equation (5), [n]: sum of exp(score) over each risk set, infinite where it overflows."""
    return risk_sums(score.exp(), time)


def printed_shares(score: Tensor, time: Tensor) -> Tensor:
    """u_k over the hazard sum of its risk set, [n]: the bare score in the numerator, as printed in equation (5)."""
    return score / hazard_sums(score, time)


def printed_ratios(genomic: Tensor, image: Tensor, time: Tensor, reading: Reading = "printed") -> PrintedRatios:
    """rho^G and rho^P = 1 / rho^G of every patient (equations 5 and 6).

    Args:
        genomic: u^G [n].
        image: u^P [n].
        time: [n].
        reading: ``printed``: bare scores in the numerators. ``exponential``: their exponentials, a share of the
            hazard. ``log_domain``: the same shares without overflow.
    """
    if reading == "log_domain":
        first, second = log_shares(torch.stack([genomic, image]), time)
        return PrintedRatios((first - second).exp(), (second - first).exp())
    shares = [
        printed_shares(score, time) if reading == "printed" else score.exp() / hazard_sums(score, time)
        for score in (genomic, image)
    ]
    ratio = shares[0] / shares[1]
    return PrintedRatios(ratio, 1.0 / ratio)


def printed_coefficients(ratios: PrintedRatios) -> tuple[Tensor, Tensor]:
    """k^G and k^P [n] of every patient (equations 7 and 8)."""
    return coefficient(ratios.genomic), coefficient(ratios.image)


def printed_batch_ratio(
    genomic: Tensor, image: Tensor, time: Tensor, patients: Tensor, reading: Reading, aggregate: Aggregate
) -> float:
    """One rho^G of a batch, by a reduction the paper does not give.

    Args:
        genomic: u^G [n].
        image: u^P [n].
        time: [n].
        patients: [n], which patients count.
        reading: ``printed`` or ``log_domain``.
        aggregate: Ratio of the sums of shares, or mean of the patients' ratios.
    """
    scores = torch.stack([genomic, image])
    if reading == "log_domain":
        value = log_ratio_of_shares(log_shares(scores, time)[:, patients], aggregate)[0]
        return float(torch.tensor(value, dtype=torch.float64).exp())
    first, second = (printed_shares(score, time)[patients] for score in scores)
    ratio = first.sum() / second.sum() if aggregate == "mean_then_ratio" else (first / second).mean()
    return float(ratio)


def own_risk_set_term(theta: Tensor, time: Tensor) -> Tensor:
    """1 - exp(theta_k) / sum over R_k of exp(theta), [n]: equation (3).

    It is no gradient of the likelihood: it holds only the patient's own risk set, and not whether the event happened.
    """
    return 1.0 - theta.exp() / hazard_sums(theta, time)


class OGMCoefficients(NamedTuple):
    """Ratios and coefficients of two modalities in the original OGM-GE."""

    first_ratio: float
    second_ratio: float
    first: float
    second: float


def true_class_score(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax probability of the true class, summed over the batch: the score of a modality in OGM-GE.

    Args:
        logits: [n, classes], of this modality's half of the head.
        labels: [n].
    """
    return torch.softmax(logits, dim=1).gather(1, labels[:, None]).sum()


def ogm_coefficients(first: Tensor, second: Tensor, alpha: float) -> OGMCoefficients:
    """Coefficients of OGM-GE: 1 - tanh(alpha ratio) for the modality that is ahead, 1 for the other.

    It jumps at a ratio of 1, where the first modality is slowed.

    Args:
        first: Score of the first modality, see `true_class_score`.
        second: Score of the second.
        alpha: Steepness; the reference has no default.
    """
    second_ratio = second / first
    first_ratio = 1.0 / second_ratio
    ahead = bool(second_ratio > 1)
    damped = float(1.0 - torch.tanh(torch.relu(alpha * (second_ratio if ahead else first_ratio))))
    kept = (1.0, damped) if ahead else (damped, 1.0)
    return OGMCoefficients(float(first_ratio), float(second_ratio), *kept)
