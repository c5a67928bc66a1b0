"""Attentional pooler against torch's attention and against plain arithmetic."""

import pytest
import torch
from torch import nn

from pathomix.nn.attentional_pooler import AttentionalPooler


@pytest.fixture
def pooler():
    torch.manual_seed(0)
    made = AttentionalPooler(width=24, context=40, heads=4, queries=2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


@pytest.fixture
def tokens():
    return torch.randn(3, 11, 40, generator=torch.Generator().manual_seed(1))


def test_equals_torchs_attention(pooler, tokens):
    attention = nn.MultiheadAttention(24, 4, bias=False, kdim=40, vdim=40, batch_first=True)
    with torch.no_grad():
        attention.q_proj_weight.copy_(pooler.to_q.weight)
        attention.k_proj_weight.copy_(pooler.to_kv.weight[:24])
        attention.v_proj_weight.copy_(pooler.to_kv.weight[24:])
        attention.out_proj.weight.copy_(pooler.to_out.weight)
        query = pooler.ln_q(pooler.query).expand(3, -1, -1)
        keys = pooler.ln_k(tokens)
        expected = attention(query, keys, keys, need_weights=False)[0]
        torch.testing.assert_close(pooler(tokens), expected, rtol=1e-5, atol=1e-5)


def test_equals_arithmetic(pooler, tokens):
    """Spec 3.2: query normalised at each call, scores scaled by (width of a head)^-1/2, no biases."""
    with torch.no_grad():
        query = pooler.ln_q(pooler.query) @ pooler.to_q.weight.T * (24 / 4) ** -0.5
        key, value = (pooler.ln_k(tokens) @ pooler.to_kv.weight.T).split(24, dim=-1)
        heads = []
        for head in range(4):
            part = slice(6 * head, 6 * head + 6)
            scores = torch.einsum("qd,nld->nql", query[:, part], key[..., part])
            heads.append(torch.einsum("nql,nld->nqd", scores.softmax(-1), value[..., part]))
        expected = torch.cat(heads, -1) @ pooler.to_out.weight.T
        torch.testing.assert_close(pooler(tokens), expected, rtol=1e-5, atol=1e-5)


def test_the_order_of_tokens_does_not_matter(pooler, tokens):
    with torch.no_grad():
        torch.testing.assert_close(pooler(tokens.flip(1)), pooler(tokens), rtol=1e-5, atol=1e-5)


def test_the_scale_is_that_of_a_head(pooler, tokens):
    """One head of the same weights gives another vector."""
    other = AttentionalPooler(width=24, context=40, heads=1, queries=2)
    other.load_state_dict(pooler.state_dict())
    with torch.no_grad():
        assert not torch.allclose(other(tokens), pooler(tokens), atol=1e-3)
