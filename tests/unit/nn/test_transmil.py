from __future__ import annotations

import pytest
import torch

from pathomix.nn.nystrom import NystromAttention, iterative_pseudo_inverse
from pathomix.nn.transmil import TransMIL


def naive(attention: NystromAttention, tokens: torch.Tensor) -> torch.Tensor:
    """All matrices written out, one bag, rows kept at the end."""
    count, heads, marks = tokens.shape[1], attention.heads, attention.landmarks
    front = (marks - count % marks) % marks
    padded = torch.cat([tokens.new_zeros(1, front, tokens.shape[2]), tokens], dim=1)[0]
    query, key, value = (
        part.reshape(len(padded), heads, -1).permute(1, 0, 2) for part in attention.to_qkv(padded).chunk(3, dim=1)
    )
    query = query / query.shape[-1] ** 0.5
    few = [torch.stack([p.mean(1) for p in part.chunk(marks, dim=1)], dim=1) for part in (query, key)]
    first, middle, last = (
        torch.softmax(a @ b.transpose(1, 2), dim=-1) for a, b in ((query, few[1]), (few[0], few[1]), (few[0], key))
    )
    inverse = iterative_pseudo_inverse(middle[None], attention.iterations, independent=True)[0]
    result = first @ inverse @ last @ value
    half = attention.res_conv.kernel_size[0] // 2
    longer = torch.nn.functional.pad(value, (0, 0, half, half))
    kernel = attention.res_conv.weight[:, 0, :, 0]
    result = result + sum(kernel[:, i, None, None] * longer[:, i : i + len(padded)] for i in range(2 * half + 1))
    return attention.to_out(result.permute(1, 0, 2).reshape(len(padded), -1))[None, front:]


@pytest.mark.parametrize("count", [1, 5, 12, 31])
def test_attention_equals_the_product_of_its_matrices(count: int) -> None:
    torch.manual_seed(count)
    attention = NystromAttention(16, dim_head=4, heads=3, landmarks=6, kernel=5).eval()
    tokens = torch.randn(1, count, 16)
    assert torch.allclose(attention(tokens), naive(attention, tokens), atol=1e-5)
    other = NystromAttention(16, dim_head=4, heads=3, landmarks=6, kernel=5, kept="first").eval()
    other.load_state_dict(attention.state_dict())
    assert torch.allclose(other(tokens), naive(attention, tokens), atol=1e-5) == (count % 6 == 0)


def test_pseudo_inverse_converges_to_the_inverse() -> None:
    torch.manual_seed(0)
    matrices = torch.softmax(3 * torch.eye(6) + torch.randn(2, 4, 6, 6), dim=-1).double()
    for independent in (True, False):
        assert torch.allclose(iterative_pseudo_inverse(matrices, 20, independent), torch.linalg.inv(matrices))


def test_bags_of_a_batch_influence_each_other_only_where_asked() -> None:
    torch.manual_seed(0)
    bags = torch.randn(3, 10, 12) * torch.tensor([1.0, 4.0, 0.2])[:, None, None]
    model = TransMIL(12, 16, 4).eval()
    alone = torch.cat([model(bag[None]) for bag in bags])
    assert torch.allclose(model(bags), alone, atol=1e-6)
    joined = TransMIL(12, 16, 4, independent=False).eval()
    joined.load_state_dict(model.state_dict())
    assert not torch.allclose(joined(bags), alone, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17])
def test_tiles_fill_a_square_by_repeating_the_first_ones(count: int) -> None:
    model = TransMIL(3, 16, 2).eval()
    tiles = torch.randn(1, count, 3)
    side = next(s for s in range(1, 6) if s * s >= count)
    filled = torch.cat([tiles, tiles[:, : side * side - count]], dim=1)
    assert model.stages(tiles).layer2.shape == (1, side * side + 1, 16)
    assert torch.allclose(model(tiles), model(filled), atol=1e-6)


def test_molecular_vectors_take_part_where_the_model_has_them() -> None:
    torch.manual_seed(0)
    model = TransMIL(3, 16, 2, omic_dim=4, omic_hidden=8).eval()
    tiles, omic = torch.randn(2, 9, 3), torch.randn(2, 4)
    assert model(tiles, omic).shape == (2, 2)
    assert not torch.allclose(model(tiles, omic), model(tiles, -omic))
