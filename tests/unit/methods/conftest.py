"""A planted cohort: one latent hazard visible in age, genes and tiles, and a class visible in genes and tiles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from pathomix.cohort.cases import Cases
from pathomix.core.bags import Bag

DIM = 12
GENES = [f"G{i:02d}" for i in range(30)]


class MemoryTiles:
    """Stand-in for the feature store."""

    def __init__(self, bags: dict[str, np.ndarray]) -> None:
        self.bags = bags

    @property
    def dim(self) -> int:
        return DIM

    @property
    def patient_ids(self) -> frozenset[str]:
        return frozenset(self.bags)

    def bag(self, patient_id: str) -> Bag:
        features = self.bags[patient_id]
        count = len(features)
        slide, edge = np.zeros(count, np.int32), np.full((1, 2), 64, np.float32)
        return Bag(features, np.zeros((count, 2), np.int32), slide, (f"{patient_id}-S",), edge)


def planted(patients: int = 240, signal: float = 2.0, seed: int = 0) -> Cases:
    """Hazard exp(signal * z); without signal every outcome is independent of every feature."""
    generator = np.random.default_rng(seed)
    ids = pd.Index([f"SIMU-AA-{i:04d}" for i in range(patients)], name="patient_id")
    latent = generator.normal(size=patients)
    label = (generator.normal(size=patients) + signal * latent / 2 > 0).astype(int)
    death = generator.exponential(20 / np.exp(signal * latent))
    censoring = generator.exponential(40, size=patients)
    genes = generator.normal(size=(patients, len(GENES)))
    genes[:, :10] += latent[:, None]
    genes[:, 10:20] += signal * label[:, None] / 2
    tiles = {}
    for i, patient in enumerate(ids):
        bag = generator.normal(size=(int(generator.integers(5, 25)), DIM))
        bag[: len(bag) // 2, 0] += 3 * latent[i]
        bag[: len(bag) // 2, 1] += signal * label[i]
        tiles[patient] = bag.astype(np.float32)
    table = pd.DataFrame(
        {
            "time": np.minimum(death, censoring) + 0.01,
            "event": (death <= censoring).astype(int),
            "endpoint": "OS",
            "class_label": np.where(label == 1, "type1", "type0"),
            "tissue_source_site": "AA",
            "age": 60 + 8 * latent + 4 * generator.normal(size=patients),
            "sex": generator.choice(["female", "male"], patients),
            "stage": np.where(latent > 0.5, "III", np.where(latent > -0.5, "II", "I")),
            "grade": None,
        },
        index=ids,
    )
    if signal == 0:
        shuffled = generator.permutation(patients)
        outcome = ["time", "event", "class_label"]
        table[outcome] = table[outcome].to_numpy()[shuffled]
        table = table.astype({"time": float, "event": int})
    expression = pd.DataFrame(genes.astype(np.float32), ids, GENES)
    mutation = pd.DataFrame((genes[:, :8] > 0.7).astype(np.float32), ids, [f"M{i}" for i in range(8)])
    copies = pd.DataFrame(np.clip(np.round(genes[:, :6]), -2, 2).astype(np.float32), ids, [f"C{i}" for i in range(6)])
    pathways = {"hazard": tuple(GENES[:10]), "class": tuple(GENES[10:20]), "noise": tuple(GENES[20:])}
    return Cases(table, expression, copies, mutation, pathways, MemoryTiles(tiles))


def one_fold(cases: Cases, valid: bool = True, fold: int = 0) -> pd.DataFrame:
    """60/20/20 by position (patients are exchangeable)."""
    place = np.arange(len(cases.ids)) % 5
    part = np.where(place == fold % 5, "test", np.where((place == (fold + 1) % 5) & valid, "valid", "train"))
    return pd.DataFrame({"fold": fold, "patient_id": cases.ids, "part": part})


def parts(cases: Cases, valid: bool = True) -> tuple[Cases, Cases, Cases]:
    """Train, valid, test."""
    split = one_fold(cases, valid).set_index("patient_id")["part"]
    return tuple(cases.subset(cases.ids[split.to_numpy() == name]) for name in ("train", "valid", "test"))


@pytest.fixture(scope="session")
def cohort() -> Cases:
    """240 patients with signal in every modality."""
    return planted()


@pytest.fixture(scope="session")
def null_cohort() -> Cases:
    """400 patients whose outcome is independent of everything."""
    return planted(400, signal=0.0, seed=5)


@pytest.fixture(scope="session")
def make_cohort() -> Callable[..., Cases]:
    """The function `planted`."""
    return planted


@pytest.fixture(scope="session")
def fold_of() -> Callable[..., pd.DataFrame]:
    """The function `one_fold`."""
    return one_fold


@pytest.fixture(scope="session")
def parts_of() -> Callable[..., tuple[Cases, Cases, Cases]]:
    """The function `parts`."""
    return parts


@pytest.fixture(scope="session")
def configurations() -> dict[str, dict]:
    """A small configuration of every method."""
    return CONFIGURATIONS


SLIDE_ENCODER = {"architecture": "longnet", "width": 16, "depth": 1, "heads": 2, "mlp_ratio": 1.0, "tile": 64,
                 "segments": [8, 32], "ratios": [1, 2], "dropout": 0.0, "drop_path": 0.0}  # fmt: skip

CONFIGURATIONS = {
    "probe": {"method": "probe"},
    "clinical": {"method": "clinical", "fields": ["age", "sex", "stage"]},
    "ridge": {"method": "ridge", "blocks": ["expression", "mutation"]},
    "ridge_pathways": {"method": "ridge", "blocks": ["pathways"]},
    "s_mlp": {"method": "s_mlp", "blocks": ["expression"], "epochs": 10, "hidden": [32, 32]},
    "s_mlp_nll": {"method": "s_mlp", "blocks": ["expression"], "epochs": 10, "hidden": [32], "survival_loss": "nll"},
    "s_mlp_valid": {"method": "s_mlp", "blocks": ["expression"], "epochs": 10, "hidden": [32], "selection": "valid"},
    "snn": {"method": "snn", "blocks": ["expression", "copy_number", "mutation"], "epochs": 20},
    "abmil": {"method": "abmil", "width": 16, "attention": 8, "pooled": 8, "epochs": 10, "learning_rate": 1e-2},
    "abmil_valid": {"method": "abmil", "width": 16, "attention": 8, "pooled": 8, "epochs": 10, "selection": "valid",
                    "learning_rate": 5e-3, "survival_loss": "nll"},
    "mlp": {"method": "mlp", "blocks": ["expression"], "epochs": 10, "hidden": [32, 32]},
    "gene_mixer": {"method": "gene_mixer", "width": 8, "latent": 16, "depth": 1, "tokens": 4, "epochs": 10,
                   "learning_rate": 3e-2, "batch_size": 16},
    "abmil_cat": {"method": "abmil", "width": 16, "attention": 8, "pooled": 8, "epochs": 10, "learning_rate": 1e-2,
                  "blocks": ["expression"], "omic_hidden": 16},
    "clam": {"method": "clam", "width": 16, "attention": 8, "epochs": 10, "learning_rate": 1e-2, "k_sample": 3},
    "clam_mb": {"method": "clam", "branches": "mb", "width": 16, "attention": 8, "epochs": 10, "learning_rate": 1e-2,
                "gated": False, "survival_loss": "event_mean", "selection": "valid"},
    "deep_sets": {"method": "deep_sets", "width": 16, "pooled": 8, "epochs": 10, "learning_rate": 1e-2},
    "deep_sets_cat": {"method": "deep_sets", "width": 16, "pooled": 8, "epochs": 10, "learning_rate": 1e-2,
                      "pooling": "mean", "blocks": ["expression"], "omic_hidden": 16},
    "deep_attn_misl": {"method": "deep_attn_misl", "clusters": 3, "width": 16, "attention": 8, "pooled": 8,
                       "epochs": 12, "learning_rate": 2e-2, "dropout": 0.1},
    "transmil": {"method": "transmil", "width": 16, "max_tiles": 5, "epochs": 4, "learning_rate": 1e-2,
                 "batch_size": 16},
    "transmil_cat": {"method": "transmil", "width": 16, "max_tiles": 5, "epochs": 3, "learning_rate": 1e-2,
                     "batch_size": 16, "kept": "first", "survival_loss": "event_mean",
                     "blocks": ["expression", "mutation"], "omic_hidden": 16},
    "mcat": {"method": "mcat", "width": 16, "epochs": 6, "learning_rate": 1e-2, "batch_size": 16},
    "mcat_bilinear": {"method": "mcat", "width": 16, "epochs": 8, "learning_rate": 1e-2, "batch_size": 16,
                      "fusion": "bilinear", "survival_loss": "event_mean", "selection": "valid"},
    "survpath": {"method": "survpath", "width": 16, "epochs": 10, "learning_rate": 3e-2, "batch_size": 16},
    "gigapath_tuned": {"method": "gigapath_tuned", "max_tiles": 5, "epochs": 6, "learning_rate": 1e-2,
                       "batch_size": 16, "slide_encoder": SLIDE_ENCODER},
    "gigapath_tuned_cat": {"method": "gigapath_tuned", "max_tiles": 5, "epochs": 3, "learning_rate": 1e-2,
                           "batch_size": 16, "slide_encoder": SLIDE_ENCODER, "pooling": "mean",
                           "blocks": ["expression"], "omic_hidden": 16},
    "pathomic_fusion": {"method": "pathomic_fusion", "blocks": ["expression"], "epochs": 15, "constant_epochs": 10,
                        "frozen_epochs": 1, "omic_epochs": 20, "image_epochs": 5, "learning_rate": 5e-3, "dropout": 0.1,
                        "tile_width": 16, "attention": 8, "omic_hidden": [16, 8], "hidden": 8, "image_width": 8},
    "path_gptomic": {"method": "path_gptomic", "blocks": ["copy_number", "mutation"], "rna": "none", "image": "tiles",
                     "epochs": 6, "constant_epochs": 3, "learning_rate": 1e-2, "tile_width": 16, "attention": 8,
                     "hidden": [16, 8], "image_width": 8},
    "late_fusion": {"method": "late_fusion", "components": [
        {"method": "ridge", "blocks": ["expression"], "penalties": [10, 100]},
        {"method": "abmil", "width": 16, "attention": 8, "pooled": 8, "epochs": 5, "learning_rate": 1e-2},
    ]},
}  # fmt: skip
