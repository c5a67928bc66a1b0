"""GPFM's bare DINOv2 state dict."""

import pytest
import torch
from timm.layers import resample_abs_pos_embed

from pathomix.core.errors import PathomixError
from pathomix.slides.encoders.encoder import build_encoder


@pytest.mark.parametrize("side", [4, 9])
def test_the_table_is_resized_as_timm_does_and_the_mask_token_left_out(small, saved, tmp_path, tiles, side):
    path = saved("gpfm")
    state = torch.load(path, weights_only=True)
    stored = torch.randn(1, 1 + side**2, 48, generator=torch.Generator().manual_seed(0))
    torch.save({**state, "pos_embed": stored, "mask_token": torch.zeros(1, 48)}, path)
    made = build_encoder("a", small("gpfm", weights=str(path)))
    table = made._module.network.pos_embed
    expected = resample_abs_pos_embed(stored, [4, 4], num_prefix_tokens=1)
    torch.testing.assert_close(table.detach(), expected, rtol=1e-4, atol=1e-5)
    assert (side == 4) == torch.equal(table.detach(), stored)
    assert made.encode(tiles(128, 2)).shape == (2, 48)


def test_a_table_that_is_no_square_is_told(small, saved):
    path = saved("gpfm")
    state = torch.load(path, weights_only=True)
    torch.save({**state, "pos_embed": torch.zeros(1, 8, 48)}, path)
    with pytest.raises(PathomixError, match="position table of 7 places cannot be resized to 16"):
        build_encoder("a", small("gpfm", weights=str(path)))
