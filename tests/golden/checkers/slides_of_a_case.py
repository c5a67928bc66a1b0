"""Slides of a patient joined into one case, and TITAN's gridding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from checking import GoldenSet, Result, checker, torch_inputs

from pathomix.core.bags import Bag
from pathomix.foundation.gridding import CellSums, cell_sums
from pathomix.foundation.layout import Layout, arrange

_SHARE = 1e-5


@checker("modaltune_case_merge")
def case_merge(golden: GoldenSet) -> Iterator[Result]:
    for case, facts in golden.config["cases"].items():
        slides = range(facts["n_slides"])
        features = [golden.input(f"{case}/in/features.{i}") for i in slides]
        bag = Bag(
            np.concatenate(features),
            np.concatenate([golden.input(f"{case}/in/coords.{i}") for i in slides]),
            np.repeat(np.arange(len(slides), dtype=np.int32), [len(part) for part in features]),
            tuple(map(str, slides)),
            np.ones((len(slides), 2), np.float32),
        )
        layout = Layout("level0_raw", "released", max_tiles=len(bag.features))
        ours = arrange(bag, case, layout, in_dim=bag.features.shape[1], tile=1, grid=None)
        yield golden.compare(f"{case}/out/features", ours.features, 0.0)
        yield golden.compare(f"{case}/out/coords", ours.coords, 0.0)


@checker("titan_preprocess")
def titan_preprocess(golden: GoldenSet) -> Iterator[Result]:
    """The reference keeps the whole rectangle of cells; the package only those with tiles."""
    for case, facts in golden.config["cases"].items():
        features, coords = (torch_inputs(golden, f"{case}/in/{name}") for name in ("features", "coords"))
        slides = [cell_sums(*pair, facts["patch_size_lv0"]) for pair in zip(features, coords, strict=True)]
        grids = zip(*(_dense(sums) for sums in slides), strict=True)
        for name, grid in zip(("feature_grid", "coords_grid", "foreground_mask"), grids, strict=True):
            expected = golden.tensors[f"{case}/out/{name}"]
            tolerance = _SHARE * max(1.0, float(np.abs(expected).max())) if name == "feature_grid" else 0.0
            yield golden.compare(f"{case}/out/{name}", torch.stack(grid), tolerance)


def _dense(sums: CellSums) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    size = (sums.cells.amax(dim=0) + 1).tolist()
    row, column = sums.cells.unbind(dim=1)
    features, coords = torch.zeros(sums.features.shape[1], *size), torch.zeros(2, *size, dtype=torch.long)
    foreground = torch.zeros(*size, dtype=torch.bool)
    features[:, row, column] = sums.features.T
    coords[:, row, column] = sums.coords.T
    foreground[row, column] = sums.foreground
    return features, coords, foreground
