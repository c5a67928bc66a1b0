"""Injector, extractor and interaction stage of the Modal Adapter (ModalTune 2.1, 2.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pathomix.nn.backbone import Tokens
from pathomix.nn.modal_attention import CrossAttention, DropPath, FeedForward

ResidualMode = Literal["released", "single"]


class Injector(nn.Module):
    """Prompt tokens into tile tokens, gated per channel by gamma.

    ``released``: x + gamma (x + A(x, c)), because the attention layer keeps a residual of its own.
    ``single``: x + gamma A(x, c). With gamma = 0 both leave x as it is.

    Args:
        width: d.
        heads: Attention heads.
        attention_ratio: Bottleneck of the attention; None = full width.
        gamma: Initial gate.
        residual_mode: See above.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        attention_ratio: float | None = 0.25,
        gamma: float = 0.0,
        residual_mode: ResidualMode = "released",
    ) -> None:
        super().__init__()
        self.residual_mode = residual_mode
        self.attn = CrossAttention(width, heads, attention_ratio)
        self.gamma = nn.Parameter(torch.full((width,), gamma))

    def forward(self, tiles: Tensor, prompt: Tensor, position: Tensor | None) -> Tensor:
        """Tiles [B, L, d] given prompt tokens [B, P, d] with positions [P, d]."""
        update = self.attn if self.residual_mode == "released" else self.attn.attend
        return tiles + self.gamma * update(tiles, prompt, None, position)


class Extractor(nn.Module):
    """Tile tokens into prompt tokens, then a feed-forward branch.

    ``released``: c + (c + A(c, x)), doubling the token. ``single``: c + A(c, x).

    Args:
        width: d.
        heads: Attention heads.
        attention_ratio: Bottleneck of the attention; None = full width.
        ffn_ratio: Hidden width of the feed-forward branch as a share of d; None = no such branch.
        drop_path: Probability of leaving the feed-forward branch out.
        residual_mode: See above.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        attention_ratio: float | None = 0.25,
        ffn_ratio: float | None = 0.25,
        drop_path: float = 0.0,
        residual_mode: ResidualMode = "released",
    ) -> None:
        super().__init__()
        self.residual_mode = residual_mode
        self.attn = CrossAttention(width, heads, attention_ratio)
        self.ffn = None if ffn_ratio is None else FeedForward(width, ffn_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, prompt: Tensor, tiles: Tensor, position: Tensor | None) -> Tensor:
        """Prompt tokens [B, P, d] given tiles [B, L, d]; `position` [P, d] is of the prompt."""
        update = self.attn if self.residual_mode == "released" else self.attn.attend
        prompt = prompt + update(prompt, tiles, position, None)
        return prompt if self.ffn is None else prompt + self.drop_path(self.ffn(prompt))


class Interaction(nn.Module):
    """One stage: injector, a stretch of backbone blocks, extractor, and in the last stage further extractors.

    The class token is neither query of the injector nor key of the extractors.

    Args:
        width: d.
        heads: Attention heads.
        extra_extractors: Further extractors.
        attention_ratio: See `Injector`.
        ffn_ratio: See `Extractor`.
        drop_path: See `Extractor`.
        gamma: See `Injector`.
        residual_mode: See `Injector` and `Extractor`.
        checkpointing: Recompute injector and extractors in the backward pass instead of keeping their activations.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        extra_extractors: int = 0,
        attention_ratio: float | None = 0.25,
        ffn_ratio: float | None = 0.25,
        drop_path: float = 0.0,
        gamma: float = 0.0,
        residual_mode: ResidualMode = "released",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.injector = Injector(width, heads, attention_ratio, gamma, residual_mode)
        self.extractor, *extra = (
            Extractor(width, heads, attention_ratio, ffn_ratio, drop_path, residual_mode)
            for _ in range(1 + extra_extractors)
        )
        self.extra_extractors = nn.ModuleList(extra)

    def forward(
        self,
        tokens: Tokens,
        prompt: Tensor,
        position: Tensor | None,
        blocks: Callable[[Tokens], Tokens],
        attention: dict[str, Tensor] | None = None,
    ) -> tuple[Tokens, Tensor]:
        """Run the stage.

        Args:
            tokens: Class and tile tokens.
            prompt: [B, P, d].
            position: [P, d].
            blocks: The stage's backbone blocks.
            attention: Where given, filled with the attention weights, mean over heads: ``tiles_to_prompt`` [B, L, P]
                of the injector, ``prompt_to_tiles.<k>`` [B, P, L] of each extractor. Results stay the same.
        """
        if attention is not None:
            attention["tiles_to_prompt"] = self.injector.attn.weights(tokens.tiles, prompt, None, position)
        tokens = blocks(tokens._replace(tiles=self._run(self.injector, tokens.tiles, prompt, position)))
        for number, extractor in enumerate([self.extractor, *self.extra_extractors]):
            if attention is not None:
                attention[f"prompt_to_tiles.{number}"] = extractor.attn.weights(prompt, tokens.tiles, position, None)
            prompt = self._run(extractor, prompt, tokens.tiles, position)
        return tokens, prompt

    def _run(self, layer: nn.Module, *inputs: Tensor | None) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(layer, *inputs, use_reentrant=False)
        return layer(*inputs)
