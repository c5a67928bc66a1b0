from __future__ import annotations

import pytest
import torch

from pathomix.nn.mmp import MMP
from pathomix.nn.survpath import SurvPath

SIZES = (3, 1, 5)


def test_survpath_mode_is_survpath_on_prototypes() -> None:
    torch.manual_seed(0)
    theirs = SurvPath(10, SIZES, 16, 24).eval()
    ours = MMP(10, SIZES, 16, 24, mode="survpath").eval()
    ours.sig_networks.load_state_dict(theirs.sig_networks.state_dict())
    ours.path_proj_net.load_state_dict(theirs.wsi_projection_net.state_dict())
    for mine, other in zip(ours.coattn, (theirs.cross_attender, theirs.feed_forward, theirs.layer_norm), strict=True):
        mine.load_state_dict(other.state_dict())
    prototypes, genes = torch.randn(2, 4, 10), torch.randn(2, sum(SIZES))
    expected = theirs.joint_vectors(list(prototypes), genes) @ ours.classifier.weight.T
    assert torch.allclose(ours(prototypes, genes), expected, atol=1e-5)
    scores = ours.scores(prototypes, genes)
    for i in range(2):
        alone = theirs.scores(prototypes[i], genes[i : i + 1])
        for mine, other in zip(scores, alone, strict=True):
            assert torch.allclose(mine[i], other, atol=1e-5)


def test_full_mode_equals_the_definition() -> None:
    torch.manual_seed(0)
    model = MMP(10, SIZES, 16, 24).eval()
    prototypes, genes = torch.randn(1, 4, 10), torch.randn(1, sum(SIZES))
    attender, feed_forward, norm = model.coattn
    tokens = torch.cat([model.sig_networks(genes)[0], model.path_proj_net(prototypes[0])])
    query, key, value = attender.attn.to_qkv(attender.norm(tokens)).chunk(3, dim=1)  # type: ignore[operator, union-attr]
    scores = query @ key.T / query.shape[1] ** 0.5
    scores[3:, :3] = torch.softmax(scores[3:, :3].clone(), dim=1)
    mixed = norm(feed_forward(torch.softmax(scores, dim=1) @ value))
    expected = model.classifier(torch.cat([mixed[:3].mean(0), mixed[3:].mean(0)]))
    assert torch.allclose(model(prototypes, genes)[0], expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["full", "survpath"])
def test_patients_do_not_depend_on_each_other(mode: str) -> None:
    torch.manual_seed(0)
    model = MMP(10, SIZES, 16, 24, mode=mode).eval()  # type: ignore[arg-type]
    prototypes, genes = torch.randn(3, 4, 10), torch.randn(3, sum(SIZES))
    together = model(prototypes, genes)
    for i in range(3):
        assert torch.allclose(model(prototypes[i : i + 1], genes[i : i + 1])[0], together[i], atol=1e-5)
        assert not torch.allclose(model(prototypes[i : i + 1], genes[i : i + 1] + 1)[0], together[i], atol=1e-4)
