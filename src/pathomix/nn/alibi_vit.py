"""A vision transformer over tile features whose only knowledge of place is a 2-D distance bias (ALiBi).

The shape is that of TITAN's vision encoder as its published configuration describes it (spec slides_and_encoders 5):
linear patch embedding with GELU, class token without position, pre-norm blocks, closing norm, attentional pooling by
one query. `PlacedBlocks` runs such parts whoever made them; `ALiBiViT` is our own set of parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from pathomix.core.errors import PathomixError
from pathomix.nn.backbone import Tokens

# Entries of the bias (cases x heads x rows x tokens) held at a time: 256 MiB in float32.
_BIAS_ENTRIES = 1 << 26


def alibi_slopes(heads: int) -> Tensor:
    """Slope of each head, float32 [heads].

    2^(-8k/heads), k = 1..heads, where `heads` is a power of two; otherwise those of the next smaller power of two,
    followed by every other slope of the next larger one (spec 5).
    """
    power = 1 << (heads.bit_length() - 1)
    exponents = [8 * k / power for k in range(1, power + 1)]
    exponents += [8 * k / (2 * power) for k in range(1, 2 * power + 1, 2)][: heads - power]
    return torch.tensor([2.0**-exponent for exponent in exponents])


def distance_bias(cells: Tensor, slopes: Tensor, first: int, last: int) -> Tensor:
    """Rows `first` to `last` - 1 of the bias, float32 [B, heads, rows, 1 + L].

    Args:
        cells: Cell of each tile [B, L, 2].
        slopes: [heads].
        first: First token whose row is wanted; token 0 is the class token.
        last: Token after the last one.

    Returns:
        Minus slope times Euclidean distance in cells; zero to and from the class token.
    """
    places = functional.pad(cells.float(), (0, 0, 1, 0))
    # The matrix-product form of cdist loses whole cells for tiles far from the origin.
    distance = torch.cdist(places[:, first:last], places, compute_mode="donot_use_mm_for_euclid_dist")
    distance[:, :, 0] = 0
    if first == 0:
        distance[:, 0] = 0
    return -slopes.view(1, -1, 1, 1) * distance[:, None]


def placed_attention(query: Tensor, key: Tensor, value: Tensor, cells: Tensor, slopes: Tensor) -> Tensor:
    """Softmax attention with distance bias, computed for a stretch of queries at a time.

    The bias of all pairs never exists at once: not in the forward pass, and not for the backward pass, which computes
    it again.

    Args:
        query: [B, heads, 1 + L, d], class token first; `key` and `value` alike.
        key: See `query`.
        value: See `query`.
        cells: [B, L, 2].
        slopes: [heads].

    Returns:
        [B, heads, 1 + L, d].
    """
    tokens = query.shape[2]
    rows = max(1, _BIAS_ENTRIES // (query.shape[0] * query.shape[1] * tokens))

    def stretch(first: int, part: Tensor, key: Tensor, value: Tensor) -> Tensor:
        bias = distance_bias(cells, slopes, first, first + part.shape[2]).to(part.dtype)
        return functional.scaled_dot_product_attention(part, key, value, attn_mask=bias)

    parts = []
    for first in range(0, tokens, rows):
        part = query[:, :, first : first + rows]
        if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
            parts.append(checkpoint(stretch, first, part, key, value, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(stretch(first, part, key, value))
    return torch.cat(parts, dim=2)


class PlacedBlocks(nn.Module):
    """Transformer parts put together as a backbone (`nn.backbone.Backbone`) with a distance bias.

    Args:
        patch_embed: [.., in_dim] to [.., width].
        cls_token: [1, 1, width].
        blocks: Blocks with the parts `norm1`, `attn.qkv` (channels ordered q, k, v, head, depth), `attn.proj`, `norm2`
            and `mlp`.
        norm: Closing norm.
        pooler: [B, 1 + L, width] to [B, width] or [B, 1, width].
        heads: Attention heads of each block.
        tile: Edge of a grid cell in units of the coordinates.
        drop_path: Largest share of residual branches left out per case in training; grows linearly from 0 over depth.

    Attributes:
        width: Token width.
        depth: Number of blocks.
        tile: See above.
        slide_ngrids: None: a distance bias knows no limit.
        vector_names: Vectors that `vectors` can give.
    """

    slide_ngrids: int | None = None

    def __init__(
        self,
        patch_embed: nn.Module,
        cls_token: nn.Parameter,
        blocks: Sequence[nn.Module],
        norm: nn.Module,
        pooler: nn.Module,
        *,
        heads: int,
        tile: int,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        self.cls_token = cls_token
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.attn_pool_contrastive = pooler
        self.width = cls_token.shape[-1]
        self.depth = len(self.blocks)
        self.heads = heads
        self.tile = tile
        self.drop_path = drop_path
        self.slopes: Tensor
        self.register_buffer("slopes", alibi_slopes(heads), persistent=False)
        states = [f"state_{k}_{kind}" for k in range(self.depth + 1) for kind in ("cls", "mean")]
        self.vector_names = ("model", *states)

    def prepare(self, features: Tensor, coords: Tensor) -> Tokens:
        """Embed tile features [B, L, in_dim]; the cell of a tile is floor((coord - smallest coord) / tile).

        Tiles that share a cell remain tokens of their own.
        """
        shifted = coords - coords.amin(dim=1, keepdim=True)
        cells = torch.div(shifted, self.tile, rounding_mode="floor").long()
        tiles = self.patch_embed(features)
        return Tokens(self.cls_token.expand(len(features), -1, -1).to(tiles.dtype), tiles, cells)

    def run_blocks(self, tokens: Tokens, first: int, last: int) -> Tokens:
        """Blocks `first` to `last`, both included."""
        joined = torch.cat([tokens.cls, tokens.tiles], dim=1)
        for number in range(first, last + 1):
            joined = self._block(number, joined, tokens.cells)
        return Tokens(joined[:, :1], joined[:, 1:], tokens.cells)

    def image_vector(self, tokens: Tokens, pooling: str) -> Tensor:
        """`cls` and `mean` take the tokens as they are; `model`: closing norm, then the pooler over all tokens."""
        if pooling == "cls":
            return tokens.cls[:, 0]
        if pooling == "mean":
            return tokens.tiles.mean(dim=1)
        if pooling == "model":
            joined = torch.cat([tokens.cls, tokens.tiles], dim=1)
            return self.attn_pool_contrastive(self.norm(joined)).reshape(len(joined), self.width)
        raise PathomixError(f"pooling {pooling} of a slide encoder", remedy="choose cls, mean or model")

    def vectors(self, features: Tensor, coords: Tensor, names: Sequence[str]) -> Mapping[str, Tensor]:
        """Slide vectors [B, width].

        Args:
            features: [B, L, in_dim].
            coords: [B, L, 2].
            names: ``model``, or ``state_<k>_cls`` / ``state_<k>_mean``: the closing norm of the class token, or of the
                mean over tiles, after `k` blocks.

        Raises:
            PathomixError: Unknown names, or none.
        """
        unknown = [name for name in names if name not in self.vector_names]
        if unknown or not names:
            raise PathomixError(
                "unknown slide vectors" if unknown else "no slide vector asked for",
                offending=unknown,
                remedy=f"choose among model, state_0_cls ... state_{self.depth}_mean",
            )
        tokens = self.prepare(features, coords)
        found: dict[str, Tensor] = {}
        for k in range(self.depth + 1):
            if k:
                tokens = self.run_blocks(tokens, k - 1, k - 1)
            for kind in ("cls", "mean"):
                if f"state_{k}_{kind}" in names:
                    found[f"state_{k}_{kind}"] = self.norm(self.image_vector(tokens, kind))
        if "model" in names:
            found["model"] = self.image_vector(tokens, "model")
        return {name: found[name] for name in names}

    def _block(self, number: int, x: Tensor, cells: Tensor) -> Tensor:
        block = self.blocks[number]
        x = x + self._kept(number, self._attend(block.attn, block.norm1(x), cells))  # type: ignore[operator, arg-type]
        return x + self._kept(number, block.mlp(block.norm2(x)))  # type: ignore[operator]

    def _attend(self, attention: nn.Module, x: Tensor, cells: Tensor) -> Tensor:
        mixed = attention.qkv(x).unflatten(-1, (3, self.heads, -1))  # type: ignore[operator]
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        out = placed_attention(query, key, value, cells, self.slopes)
        return attention.proj(out.transpose(1, 2).flatten(2))  # type: ignore[operator]

    def _kept(self, number: int, branch: Tensor) -> Tensor:
        """Stochastic depth: the residual branch of a whole case is left out, the others scaled up."""
        share = self.drop_path * number / max(1, self.depth - 1)
        if not self.training or share == 0:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= share
        return branch * (kept / (1 - share)).to(branch.dtype)


class ALiBiViT(PlacedBlocks):
    """Our own open model of that shape.

    Args:
        in_dim: Tile feature width.
        width: Token width.
        depth: Blocks.
        heads: Attention heads of the blocks.
        mlp_ratio: Hidden width of the feed-forward, as multiple of `width`.
        pooler_heads: Attention heads of the pooler.
        tile: Edge of a grid cell in units of the coordinates.
        drop_path: See `PlacedBlocks`.
    """

    def __init__(
        self,
        in_dim: int,
        width: int = 768,
        depth: int = 6,
        heads: int = 12,
        *,
        mlp_ratio: float = 4.0,
        pooler_heads: int = 8,
        tile: int = 1024,
        drop_path: float = 0.0,
    ) -> None:
        if width % heads or width % pooler_heads:
            raise PathomixError(
                f"width {width} with {heads} heads and {pooler_heads} pooler heads",
                remedy="choose a width that both divide",
            )
        super().__init__(
            nn.Sequential(nn.Linear(in_dim, width), nn.GELU()),
            nn.Parameter(torch.randn(1, 1, width) * 0.02),
            [_Block(width, int(width * mlp_ratio)) for _ in range(depth)],
            nn.LayerNorm(width, eps=1e-6),
            AttentionPooler(width, pooler_heads),
            heads=heads,
            tile=tile,
            drop_path=drop_path,
        )


class AttentionPooler(nn.Module):
    """One learned query that attends to all tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, width) / math.sqrt(width))
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_q = nn.LayerNorm(width)
        self.ln_k = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Pooled vector [B, width] of `tokens` [B, N, width]."""
        query = self.ln_q(self.query).expand(len(tokens), -1, -1)
        keys = self.ln_k(tokens)
        return self.attn(query, keys, keys, need_weights=False)[0][:, 0]


class _Attention(nn.Module):
    """Projections of a block's attention; the mixing itself is `placed_attention`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)


class _MLP(nn.Sequential):
    """Feed-forward under the usual parameter names."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.add_module("fc1", nn.Linear(width, hidden))
        self.add_module("act", nn.GELU())
        self.add_module("fc2", nn.Linear(hidden, width))


class _Block(nn.Module):
    """Parts of a pre-norm block; `PlacedBlocks` runs them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _MLP(width, hidden)
