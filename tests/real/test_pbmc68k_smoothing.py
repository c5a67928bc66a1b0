"""Real blood cells of ten types: what smoothing does to a random scGPT and to principal components.

The cells come with scanpy (no counts, no donors: cells are held out one by one). The small scGPT has random weights, so
its levels say nothing of the released model; principal components are the control that the machinery works.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pathomix.atlas.prepare import prepare_atlas
from pathomix.smoothing.cells import read_atlas
from pathomix.smoothing.stages import fit_encoder, mix_atlas, train_smoother

ENCODERS = {
    "scgpt": {"encoder": "scgpt", "width": 64, "depth": 2, "heads": 4, "hidden": 128},
    "pca": {"encoder": "pca", "dimensions": 50},
}
MIXING = {"pairs": 3000, "valid_pairs": 600}
TRAINING = {"batch_size": 32}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the jobs run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def atlas_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cells as the atlas stage prepares them."""
    scanpy = pytest.importorskip("scanpy")
    folder = tmp_path_factory.mktemp("pbmc")
    scanpy.datasets.pbmc68k_reduced().write_h5ad(folder / "cells.h5ad")
    given = {
        "label_key": "bulk_labels", "counts": "raw", "scale": "log_normalised", "min_cells_per_class": 5,
        "valid_fraction": 0.3,
    }  # fmt: skip
    prepare_atlas("pbmc", folder / "cells.h5ad", given, folder / "atlas.h5ad", folder / "atlas.json")
    return folder / "atlas.h5ad"


def report_of(folder: Path, atlas: Path, configuration: dict[str, Any]) -> dict[str, Any]:
    fit_encoder(atlas, {}, configuration, {}, folder / "encoder.safetensors")
    mix_atlas(atlas, folder / "encoder.safetensors", configuration, MIXING, folder / "pool", folder / "pool.parquet")
    names = ("model", "history", "validation", "predictions")
    train_smoother(folder / "pool.parquet", TRAINING, None, {name: folder / name for name in names})
    report: dict[str, Any] = json.loads((folder / "validation").read_text())
    return report


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_composition_of_held_out_mixtures(name: str, atlas_path: Path, tmp_path: Path) -> None:
    atlas = read_atlas(atlas_path)
    assert len(atlas.classes) == 10 and not atlas.are_counts and atlas.donors_held_out == 0
    report = report_of(tmp_path, atlas_path, ENCODERS[name])
    before, after = report["before"], report["after"]
    print(f"{name}: R2 {before['composition_r2']:.3f} before, {after['composition_r2']:.3f} after smoothing; "
          f"accuracy {before['top1_accuracy']:.3f} and {after['top1_accuracy']:.3f}; "
          f"weight {before['weight_spearman']:.3f} and {after['weight_spearman']:.3f}; "
          f"gap {before['linearity_gap']:.3f} and {after['linearity_gap']:.3f}; {report['epochs']} epochs")  # fmt: skip
    for scores in (before, after):
        assert all(math.isfinite(scores[key]) for key in ("mse", "composition_r2", "weight_spearman", "linearity_gap"))
        # The mean composition has R2 0.
        assert scores["composition_r2"] > 0.05
    if name == "pca":
        # Dendritic cells, the largest class, are a third of the cells.
        assert after["top1_accuracy"] > 0.6 and after["composition_r2"] > 0.4
