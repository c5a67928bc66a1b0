"""T2T-ViT against arithmetic written out; its numbers against the reference are in the golden sets."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pathomix.core.errors import PathomixError
from pathomix.nn.t2t_vit import (
    VARIANTS,
    T2TSettings,
    T2TViT,
    TokenPerformer,
    TokenTransformer,
    _neighbourhoods,
    sinusoid_positions,
)

SMALL = T2TSettings(image_size=32, embed_dim=24, depth=2, heads=3, mlp_ratio=2.0, token_dim=16)
KINDS = [SMALL, replace(SMALL, token_kind="transformer")]


def redrawn(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every parameter random, in evaluation mode and double precision."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.double().eval()


def images(count: int, size: int, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "millions"), [("7", 4.3), ("10", 5.9), ("12", 6.9), ("14", 21.5), ("19", 39.2), ("24", 64.1)]
)
def test_published_numbers_of_parameters(name: str, millions: float) -> None:
    with torch.device("meta"):
        models = [T2TViT(VARIANTS[prefix + name], 1000) for prefix in ("", "t_")]
    for model in models:
        assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_official_names_and_shapes() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in T2TViT(VARIANTS["14"], 1000).state_dict().items()}
    assert shapes["tokens_to_token.attention1.w"] == (32, 64)
    assert shapes["tokens_to_token.attention1.kqv.weight"] == (192, 147)
    assert shapes["tokens_to_token.attention2.mlp.2.bias"] == (64,)
    assert shapes["tokens_to_token.project.weight"] == (384, 576)
    assert shapes["pos_embed"] == (1, 197, 384)
    assert shapes["blocks.13.attn.qkv.weight"] == (1152, 384)
    assert shapes["blocks.0.mlp.fc2.weight"] == (384, 1152)
    assert shapes["head.weight"] == (1000, 384)
    assert "blocks.0.attn.qkv.bias" not in shapes
    layers = {name.rsplit(".", 1)[0] for name in shapes if name.startswith("tokens_to_token.attention1.")}
    parts = ("", ".kqv", ".proj", ".norm1", ".norm2", ".mlp.0", ".mlp.2")
    assert layers == {f"tokens_to_token.attention1{part}" for part in parts}


def test_neighbourhoods_are_three_by_three_at_every_other_place() -> None:
    tokens = torch.randn(2, 36, 5, generator=torch.Generator().manual_seed(0))
    padded = np.zeros((2, 8, 8, 5), np.float32)
    padded[:, 1:7, 1:7] = tokens.reshape(2, 6, 6, 5).numpy()
    found = _neighbourhoods(tokens).numpy().reshape(2, 3, 3, 5, 3, 3)
    for row in range(3):
        for column in range(3):
            patch = padded[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            assert np.array_equal(found[:, row, column], patch.transpose(0, 3, 1, 2))


def test_the_first_unfolding_reads_pixels_around_each_token() -> None:
    """A change of one pixel reaches, before any mixing, only tokens whose 7 x 7 window holds it."""
    model = T2TViT(SMALL)
    model.tokens_to_token.attention1 = torch.nn.Identity()
    one = images(1, 32).float()
    other = one.clone()
    other[0, 1, 9, 21] += 1
    first, second = (model.tokens_to_token.first_tokens(i).reshape(8, 8, 147) for i in (one, other))
    moved = (first != second).any(dim=-1).nonzero().tolist()
    # windows of token (r, c) span rows 4 r - 2 ... 4 r + 4
    assert moved == [[r, c] for r in range(8) for c in range(8) if abs(4 * r + 1 - 9) <= 3 and abs(4 * c + 1 - 21) <= 3]


def test_token_performer_written_out() -> None:
    layer = redrawn(TokenPerformer(10, 6, 4, 0.1))
    tokens = torch.randn(2, 7, 10, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        found = layer(tokens)
        mixed = layer.kqv(layer.norm1(tokens))
    key, query, value = mixed[..., :6], mixed[..., 6:12], mixed[..., 12:]

    def phi(a: Tensor) -> Tensor:
        return torch.stack([torch.exp(row @ a - a @ a / 2) / 2 for row in layer.w])

    expected = torch.zeros_like(value)
    for case in range(2):
        for i in range(7):
            weights = torch.stack([phi(query[case, i]) @ phi(key[case, j]) for j in range(7)])
            attended = sum(w * value[case, j] for j, w in enumerate(weights)) / (weights.sum() + 1e-8)
            here = value[case, i] + layer.proj(attended)
            expected[case, i] = here + layer.mlp[2](torch.nn.functional.gelu(layer.mlp[0](layer.norm2(here))))
    assert torch.allclose(found, expected, atol=1e-12)


def test_random_features_approximate_softmax_attention() -> None:
    torch.manual_seed(0)
    count = 200_000
    layer = TokenPerformer(8, 8, count, 0.0).double().eval()
    assert torch.allclose(layer.w.mT @ layer.w / count, torch.eye(8, dtype=torch.float64), atol=1e-5)
    query, key, value = (torch.randn(1, 9, 8, dtype=torch.float64) * s for s in (0.3, 0.3, 1.0))
    exact = torch.softmax(query @ key.mT, dim=-1) @ value
    error = (layer._attend(key, query, value) - exact).abs().max()
    assert error < 0.05 * (exact - value.mean(dim=1, keepdim=True)).abs().max()


def test_projection_starts_orthogonal_and_is_not_trained() -> None:
    layer = TokenPerformer(147, 64, 32, 0.1)
    assert torch.allclose(layer.w @ layer.w.mT, 32 * torch.eye(32), atol=1e-3)
    assert not layer.w.requires_grad


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_exponentials_beyond_half_precision_stay_finite(kind: torch.dtype) -> None:
    """exp(16) / sqrt(32) is above the largest float16."""
    torch.manual_seed(0)
    layer = TokenPerformer(12, 64, 32, 0.0)
    key = layer.w[:1].detach().expand(1, 5, 64)
    value = torch.randn(1, 5, 64)
    assert layer._features(key).max() > 65504
    expected = layer._attend(key, key, value)
    half = layer.to(kind)._attend(key.to(kind), key.to(kind), value.to(kind))
    assert half.dtype == kind
    assert torch.allclose(half.float(), expected, atol=0.05)
    layer = layer.float()
    expected = layer._attend(key, key, value)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer._attend(key, key, value), expected)


def test_token_transformer_scales_by_the_width_of_its_input() -> None:
    layer = redrawn(TokenTransformer(10, 6))
    tokens = torch.randn(2, 7, 10, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        query, key, value = layer.attn.qkv(layer.norm1(tokens)).chunk(3, dim=-1)
        attended = torch.softmax(query @ key.mT / math.sqrt(10), dim=-1) @ value
        here = value + layer.attn.proj(attended)
        expected = here + layer.mlp(layer.norm2(here))
        assert torch.allclose(layer(tokens), expected, atol=1e-12)


@pytest.mark.parametrize("qk_scale", [None, 0.05])
def test_blocks_written_out(qk_scale: float | None) -> None:
    model = redrawn(T2TViT(replace(SMALL, qk_scale=qk_scale)))
    batch = images(2, 32)
    scale = 8**-0.5 if qk_scale is None else qk_scale
    with torch.no_grad():
        tokens = model.tokens_to_token(batch)
        tokens = torch.cat([model.cls_token.expand(2, 1, 24), tokens], dim=1) + model.pos_embed
        for block in model.blocks:
            parts = block.attn.qkv(block.norm1(tokens))
            heads = []
            for head in range(3):
                query, key, value = (parts[..., 24 * p + 8 * head : 24 * p + 8 * head + 8] for p in range(3))
                heads.append(torch.softmax(query @ key.mT * scale, dim=-1) @ value)
            tokens = tokens + block.attn.proj(torch.cat(heads, dim=-1))
            hidden = torch.nn.functional.gelu(block.mlp.fc1(block.norm2(tokens)))
            tokens = tokens + block.mlp.fc2(hidden)
        assert torch.allclose(model(batch), model.norm(tokens)[:, 0], atol=1e-12)


def test_positions() -> None:
    table = sinusoid_positions(50, 12)
    assert table.shape == (1, 50, 12)
    for position, column in ((0, 0), (0, 1), (7, 4), (49, 11), (31, 6)):
        angle = position / 10000 ** (2 * (column // 2) / 12)
        expected = math.cos(angle) if column % 2 else math.sin(angle)
        assert table[0, position, column].item() == pytest.approx(expected, abs=1e-6)
    model = T2TViT(SMALL)
    assert torch.equal(model.pos_embed, sinusoid_positions(5, 24))
    assert not model.pos_embed.requires_grad


@pytest.mark.parametrize("settings", KINDS)
def test_an_image_does_not_depend_on_its_company(settings: T2TSettings) -> None:
    model = redrawn(T2TViT(settings))
    batch = images(3, 32)
    with torch.no_grad():
        alone = torch.cat([model(batch[i : i + 1]) for i in range(3)])
        assert torch.allclose(model(batch), alone, atol=1e-12)
        assert (alone[0] - alone[1]).abs().max() > 1e-3


@pytest.mark.parametrize("settings", KINDS)
def test_everything_trainable_gets_a_gradient(settings: T2TSettings) -> None:
    torch.manual_seed(0)
    model = T2TViT(settings, classes=4)
    model.logits(images(2, 32).float()).square().sum().backward()
    fixed = {"pos_embed", "tokens_to_token.attention1.w", "tokens_to_token.attention2.w"}
    for name, parameter in model.named_parameters():
        if name not in fixed:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_dropout_of_the_token_performer_acts_in_training_only() -> None:
    model = T2TViT(SMALL)
    batch = images(1, 32).float()
    assert not torch.equal(model.train()(batch), model(batch))
    assert torch.equal(model.eval()(batch), model(batch))


@pytest.mark.parametrize(
    ("changed", "fact"),
    [
        ({"image_size": 200}, "image_size 200 is no multiple of 16"),
        ({"image_size": 0}, "image_size 0"),
        ({"heads": 5}, "not divided by 5 heads"),
        ({"depth": 0}, "at least 1"),
        ({"token_kind": "convolution"}, "token_kind is 'convolution'"),
        ({"kernel_ratio": 0.0}, "kernel_ratio"),
        ({"token_dropout": 1.0}, "token_dropout"),
    ],
)
def test_sizes_that_make_no_network(changed: dict, fact: str) -> None:
    with pytest.raises(PathomixError, match=fact):
        replace(SMALL, **changed)


@pytest.mark.parametrize("shape", [(1, 3, 48, 48), (1, 3, 32, 48), (1, 1, 32, 32)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PathomixError, match="for a T2T-ViT of image_size 32"):
        T2TViT(SMALL)(torch.zeros(shape))
