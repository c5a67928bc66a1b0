"""The encoder as the engine sees it."""

import cv2
import numpy as np
import pytest
import timm
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pathomix.core.errors import PathomixError
from pathomix.slides.encoders.encoder import TileEncoder, build_encoder
from pathomix.slides.encoders.entries import names, resolve, spec_of
from pathomix.slides.encoders.loading import seed_weights

ALL = [name for name in names() if name != "timm"]


@pytest.mark.parametrize("name", ALL)
def test_what_the_engine_relies_on(small, tiles, name):
    entry = small(name) if name == "demo" else small(name, seed=0)
    made = build_encoder("mine", entry)
    assert isinstance(made, TileEncoder) and made.name == "mine"
    assert (made.tile_size, made.mpp) == (made.parameters.tile_size, spec_of(name).parameters.mpp)
    features = made.encode(tiles(made.tile_size, 3))
    assert features.shape == (3, made.dim) and features.dtype == torch.float32 and torch.isfinite(features).all()
    assert features.std(dim=0).max() > 0
    assert made.to("cpu", "fp32") is made
    assert torch.equal(made.encode(tiles(made.tile_size, 3)), features)


@pytest.mark.parametrize("name", ["demo", "resnet50"])
def test_the_registered_width_is_the_real_one(name):
    assert build_encoder("a", {"model": name, "seed": 0}).dim == spec_of(name).dim


@pytest.mark.parametrize("name", ["conch_v1_5", "gigapath", "midnight_12k", "phikon_v2", "gpfm", "uni2_h", "virchow2"])
def test_the_width_that_is_asked_is_the_one_that_comes(small, tiles, name):
    made = build_encoder("a", small(name, seed=0))
    twice = made.parameters.pooling == "cls_mean"
    width = 32 if name == "conch_v1_5" else 48
    assert made.dim == made.encode(tiles(made.tile_size, 1)).shape[1] == width * (1 + twice)
    assert spec_of(name).dim % (1 + twice) == 0


def test_the_demos_numbers_are_those_of_a_plain_resnet18():
    """Features of the demo cost its users nothing new: ResNet-18, stem and first stage, mean and standard deviation."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 64, 64, 3)).astype(np.uint8)
    model = timm.create_model("resnet18", num_classes=0).eval()
    seed_weights(model, 0)
    maps = {}
    model.act1.register_forward_hook(lambda *a: maps.update(stem=a[2].clone()))
    model.layer1.register_forward_hook(lambda *a: maps.update(layer1=a[2].clone()))
    made = build_encoder("demo", {"model": "demo"})
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (made.parameters.mean, made.parameters.std))
    with torch.no_grad():
        model((torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255.0 - mean) / std)
    flat = [maps[name].flatten(2) for name in ("stem", "layer1")]
    expected = torch.cat([f.mean(2) for f in flat] + [f.std(2, correction=0) for f in flat], dim=1)
    assert made.dim == expected.shape[1] == 256
    torch.testing.assert_close(made.encode(torch.from_numpy(pixels)), expected, rtol=1e-4, atol=1e-5)
    assert made.weights_sha256 == "d8ea6ac9cec1c1f8536949ca83e231da4600cc3277b4d4bfa880164ced8ab065"


def test_resnet50_is_cut_after_its_third_stage(tiles):
    made = build_encoder("a", {"model": "resnet50", "seed": 0, "tile_size": 64, "input_size": 64})
    model = timm.create_model("resnet50", num_classes=0).eval()
    seed_weights(model, 0)
    seen = {}
    model.layer3.register_forward_hook(lambda *a: seen.update(layer3=a[2]))
    pixels = tiles(64, 2)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (made.parameters.mean, made.parameters.std))
    with torch.no_grad():
        model((pixels.permute(0, 3, 1, 2) / 255.0 - mean) / std)
    assert seen["layer3"].shape == (2, 1024, 4, 4)  # stride 16
    torch.testing.assert_close(made.encode(pixels), seen["layer3"].mean(dim=(2, 3)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["demo", "gigapath", "conch_v1_5", "virchow2", "t2t_vit_14"])
def test_features_do_not_depend_on_the_batch(small, tiles, name):
    made = build_encoder("mine", small(name, seed=0))
    pixels = tiles(made.tile_size, 9)
    together = made.encode(pixels)
    alone = torch.cat([made.encode(tile[None]) for tile in pixels])
    turned = made.encode(pixels.flip(0)).flip(0)
    for other in (alone, turned):
        torch.testing.assert_close(other, together, rtol=1e-4, atol=1e-4)


def trained_like(made):
    """Weights of the kind that training leaves: small, norms and scales near but not at one, a few large channels."""
    generator = torch.Generator().manual_seed(0)

    def normal(tensor, scale):
        return torch.randn(tensor.shape, generator=generator) * scale

    with torch.no_grad():
        for name, tensor in made._module.network.named_parameters():
            if name.endswith("gamma"):
                tensor.copy_(0.3 + normal(tensor, 0.1))
            elif tensor.ndim == 1:
                tensor.copy_(float(name.endswith("weight")) + normal(tensor, 0.1))
            else:
                tensor.copy_(normal(tensor, 0.02 if tensor.ndim == 3 else 1.2 * tensor[0].numel() ** -0.5))
        made._module.network.norm.weight[:3] *= 8
    return made


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["gigapath", "midnight_12k"])
def test_the_numerics_gate(small, name, precision):
    """Spec 7.4: half precision keeps the direction of every feature vector, here on 64 fixed tiles of fake tissue."""
    rng = np.random.default_rng(7)
    panel = []
    for number in range(64):
        tile = np.full((64, 64, 3), (225, 160 + number % 20, 195), dtype=np.uint8)
        for x, y in rng.integers(3, 61, (5 + number // 2, 2)).tolist():
            cv2.circle(tile, (x, y), int(rng.integers(1, 4)), (110, 70, 150), -1)
        panel.append((tile * rng.uniform(0.85, 1.1)).clip(0, 255).astype(np.uint8))
    pixels = torch.from_numpy(np.stack(panel))
    sizes = {"embed_dim": 192, "depth": 6, "num_heads": 3}
    entry = small(name, seed=0, tile_size=64, resize=0, model_args=sizes)
    made = trained_like(build_encoder("mine", entry))
    exact = made.encode(pixels)
    half = made.to("cpu", precision).encode(pixels)
    assert half.dtype == torch.float32
    assert not torch.equal(half, exact)  # it did calculate in half precision
    cosine = torch.nn.functional.cosine_similarity(half, exact)
    assert cosine.min() >= 0.999
    # and the panel tells tiles apart far better than that
    spread = torch.nn.functional.cosine_similarity(exact[:1], exact[1:])
    assert spread.min() < 0.99
    assert torch.equal(made.to("cpu", "fp32").encode(pixels), exact)


def test_an_unknown_precision_is_refused():
    with pytest.raises(PathomixError, match="precision is 'fp8'"):
        build_encoder("a", {"model": "demo"}).to("cpu", "fp8")


def test_compiling_changes_nothing_but_speed(monkeypatch, tiles):
    """The compiler itself is torch's; what is handed to it is the network with its pooling."""
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda module: compiled.append(module) or (lambda images: module(images) + 1))
    made = build_encoder("a", {"model": "demo"})
    plain = made.encode(tiles(64, 2))
    torch.testing.assert_close(made.to("cpu", "fp32", compile=True).encode(tiles(64, 2)), plain + 1)
    torch.testing.assert_close(made.to("cpu", "fp32").encode(tiles(64, 2)), plain)
    assert len(compiled) == 1 and compiled[0] is made._module


def test_the_transform_names_what_the_content_key_needs(small):
    made = build_encoder("mine", small("virchow2", seed=0))
    assert made.transform == resolve("mine", small("virchow2", seed=0)).transform
    assert made.transform["model_args"]["reg_tokens"] == 4 and made.transform["pooling"] == "cls_mean"
    assert made.transform_json == build_encoder("other", small("virchow2", seed=1)).transform_json
    assert made.transform_json != build_encoder("mine", small("virchow", seed=0)).transform_json


def test_seeded_random_features_carry_morphology_linearly():
    """The demo rests on it: nuclear density planted in a texture is read off by ridge regression on unseen tiles."""
    rng = np.random.default_rng(0)
    density, tiles = rng.integers(2, 30, 120), []
    for count in density:
        tile = np.full((64, 64, 3), (225, 160, 195), dtype=np.uint8)
        for x, y in rng.integers(3, 61, (count, 2)).tolist():
            cv2.circle(tile, (x, y), int(rng.integers(1, 4)), (110, 70, 150), -1)
        tiles.append((tile * rng.uniform(0.85, 1.1)).clip(0, 255).astype(np.uint8))  # staining differs
    features = build_encoder("demo", {"model": "demo"}).encode(torch.from_numpy(np.stack(tiles))).numpy()
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
    predicted = cross_val_predict(model, features, density, cv=5)
    assert np.corrcoef(predicted, density)[0, 1] > 0.9
