from __future__ import annotations

import pytest
import torch

from pathomix.nn.survpath import SurvPath

SIZES = (3, 1, 5, 2)


@pytest.fixture
def patients() -> tuple[list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    bags = [torch.randn(count, 10, generator=generator) for count in (1, 7, 30)]
    return bags, torch.randn(3, sum(SIZES), generator=generator)


def dense(model: SurvPath, bag: torch.Tensor, genes: torch.Tensor) -> torch.Tensor:
    """Full attention over all tokens with the tile-to-tile part masked."""
    tokens = torch.cat([model.sig_networks(genes)[0], model.wsi_projection_net(bag)])
    query, key, value = model.cross_attender.attn.to_qkv(model.cross_attender.norm(tokens)).chunk(3, dim=1)
    scores = query @ key.T / query.shape[1] ** 0.5
    scores[len(SIZES) :, len(SIZES) :] = -torch.inf
    mixed = torch.softmax(scores, dim=1) @ value
    mixed = model.layer_norm(model.feed_forward(mixed))
    joint = torch.cat([mixed[: len(SIZES)].mean(0), mixed[len(SIZES) :].mean(0)])
    return model.to_logits(joint)


def test_equals_dense_attention_without_its_tile_to_tile_part(
    patients: tuple[list[torch.Tensor], torch.Tensor],
) -> None:
    torch.manual_seed(0)
    bags, genes = patients
    model = SurvPath(10, SIZES, 16, 24).eval()
    logits = model(bags, genes)
    for i, bag in enumerate(bags):
        assert torch.allclose(logits[i], dense(model, bag, genes[i : i + 1]), atol=1e-5)


def test_scores_are_those_of_the_attention(patients: tuple[list[torch.Tensor], torch.Tensor]) -> None:
    bags, genes = patients
    model = SurvPath(10, SIZES, 16, 16).eval()
    on_pathways, on_tiles, of_tiles = model.scores(bags[1], genes[1:2])
    assert on_pathways.shape == (4, 4)
    assert on_tiles.shape == (4, 7)
    assert of_tiles.shape == (7, 4)
    more = model.scores(torch.cat([bags[1], bags[2]]), genes[1:2])
    assert torch.allclose(more.pathways_on_tiles[:, :7], on_tiles, atol=1e-6)
    assert torch.allclose(more.tiles_on_pathways[:7], of_tiles, atol=1e-6)


def test_pathway_networks_start_with_unit_variance_signals() -> None:
    torch.manual_seed(0)
    networks = SurvPath(4, (50, 200), 64, 128).sig_networks
    hidden = networks.weight_in.detach().split((50, 200))
    assert [float(rows.std()) for rows in hidden] == pytest.approx([50**-0.5, 200**-0.5], rel=0.05)
    assert float(networks.weight_out.detach().std()) == pytest.approx(128**-0.5, rel=0.05)
    assert not networks.bias_in.any()
