"""Tokens-to-token vision transformer, T2T-ViT (Yuan et al. 2021; Path-GPTomic section 6). Official parameter names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, unfold

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice

TokenKind = Literal["performer", "transformer"]

_STRIDE = 16
"""Pixels per final token along an axis: the three unfoldings step by 4, 2 and 2."""

_SMALLEST_SUM = 1e-8


@dataclass(frozen=True)
class T2TSettings:
    """Sizes of a T2T-ViT.

    Attributes:
        image_size: Edge of the square images in pixels, a multiple of 16.
        token_kind: How neighbouring tokens are mixed before the backbone: ``performer`` (linear attention) or
            ``transformer`` (one softmax head; the ``t_`` variants).
        embed_dim: Token width of the backbone.
        depth: Blocks of the backbone.
        heads: Attention heads of each block.
        mlp_ratio: Hidden width of the feed-forward as a multiple of `embed_dim`.
        token_dim: Token width before the backbone.
        kernel_ratio: Random features of the performer as a multiple of `token_dim`.
        token_dropout: Dropout of the token performer; token transformer and backbone have none.
        qk_scale: Factor of the scores of the backbone; None = (width of a head)^-1/2.

    Raises:
        PathomixError: Sizes that make no network.
    """

    image_size: int = 224
    token_kind: TokenKind = "performer"
    embed_dim: int = 384
    depth: int = 14
    heads: int = 6
    mlp_ratio: float = 3.0
    token_dim: int = 64
    kernel_ratio: float = 0.5
    token_dropout: float = 0.1
    qk_scale: float | None = None

    def __post_init__(self) -> None:
        choice(self.token_kind, get_args(TokenKind), "token_kind")
        wrong = []
        if self.image_size < _STRIDE or self.image_size % _STRIDE:
            wrong.append(f"image_size {self.image_size} is no multiple of {_STRIDE}")
        if min(self.embed_dim, self.depth, self.heads, self.token_dim) < 1:
            wrong.append("embed_dim, depth, heads and token_dim are at least 1")
        elif self.embed_dim % self.heads or self.embed_dim % 2:
            wrong.append(f"embed_dim {self.embed_dim} is odd or not divided by {self.heads} heads")
        if int(self.token_dim * self.kernel_ratio) < 1 or int(self.embed_dim * self.mlp_ratio) < 1:
            wrong.append("kernel_ratio or mlp_ratio leaves no hidden unit")
        if not 0 <= self.token_dropout < 1:
            wrong.append("token_dropout is at least 0 and below 1")
        if wrong:
            raise PathomixError(f"T2T-ViT: {'; '.join(wrong)}", remedy="correct these sizes")

    @property
    def side(self) -> int:
        """Tokens per axis that reach the backbone."""
        return self.image_size // _STRIDE


def _variants() -> Mapping[str, T2TSettings]:
    sizes: dict[str, tuple[int, int, int, float]] = {
        "7": (256, 7, 4, 2.0),
        "10": (256, 10, 4, 2.0),
        "12": (256, 12, 4, 2.0),
        "14": (384, 14, 6, 3.0),
        "19": (448, 19, 7, 3.0),
        "24": (512, 24, 8, 3.0),
    }
    kinds: tuple[tuple[str, TokenKind], ...] = (("", "performer"), ("t_", "transformer"))
    return {
        f"{prefix}{name}": T2TSettings(token_kind=kind, embed_dim=width, depth=depth, heads=heads, mlp_ratio=mlp_ratio)
        for prefix, kind in kinds
        for name, (width, depth, heads, mlp_ratio) in sizes.items()
    }


VARIANTS: Mapping[str, T2TSettings] = _variants()
"""Published sizes at 224 pixels by name, ``7`` ... ``24`` and ``t_7`` ... ``t_24`` (section 6.1)."""


def sinusoid_positions(count: int, width: int) -> Tensor:
    """Fixed position table, float32 [1, count, width].

    The angle of column j at position p is p / 10000^(2 floor(j/2) / width); sine in even columns, cosine in odd ones.
    Position 0 is the class token.
    """
    column = torch.arange(width, dtype=torch.float64)
    rate = 10000.0 ** (-2 * torch.floor(column / 2) / width)
    angle = torch.arange(count, dtype=torch.float64)[:, None] * rate
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()[None]


class TokenPerformer(nn.Module):
    """Linear attention by positive random features; the value, not the input, is carried past it.

    Args:
        inputs: Width of the unfolded tokens.
        width: Width of the result.
        features: Number of random features.
        dropout: After the projection and after the feed-forward.
    """

    def __init__(self, inputs: int, width: int, features: int, dropout: float) -> None:
        super().__init__()
        self.kqv = nn.Linear(inputs, 3 * width)
        self.dp = nn.Dropout(dropout)
        self.proj = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(inputs)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.Dropout(dropout))
        self.w = nn.Parameter(torch.empty(features, width), requires_grad=False)
        nn.init.orthogonal_(self.w, gain=math.sqrt(features))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [n, L, width] of unfolded tokens [n, L, inputs]."""
        key, query, value = self.kqv(self.norm1(tokens)).chunk(3, dim=-1)
        mixed = value + self.dp(self.proj(self._attend(key, query, value)))
        return mixed + self.mlp(self.norm2(mixed))

    def _attend(self, key: Tensor, query: Tensor, value: Tensor) -> Tensor:
        # exp(16) is within reach and beyond float16, whose NaNs are known of; so never below float32, autocast or not.
        with torch.autocast(value.device.type, enabled=False):
            kind = torch.promote_types(value.dtype, torch.float32)
            seen, asked = self._features(key.to(kind)), self._features(query.to(kind))
            total = asked @ seen.sum(dim=1)[..., None]
            mixed = asked @ (seen.mT @ value.to(kind)) / (total + _SMALLEST_SUM)
        return mixed.to(value.dtype)

    def _features(self, vectors: Tensor) -> Tensor:
        """exp(w a - |a|^2 / 2) / sqrt(m), [n, L, m]."""
        w = self.w.to(vectors.dtype)
        exponent = vectors @ w.mT - vectors.square().sum(dim=-1, keepdim=True) / 2
        return exponent.exp() / math.sqrt(len(w))


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.fc2(self.act(self.fc1(tokens)))
        return result


class _TokenAttention(nn.Module):
    """One softmax head whose values are carried past it; scores are scaled by the width of the input."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.scale = inputs**-0.5
        self.qkv = nn.Linear(inputs, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.qkv(tokens)[:, None].chunk(3, dim=-1)
        mixed = scaled_dot_product_attention(query, key, value, scale=self.scale)
        result: Tensor = value[:, 0] + self.proj(mixed[:, 0])
        return result


class TokenTransformer(nn.Module):
    """Softmax attention among unfolded tokens (the ``t_`` variants).

    Args:
        inputs: Width of the unfolded tokens.
        width: Width of the result.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(inputs)
        self.attn = _TokenAttention(inputs, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _FeedForward(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [n, L, width] of unfolded tokens [n, L, inputs]."""
        mixed = self.attn(self.norm1(tokens))
        result: Tensor = mixed + self.mlp(self.norm2(mixed))
        return result


class TokensToToken(nn.Module):
    """Images to tokens: neighbours are unfolded into one vector and mixed, twice, then unfolded and projected."""

    def __init__(self, settings: T2TSettings) -> None:
        super().__init__()
        width = settings.token_dim

        def mixing(inputs: int) -> nn.Module:
            if settings.token_kind == "transformer":
                return TokenTransformer(inputs, width)
            return TokenPerformer(inputs, width, int(width * settings.kernel_ratio), settings.token_dropout)

        self.attention1 = mixing(3 * 7 * 7)
        self.attention2 = mixing(width * 3 * 3)
        self.project = nn.Linear(width * 3 * 3, settings.embed_dim)

    def first_tokens(self, images: Tensor) -> Tensor:
        """Tokens [n, (S/4)^2, token_dim] after the first mixing."""
        result: Tensor = self.attention1(unfold(images, kernel_size=7, stride=4, padding=2).mT)
        return result

    def forward(self, images: Tensor) -> Tensor:
        """Tokens [n, (S/16)^2, embed_dim] of images [n, 3, S, S]."""
        tokens = self.attention2(_neighbourhoods(self.first_tokens(images)))
        return self.project(_neighbourhoods(tokens))


def _neighbourhoods(tokens: Tensor) -> Tensor:
    """Tokens [n, L, c] of a square grid to their 3 x 3 neighbourhoods at every other place, [n, L/4, 9 c]."""
    images, count, width = tokens.shape
    side = math.isqrt(count)
    grid = tokens.mT.reshape(images, width, side, side)
    return unfold(grid, kernel_size=3, stride=2, padding=1).mT


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, scale: float | None) -> None:
        super().__init__()
        self.heads, self.scale = heads, scale
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value, scale=self.scale)
        result: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return result


class _Block(nn.Module):
    """Pre-norm block."""

    def __init__(self, settings: T2TSettings) -> None:
        super().__init__()
        width = settings.embed_dim
        self.norm1 = nn.LayerNorm(width)
        self.attn = _Attention(width, settings.heads, settings.qk_scale)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _FeedForward(width, int(width * settings.mlp_ratio))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        result: Tensor = tokens + self.mlp(self.norm2(tokens))
        return result


class T2TViT(nn.Module):
    """T2T-ViT; its vector of an image is the normed class token.

    Linear weights and the class token start from a truncated normal distribution with standard deviation 0.02, biases
    from 0 (our choice; the published initialisation is not in the specification).

    Args:
        settings: Sizes.
        classes: Outputs of the linear `head` that `logits` needs; 0 = no head.
    """

    def __init__(self, settings: T2TSettings, classes: int = 0) -> None:
        super().__init__()
        self.settings = settings
        width = settings.embed_dim
        self.tokens_to_token = TokensToToken(settings)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        table = sinusoid_positions(settings.side**2 + 1, width)
        self.pos_embed = nn.Parameter(table, requires_grad=False)
        self.blocks = nn.ModuleList(_Block(settings) for _ in range(settings.depth))
        self.norm = nn.LayerNorm(width)
        if classes:
            self.head = nn.Linear(width, classes)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Vectors [n, embed_dim] of normalised images [n, 3, S, S], S = `image_size`.

        Raises:
            PathomixError: Images of another shape.
        """
        size = self.settings.image_size
        if images.shape[1:] != (3, size, size):
            raise PathomixError(
                f"images of shape {tuple(images.shape)} for a T2T-ViT of image_size {size}",
                remedy=f"resize them to [n, 3, {size}, {size}], or build the network with another image_size",
            )
        tokens = self.tokens_to_token(images)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1).to(tokens.dtype), tokens], dim=1)
        tokens = tokens + self.pos_embed.to(tokens.dtype)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens[:, 0])

    def logits(self, images: Tensor) -> Tensor:
        """Outputs [n, classes] of the head."""
        return self.head(self(images))
