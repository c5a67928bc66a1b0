"""Heads and objectives; their numbers are held against the reference by the golden sets."""

from __future__ import annotations

import math

import pytest
import torch

from pathomix.scgpt.heads import Heads, contrastive_cell_loss, elastic_similarity_loss


def test_names_and_shapes_are_the_official_ones() -> None:
    shapes = {name: tuple(value.shape) for name, value in Heads(8, classes=5).state_dict().items()}
    assert shapes["decoder.fc.4.weight"] == (1, 8)
    assert shapes["mvc_decoder.gene2query.bias"] == (8,)
    assert "mvc_decoder.W.bias" not in shapes
    assert sorted(name for name in shapes if name.startswith("cls_decoder") and name.endswith("weight")) == [
        *(f"cls_decoder._decoder.{place}.weight" for place in (0, 2, 3, 5)), "cls_decoder.out_layer.weight",
    ]  # fmt: skip
    assert not any(name.startswith("cls_decoder") for name in Heads(8).state_dict())


def test_elastic_similarity_by_hand() -> None:
    cells = torch.tensor([[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0]])
    near = math.sqrt(0.5)
    # Diagonal 0, negative similarities 0: of nine entries two are cos 45 degrees, the rest 0.
    expected = 1 - (2 * (near - 0.3) ** 2 + 7 * 0.3**2) / 9
    assert elastic_similarity_loss(cells).item() == pytest.approx(expected, abs=1e-6)


def test_contrastive_loss_by_hand() -> None:
    first, second = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    # Similarities 1 and 0, over temperature 0.5.
    assert contrastive_cell_loss(first, second).item() == pytest.approx(-math.log(math.e**2 / (math.e**2 + 1)), 1e-6)
