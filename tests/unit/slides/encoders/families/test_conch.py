"""CONCH v1.5: trunk, pooler over all tokens, norm."""

import pytest
import torch
from torch.nn.functional import interpolate

from pathomix.core.errors import PathomixError
from pathomix.slides.encoders.encoder import build_encoder
from pathomix.slides.encoders.pixels import Pixels


def test_all_normalised_tokens_are_pooled_and_the_vector_is_normalised(small, saved, tiles):
    made = build_encoder("a", small("conch_v1_5", weights=str(saved("conch_v1_5"))))
    network, pixels = made._module.network, tiles(72)
    seen = {}
    network.trunk.norm.register_forward_hook(lambda *a: seen.update(tokens=a[2]))
    network.attn_pool_contrast.register_forward_hook(lambda *a: seen.update(given=a[1][0], pooled=a[2]))
    features = made.encode(pixels)
    assert seen["given"].shape == (5, 1 + 16, 48) and torch.equal(seen["given"], seen["tokens"])
    torch.testing.assert_close(features, torch.nn.functional.layer_norm(seen["pooled"][:, 0], (32,)))


def test_the_images_are_those_of_the_encoder(small, tiles):
    made = build_encoder("a", small("conch_v1_5", seed=1))
    assert Pixels(made.parameters)(tiles(72)).shape == (5, 3, 64, 64)
    assert made.parameters.interpolation == "bilinear"


def test_a_table_of_another_grid_is_resized_bilinearly(small, saved):
    path = saved("conch_v1_5")
    state = torch.load(path, weights_only=True)
    stored = torch.randn(1, 1 + 14**2, 48, generator=torch.Generator().manual_seed(0))
    torch.save({**state, "trunk.pos_embed": stored}, path)
    made = build_encoder("a", small("conch_v1_5", weights=str(path)))
    table = made._module.network.trunk.pos_embed.detach()
    grid = stored[0, 1:].T.reshape(1, 48, 14, 14)
    expected = interpolate(grid, size=(4, 4), mode="bilinear", align_corners=False, antialias=False)
    torch.testing.assert_close(table[0, 1:].T.reshape(1, 48, 4, 4), expected)
    assert torch.equal(table[:, 0], stored[:, 0])


def test_a_projection_with_bias_is_no_conch(small, saved):
    path = saved("conch_v1_5")
    state = torch.load(path, weights_only=True)
    torch.save({**state, "attn_pool_contrast.to_q.bias": torch.zeros(32)}, path)
    with pytest.raises(PathomixError, match=r"1 tensors do not fit.*unexpected attn_pool_contrast.to_q.bias"):
        build_encoder("a", small("conch_v1_5", weights=str(path)))
