"""Slopes, bias, chunked attention, and the whole model against torch's own transformer layers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pathomix.core.errors import PathomixError
from pathomix.nn import alibi_vit
from pathomix.nn.alibi_vit import ALiBiViT, alibi_slopes, distance_bias, placed_attention

TILE = 16


def case(tiles=9, batch=1, dim=5, seed=0, span=12):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, tiles, dim, generator=generator)
    cells = torch.stack([torch.randperm(span * span, generator=generator)[:tiles] for _ in range(batch)])
    return features, torch.stack([cells // span, cells % span], dim=-1) * TILE


def small(depth=3, heads=6, seed=0, **more):
    torch.manual_seed(seed)
    model = ALiBiViT(5, 24, depth, heads, mlp_ratio=2, pooler_heads=4, tile=TILE, **more)
    for parameter in model.parameters():  # biases and norms that do nothing would hide a mistake
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


def test_slopes():
    torch.testing.assert_close(alibi_slopes(8), torch.tensor([2.0**-k for k in range(1, 9)]))
    expected = [2.0**-k for k in range(1, 9)] + [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    torch.testing.assert_close(alibi_slopes(12), torch.tensor(expected))  # spec 5
    torch.testing.assert_close(alibi_slopes(3), torch.tensor([2.0**-4, 2.0**-8, 2.0**-2]))
    torch.testing.assert_close(alibi_slopes(1), torch.tensor([2.0**-8]))
    assert all(len(alibi_slopes(heads)) == heads for heads in range(1, 40))


@pytest.mark.parametrize("offset", [0, 200_000])
def test_bias_is_the_distance_in_cells(offset):
    _, coords = case(7, batch=2)
    cells, slopes = coords // TILE + offset, alibi_slopes(3)
    dense = distance_bias(cells, slopes, 0, 8)
    assert dense.shape == (2, 3, 8, 8)
    for b, h, i, j in [(b, h, i, j) for b in range(2) for h in range(3) for i in range(8) for j in range(8)]:
        distance = (cells[b, i - 1] - cells[b, j - 1]).double().norm().item() if i and j else 0.0
        assert dense[b, h, i, j].item() == pytest.approx(-slopes[h].item() * distance, rel=1e-6)
    parts = [distance_bias(cells, slopes, first, min(first + 3, 8)) for first in range(0, 8, 3)]
    torch.testing.assert_close(torch.cat(parts, dim=2), dense, rtol=0, atol=0)


def dense_attention(query, key, value, cells, slopes):
    logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    return (logits + distance_bias(cells, slopes, 0, query.shape[2])).softmax(dim=-1) @ value


@pytest.mark.parametrize("entries", [1, 2 * 3 * 12 * 5, 1 << 26])
def test_stretches_equal_the_whole(monkeypatch, entries):
    monkeypatch.setattr(alibi_vit, "_BIAS_ENTRIES", entries)
    torch.manual_seed(1)
    given = [torch.randn(2, 3, 12, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    cells, slopes = case(11, batch=2)[1] // TILE, alibi_slopes(3)
    weight = torch.randn(2, 3, 12, 4, dtype=torch.float64)
    ours = placed_attention(*given, cells, slopes)
    gradients = torch.autograd.grad((ours * weight).sum(), given)
    truth = dense_attention(*given, cells, slopes)
    torch.testing.assert_close(ours, truth)
    torch.testing.assert_close(gradients, torch.autograd.grad((truth * weight).sum(), given))


def test_the_bias_of_all_pairs_never_exists(monkeypatch):
    limit, sizes = 6 * 401 * 60, []
    monkeypatch.setattr(alibi_vit, "_BIAS_ENTRIES", limit)
    whole = alibi_vit.distance_bias
    monkeypatch.setattr(alibi_vit, "distance_bias", lambda *a: sizes.append((bias := whole(*a)).numel()) or bias)
    kept = []
    features, coords = case(400, span=30)
    model = small(depth=1)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        vector = model.vectors(features.requires_grad_(), coords, ["state_1_mean"])["state_1_mean"]
    forward = len(sizes)
    vector.sum().backward()
    assert forward == 7 and len(sizes) == 14 and max(sizes) <= limit
    assert max(kept) <= 401 * 72  # queries, keys and values wait for the backward pass, no bias does


def as_torch_layer(block, width, heads):
    layer = nn.TransformerEncoderLayer(
        width, heads, block.mlp.fc1.out_features, dropout=0.0, activation="gelu", layer_norm_eps=1e-6,
        batch_first=True, norm_first=True,
    )  # fmt: skip
    names = {"norm1": "norm1", "norm2": "norm2", "mlp.fc1": "linear1", "mlp.fc2": "linear2",
             "attn.proj": "self_attn.out_proj"}  # fmt: skip
    parts = {theirs: block.get_submodule(ours).state_dict() for ours, theirs in names.items()}
    state = {f"{name}.{kind}": value for name, part in parts.items() for kind, value in part.items()}
    state |= {f"self_attn.in_proj_{kind}": getattr(block.attn.qkv, kind) for kind in ("weight", "bias")}
    layer.load_state_dict(state)
    return layer


def test_the_model_equals_torchs_own_layers():
    model = small()
    features, coords = case(batch=2)
    cells = coords // TILE - (coords // TILE).amin(dim=1, keepdim=True)
    mask = distance_bias(cells, alibi_slopes(6), 0, 10).flatten(0, 1)
    x = nn.functional.gelu(features @ model.patch_embed[0].weight.T + model.patch_embed[0].bias)
    x = torch.cat([model.cls_token.expand(2, -1, -1), x], dim=1)
    names = [f"state_{k}_{kind}" for k in range(4) for kind in ("cls", "mean")]
    ours = model.vectors(features, coords, ["model", *names])
    for k in range(4):
        if k:
            x = as_torch_layer(model.blocks[k - 1], 24, 6)(x, src_mask=mask)
        torch.testing.assert_close(ours[f"state_{k}_cls"], model.norm(x[:, 0]))
        torch.testing.assert_close(ours[f"state_{k}_mean"], model.norm(x[:, 1:].mean(dim=1)))
    pooler = model.attn_pool_contrastive
    keys = pooler.ln_k(model.norm(x))
    pooled, _ = pooler.attn(pooler.ln_q(pooler.query).expand(2, 1, -1), keys, keys)
    torch.testing.assert_close(ours["model"], pooled[:, 0])
    assert ours["model"].std() > 0.01 and list(ours) == ["model", *names]


def test_blocks_in_stretches_and_poolings():
    model = small()
    features, coords = case()
    whole = model.run_blocks(model.prepare(features, coords), 0, 2)
    tapped = model.prepare(features, coords)
    for first, last in ((0, 0), (1, 2)):
        tapped = model.run_blocks(tapped, first, last)
    torch.testing.assert_close(tapped, whole, rtol=0, atol=0)
    assert (model.width, model.depth) == (24, 3)
    torch.testing.assert_close(model.image_vector(whole, "cls"), whole.cls[:, 0])
    torch.testing.assert_close(model.image_vector(whole, "mean"), whole.tiles.mean(dim=1))
    model_vector = model.vectors(features, coords, ["model"])["model"]
    torch.testing.assert_close(model.image_vector(whole, "model"), model_vector)


@pytest.mark.parametrize("kind", [torch.int64, torch.float64])
def test_cells_count_from_the_first_tile(kind):
    coords = torch.tensor([[[5, 7], [5 + 15, 7], [5 + 16, 7 + 32], [5, 7]]]).to(kind)
    tokens = small().prepare(torch.randn(1, 4, 5), coords)
    assert tokens.cells.tolist() == [[[0, 0], [0, 0], [1, 2], [0, 0]]] and tokens.tiles.shape == (1, 4, 24)


def test_order_and_place_of_the_whole_do_not_matter_but_distances_do():
    model = small()
    features, coords = case(20)
    vector = model.vectors(features, coords, ["model"])["model"]
    order = torch.randperm(20)
    torch.testing.assert_close(model.vectors(features[:, order], coords[:, order], ["model"])["model"], vector)
    torch.testing.assert_close(model.vectors(features, coords + 1000 * TILE, ["model"])["model"], vector)
    assert (model.vectors(features, coords * 3, ["model"])["model"] - vector).abs().max() > 1e-3


def test_gradients_reach_the_tiles_through_frozen_blocks():
    model = small().requires_grad_(False)
    features, coords = case()
    model.vectors(features.requires_grad_(), coords, ["model"])["model"].sum().backward()
    assert (features.grad.abs().amax(dim=2) > 0).all()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_one_tile_and_batches():
    model = small()
    features, coords = case(1)
    assert model.vectors(features, coords, ["model"])["model"].isfinite().all()
    features, coords = case(8, batch=3)
    together = model.vectors(features, coords, ["model"])["model"]
    alone = [model.vectors(features[i : i + 1], coords[i : i + 1], ["model"])["model"] for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_stochastic_depth_acts_on_whole_cases_in_training_only():
    features, coords = (part.expand(64, -1, -1) for part in case(4))
    model = small(depth=2, drop_path=0.5)
    without = small(depth=2).vectors(features, coords, ["model"])
    torch.testing.assert_close(model.vectors(features, coords, ["model"]), without)
    start = model.train().run_blocks(model.prepare(features, coords), 0, 0)
    torch.testing.assert_close(start.tiles, start.tiles[:1].expand(64, -1, -1))  # the first block always stays
    end = model.run_blocks(start, 1, 1)
    kinds = torch.unique(end.tiles.flatten(1).round(decimals=4), dim=0)
    assert len(kinds) == 4  # each of the two branches kept or left out
    assert (end.tiles == start.tiles).flatten(1).all(dim=1).any()  # both left out
    assert model._kept(1, torch.ones(20_000, 1, 1)).mean().item() == pytest.approx(1, abs=0.03)  # unbiased


def test_autocast_keeps_the_bias_apart_from_half_precision_distances():
    model = small()
    features, coords = case(12)
    exact = model.vectors(features, coords, ["model"])["model"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model.vectors(features, coords, ["model"])["model"]
    assert torch.cosine_similarity(exact, half.float()).item() > 0.999


def test_what_is_not_understood_is_refused():
    model = small()
    with pytest.raises(PathomixError, match="state_9_cls"):
        model.vectors(*case(), ["model", "state_9_cls"])
    with pytest.raises(PathomixError, match="no slide vector"):
        model.vectors(*case(), [])
    with pytest.raises(PathomixError, match="pooling max"):
        model.image_vector(model.prepare(*case()), "max")
    with pytest.raises(PathomixError, match="width 24 with 5 heads"):
        ALiBiViT(5, 24, 1, 5)


def test_a_copy_is_the_same_model():
    model = small()
    assert {name for name, _ in model.named_parameters()} == set(model.state_dict())
    torch.testing.assert_close(
        copy.deepcopy(model).vectors(*case(), ["model"]), model.vectors(*case(), ["model"]), rtol=0, atol=0
    )
