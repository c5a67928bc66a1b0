"""Small encoders of each registered family, and files of them in the authors' layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pathomix.slides.encoders.encoder import build_encoder
from pathomix.slides.encoders.loading import seed_weights

SMALL_VIT = {"embed_dim": 48, "depth": 2, "num_heads": 4}
SMALL = {
    "conch_v1_5": {"input_size": 64, "tile_size": 72, "model_args": {**SMALL_VIT, "pooler_dim": 32, "pooler_heads": 4}},
    "gigapath": {"input_size": 64, "resize": 72, "tile_size": 72, "model_args": SMALL_VIT},
    "gpfm": {"input_size": 56, "tile_size": 128, "model_args": SMALL_VIT},
    "h_optimus_0": {"input_size": 56, "tile_size": 56, "model_args": SMALL_VIT},
    "midnight_12k": {"input_size": 56, "tile_size": 56, "model_args": SMALL_VIT},
    "phikon_v2": {"input_size": 64, "tile_size": 64, "model_args": SMALL_VIT},
    "t2t_vit_14": {"input_size": 64, "tile_size": 64, "model_args": {"embed_dim": 32, "depth": 2, "heads": 4}},
    "uni": {"input_size": 64, "tile_size": 72, "model_args": SMALL_VIT},
    "uni2_h": {"input_size": 56, "tile_size": 64, "model_args": SMALL_VIT},
    "virchow": {"input_size": 56, "tile_size": 56, "model_args": SMALL_VIT},
    "virchow2": {"input_size": 56, "tile_size": 56, "model_args": SMALL_VIT},
}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small():
    """Configuration entry of a registered encoder, made small."""

    def make(model: str, **more: Any) -> dict[str, Any]:
        entry = {"model": model, **SMALL.get(model, {}), **more}
        if "model_args" in more:
            entry["model_args"] = {**SMALL[model]["model_args"], **more["model_args"]}
        return entry

    return make


@pytest.fixture
def saved(small, tmp_path):
    """Weights of a small encoder as a torch file under the network's own names, for layouts that are those."""

    def make(model: str, seed: int = 3, **more: Any) -> Path:
        network = build_encoder("source", small(model, seed=0, **more))._module.network
        seed_weights(network, seed)
        path = tmp_path / f"{model}.pth"
        torch.save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
        return path

    return make


@pytest.fixture
def tiles():
    """Random tiles uint8 [n, size, size, 3], smooth enough that resizing them is no lottery."""

    def make(size: int, count: int = 5, seed: int = 0) -> torch.Tensor:
        rng = np.random.default_rng(seed)
        coarse = torch.from_numpy(rng.uniform(0, 255, (count, 3, max(size // 8, 2), max(size // 8, 2)))).float()
        fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)
        noise = torch.from_numpy(rng.normal(0, 10, fine.shape)).float()
        return (fine + noise).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    return make
