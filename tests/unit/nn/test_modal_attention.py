from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pathomix.nn.modal_attention import CrossAttention, DropPath, FeedForward, SelfAttention

D, HEADS = 16, 2
KINDS = [(ratio, norm) for ratio in (0.5, None) for norm in ("pre", "post")]


def drawn(module: nn.Module) -> nn.Module:
    """All parameters redrawn, biases and norms included."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.eval()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def by_hand(layer: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Multi-head attention of one case, head by head: output [Q, e] and mean weights [Q, M]."""
    if layer.in_proj_weight is None:
        parts = layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight
    else:
        parts = layer.in_proj_weight.chunk(3)
    q, k, v = (
        x @ weight.T + bias
        for x, weight, bias in zip((query, key, value), parts, layer.in_proj_bias.chunk(3), strict=True)
    )
    size = q.shape[1] // HEADS
    outputs, weights = [], []
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        weights.append(torch.softmax(q[:, part] @ k[:, part].T / size**0.5, dim=1))
        outputs.append(weights[-1] @ v[:, part])
    return layer.out_proj(torch.cat(outputs, dim=1)), torch.stack(weights).mean(dim=0)


@pytest.mark.parametrize(("ratio", "norm"), KINDS)
def test_cross_attention_is_the_formula(ratio: float | None, norm: str) -> None:
    layer = drawn(CrossAttention(D, HEADS, ratio, norm))
    q, m, pq, pm = torch.randn(2, 5, D), torch.randn(2, 7, D), torch.randn(5, D), torch.randn(7, D)
    for case in range(2):
        query, memory = (layer.norm(q[case]), layer.norm_kq(m[case])) if norm == "pre" else (q[case], m[case])
        narrow = query + pq if ratio is None else layer.q_proj(query + pq)
        out, weights = by_hand(layer.multihead_attn, narrow, memory + pm, memory + pm)
        added = q[case] + (out if ratio is None else layer.output_proj(out))
        expected = added if norm == "pre" else layer.norm(added)
        assert torch.allclose(layer(q, m, pq, pm)[case], expected, atol=1e-5)
        assert torch.allclose(layer.weights(q, m, pq, pm)[case], weights, atol=1e-6)


@pytest.mark.parametrize(("ratio", "norm"), KINDS)
def test_self_attention_leaves_positions_out_of_the_values(ratio: float | None, norm: str) -> None:
    layer = drawn(SelfAttention(D, HEADS, ratio, norm))
    c, pe = torch.randn(1, 5, D), torch.randn(5, D)
    values = layer.norm(c[0]) if norm == "pre" else c[0]
    narrow = values + pe if ratio is None else layer.q_proj(values + pe)
    out, _ = by_hand(layer.self_attn, narrow, values + pe, values)
    added = c[0] + (out if ratio is None else layer.output_proj(out))
    assert torch.allclose(layer(c, pe)[0], added if norm == "pre" else layer.norm(added), atol=1e-5)
    assert torch.allclose(layer(c), layer(c, torch.zeros(5, D)), atol=1e-6)


def test_feed_forward_before_a_norm_has_no_residual_of_its_own() -> None:
    pre, post = drawn(FeedForward(D, 0.5)), drawn(FeedForward(D, 0.5, "post"))
    x = torch.randn(2, 3, D)
    assert torch.allclose(pre(x), pre.linear2(pre.linear1(pre.norm(x)).clamp(min=0)))
    assert torch.allclose(post(x), post.norm(x + post.linear2(post.linear1(x).clamp(min=0))))


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    layer = DropPath(0.25)
    x = torch.ones(4000, 2, 3)
    dropped = layer(x)
    per_sample = dropped.flatten(1)
    assert bool((per_sample == per_sample[:, :1]).all())
    assert abs(float((per_sample[:, 0] == 0).float().mean()) - 0.25) < 0.03
    assert float(dropped.max()) == pytest.approx(1 / 0.75)
    assert torch.equal(layer.eval()(x), x)


def test_parameters_of_the_published_width() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in CrossAttention(768, 12).parameters()) == 668_352
        assert sum(p.numel() for p in SelfAttention(768, 12).parameters()) == 1_333_632 // 2
