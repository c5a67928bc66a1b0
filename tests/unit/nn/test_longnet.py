"""LongNet: names and totals of the released model, the stages of its output, what may and may not change a result."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pathomix.core.errors import PathomixError
from pathomix.nn.dilated_attention import usable_kernels
from pathomix.nn.longnet import LongNet, stock_segments

SMALL: dict[str, Any] = {
    "in_chans": 12, "embed_dim": 32, "depth": 3, "heads": 4, "slide_ngrids": 20, "segment_length": [8, 16, 32],
    "dilated_ratio": [1, 2, 4],
}  # fmt: skip


def small(seed: int = 0, **changes: Any) -> LongNet:
    """A small model with every parameter redrawn, so that norms and biases matter."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LongNet(**SMALL | changes)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def case(tiles: int, batch: int = 1, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, tiles, 12, generator=generator)
    return features, torch.randint(0, 20 * 256, (batch, tiles, 2), generator=generator)


def test_names_and_totals_of_the_released_model() -> None:
    with torch.device("meta"):
        model = LongNet()
    state = model.state_dict()
    assert len(state) == 247
    assert sum(tensor.numel() for tensor in state.values()) == 86_330_880
    assert sum(tensor.numel() for tensor in model.encoder.state_dict().values()) == 85_148_160
    assert tuple(state["patch_embed.proj.weight"].shape) == (768, 1536)
    layer = {name.removeprefix("encoder.layers.11.") for name in state if name.startswith("encoder.layers.11.")}
    projections = {f"self_attn.{p}_proj" for p in "qkv"} | {"self_attn.out_proj"}
    norms = {"self_attn.inner_attn_ln", "self_attn_layer_norm", "final_layer_norm", "ffn.ffn_layernorm"}
    modules = projections | norms | {"ffn.fc1", "ffn.fc2"}
    assert layer == {f"{module}.{kind}" for module in modules for kind in ("weight", "bias")}


@pytest.mark.parametrize(
    ("max_wsi_size", "tile_size", "expected"),
    [
        (262144, 256, (1024, 5792, 32768, 185363, 1048576)),
        (250000, 256, (1024, 4870, 23170, 110217, 524288)),
        (65536, 256, (1024, 2896, 8192, 23170, 65536)),
    ],
)
def test_stock_segments(max_wsi_size: int, tile_size: int, expected: tuple[int, ...]) -> None:
    assert stock_segments(max_wsi_size, tile_size) == expected


def test_a_slide_below_one_tile_has_no_segments() -> None:
    with pytest.raises(PathomixError, match="below tile_size"):
        stock_segments(255, 256)


def test_named_vectors_follow_their_definitions() -> None:
    model, (features, coords) = small(), case(30, batch=2)
    with torch.no_grad():
        found = model.vectors(features, coords, model.vector_names)
        states = list(model.states(features, coords))
        assert torch.equal(model(features, coords), found["final_cls"])
        assert torch.equal(small(global_pool=True)(features, coords), found["final_mean"])
    assert len(states) == 4 and len(found) == 10
    # the two closing norms, written out: eps 1e-5 belongs to the encoder, 1e-6 to the model
    weights = model.state_dict()

    def norm(x: Tensor, name: str, eps: float) -> Tensor:
        scaled = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + eps).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    for k, state in enumerate(states):
        torch.testing.assert_close(found[f"state_{k}_cls"], norm(state.cls[:, 0], "norm", 1e-6))
        torch.testing.assert_close(found[f"state_{k}_mean"], norm(state.tiles.mean(1), "norm", 1e-6))
    closed_cls, closed_tiles = (norm(x, "encoder.layer_norm", 1e-5) for x in (states[-1].cls, states[-1].tiles))
    torch.testing.assert_close(found["final_cls"], norm(closed_cls[:, 0], "norm", 1e-6))
    torch.testing.assert_close(found["final_mean"], norm(closed_tiles.mean(1), "norm", 1e-6))
    vectors = torch.stack(list(found.values()))
    apart = (vectors[:, None] - vectors[None]).abs().amax(dim=(2, 3)) + torch.eye(10)
    assert apart.min() > 1e-3


def test_vectors_stop_at_the_deepest_state_asked_for() -> None:
    model, (features, coords) = small(), case(9)
    calls: list[int] = []
    for i, block in enumerate(model.encoder.layers):
        block.register_forward_hook(lambda *_, i=i: calls.append(i))
    assert list(model.vectors(features, coords, ["state_1_mean", "state_0_cls"])) == ["state_1_mean", "state_0_cls"]
    assert calls == [0]


@pytest.mark.parametrize("names", [["state_4_cls"], ["state_1_max"], ["final"], []])
def test_unknown_vectors_are_named(names: list[str]) -> None:
    with pytest.raises(PathomixError, match=names[0] if names else "no slide vector"):
        small().vectors(*case(3), names)


def test_stretches_of_blocks_make_the_whole() -> None:
    model, (features, coords) = small(), case(25)
    with torch.no_grad():
        whole = model.run_blocks(model.prepare(features, coords), 0, 2)
        parts = model.run_blocks(model.run_blocks(model.prepare(features, coords), 0, 0), 1, 2)
        assert torch.equal(whole.tiles, parts.tiles) and torch.equal(whole.cls, parts.cls)
        assert torch.equal(model.image_vector(whole, "cls"), whole.cls[:, 0])
        assert torch.equal(model.image_vector(whole, "mean"), whole.tiles.mean(1))
        assert torch.equal(model.image_vector(whole, "model"), model(features, coords))
    assert torch.equal(whole.cells, coords // 256)
    with pytest.raises(PathomixError, match="pooling max"):
        model.image_vector(whole, "max")
    for first, last in ((0, 3), (-1, 1), (2, 1)):
        with pytest.raises(PathomixError, match="of 3"):
            model.run_blocks(whole, first, last)


def test_the_order_of_tiles_is_part_of_the_model() -> None:
    model, (features, coords) = small(), case(40)
    shuffle = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        vector, other = model(features, coords), model(features[:, shuffle], coords[:, shuffle])
        assert (vector - other).abs().max() > 1e-3
        sorted_vectors = []
        for x, c in ((features, coords), (features[:, shuffle], coords[:, shuffle])):
            order = torch.argsort(c[0, :, 1] * 10_000 + c[0, :, 0])
            sorted_vectors.append(model(x[:, order], c[:, order]))
    torch.testing.assert_close(*sorted_vectors)


def test_cases_of_a_batch_do_not_see_each_other() -> None:
    model, (features, coords) = small(), case(33, batch=3)
    with torch.no_grad():
        together = model(features, coords)
        alone = torch.cat([model(features[i : i + 1], coords[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_one_tile() -> None:
    model, (features, coords) = small(), case(1)
    vectors = model.vectors(features, coords, model.vector_names)
    assert all(vector.shape == (1, 32) and vector.isfinite().all() for vector in vectors.values())


def test_coordinates_outside_the_grid_are_an_error_or_wrap() -> None:
    features, _ = case(2)
    beyond, next_row = torch.tensor([[[0, 0], [512, 20 * 256]]]), torch.tensor([[[0, 0], [768, 0]]])
    with pytest.raises(PathomixError, match=r"1 of 2 tiles.*\(2, 20\)"):
        small()(features, beyond)
    wrapping = small(out_of_grid="wrap")
    assert torch.equal(wrapping(features, beyond), wrapping(features, next_row))
    with pytest.raises(PathomixError, match="rows outside"):
        wrapping(features, torch.tensor([[[0, 0], [20 * 256, 0]]]))


def test_the_divisor_of_coordinates_is_not_bound_to_the_tile_size() -> None:
    features, coords = case(10)
    assert torch.equal(
        small(tile_size=512)(features, coords), small(tile_size=512, coord_divisor=256)(features, coords // 2)
    )


@pytest.mark.parametrize(
    ("features", "coords"),
    [((1, 5, 11), (1, 5, 2)), ((1, 5, 12), (1, 4, 2)), ((5, 12), (5, 2)), ((1, 5, 12), (1, 5, 3))],
)
def test_shapes_that_do_not_fit_are_told(features: tuple[int, ...], coords: tuple[int, ...]) -> None:
    with pytest.raises(PathomixError, match=r"give \[cases, tiles, 12\]"):
        small().prepare(torch.zeros(features), torch.zeros(coords))


def test_a_case_without_tiles_is_refused() -> None:
    with pytest.raises(PathomixError, match="without tiles"):
        small()(torch.zeros(1, 0, 12), torch.zeros(1, 0, 2))


def test_width_has_to_be_divided_by_the_heads() -> None:
    with pytest.raises(PathomixError, match="heads"):
        small(heads=5)


def gradients(model: LongNet, seed: int = 5) -> dict[str, Tensor]:
    features, coords = case(30, batch=2)
    model.zero_grad()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model(features, coords).square().sum().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("training", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(training: bool) -> None:
    plain, lean = (small(gradient_checkpointing=flag).train(training) for flag in (False, True))
    ran: list[int] = []
    for block in lean.encoder.layers:
        block.self_attn.q_proj.register_forward_hook(lambda *_: ran.append(1))
    want, have = gradients(plain), gradients(lean)
    assert len(ran) == 6
    assert want.keys() == have.keys() == dict(plain.named_parameters()).keys()
    assert all(torch.equal(want[name], have[name]) for name in want)


def test_dropout_and_stochastic_depth_act_in_training_only() -> None:
    features, coords = case(20)
    model = small()
    with torch.no_grad():
        still = model(features, coords)
        assert torch.equal(still, model(features, coords))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model.train()
            assert not torch.equal(model(features, coords), model(features, coords))
            assert torch.equal(small(dropout=0.0, drop_path=0.0).train()(features, coords), still)
            by_depth = [block.drop_path for block in model.encoder.layers]
            assert by_depth == pytest.approx([0.0, 0.05, 0.1])


def test_stochastic_depth_drops_whole_cases_and_keeps_the_mean() -> None:
    block = small(dropout=0.0, drop_path=0.25).train().encoder.layers[2]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        thinned = block._thin(torch.ones(4000, 2, 3))
    assert thinned.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert all(len(case.unique()) == 1 for case in thinned)
    assert float(thinned.mean()) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_stays_close_and_norms_stay_wide(dtype: torch.dtype) -> None:
    model, (features, coords) = small(), case(60)
    seen = []
    model.encoder.layers[0].ffn.ffn_layernorm.register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    with torch.no_grad():
        exact = model.vectors(features, coords, ["state_3_mean", "final_cls"])
        with torch.autocast("cpu", dtype):
            rough = model.vectors(features, coords, ["state_3_mean", "final_cls"])
    assert all(x.dtype == torch.float32 for pair in seen for x in pair)
    for name, vector in rough.items():
        assert vector.dtype == torch.float32
        assert F.cosine_similarity(vector, exact[name]).min() > 0.999
        assert not torch.equal(vector, exact[name])


def test_whole_model_in_another_precision() -> None:
    model, (features, coords) = small(), case(60)
    with torch.no_grad():
        exact = small().double()(features.double(), coords)
        torch.testing.assert_close(model(features, coords).double(), exact, atol=1e-4, rtol=0)
        rough = small().to(torch.bfloat16)(features.to(torch.bfloat16), coords)
    assert rough.dtype == torch.bfloat16
    assert F.cosine_similarity(rough.double(), exact).min() > 0.99


def test_kernels_give_the_same_vector() -> None:
    features, coords = case(100)
    vectors = [small(kernel=kernel)(features, coords) for kernel in usable_kernels(torch.zeros(1, 8))]
    for vector in vectors[1:]:
        torch.testing.assert_close(vector, vectors[0], atol=1e-5, rtol=0)


def test_indexing_that_matters_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    small()(*case(40))
    assert not caplog.records
    uneven = {"segment_length": [7, 30], "dilated_ratio": [2, 4]}
    vectors = [small(**uneven, indexing=indexing)(*case(40)) for indexing in ("aligned", "compat")]
    assert [record.message.rsplit("; ")[-1] for record in caplog.records] == ["aligned indexing", "compat indexing"]
    assert (vectors[0] - vectors[1]).abs().max() > 1e-3


def test_official_weights_load_strictly_and_leave_out_what_the_encoder_has_not() -> None:
    source, target = small(seed=1), small(seed=2)
    extra = {"pos_embed": torch.zeros(1, 401, 32), "decoder.norm.weight": torch.zeros(3), "mask_token": torch.zeros(1)}
    target.load_official(source.state_dict() | extra | {"decoder_pos_embed": torch.zeros(2)})
    assert torch.equal(source(*case(7)), target(*case(7)))


def test_every_tensor_that_does_not_fit_is_named() -> None:
    model = small()
    state = model.state_dict()
    missing = [f"encoder.layers.{i}.{name}" for i in range(3) for name in ("ffn.fc1.bias", "self_attn.q_proj.weight")]
    for name in [*missing, "cls_token"]:
        del state[name]
    extra = [f"head{i}.weight" for i in range(9)] + ["norm.pos_embed.weight"]
    state |= {name: torch.zeros(2) for name in extra}
    state["norm.weight"] = torch.zeros(31)
    state["norm.bias"] = state["norm.bias"] * torch.nan
    state["encoder.layer_norm.bias"] = "text"
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(PathomixError) as caught:
        model.load_official(state)
    message = str(caught.value)
    for name in [*missing, *extra, "cls_token", "norm.weight (31,) instead of (32,)", "encoder.layer_norm.bias (str)"]:
        assert name in message
    assert "7 missing" in message and "10 unexpected" in message and "2 of another shape" in message
    assert "1 with NaN or infinity: norm.bias" in message
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


HUNDRED_THOUSAND = """
import resource, torch
from pathomix.nn.longnet import LongNet
torch.manual_seed(0)
model = LongNet(in_chans=8, embed_dim=64, depth=1, heads=16, mlp_ratio=1.0)
features, coords = torch.randn(1, 100_000, 8), torch.randint(0, 256_000, (1, 100_000, 2))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
vector = model(features, coords)
assert vector.isfinite().all() and vector.requires_grad
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_a_hundred_thousand_tiles_in_bounded_memory() -> None:
    # a process of its own: the peak of this one may lie behind it
    run = subprocess.run([sys.executable, "-c", HUNDRED_THOUSAND], capture_output=True, text=True, check=True)
    # what the backward pass will need is kept; one 100,000 x 100,000 matrix has 40 GB, tokens of this width 26 MB
    assert int(run.stdout) * 1024 < 2e9
