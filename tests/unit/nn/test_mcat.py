from __future__ import annotations

import pytest
import torch
from torch import nn

from pathomix.nn.mcat import MCAT, CoAttention

SIZES = (3, 1, 5)


@pytest.fixture
def patients() -> tuple[list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    bags = [torch.randn(count, 10, generator=generator) for count in (1, 7, 30)]
    return bags, torch.randn(3, sum(SIZES), generator=generator)


@pytest.mark.parametrize("heads", [1, 4])
def test_coattention_equals_the_library(heads: int) -> None:
    torch.manual_seed(0)
    ours = CoAttention(16, heads)
    library = nn.MultiheadAttention(16, heads, batch_first=True)
    nn.init.normal_(ours.in_proj_bias)
    nn.init.normal_(ours.out_proj.bias)
    library.load_state_dict(ours.state_dict())
    groups, tiles = torch.randn(2, 5, 16), torch.randn(2, 9, 16)
    expected, weights = library(groups, tiles, tiles, average_attn_weights=False)
    assert torch.allclose(ours(groups, tiles.flatten(0, 1), [9, 9]), expected, atol=1e-6)
    for i in range(2):
        assert torch.allclose(torch.softmax(ours.scores(groups[i], tiles[i]), dim=-1), weights[i], atol=1e-6)


@pytest.mark.parametrize("fusion", ["concat", "bilinear"])
def test_a_patient_does_not_depend_on_the_others_nor_on_the_order_of_tiles(
    fusion: str, patients: tuple[list[torch.Tensor], torch.Tensor]
) -> None:
    torch.manual_seed(0)
    bags, genes = patients
    model = MCAT(10, SIZES, 16, 8, 32, classes=4, fusion=fusion).eval()  # type: ignore[arg-type]
    together = model(bags, genes)
    for i, bag in enumerate(bags):
        alone = model([bag.flip(0)], genes[i : i + 1])
        for mine, theirs in zip(alone, together, strict=True):
            assert torch.allclose(mine[0], theirs[i], atol=1e-5)
        assert model.coattention_scores(bag, genes[i : i + 1]).shape == (1, len(SIZES), len(bag))


def test_both_modalities_matter(patients: tuple[list[torch.Tensor], torch.Tensor]) -> None:
    torch.manual_seed(0)
    bags, genes = patients
    model = MCAT(10, SIZES, 16, 8, 32).eval()
    logits = model(bags, genes).logits
    assert not torch.allclose(model([bag + 1 for bag in bags], genes).logits, logits, atol=1e-5)
    assert not torch.allclose(model(bags, genes + 1).logits, logits, atol=1e-5)
