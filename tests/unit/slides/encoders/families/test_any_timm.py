"""Any architecture of timm."""

import timm
import torch

from pathomix.slides.encoders.encoder import build_encoder


def test_arguments_reach_the_constructor(tiles):
    entry = {"model": "timm", "timm": "test_resnet", "tile_size": 64, "mpp": 1, "input_size": 64, "stages": [3]}
    plain = build_encoder("a", {**entry, "pooling": "mean"})
    dense = build_encoder("a", {**entry, "pooling": "mean", "model_args": {"output_stride": 8}})
    pixels = tiles(64)
    assert plain.weights_sha256 == dense.weights_sha256
    assert plain.transform != dense.transform
    assert not torch.allclose(plain.encode(pixels), dense.encode(pixels))


def test_a_tag_of_timm_is_understood(monkeypatch):
    """`resnet50.tv_in1k` names the weights too; without `pretrained` they are not fetched."""
    asked, create = [], timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda name, **k: asked.append((name, k["pretrained"])) or create(name, **k)
    )
    build_encoder("a", {"model": "resnet50", "seed": 0, "tile_size": 32, "input_size": 32})
    assert asked == [("resnet50.tv_in1k", False)]
