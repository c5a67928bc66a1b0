"""Mutation and copy number: recurrent drivers, arm-like segments, passengers, and the score that enters the hazard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathomix.simulate.genes import GENES, MUTATED, OTHER_SEGMENTS, SEGMENTS

PANEL: tuple[str, ...] = tuple(MUTATED)

_FOCAL_RATE = 0.01
_SECOND_COPY = 0.25


@dataclass(frozen=True)
class Alterations:
    """Alterations of a cohort.

    Attributes:
        mutation: int8 [patients, panel], 0/1, genes in the order of `PANEL`.
        copy_number: int8 [patients, genes], -2 (deep loss) to 2 (high gain), genes in the order of `GENES`.
        score: float64 [patients], weighted sum of driver mutations and segments.
    """

    mutation: NDArray[np.int8]
    copy_number: NDArray[np.int8]
    score: NDArray[np.float64]


def draw_alterations(random: np.random.Generator, genome: np.random.Generator, patients: int) -> Alterations:
    """Alterations of `patients` independent tumours.

    Args:
        random: Stream of the cohort.
        genome: Stream common to all cohorts, which places the genes on the segments.
        patients: Number of tumours.
    """
    rate, weight = np.array(list(MUTATED.values())).T
    mutation = (random.random((patients, len(PANEL))) < rate).astype(np.int8)
    score = mutation @ weight

    segment_of, events = _segments(genome)
    copy_number = np.zeros((patients, len(GENES)), dtype=np.int8)
    for k, (sign, frequency, effect) in enumerate(events):
        altered = random.random(patients) < frequency
        second = altered & (random.random(patients) < _SECOND_COPY)
        state = (sign * (altered.astype(np.int8) + second.astype(np.int8))).astype(np.int8)
        copy_number[:, segment_of == k] = state[:, None]
        score = score + effect * altered
    focal = random.random(copy_number.shape) < _FOCAL_RATE
    change = random.choice(np.array([-1, 1], dtype=np.int8), size=copy_number.shape)
    copy_number = np.where(focal, np.clip(copy_number + change, -2, 2), copy_number).astype(np.int8)
    return Alterations(mutation, copy_number, score)


def _segments(genome: np.random.Generator) -> tuple[NDArray[np.int64], list[tuple[int, float, float]]]:
    """Segment of every gene, and sign, frequency and weight of every segment's event."""
    events = [(sign, frequency, effect) for _, sign, frequency, effect in SEGMENTS.values()]
    events += [(int(genome.choice([-1, 1])), float(genome.uniform(0.1, 0.4)), 0.0) for _ in range(OTHER_SEGMENTS)]
    segment_of = genome.integers(0, len(events), size=len(GENES))
    for k, (anchors, *_) in enumerate(SEGMENTS.values()):
        segment_of[[GENES.index(gene) for gene in anchors]] = k
    return segment_of, events
