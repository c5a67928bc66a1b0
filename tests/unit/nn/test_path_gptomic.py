from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pathomix.nn.path_gptomic import (
    CoxHead,
    GenomicBranch,
    GenomicSizes,
    PathGPTomicNetwork,
    RegionBranch,
    VectorBranch,
    split_scores,
)
from pathomix.nn.pathomic_fusion import GatedBilinearFusion


def test_published_sizes_of_the_genomic_branch() -> None:
    branch = GenomicBranch(80, 128, GenomicSizes())
    linear = [(layer.in_features, layer.out_features) for layer in branch.modules() if isinstance(layer, nn.Linear)]
    assert linear == [(80, 64), (64, 48), (48, 32), (32, 32), (160, 128), (128, 128), (128, 32)]
    assert branch(torch.randn(5, 80), torch.randn(5, 128)).shape == (5, 32)
    bypassed = GenomicBranch(80, 512, GenomicSizes())
    assert bypassed.mlp_b[0].in_features == 544
    random = GenomicBranch(80, 512, GenomicSizes(mlp_a=128))
    assert [layer.out_features for layer in random.mlp_a if isinstance(layer, nn.Linear)] == [128, 128, 128]
    assert random.mlp_b[0].in_features == 160


def test_a_branch_of_one_kind_of_genomics() -> None:
    alterations = GenomicBranch(20, 0, GenomicSizes(snn=(8, 6)))
    assert alterations.mlp_b is None
    assert alterations(torch.randn(3, 20), torch.zeros(3, 0)).shape == (3, alterations.width) == (3, 6)
    vectors = GenomicBranch(0, 10, GenomicSizes(width=4))
    assert vectors.snn is None
    assert vectors(torch.zeros(3, 0), torch.randn(3, 10)).shape == (3, 4)


def test_weights_of_the_self_normalising_layers() -> None:
    torch.manual_seed(0)
    first = GenomicBranch(400, 0, GenomicSizes(snn=(200,))).snn[0][0]
    assert first.weight.std().item() == pytest.approx(400**-0.5, rel=0.05)
    assert (first.bias == 0).all()


@pytest.mark.parametrize("bias", [False, True])
def test_the_head_is_additive_with_half_the_bias_each(bias: bool) -> None:
    head = CoxHead(4, 3, bias)
    genomic, image = torch.randn(6, 4), torch.randn(6, 3)
    scores = head(genomic, image)
    assert torch.allclose(scores.log_hazard, head.cox(torch.cat([genomic, image], dim=1))[:, 0], atol=1e-6)
    assert torch.allclose(scores.genomic + scores.image, scores.log_hazard, atol=1e-6)
    half = head.cox.bias / 2 if bias else 0
    assert torch.allclose(scores.image, image @ head.cox.weight[0, 4:] + half, atol=1e-6)
    first, second = split_scores(head.cox.weight, head.cox.bias, genomic, image)
    assert torch.equal(first[:, 0], scores.genomic)
    assert torch.equal(second[:, 0], scores.image)
    norms = head.cox.weight[0, :4].norm().item(), head.cox.weight[0, 4:].norm().item()
    assert head.norms() == pytest.approx(norms)


def test_squashed_log_hazard() -> None:
    plain, squashed = CoxHead(4, 3), CoxHead(4, 3, output="sigmoid6")
    squashed.load_state_dict(plain.state_dict())
    genomic, image = 9 * torch.randn(6, 4), torch.randn(6, 3)
    theta = plain(genomic, image).log_hazard
    assert torch.allclose(squashed(genomic, image).log_hazard, 6 * torch.sigmoid(theta) - 3)


def test_a_branch_alone() -> None:
    genomic = torch.randn(5, 4)
    scores = CoxHead(4, 0)(genomic, None)
    assert torch.equal(scores.genomic, scores.log_hazard)
    assert scores.image is None
    scores = CoxHead(0, 4)(None, genomic)
    assert scores.genomic is None
    assert torch.equal(scores.image, scores.log_hazard)


def test_kronecker_fusion_has_no_unimodal_scores() -> None:
    fusion = GatedBilinearFusion(3, 4, hidden=8, out=5)
    head = CoxHead(4, 3, fusion=fusion, fused=5).eval()
    genomic, image = torch.randn(6, 4), torch.randn(6, 3)
    scores = head(genomic, image)
    assert torch.allclose(scores.log_hazard, head.cox(fusion(image, genomic))[:, 0])
    assert scores.genomic is None
    assert scores.image is None
    assert all(math.isnan(norm) for norm in head.norms())


def test_branches_under_one_roof() -> None:
    network = PathGPTomicNetwork(GenomicBranch(6, 5, GenomicSizes(snn=(4,), width=4)), VectorBranch(7, 3, 0.0),
                                 CoxHead(4, 3)).eval()  # fmt: skip
    alterations, vectors, image = torch.randn(2, 6), torch.randn(2, 5), torch.randn(2, 7)
    scores = network(alterations, vectors, image)
    features = network.genomic_features(alterations, vectors), network.image_features(image)
    assert torch.equal(scores.log_hazard, network.head(*features).log_hazard)
    assert (features[1] >= 0).all()
    alone = PathGPTomicNetwork(network.genomic, None, CoxHead(4, 0))
    assert alone(alterations, vectors).log_hazard.shape == (2,)


def test_an_image_encoder_in_half_precision_gives_full_precision_features() -> None:
    class Encoder(nn.Module):
        kind = torch.float32

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            result = images.flatten(1) @ torch.ones(12, 5)
            self.kind = result.dtype
            return result

    for bf16, kind in ((True, torch.bfloat16), (False, torch.float32)):
        branch = RegionBranch(Encoder(), 5, 3, 0.0, bf16)
        assert branch(torch.randn(2, 3, 2, 2)).dtype == torch.float32
        assert branch.encoder.kind == kind
