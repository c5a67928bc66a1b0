"""A planted cohort: the class is visible in tiles alone, the hazard in genes alone, the texts tell both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from pathomix.cohort.cases import Cases
from pathomix.core.bags import Bag

DIM, TEXT_DIM = 8, 12
GENES = [f"G{i:02d}" for i in range(24)]
PATHWAYS = {"hazard": tuple(GENES[:8]), "noise": tuple(GENES[6:20]), "single": (GENES[20],)}

SLIDE_ENCODER = {"architecture": "longnet", "width": 16, "depth": 2, "heads": 2, "mlp_ratio": 2.0,
                 "segments": [32], "ratios": [1]}  # fmt: skip
PARAMETERS = {
    "epochs": 8, "warmup": 2, "learning_rate": 1e-2, "batch_size": 16, "stages": 2, "heads": 2, "extra_extractors": 1,
    "gene_latent": 16, "gene_depth": 1, "gene_dropout": 0.0, "gene_tokens": 3, "output_dim": 12, "inner_folds": 0,
    "text_profile": "any",
}  # fmt: skip


class MemoryTiles:
    """Stand-in for the feature store: 64-pixel tiles in a row."""

    def __init__(self, bags: dict[str, np.ndarray]) -> None:
        self.bags = bags
        self.reads = 0

    @property
    def dim(self) -> int:
        return next(iter(self.bags.values())).shape[1]

    @property
    def patient_ids(self) -> frozenset[str]:
        return frozenset(self.bags)

    def bag(self, patient_id: str) -> Bag:
        self.reads += 1
        features = self.bags[patient_id]
        coords = np.stack([np.arange(len(features)), np.zeros(len(features))], axis=1).astype(np.int32) * 64
        edge = np.full((1, 2), 64, np.float32)
        return Bag(features, coords, np.zeros(len(features), np.int32), (f"{patient_id}-S",), edge)


class MemoryTexts:
    """Stand-in for the stored texts."""

    def __init__(self, vectors: dict[str, np.ndarray], profile: str = "recommended") -> None:
        self.vectors, self.profile = vectors, profile

    @property
    def dim(self) -> int:
        return next(iter(self.vectors.values())).shape[1]

    @property
    def patient_ids(self) -> frozenset[str]:
        return frozenset(self.vectors)

    def embedding(self, patient_id: str) -> np.ndarray:
        return self.vectors[patient_id]


def planted(patients: int = 150, seed: int = 0, permuted: bool = False, prefix: str = "SIMU-AA") -> Cases:
    """Hazard exp(2 z) with z in the genes, class c in the tiles; `permuted` outcomes and texts know neither."""
    generator = np.random.default_rng(seed)
    ids = pd.Index([f"{prefix}-{i:04d}" for i in range(patients)], name="patient_id")
    z = generator.normal(size=patients)
    label = np.arange(patients) % 2
    genes = generator.normal(size=(patients, len(GENES)))
    genes[:, :8] = z[:, None] + 0.4 * genes[:, :8]
    tiles = {}
    for i, patient in enumerate(ids):
        bag = generator.normal(size=(4 + 2 * (i % 3 == 0), DIM))
        bag[:, 0] += 3 * label[i]
        tiles[patient] = bag.astype(np.float16).astype(np.float32)
    death = generator.exponential(20 / np.exp(2 * z))
    censoring = generator.exponential(60, size=patients)
    time, event = np.minimum(death, censoring) + 0.01, (death <= censoring).astype(int)
    if permuted:
        order = generator.permutation(patients)
        time, event, label = time[order], event[order], label[generator.permutation(patients)]
    table = pd.DataFrame(
        {
            "time": time,
            "event": event,
            "endpoint": "OS",
            "class_label": np.where(label == 1, "type1", "type0"),
            "tissue_source_site": "AA",
            "age": 60 + 5 * generator.normal(size=patients),
            "sex": "female",
            "stage": generator.choice(["I", "II", "III"], patients),
            "grade": None,
        },
        index=ids,
    )
    expression = pd.DataFrame(genes.astype(np.float32), ids, GENES)
    texts = MemoryTexts(_texts(ids, label, time))
    return Cases(table, expression, None, None, PATHWAYS, MemoryTiles(tiles), texts)


def _texts(ids: pd.Index, label: np.ndarray, time: np.ndarray) -> dict[str, np.ndarray]:
    """Unit vectors: what is common, plus the class, plus the third of survival times."""
    words = np.linalg.qr(np.random.default_rng(99).normal(size=(TEXT_DIM, TEXT_DIM)))[0]
    third = np.searchsorted(np.quantile(time, [1 / 3, 2 / 3]), time)
    result = {}
    for i, patient in enumerate(ids):
        cls, end = words[1 + label[i]], words[3 + third[i]]
        rows = np.stack([cls + end, cls, words[6], end]) + words[0]
        result[str(patient)] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return result


def parts(cases: Cases) -> tuple[Cases, Cases, Cases]:
    """60 % train, 20 % valid, 20 % test, by position."""
    place = np.arange(len(cases.ids)) % 10
    return tuple(cases.subset(cases.ids[chosen]) for chosen in (place < 6, (place >= 6) & (place < 8), place >= 8))


def with_tiles(cases: Cases, **bags: np.ndarray) -> Cases:
    """Some bags replaced (keys: patient ids with underscores)."""
    named = {key.replace("_", "-"): value for key, value in bags.items()}
    return replace(cases, tiles=MemoryTiles({**cases.tiles.bags, **named}))
