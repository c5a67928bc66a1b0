"""timm's vision transformer, as it is asked for."""

from pathlib import Path

import pytest
import torch
from timm.layers import resample_abs_pos_embed
from torch.nn.functional import interpolate, scaled_dot_product_attention, silu

from pathomix.core.errors import PathomixError
from pathomix.slides.encoders.encoder import build_encoder
from pathomix.slides.encoders.families.vit import resized_rows

SIZES = [(16, 37), (37, 16), (14, 28), (7, 3)]


def by_hand(state, images, patch, heads, depth):
    """A pre-norm transformer with LayerScale and the packed SwiGLU of spec 3.1, from the table of keys alone."""

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    n, _, size, _ = images.shape
    side, width = size // patch, state["cls_token"].shape[2]
    patches = images.unfold(2, patch, patch).unfold(3, patch, patch).permute(0, 2, 3, 1, 4, 5).reshape(n, side**2, -1)
    x = patches @ state["patch_embed.proj.weight"].reshape(width, -1).T + state["patch_embed.proj.bias"]
    x = torch.cat([state["cls_token"].expand(n, -1, -1), x], 1) + state["pos_embed"]
    for i in range(depth):
        block = f"blocks.{i}"
        qkv = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv")
        q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + state[f"{block}.ls1.gamma"] * linear(mixed, f"{block}.attn.proj")
        gate, value = linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1").chunk(2, dim=-1)
        x = x + state[f"{block}.ls2.gamma"] * linear(silu(gate) * value, f"{block}.mlp.fc2")
    return norm(x, "norm")[:, 0]


def test_gigapath_is_the_network_of_the_specification(small, saved, tiles):
    """From pixels to features with a small network of the same kind, in the official layout, by hand."""
    path = saved("gigapath")
    state = {key: value.double() for key, value in torch.load(path, weights_only=True).items()}
    generator = torch.Generator().manual_seed(1)
    state = {k: v + 0.05 * torch.randn(v.shape, generator=generator, dtype=v.dtype) for k, v in state.items()}
    state = {k: v.float().double() for k, v in state.items()}
    torch.save({key: value.float() for key, value in state.items()}, path)
    made = build_encoder("a", small("gigapath", weights=str(path)))
    pixels = tiles(72)
    cut = pixels[:, 4:68, 4:68].permute(0, 3, 1, 2).double() / 255
    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (made.parameters.mean, made.parameters.std)
    )
    expected = by_hand(state, (cut - mean) / std, patch=16, heads=4, depth=2)
    torch.testing.assert_close(made.encode(pixels).double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("prefix", [1, 5])
def test_antialiased_rows_are_timms(before, after, prefix):
    table = torch.randn(1, prefix + before**2, 6, generator=torch.Generator().manual_seed(0))
    wanted = torch.empty(1, prefix + after**2, 6)
    made = resized_rows(table, wanted, Path("w"), "bicubic_antialiased", prefix)
    expected = resample_abs_pos_embed(table, [after, after], num_prefix_tokens=prefix)
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(made[:, :prefix], table[:, :prefix])


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
def test_plain_rows_are_not_antialiased(before, after, how):
    table = torch.randn(1, 1 + before**2, 6, generator=torch.Generator().manual_seed(0))
    made = resized_rows(table, torch.empty(1, 1 + after**2, 6), Path("w"), how)
    grid = table[0, 1:].T.reshape(1, 6, before, before)
    expected = interpolate(grid, size=(after, after), mode=how, align_corners=False, antialias=False)
    torch.testing.assert_close(made[0, 1:].T.reshape(1, 6, after, after), expected, rtol=1e-4, atol=1e-5)


def test_rows_that_fit_are_left_alone_and_others_are_told():
    table = torch.randn(1, 17, 6)
    assert resized_rows(table, torch.empty(1, 17, 6), Path("w"), "bilinear") is table
    assert resized_rows(table, torch.empty(1, 50, 7), Path("w"), "bilinear") is table  # strict loading names it
    with pytest.raises(PathomixError, match=r"w: a position table of 15 places cannot be resized to 49"):
        resized_rows(table[:, :16], torch.empty(1, 50, 6), Path("w"), "bilinear")
