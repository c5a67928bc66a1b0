from __future__ import annotations

import torch

from pathomix.nn.small_bilinear import SmallBilinearFusion


def test_multiplies_with_the_ones_last() -> None:
    torch.manual_seed(0)
    fusion = SmallBilinearFusion(16, 24, 10, reduction=8).eval()
    first, second = torch.randn(1, 16), torch.randn(1, 24)
    both = torch.cat([first, second], dim=1)
    gated = [
        torch.relu(o[0](torch.sigmoid(z[0](both)) * torch.relu(h[0](vector))))[0]
        for o, z, h, vector in (
            (fusion.linear_o1, fusion.linear_z1, fusion.linear_h1, first),
            (fusion.linear_o2, fusion.linear_z2, fusion.linear_h2, second),
        )
    ]
    product = torch.outer(*(torch.cat([vector, torch.ones(1)]) for vector in gated)).flatten()
    expected = torch.relu(fusion.encoder2[0](torch.relu(fusion.encoder1[0](product))))
    assert torch.allclose(fusion(first, second)[0], expected, atol=1e-6)
