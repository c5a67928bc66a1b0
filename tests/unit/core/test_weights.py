"""Weights files and digests."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pathomix.core.errors import PathomixError
from pathomix.core.weights import load_strictly, read_state, state_digest


def test_a_digest_sees_names_types_shapes_and_values():
    state = {"a": torch.arange(6.0), "b": torch.ones(2)}
    assert state_digest(state) == state_digest(dict(reversed(state.items())))
    others = [
        {"a": state["a"], "c": state["b"]},
        {**state, "a": state["a"].double()},
        {**state, "a": state["a"].reshape(2, 3)},
        {**state, "a": state["a"] + 1e-6},
    ]
    assert len({state_digest(state), *map(state_digest, others)}) == 5


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_files_of_tensors(tmp_path, wrapper):
    state = nn.Linear(2, 3).state_dict()
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, tmp_path / "w.pth")
    save_file(dict(state), tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        model = nn.Linear(2, 3)
        load_strictly(model, read_state(tmp_path / name), tmp_path / name)
        assert state_digest(model.state_dict()) == state_digest(state)


def test_what_is_no_file_of_tensors(tmp_path):
    with pytest.raises(PathomixError, match=r"absent\.pth: no such weights file"):
        read_state(tmp_path / "absent.pth")
    torch.save({"a": 3}, tmp_path / "numbers.pth")
    with pytest.raises(PathomixError, match="no state dict"):
        read_state(tmp_path / "numbers.pth")
    torch.save(nn.Linear(2, 3), tmp_path / "object.pth")
    (tmp_path / "text.safetensors").write_text("no tensors here")
    for name in ("object.pth", "text.safetensors"):
        with pytest.raises(PathomixError, match="not a weights-only file"):
            read_state(tmp_path / name)


def test_every_mismatch_is_named(tmp_path):
    state = {"weight": torch.zeros(3, 3), "extra": torch.zeros(1)}
    with pytest.raises(PathomixError, match=r"3 tensors.*missing bias, unexpected extra, weight has shape \(3, 3\)"):
        load_strictly(nn.Linear(2, 3), state, tmp_path / "w.pth")
