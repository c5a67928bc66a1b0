from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from pathomix.nn.clam import CLAM, instance_loss

SIZES = [1, 5, 9, 30]


@pytest.fixture
def tiles() -> torch.Tensor:
    return torch.randn(sum(SIZES), 6, generator=torch.Generator().manual_seed(0))


def owners(sizes: list[int]) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))


@pytest.mark.parametrize("branches", ["sb", "mb"])
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("classes", [1, 3])
def test_a_bag_does_not_depend_on_its_batch_mates(
    branches: str, gated: bool, classes: int, tiles: torch.Tensor
) -> None:
    torch.manual_seed(0)
    model = CLAM(6, 10, 5, classes, branches=branches, gated=gated).eval()  # type: ignore[arg-type]
    together = model(tiles, owners(SIZES), len(SIZES))
    assert together.logits.shape == (len(SIZES), classes)
    losses = model.instance_losses(together, SIZES, 4)
    for i, bag in enumerate(tiles.split(SIZES)):
        alone = model(bag, torch.zeros(len(bag), dtype=torch.long), 1)
        assert torch.allclose(alone.logits[0], together.logits[i], atol=1e-5)
        assert alone.weights.detach().sum(dim=1) == pytest.approx(1.0)
        for mine, theirs in zip(model.instance_losses(alone, [len(bag)], 4), losses, strict=True):
            assert torch.allclose(mine[0], theirs[i], atol=1e-5)


def test_every_class_has_its_own_branch(tiles: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = CLAM(6, 10, 5, 3, branches="mb").eval()
    output = model(tiles, owners(SIZES), len(SIZES))
    for number, head in enumerate(model.classifiers):  # type: ignore[arg-type]
        weights = torch.softmax(output.attention[number, -30:], dim=0)
        expected = head((weights[:, None] * output.hidden[-30:]).sum(dim=0))
        assert torch.allclose(output.logits[-1, number], expected[0], atol=1e-5)


def test_instances_are_the_most_and_the_least_attended_tiles() -> None:
    torch.manual_seed(0)
    model = CLAM(6, 10, 5, 2).eval()
    hidden, weights = torch.randn(7, 10), torch.tensor([[0.1, 0.3, 0.05, 0.2, 0.15, 0.12, 0.08]])
    for ends, head in zip(model.extremes(hidden, weights, 2), model.instance_classifiers, strict=True):
        assert torch.allclose(ends.most, head(hidden[[1, 3]]), atol=1e-6)
        assert torch.allclose(ends.least, head(hidden[[2, 6]]), atol=1e-6)


def test_small_bags_use_each_tile_once(tiles: torch.Tensor) -> None:
    """Five tiles and k = 8: two at either end; a single tile cannot be both, so it says nothing."""
    torch.manual_seed(0)
    model = CLAM(6, 10, 5, 2).eval()
    output = model(tiles, owners(SIZES), len(SIZES))
    inside, outside = model.instance_losses(output, SIZES, 8)
    assert inside[0].tolist() == outside[0].tolist() == [0.0, 0.0]
    ends = model.extremes(output.hidden[1:6], output.weights[:, 1:6], 2)[1]
    both = torch.cat([ends.most, ends.least])
    assert inside[1, 1].item() == pytest.approx(cross_entropy(both, torch.tensor([1, 1, 0, 0])).item())
    assert outside[1, 1].item() == pytest.approx(cross_entropy(ends.most, torch.tensor([0, 0])).item())


def test_loss_of_the_own_class_and_of_the_others() -> None:
    inside, outside = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 20.0, 30.0]])
    label = torch.tensor([1])
    assert instance_loss(inside, outside, label, subtyping=True).tolist() == pytest.approx([42 / 3])
    assert instance_loss(inside, outside, label, subtyping=False).tolist() == [2.0]
