"""Encoders: deterministic weights, strict loading, pooling against hooks."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pathomix.core.errors import PathomixError
from pathomix.slides.encoders import EncoderParameters, TileEncoder, seed_weights, state_digest

TINY = {"timm": "test_resnet", "input_size": 32}


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3)).astype(np.uint8)


def encoder(**changes):
    return TileEncoder("demo", EncoderParameters(**{**TINY, **changes}))


def test_random_weights_depend_on_the_seed_alone(pixels):
    first = encoder()
    torch.manual_seed(99)
    state = torch.get_rng_state()
    second = encoder()
    assert torch.equal(torch.get_rng_state(), state)
    assert first.weights_sha256 == second.weights_sha256
    np.testing.assert_array_equal(first.encode(pixels), second.encode(pixels))
    assert encoder(seed=1).weights_sha256 != first.weights_sha256


def test_no_layer_is_silent():
    """Timm starts the last normalisation of residual branches at zero; seeded random features must not lose them."""
    model = timm.create_model("resnet18", num_classes=0)
    seed_weights(model, 0)
    assert all(parameter.abs().max() > 0 for name, parameter in model.named_parameters() if name.endswith("weight"))


def test_the_digest_covers_names_shapes_types_and_values():
    base = {"a": torch.zeros(2, 3), "b": torch.ones(1)}
    variants = [
        {"a": torch.zeros(3, 2), "b": torch.ones(1)},
        {"c": torch.zeros(2, 3), "b": torch.ones(1)},
        {"a": torch.zeros(2, 3), "b": torch.ones(1, dtype=torch.float64)},
        {"a": torch.zeros(2, 3), "b": torch.full((1,), 2.0)},
    ]
    assert len({state_digest(state) for state in [base, *variants]}) == 5
    assert state_digest({"b": base["b"], "a": base["a"]}) == state_digest(base)


@pytest.mark.parametrize("pooling", ["mean", "mean_std"])
def test_pooled_stages_equal_hooks(pixels, pooling):
    made = TileEncoder("demo", EncoderParameters("resnet18", input_size=32, stages=(0, 1), pooling=pooling))
    model = timm.create_model("resnet18", num_classes=0).eval()
    seed_weights(model, 0)
    maps = {}
    model.act1.register_forward_hook(lambda *a: maps.update(stem=a[2].clone()))
    model.layer1.register_forward_hook(lambda *a: maps.update(layer1=a[2].clone()))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (made.parameters.mean, made.parameters.std))
    with torch.no_grad():
        model((torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255.0 - mean) / std)
    flat = [maps[name].flatten(2) for name in ("stem", "layer1")]
    expected = [f.mean(2) for f in flat] + ([f.std(2, correction=0) for f in flat] if pooling == "mean_std" else [])
    expected = torch.cat(expected, dim=1).numpy()
    assert made.dim == expected.shape[1] == (256 if pooling == "mean_std" else 128)
    np.testing.assert_allclose(made.encode(pixels), expected, rtol=1e-4, atol=1e-5)


def test_default_pooling_is_timms_own_output(pixels):
    made = encoder()
    model = timm.create_model("test_resnet", num_classes=0).eval()
    seed_weights(model, 0)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (made.parameters.mean, made.parameters.std))
    with torch.no_grad():
        expected = model((torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255.0 - mean) / std).numpy()
    np.testing.assert_allclose(made.encode(pixels), expected, rtol=1e-4, atol=1e-5)


def test_features_do_not_depend_on_the_batch(pixels):
    made = TileEncoder("demo", EncoderParameters("resnet18", input_size=32, stages=(0, 1), pooling="mean_std"))
    together = made.encode(pixels)
    np.testing.assert_allclose(np.concatenate([made.encode(p[None]) for p in pixels]), together, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(made.encode(pixels[::-1].copy())[::-1], together, rtol=1e-4, atol=1e-5)


def test_tiles_of_another_size_are_resized(pixels):
    made = encoder()
    large = pixels.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(made.encode(large), made.encode(pixels), rtol=1e-4, atol=1e-5)


def test_seeded_random_features_carry_morphology_linearly():
    """The demo rests on it: nuclear density planted in a texture is read off by ridge regression on unseen tiles."""
    rng = np.random.default_rng(0)
    density, tiles = rng.integers(2, 30, 120), []
    for count in density:
        tile = np.full((64, 64, 3), (225, 160, 195), dtype=np.uint8)
        for x, y in rng.integers(3, 61, (count, 2)).tolist():
            cv2.circle(tile, (x, y), int(rng.integers(1, 4)), (110, 70, 150), -1)
        tiles.append((tile * rng.uniform(0.85, 1.1)).clip(0, 255).astype(np.uint8))  # staining differs
    made = TileEncoder("demo", EncoderParameters("resnet18", input_size=64, stages=(0, 1), pooling="mean_std"))
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
    predicted = cross_val_predict(model, made.encode(np.stack(tiles)), density, cv=5)
    assert np.corrcoef(predicted, density)[0, 1] > 0.9


@pytest.mark.parametrize("form", ["safetensors", "bare", "wrapped", "with_classifier"])
def test_weights_from_a_file(tmp_path, pixels, form):
    model = timm.create_model("test_resnet", num_classes=7 if form == "with_classifier" else 0)
    seed_weights(model, 5)
    state = dict(model.state_dict())
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save({"state_dict": state} if form == "wrapped" else state, path)
    loaded, seeded = encoder(weights=str(path)), encoder(seed=5)
    assert loaded.weights_sha256 == seeded.weights_sha256
    np.testing.assert_array_equal(loaded.encode(pixels), seeded.encode(pixels))


def test_every_mismatch_is_named(tmp_path, caplog):
    state = dict(timm.create_model("test_resnet", num_classes=0).state_dict())
    keys = [key for key in state if key.endswith("weight")]
    state["stranger"] = state.pop(keys[0])
    state[keys[1]] = torch.zeros(1, 2)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(PathomixError, match="3 tensors do not fit") as error:
        encoder(weights=str(tmp_path / "w.pth"))
    text = "\n".join(error.value.offending)
    assert f"missing {keys[0]}" in text and "unexpected stranger" in text and f"{keys[1]} has shape (1, 2)" in text
    assert "unexpected stranger" in caplog.text


class Evil:
    def __reduce__(self):
        return (print, ("code was run",))


@pytest.mark.parametrize("kind", ["code", "garbage", "empty", "no_dict", "absent", "bad_safetensors"])
def test_files_that_are_no_weights_are_refused(tmp_path, kind, capsys):
    path = tmp_path / ("w.safetensors" if kind == "bad_safetensors" else "w.pth")
    if kind == "code":
        torch.save({"a": Evil()}, path)
    elif kind == "no_dict":
        torch.save([torch.zeros(2)], path)
    elif kind != "absent":
        path.write_bytes(b"" if kind == "empty" else pickle.dumps([1, 2], protocol=2) + b"garbage")
    with pytest.raises(PathomixError, match=r"w\.(pth|safetensors)"):
        encoder(weights=str(path))
    assert "code was run" not in capsys.readouterr().out


def test_weights_out_of_reach_are_explained(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(PathomixError, match="cannot be fetched") as error:
        encoder(pretrained=True)
    assert "encoders.demo.weights" in error.value.remedy


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"timm": "resnet_of_dreams"}, "has no model"),
        ({"pooling": "median"}, "pooling is one of"),
        ({"stages": (0,)}, "stages need pooling"),
        ({"pooling": "mean"}, "stages need pooling"),
        ({"pretrained": True, "weights": "x.pth"}, "exclude each other"),
        ({"std": (1.0, 1.0, 0.0)}, "std above 0"),
        ({"batch_size": 0}, "must be positive"),
    ],
)
def test_contradictions_are_refused(changes, fact):
    with pytest.raises(PathomixError, match=fact):
        encoder(**changes)


def test_resized_then_cut_to_the_centre():
    tiles = np.random.default_rng(0).integers(0, 255, (2, 48, 48, 3), dtype=np.uint8)
    cut = TileEncoder("cut", EncoderParameters(**TINY, resize=48)).encode(tiles)
    plain = TileEncoder("plain", EncoderParameters(**TINY)).encode(np.ascontiguousarray(tiles[:, 8:40, 8:40]))
    np.testing.assert_array_equal(cut, plain)
    with pytest.raises(PathomixError, match="resize is 0 or at least input_size"):
        TileEncoder("small", EncoderParameters(**TINY, resize=16))
