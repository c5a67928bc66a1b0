"""Weights: strict, without code, deterministic."""

import os
import pickle
import random

import pytest
import safetensors.torch
import timm
import torch

from pathomix.core.errors import PathomixError
from pathomix.core.weights import read_state, state_digest
from pathomix.slides.encoders.encoder import build_encoder
from pathomix.slides.encoders.loading import seed_weights

VITS = ["gigapath", "h_optimus_0", "uni", "uni2_h", "virchow", "virchow2", "conch_v1_5"]


def tiny(**changes):
    return build_encoder("mine", {"model": "timm", "timm": "test_resnet", "tile_size": 32, "mpp": 1, **changes})


@pytest.mark.parametrize("name", VITS)
@pytest.mark.parametrize("form", ["bare", "safetensors", "wrapped", "half"])
def test_a_file_is_loaded_whole(small, saved, tmp_path, name, form):
    path = saved(name)
    state = torch.load(path, weights_only=True)
    if form == "safetensors":
        safetensors.torch.save_file(state, path := tmp_path / "w.safetensors")
    elif form == "wrapped":
        torch.save({"state_dict": state}, path)
    elif form == "half":
        state = {key: value.half() for key, value in state.items()}
        torch.save(state, path)
    made = build_encoder("mine", small(name, weights=str(path)))
    own = made._module.network.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[key], state[key].float()) and own[key].dtype == torch.float32 for key in own)
    assert made.weights_sha256 == state_digest({key: value.float() for key, value in state.items()})
    assert made.revision == path.name
    assert not any(p.requires_grad for p in made._module.parameters()) and not made._module.training


def test_seeded_weights_depend_on_the_seed_alone(small):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    for entry in (small("gigapath"), small("t2t_vit_14"), small("conch_v1_5"), {"model": "demo"}):
        first, second, other = (build_encoder("a", {**entry, "seed": seed}) for seed in (0, 0, 1))
        assert first.weights_sha256 == second.weights_sha256 != other.weights_sha256
        assert first.revision == "random, seed 0"
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "convnext_atto", "vit_small_patch14_dinov2"])
def test_no_layer_is_silent(name):
    """Timm starts branches at or near zero (last norms, LayerScale); seeded features must not lose them."""
    model = timm.create_model(name, num_classes=0)
    seed_weights(model, 0)
    silent = [n for n, p in model.named_parameters() if n.endswith(("weight", "gamma")) and p.abs().max() < 1e-3]
    assert not silent


def test_every_mismatch_is_named(small, saved, caplog):
    path = saved("gigapath")
    state = torch.load(path, weights_only=True)
    state["stranger"] = state.pop("norm.weight")
    state["pos_embed"] = torch.zeros(1, 9, 48)
    torch.save(state, path)
    with pytest.raises(PathomixError, match=r"encoder mine: .*3 tensors do not fit") as error:
        build_encoder("mine", small("gigapath", weights=str(path)))
    assert sorted(error.value.offending) == [
        "missing norm.weight",
        "pos_embed has shape (1, 9, 48) instead of (1, 17, 48)",
        "unexpected stranger",
    ]
    assert "unexpected stranger" in caplog.text
    assert "give the file of gigapath" in error.value.remedy and "fits" not in error.value.remedy


@pytest.mark.parametrize("name", [*VITS, "midnight_12k", "phikon_v2", "gpfm", "t2t_vit_14"])
def test_the_file_of_another_architecture_is_refused(small, tmp_path, name):
    torch.save(timm.create_model("test_vit", num_classes=0).state_dict(), tmp_path / "w.pth")
    with pytest.raises(PathomixError, match="tensors do not fit"):
        build_encoder("mine", small(name, weights=str(tmp_path / "w.pth")))


def test_the_encoder_that_the_file_does_fit_is_named(small, tmp_path):
    state = timm.create_model("resnet50", num_classes=0).state_dict()
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(PathomixError, match="tensors do not fit") as error:
        build_encoder("mine", small("uni", weights=str(tmp_path / "w.pth")))
    assert error.value.remedy.startswith("the file fits resnet50: set encoders.mine.model to that")
    assert len(error.value.offending) > 300


def test_a_file_in_timms_layout_is_no_file_of_transformers(small, saved):
    """UNI and Phikon-v2 are one architecture: the names alone say whose file it is."""
    with pytest.raises(PathomixError, match="tensors do not fit"):
        build_encoder("mine", small("phikon_v2", weights=str(saved("uni"))))


def test_where_a_file_is_missing_a_user_is_told_where_it_is_had(small, tmp_path):
    with pytest.raises(PathomixError, match=r"no file .*absent\.bin with the weights of Prov-GigaPath") as error:
        build_encoder("mine", small("gigapath", weights=str(tmp_path / "absent.bin")))
    assert "prov-gigapath/prov-gigapath" in error.value.remedy and "research only" in error.value.remedy


@pytest.mark.parametrize("form", ["safetensors", "bare", "wrapped", "with_classifier"])
def test_weights_of_any_timm_model(tmp_path, tiles, form):
    model = timm.create_model("test_resnet", num_classes=7 if form == "with_classifier" else 0)
    seed_weights(model, 5)
    state = dict(model.state_dict())
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save({"state_dict": state} if form == "wrapped" else state, path)
    loaded, seeded = tiny(weights=str(path)), tiny(seed=5)
    assert loaded.weights_sha256 == seeded.weights_sha256
    assert torch.equal(loaded.encode(tiles(32)), seeded.encode(tiles(32)))


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.mark.parametrize("kind", ["torch", "torch_old", "pickle", "pickle_0", "in_metadata"])
@pytest.mark.parametrize("model", ["gigapath", "timm", "t2t_vit_14"])
def test_code_in_a_pickle_is_not_run(small, tmp_path, kind, model):
    path, mark = tmp_path / "w.pth", str(tmp_path / "code was run")
    if kind == "torch":
        torch.save({"a": torch.zeros(2), "b": Evil(mark)}, path)
    elif kind == "torch_old":
        torch.save({"b": Evil(mark)}, path, _use_new_zipfile_serialization=False)
    elif kind == "in_metadata":
        torch.save({"state_dict": {"a": torch.zeros(2)}, "args": Evil(mark)}, path)
    else:
        path.write_bytes(pickle.dumps({"a": Evil(mark)}, protocol=0 if kind == "pickle_0" else 2))
    entry = small(model, weights=str(path))
    if model == "timm":
        entry |= {"timm": "test_resnet", "tile_size": 32, "mpp": 1}
    with pytest.raises(PathomixError, match=r"w\.pth: not a weights-only file"):
        build_encoder("mine", entry)
    assert not os.path.exists(mark)  # noqa: PTH110
    # the same file read with trust does run it: the test would notice
    torch.load(path, weights_only=False) if kind.startswith(("torch", "in")) else pickle.loads(path.read_bytes())
    assert os.path.exists(mark)  # noqa: PTH110


@pytest.mark.parametrize("kind", ["garbage", "empty", "cut", "no_dict", "absent", "bad_safetensors"])
def test_files_that_are_no_weights_are_refused(tmp_path, kind):
    path = tmp_path / ("w.safetensors" if kind == "bad_safetensors" else "w.pth")
    if kind == "no_dict":
        torch.save([torch.zeros(2)], path)
    elif kind == "cut":
        torch.save({"a": torch.zeros(500)}, path)
        path.write_bytes(path.read_bytes()[:-300])
    elif kind != "absent":
        path.write_bytes(b"" if kind == "empty" else pickle.dumps([1, 2], protocol=2) + b"garbage")
    with pytest.raises(PathomixError, match=r"w\.(pth|safetensors)"):
        tiny(weights=str(path))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_damaged_file_is_an_error_a_user_can_read(tmp_path):
    """Bytes changed, lost and put in: torch's reader breaks in a dozen ways, and none of them reaches the user."""
    path, rng = tmp_path / "w.pth", random.Random(0)
    originals = []
    for form in (True, False):
        torch.save({"a": torch.ones(4, 4)}, path, _use_new_zipfile_serialization=form)
        originals.append(path.read_bytes())
    refused = 0
    for _ in range(250):
        content = bytearray(rng.choice(originals))
        for _ in range(rng.randint(1, 6)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        if rng.random() < 0.4:
            del content[rng.randrange(len(content)) :]
        path.write_bytes(content)
        try:
            read_state(path)
        except PathomixError as error:
            assert "w.pth" in error.fact and error.remedy
            refused += 1
    assert refused > 150


def test_weights_out_of_reach_are_explained(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(PathomixError, match="encoder mine: timm's weights of test_resnet cannot be fetched") as error:
        tiny(pretrained=True)
    assert "`weights`" in error.value.remedy


@pytest.mark.parametrize(
    ("entry", "fact"),
    [
        ({"model": "timm", "timm": "resnet_of_dreams", "tile_size": 8, "mpp": 1}, "has no model 'resnet_of_dreams'"),
        ({"model": "uni", "seed": 0, "model_args": {"depht": 2}}, "refuses its arguments .*depht"),
        ({"model": "uni", "seed": 0, "model_args": {"mlp": "relu"}}, "mlp is 'relu'"),
        ({"model": "t2t_vit_14", "seed": 0, "model_args": {"deep": 2}}, "T2T-ViT: unknown parameters: deep"),
        ({"model": "timm", "timm": "test_resnet", "tile_size": 8, "mpp": 1, "pooling": "cls"}, "no class token"),
    ],
)
def test_what_cannot_be_built_is_refused(entry, fact):
    with pytest.raises(PathomixError, match=f"encoder mine: .*{fact}"):
        build_encoder("mine", entry)
