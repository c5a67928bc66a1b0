"""The released file layout, read without trusting it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from pathomix.core.errors import PathomixError
from pathomix.foundation.build import build_slide_encoder
from pathomix.foundation.gigapath import read_checkpoint
from pathomix.nn.longnet import LongNet

SMALL: dict[str, Any] = {"in_chans": 12, "embed_dim": 16, "depth": 2, "heads": 4, "slide_ngrids": 30}


def random_checkpoint(path: Path, seed: int = 0, **settings: Any) -> LongNet:
    """Write random weights in the layout of the released file; the model they belong to."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LongNet(**settings).eval()
    torch.save({"model": model.state_dict()}, path)
    return model


def test_a_released_file_gives_its_tensors_and_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "slide_encoder.pth"
    source = random_checkpoint(path, **SMALL).state_dict()
    state, digest = read_checkpoint(path)
    assert state.keys() == source.keys() and all(torch.equal(state[name], source[name]) for name in source)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_safetensors_hold_the_same(tmp_path: Path) -> None:
    source = random_checkpoint(tmp_path / "a.pth", **SMALL)
    safetensors.torch.save_file(source.state_dict(), tmp_path / "a.safetensors")
    states = [read_checkpoint(tmp_path / name)[0] for name in ("a.pth", "a.safetensors")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    def written(name: str, content: Any) -> Path:
        torch.save(content, tmp_path / name)
        return tmp_path / name

    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.safetensors").write_text("hello")
    good = random_checkpoint(tmp_path / "good.pth", **SMALL)
    (tmp_path / "cut.pth").write_bytes((tmp_path / "good.pth").read_bytes()[:2000])
    faults = {
        tmp_path / "absent.pth": "no such file",
        tmp_path / "text.pth": "cannot be read",
        tmp_path / "empty.pth": "cannot be read",
        tmp_path / "cut.pth": "cannot be read",
        tmp_path / "text.safetensors": "no safetensors file",
        written("bare.pth", dict(good.state_dict())): "no state dict under the key model; found: cls_token",
        written("list.pth", [1, 2]): "found: list",
        written("number.pth", {"model": 3}): "found: model",
    }
    for path, fault in faults.items():
        with pytest.raises(PathomixError, match=fault) as caught:
            read_checkpoint(path)
        assert path.name in str(caught.value)


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    torch.save({"model": {"cls_token": _Payload(tmp_path / "ran")}}, tmp_path / "evil.pth")
    with pytest.raises(PathomixError, match="cannot be read"):
        read_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_full_size_checkpoint_is_written_loaded_and_run(tmp_path: Path) -> None:
    path = tmp_path / "slide_encoder.pth"
    source = random_checkpoint(path).state_dict()
    # 86.33 million float32, as the released file of 345 MB
    assert path.stat().st_size == pytest.approx(86_330_880 * 4, rel=1e-3)
    model = build_slide_encoder({"architecture": "longnet", "weights": str(path)}, 1536).backbone
    state = model.state_dict()
    assert len(state) == 247 and sum(tensor.numel() for tensor in state.values()) == 86_330_880
    assert all(torch.equal(tensor, source[name]) for name, tensor in state.items())
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 2000, 1536, generator=generator)
    coords = torch.randint(0, 256_000, (1, 2000, 2), generator=generator)
    with torch.no_grad():
        vectors = model.vectors(features, coords, ["state_11_mean", "state_12_mean", "final_cls"])
    assert all(vector.shape == (1, 768) and vector.isfinite().all() for vector in vectors.values())

    torch.save({"model": {name: tensor for name, tensor in state.items() if ".11." not in name}}, path)
    with pytest.raises(PathomixError, match=r"slide_encoder\.pth.*20 missing: encoder\.layers\.11\."):
        build_slide_encoder({"architecture": "longnet", "weights": str(path)}, 1536)
