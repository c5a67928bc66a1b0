"""The official directory: what is accepted gives the same model, what does not fit is named."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.scgpt.checkpoint import load_checkpoint, official_names, write_random_checkpoint
from pathomix.scgpt.model import Sizes

State = dict[str, Tensor]
QKV = "transformer_encoder.layers.1.self_attn.Wqkv.weight"


def changed(folder: Path, change: Callable[[State], object]) -> Path:
    """The directory with another state dict; `change` edits it in place or returns a new one."""
    path = folder / "best_model.pt"
    state = torch.load(path, weights_only=True)
    result = change(state)
    torch.save(state if result is None else result, path)
    return folder


def with_args(folder: Path, **fields: object) -> Path:
    path = folder / "args.json"
    args = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in args.items() if value is not None}))
    return folder


def cell(folder: Path) -> Tensor:
    return load_checkpoint(folder).model.cells(torch.tensor([[301, 4, 7]]), torch.tensor([[-2.0, 3.0, 50.0]]))


def renamed(state: State, old: str, new: str, prefix: str = "") -> State:
    return {prefix + name.replace(old, new): value for name, value in state.items()}


NAMINGS: dict[str, Callable[[State], State]] = {
    "data parallel": lambda state: renamed(state, "", "", "module."),
    "torch": lambda state: renamed(renamed(state, "Wqkv.weight", "in_proj_weight"), "Wqkv.bias", "in_proj_bias"),
    "wrapper": lambda state: renamed(state, "self_attn.", "self_attn._impl."),
    "wrapper, data parallel": lambda state: renamed(state, "self_attn.", "self_attn._impl.", "module."),
    "double precision": lambda state: {name: value.double() for name, value in state.items()},
    "no heads": lambda state: {k: v for k, v in state.items() if k.startswith(("encoder", "value", "transformer"))},
    "classifier": lambda state: state | {"cls_decoder.out_layer.bias": torch.zeros(7)},
}


@pytest.mark.parametrize("naming", NAMINGS)
def test_all_namings_give_the_same_model(folder: Path, naming: str) -> None:
    expected = cell(folder)
    assert torch.equal(cell(changed(folder, NAMINGS[naming])), expected)


def test_the_report_accounts_for_every_tensor(folder: Path) -> None:
    loaded = load_checkpoint(folder)
    state = torch.load(folder / "best_model.pt", weights_only=True)
    assert set(loaded.report.matched) | set(loaded.report.unused) == set(state)
    assert set(loaded.report.matched) == set(loaded.model.state_dict())
    assert "flag_encoder.weight" in loaded.report.unused
    assert loaded.report.sha256 == file_digest(folder / "best_model.pt")
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in loaded.model.state_dict().items())


def test_every_mismatch_is_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    def damage(state: State) -> None:
        del state[QKV]
        state["bn.weight"] = torch.ones(16)
        state["encoder.enc_norm.bias"] = torch.zeros(17)

    with caplog.at_level(logging.ERROR), pytest.raises(PathomixError, match="3 tensors do not fit") as error:
        load_checkpoint(changed(folder, damage))
    for told in (f"missing {QKV}", "unexpected bn.weight", "encoder.enc_norm.bias has shape (17,) instead of (16,)"):
        assert told in str(error.value)
        assert told in caplog.text


def test_several_names_of_one_tensor_are_refused(folder: Path) -> None:
    change = lambda state: state | {"transformer_encoder.layers.0.self_attn.in_proj_bias": torch.zeros(48)}  # noqa: E731
    with pytest.raises(PathomixError, match=r"several names: transformer_encoder\.layers\.0\.self_attn\.in_proj_bias"):
        load_checkpoint(changed(folder, change))


def test_damaged_values_are_refused(folder: Path) -> None:
    def damage(state: State) -> None:
        state[QKV][0, 0] = torch.nan

    with pytest.raises(PathomixError, match=f"NaN or infinity: {QKV}"):
        load_checkpoint(changed(folder, damage))


def test_code_in_the_file_is_not_run(folder: Path, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "run",)

    (folder / "best_model.pt").write_bytes(pickle.dumps({"a": Attack()}, protocol=2))
    with pytest.raises(PathomixError, match="not a weights-only file"):
        load_checkpoint(folder)
    assert not (tmp_path / "run").exists()


def test_a_vocabulary_without_special_tokens_is_refused_unless_the_table_has_their_rows(folder: Path) -> None:
    path = folder / "vocab.json"
    vocabulary = {token: place for token, place in json.loads(path.read_text()).items() if place < 300}
    path.write_text(json.dumps(vocabulary))
    assert len(load_checkpoint(folder).vocabulary) == 303

    def cut(state: State) -> None:
        state["encoder.embedding.weight"] = state["encoder.embedding.weight"][:300].clone()

    with pytest.raises(PathomixError, match=r"300 rows and .*303 tokens \(<pad>, <cls>, <eoc> were not in the file"):
        load_checkpoint(changed(folder, cut))


def test_another_vocabulary_is_refused(folder: Path) -> None:
    path = folder / "vocab.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"MORE": 303}))
    with pytest.raises(PathomixError, match=r"table has 303 rows and .* names 304 tokens"):
        load_checkpoint(folder)


@pytest.mark.parametrize("field", ["embsize", "nheads", "d_hid", "nlayers", "dropout", "pad_token", "pad_value"])
def test_missing_fields_are_named(folder: Path, field: str) -> None:
    with pytest.raises(PathomixError, match=f"fields are missing: {field};"):
        load_checkpoint(with_args(folder, **{field: None}))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nheads": 3}, "do not describe a model: embsize = 16, nheads = 3"),
        ({"nlayers": 0}, "nlayers = 0"),
        ({"embsize": "16"}, "embsize = '16'"),
        ({"dropout": 1.0}, "dropout = 1.0"),
        ({"pad_token": 3}, "pad_token = 3"),
        ({"pad_token": "[pad]"}, r"'\[pad\]' is not in the vocabulary"),
        ({"pre_norm": True}, "pre_norm is set"),
        ({"nlayers": 3}, "12 tensors do not fit"),
    ],
)
def test_fields_that_do_not_fit_are_refused(folder: Path, fields: dict[str, object], message: str) -> None:
    with pytest.raises(PathomixError, match=message):
        load_checkpoint(with_args(folder, **fields))


def test_unknown_fields_are_ignored(folder: Path) -> None:
    expected = cell(folder)
    assert torch.equal(cell(with_args(folder, save_dir="elsewhere", world_size=16)), expected)


@pytest.mark.parametrize("name", ["args.json", "vocab.json", "best_model.pt"])
def test_missing_files_are_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(PathomixError, match=name):
        load_checkpoint(folder)


def test_names_of_the_layouts() -> None:
    names = {
        "module.layers.0.self_attn._impl.out_proj.bias": "layers.0.self_attn.out_proj.bias",
        "layers.0.self_attn.in_proj_weight": "layers.0.self_attn.Wqkv.weight",
        "mine._impl.x": "mine._impl.x",
    }
    assert list(official_names(dict.fromkeys(names, torch.zeros(1)), "file")) == list(names.values())


def test_random_directories_have_equal_bytes(folder: Path, tmp_path: Path) -> None:
    genes = [f"G{i}" for i in range(300)]
    write_random_checkpoint(tmp_path / "again", genes, Sizes(303, 16, 4, 24, 2, 0.2), seed=3)
    write_random_checkpoint(tmp_path / "other", genes, Sizes(303, 16, 4, 24, 2, 0.2), seed=4)
    for name in ("args.json", "vocab.json", "best_model.pt"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    assert (tmp_path / "other" / "best_model.pt").read_bytes() != (folder / "best_model.pt").read_bytes()
    with pytest.raises(PathomixError, match="303 tokens for a table of 300 rows"):
        write_random_checkpoint(tmp_path / "bad", genes, Sizes(300, 16, 4, 24, 2), seed=3)
