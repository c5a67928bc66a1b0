"""What the smoothing is worth on held-out donors, before and after (spec path_gptomic 2.4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pathomix.nn.smoother import Smoother
from pathomix.smoothing.pool import Rows
from pathomix.smoothing.train import predicted_composition, smooth

Floats = NDArray[np.floating[Any]]

# Relative penalty of the readout: only keeps directions without variance out.
_PENALTY = 1e-6
_SAME = 1e-12


class Held(NamedTuple):
    """Held-out donors: mixtures, the unmixed cells they are made of, and the training mixtures."""

    mixtures: Rows
    cells: Rows
    train: Rows


@dataclass(frozen=True)
class LinearReadout:
    """Least squares from vectors to compositions: what can be read without smoothing.

    Attributes:
        centre: float64 [dim].
        scale: float64 [dim].
        weights: float64 [dim, classes].
        offset: float64 [classes].
    """

    centre: Floats
    scale: Floats
    weights: Floats
    offset: Floats

    @classmethod
    def fit(cls, vectors: Floats, compositions: Floats) -> LinearReadout:
        """Fit on vectors [n, dim] and compositions [n, classes]; dimensions are z-scored first."""
        values = np.asarray(vectors, np.float64)
        centre, deviation = values.mean(axis=0), values.std(axis=0)
        scale = np.where(deviation > 1e-6 * deviation.max(initial=0.0), deviation, 1.0)
        z = (values - centre) / scale
        offset = np.asarray(compositions, np.float64).mean(axis=0)
        gram = z.T @ z + _PENALTY * len(z) * np.eye(z.shape[1])
        return cls(centre, scale, np.linalg.solve(gram, z.T @ (compositions - offset)), offset)

    def predict(self, vectors: Floats) -> Floats:
        """Compositions [n, classes] of vectors [n, dim]; not forced to be shares."""
        return (np.asarray(vectors, np.float64) - self.centre) / self.scale @ self.weights + self.offset


def validate(model: Smoother, held: Held, classes: Sequence[str], loss: str) -> tuple[dict[str, Any], pd.DataFrame]:
    """Report and held-out predictions.

    Before smoothing the composition is read by `LinearReadout`, fitted on the same training mixtures as the smoother.
    Both are scored on mixtures and cells of donors that neither was fitted on; the smoother's epoch was chosen by its
    loss on these mixtures.

    Args:
        model: Trained.
        held: What it is examined on.
        classes: In the order of the outputs.
        loss: It was trained with.

    Returns:
        Content of the JSON report, null with a reason where a measure does not exist, and the VALIDATION table.
    """
    readout = LinearReadout.fit(held.train.embeddings, held.train.targets)
    tables, gaps, scores, reasons = {}, {}, {}, {}
    for name in ("raw", "smoothed"):
        vectors, predictions = {}, {}
        for kind in ("mixtures", "cells"):
            embeddings = getattr(held, kind).embeddings
            if name == "raw":
                vectors[kind], predictions[kind] = embeddings, readout.predict(embeddings)
            else:
                vectors[kind], outputs = smooth(model, embeddings)
                predictions[kind] = predicted_composition(torch.from_numpy(outputs), loss).numpy()
        gaps[name] = linearity_gaps(vectors["mixtures"], vectors["cells"], held)
        tables[name] = predictions
        scores[name], reasons[name] = _scores(predictions, gaps[name], held, classes)
    report = {
        "classes": list(classes),
        "held_out": {"mixtures": len(held.mixtures.targets), "cells": len(held.cells.targets)},
        "before": scores["raw"],
        "after": scores["smoothed"],
        "reasons": {"before": reasons["raw"], "after": reasons["smoothed"]},
    }
    frames = [
        _table(kind, getattr(held, f"{kind}s"), tables["smoothed"][f"{kind}s"], tables["raw"][f"{kind}s"], classes)
        for kind in ("mixture", "cell")
    ]
    frames[0]["gap"], frames[0]["gap_raw"] = gaps["smoothed"], gaps["raw"]
    frames[1]["gap"] = frames[1]["gap_raw"] = math.nan
    return report, pd.concat(frames, ignore_index=True)


def linearity_gaps(mixed: Floats, single: Floats, held: Held) -> Floats:
    """Squared distance of f(mixture) from the mixture of f(cells), over the variance of f over single cells.

    Args:
        mixed: Vectors of the held-out mixtures [n, dim].
        single: Vectors of the held-out cells.
        held: Which cells the mixtures are made of.

    Returns:
        float64 [n]; NaN where a cell has no vector, or where all cells have the same.
    """
    place = {row: number for number, row in enumerate(held.cells.mixtures.numbers)}
    cells = held.mixtures.mixtures.cells
    rows = np.array([place.get(row, -1) for row in cells.ravel()]).reshape(cells.shape)
    values = single.astype(np.float64)
    # A missing cell's place is filled by any other; its mixture is set to NaN below.
    linear = np.einsum("nk,nkd->nd", held.mixtures.mixtures.weights, values[rows])
    squared = ((mixed.astype(np.float64) - linear) ** 2).sum(axis=1)
    squared[(rows < 0).any(axis=1)] = np.nan
    variance = ((values - values.mean(axis=0)) ** 2).sum(axis=1).mean()
    return np.asarray(squared / variance if variance > _SAME else np.full(len(squared), np.nan))


def composition_r2(truth: Floats, predicted: Floats) -> tuple[float, Floats]:
    """Coefficient of determination of compositions.

    Args:
        truth: [n, classes].
        predicted: [n, classes].

    Returns:
        Over all classes, 1 - sum of squared errors / sum of squares about each class's mean, and the same for each
        class; NaN where the truth does not vary.
    """
    truth, predicted = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    errors = ((truth - predicted) ** 2).sum(axis=0)
    spread = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    total = 1 - errors.sum() / spread.sum() if spread.sum() > _SAME else math.nan
    each = np.full(len(spread), np.nan)
    varies = spread > _SAME
    each[varies] = 1 - errors[varies] / spread[varies]
    return float(total), each


def _scores(
    predictions: Mapping[str, Floats], gaps: Floats, held: Held, classes: Sequence[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Scores, and why one is missing."""
    mixtures, cells = held.mixtures, held.cells
    total, each = composition_r2(mixtures.targets, predictions["mixtures"])
    weights = _weights(mixtures, predictions["mixtures"])
    known = ~np.isnan(weights).any(axis=1)
    hit = predictions["cells"].argmax(axis=1) == cells.targets.argmax(axis=1)
    found = {
        "mse": float(((predictions["mixtures"] - mixtures.targets) ** 2).mean()),
        "composition_r2": total,
        "composition_r2_by_class": dict(zip(classes, map(float, each), strict=True)),
        "top1_accuracy": float(hit.mean()),
        "weight_spearman": _spearman(weights[known]),
        "weight_mixtures": int(known.sum()),
        "linearity_gap": float(np.nanmean(gaps)) if np.isfinite(gaps).any() else math.nan,
        "linearity_mixtures": int(np.isfinite(gaps).sum()),
    }
    why = {
        "composition_r2": "the true composition does not vary",
        "weight_spearman": "fewer than three mixtures of different classes, or a constant",
        "linearity_gap": "no mixture whose cells all have vectors, or all cells have the same",
    }
    reasons = {name: text for name, text in why.items() if math.isnan(found[name])}  # type: ignore[arg-type]
    absent = [name for name, value in zip(classes, each, strict=True) if math.isnan(value)]
    if absent:
        reasons["composition_r2_by_class"] = f"not in any held-out mixture, or not varying: {', '.join(absent)}"
    return _without_nan(found), reasons


def _weights(rows: Rows, predicted: Floats) -> Floats:
    """True and predicted share [n, 2] of the first cell's class; NaN where the mixture holds nothing else."""
    first = rows.labels[:, 0]
    place = np.arange(len(first))
    both = np.stack([rows.targets[place, first], predicted[place, first]], axis=1).astype(np.float64)
    both[(rows.targets > 0).sum(axis=1) < 2] = np.nan
    return both


def _spearman(pairs: Floats) -> float:
    from scipy.stats import spearmanr

    if len(pairs) < 3 or (np.ptp(pairs, axis=0) <= _SAME).any():
        return math.nan
    return float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)


def _without_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    """NaN as None, which JSON writes as null."""
    return {
        name: _without_nan(value) if isinstance(value, Mapping)
        else None if isinstance(value, float) and math.isnan(value) else value
        for name, value in values.items()
    }  # fmt: skip


def _table(kind: str, rows: Rows, predicted: Floats, raw: Floats, classes: Sequence[str]) -> pd.DataFrame:
    """VALIDATION rows without gaps."""
    names = np.array(classes, dtype=object)
    single = rows.labels.shape[1] < 2
    frame = pd.DataFrame({"kind": kind, "number": rows.mixtures.numbers, "first_class": names[rows.labels[:, 0]]})
    frame["second_class"] = None if single else names[rows.labels[:, 1]]
    weights, weights_raw = _weights(rows, predicted), _weights(rows, raw)
    frame["weight"], frame["predicted_weight"] = weights[:, 0], weights[:, 1]
    frame["predicted_weight_raw"] = weights_raw[:, 1]
    blocks = {"target": rows.targets, "predicted": predicted, "raw": raw}
    columns = {f"{block}_{name}": values[:, c] for block, values in blocks.items() for c, name in enumerate(classes)}
    return pd.concat([frame, pd.DataFrame(columns)], axis=1)
