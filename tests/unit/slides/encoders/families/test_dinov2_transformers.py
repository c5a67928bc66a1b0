"""DINOv2 in the layout of transformers, against that library."""

import pytest
import torch
from transformers import Dinov2Config, Dinov2Model

from pathomix.core.errors import PathomixError
from pathomix.slides.encoders.encoder import build_encoder
from pathomix.slides.encoders.pixels import Pixels


def random_model(name, image_size):
    swiglu = name == "midnight_12k"
    config = Dinov2Config(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        mlp_ratio=4,
        patch_size=14 if swiglu else 16,
        image_size=image_size,
        use_swiglu_ffn=swiglu,
        attn_implementation="eager",
    )
    torch.manual_seed(0)
    model = Dinov2Model(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def entry(small, name, path):
    # transformers gives SwiGLU 2/3 of the width, in multiples of 8: 4 x 48 x 2/3 = 128, twice that is packed
    ratio = 2 * 128 / 48 if name == "midnight_12k" else 4.0
    return small(name, weights=str(path), model_args={"mlp_ratio": ratio})


@pytest.fixture
def case(small, tmp_path):
    def make(name, factor=1, change=None):
        size = small(name)["input_size"]
        model = random_model(name, size * factor)
        state = {key: value.clone() for key, value in model.state_dict().items()}
        if change:
            change(state)
        torch.save(state, tmp_path / "w.pth")
        return model, entry(small, name, tmp_path / "w.pth")

    return make


@pytest.mark.parametrize("name", ["midnight_12k", "phikon_v2"])
@pytest.mark.parametrize("factor", [1, 2])
def test_equals_transformers(case, tiles, name, factor):
    """Factor 2: the file's position table is of twice the image size, and transformers resizes it on the fly."""
    model, configured = case(name, factor)
    made = build_encoder("a", configured)
    pixels = tiles(made.tile_size)
    with torch.no_grad():
        tokens = model(Pixels(made.parameters)(pixels)).last_hidden_state
    parts = [tokens[:, 0], tokens[:, 1:].mean(1)] if name == "midnight_12k" else [tokens[:, 0]]
    assert tokens.std() > 0.1
    torch.testing.assert_close(made.encode(pixels), torch.cat(parts, 1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("gone", ["query.weight", "key.bias"])
def test_a_missing_part_of_the_attention_is_named(case, gone):
    name = f"encoder.layer.1.attention.attention.{gone}"
    _, configured = case("phikon_v2", change=lambda state: state.pop(name))
    with pytest.raises(PathomixError, match="tensors do not fit") as error:
        build_encoder("a", configured)
    missing = [line for line in error.value.offending if line.startswith("missing")]
    assert missing == [f"missing blocks.1.attn.qkv.{gone.rpartition('.')[2]}"]
    assert len(error.value.offending) == 3 and name not in " ".join(error.value.offending)


def test_parts_of_unlike_sizes_and_strangers_are_named(case):
    def change(state):
        state["encoder.layer.0.attention.attention.value.weight"] = torch.zeros(47, 48)
        state["pooler.dense.weight"] = torch.zeros(2)
        state["norm.weight"] = torch.zeros(48)  # the network's own name, but not transformers'

    _, configured = case("phikon_v2", change=change)
    with pytest.raises(PathomixError, match="tensors do not fit") as error:
        build_encoder("a", configured)
    text = "\n".join(error.value.offending)
    for part in (
        "missing blocks.0.attn.qkv.weight",
        "unexpected pooler.dense.weight",
        "unexpected norm.weight (no name",
    ):
        assert part in text


def test_another_feed_forward_is_refused(case, small):
    """A file with SwiGLU for a network with GELU."""
    _, configured = case("midnight_12k")
    with pytest.raises(PathomixError, match="tensors do not fit"):
        build_encoder("a", {**configured, "model_args": {**configured["model_args"], "mlp": "gelu"}})
