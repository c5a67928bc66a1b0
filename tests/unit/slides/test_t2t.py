"""Files of T2T-ViT weights in the released layout."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pathomix.core.errors import PathomixError
from pathomix.nn.t2t_vit import VARIANTS, T2TSettings, T2TViT, sinusoid_positions
from pathomix.slides.t2t import load_t2t, read_t2t, resized_positions, write_t2t

SMALL = T2TSettings(image_size=64, embed_dim=16, depth=2, heads=2, mlp_ratio=2.0, token_dim=8)


def network(seed: int, settings: T2TSettings = SMALL, classes: int = 7) -> T2TViT:
    """Random weights, the position table among them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = T2TViT(settings, classes)
        with torch.no_grad():
            model.pos_embed.normal_()
    return model.eval()


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def without_head(model: T2TViT) -> dict:
    return {name: value for name, value in model.state_dict().items() if not name.startswith("head.")}


def test_averaged_weights_are_preferred_and_the_head_dropped(tmp_path: Path) -> None:
    plain, averaged, loaded = network(0), network(1), network(2, classes=0)
    write_t2t(tmp_path / "t2t.pth", plain.state_dict(), averaged.state_dict())
    load_t2t(loaded, tmp_path / "t2t.pth")
    assert same(loaded.state_dict(), without_head(averaged))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded(images), averaged(images))
    write_t2t(tmp_path / "t2t.pth", plain.state_dict())
    load_t2t(loaded, tmp_path / "t2t.pth")
    assert same(loaded.state_dict(), without_head(plain))


def test_a_model_with_a_head_takes_that_of_the_file(tmp_path: Path) -> None:
    source, loaded = network(0), network(1)
    write_t2t(tmp_path / "t2t.pth", source.state_dict())
    load_t2t(loaded, tmp_path / "t2t.pth")
    assert same(loaded.state_dict(), source.state_dict())


def test_files_around_the_state_dict(tmp_path: Path) -> None:
    """Plain dictionaries, names of parallel training, safetensors, and what training scripts store beside them."""
    source = network(0)
    state = source.state_dict()
    parallel = {f"module.{name}": value for name, value in state.items()}
    command_line = argparse.Namespace(model="t2t_vit_14", lr=5e-4, mean=(0.5, 0.5))
    torch.save(state, tmp_path / "plain.pth")
    torch.save({"state_dict_ema": parallel, "epoch": 309, "args": command_line}, tmp_path / "training.pth")
    save_file(dict(state), tmp_path / "t2t.safetensors")
    for name in ("plain.pth", "training.pth", "t2t.safetensors"):
        assert same(read_t2t(tmp_path / name), state)


class Trap:
    """Would write a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    torch.save({"state_dict": network(0).state_dict(), "hook": Trap(tmp_path / "run")}, tmp_path / "trap.pth")
    with pytest.raises(PathomixError, match=r"trap\.pth: not a weights-only file"):
        read_t2t(tmp_path / "trap.pth")
    assert not (tmp_path / "run").exists()


def test_files_that_hold_no_state_dict(tmp_path: Path) -> None:
    with pytest.raises(PathomixError, match="no such weights file"):
        read_t2t(tmp_path / "absent.pth")
    for name, content in (("numbers", {"a": 3}), ("list", [torch.ones(1)]), ("empty", {"state_dict": {}})):
        torch.save(content, tmp_path / f"{name}.pth")
        with pytest.raises(PathomixError, match="holds no state dict"):
            read_t2t(tmp_path / f"{name}.pth")
    (tmp_path / "text.pth").write_text("nothing here")
    with pytest.raises(PathomixError, match="not a weights-only file"):
        read_t2t(tmp_path / "text.pth")
    torch.save({"norm.bias": torch.ones(1), "module.norm.bias": torch.zeros(1)}, tmp_path / "both.pth")
    with pytest.raises(PathomixError, match=r"with and without `module\.`: norm\.bias"):
        read_t2t(tmp_path / "both.pth")


def test_every_mismatch_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = network(0).state_dict()
    del state["cls_token"]
    state["more"] = torch.zeros(1)
    state["norm.weight"] = torch.zeros(5)
    write_t2t(tmp_path / "t2t.pth", state)
    model = network(1, classes=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(PathomixError, match=r"3 tensors do not fit.*missing cls_token, unexpected more, norm\.weight"):
        load_t2t(model, tmp_path / "t2t.pth")
    assert same(model.state_dict(), before)
    for line in ("missing cls_token", "unexpected more", "norm.weight has shape (5,) instead of (16,)"):
        assert line in caplog.text


@pytest.mark.parametrize("other", [{"token_kind": "transformer"}, {"depth": 3}, {"embed_dim": 32}])
def test_weights_of_another_variant_are_refused(tmp_path: Path, other: dict) -> None:
    write_t2t(tmp_path / "t2t.pth", network(0).state_dict())
    with pytest.raises(PathomixError, match="tensors do not fit the architecture"):
        load_t2t(network(1, replace(SMALL, **other), classes=0), tmp_path / "t2t.pth")


@pytest.mark.parametrize("target", [3, 4, 9])
def test_bicubic_positions_agree_with_another_library(target: int) -> None:
    table = torch.randn(1, 1 + 36, 5, generator=torch.Generator().manual_seed(0))
    resized = resized_positions(table, target**2, Path("t2t.pth"))
    assert torch.equal(resized[:, 0], table[:, 0])
    for channel in range(5):
        grid = table[0, 1:, channel].reshape(6, 6).numpy()
        expected = cv2.resize(grid, (target, target), interpolation=cv2.INTER_CUBIC)
        assert resized[0, 1:, channel].reshape(target, target).numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("positions", ["bicubic", "sinusoid"])
def test_other_image_sizes(tmp_path: Path, positions: str) -> None:
    source, settings = network(0), replace(SMALL, image_size=96)
    write_t2t(tmp_path / "t2t.pth", source.state_dict())
    model = T2TViT(settings)
    load_t2t(model, tmp_path / "t2t.pth", positions)  # type: ignore[arg-type]
    expected = sinusoid_positions(37, 16)
    if positions == "bicubic":
        expected = resized_positions(source.pos_embed.detach(), 36, tmp_path)
    assert torch.equal(model.pos_embed, expected)
    assert not model.pos_embed.requires_grad
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 96, 96)).isfinite().all()


def test_bicubic_and_sinusoid_differ_even_for_a_stored_sinusoid() -> None:
    resized = resized_positions(sinusoid_positions(17, 16), 36, Path("t2t.pth"))
    assert np.abs((resized - sinusoid_positions(37, 16)).numpy()).max() > 0.1


def test_tables_that_cannot_be_resized(tmp_path: Path) -> None:
    state = network(0).state_dict()
    state["pos_embed"] = torch.zeros(1, 1 + 12, 16)
    write_t2t(tmp_path / "t2t.pth", state)
    with pytest.raises(PathomixError, match="position table of 12 places cannot be resized to 16"):
        load_t2t(network(1), tmp_path / "t2t.pth")
    with pytest.raises(PathomixError, match="positions is 'nearest'"):
        load_t2t(network(1), tmp_path / "t2t.pth", "nearest")  # type: ignore[arg-type]


@pytest.mark.slow
def test_full_size_file_is_written_loaded_and_run(tmp_path: Path) -> None:
    source = network(0, VARIANTS["14"], 1000)
    write_t2t(tmp_path / "t2t.pth", source.state_dict())
    assert (tmp_path / "t2t.pth").stat().st_size == pytest.approx(21_545_550 * 4, rel=1e-2)
    model = T2TViT(VARIANTS["14"]).eval()
    load_t2t(model, tmp_path / "t2t.pth")
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(images), source(images))
