"""The text tower of CONCH v1, from a local licensed copy (spec slides_and_encoders 6.1).

Written from the spec's facts. The released weights are gated and were not at hand: names, shapes and the mask are
tested with random weights in the released layout only.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer  # type: ignore[import-untyped]
from torch import Tensor, nn

from pathomix.core.errors import PathomixError
from pathomix.core.weights import load_strictly, read_state, state_digest
from pathomix.text.encoders import unit_rows

log = logging.getLogger(__name__)

CONTEXT = 127
"""Token ids of a text, start and end included; one more pad follows."""

_HEAD_WIDTH = 64
_START, _END, _PAD = "<start_of_text>", "<end_of_text>", 0
_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.")


class _Attention(nn.Module):
    """Multi-head self-attention with the parameter names of torch's own module."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """Of x [B, L, width], where visible bool [B, 1, L, L], the attended values [B, L, width]."""
        batch, length, width = x.shape
        joint = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = joint.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, length, width))


class _MLP(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, hidden)
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x)))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = _Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = _MLP(width, hidden)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x), visible)
        return x + self.mlp(self.ln_2(x))


class ConchTextTower(nn.Module):
    """Causal transformer over token ids with a learned class vector at the last position.

    Args:
        vocabulary: Number of token ids.
        context: Token ids of one text (127 in the released model).
        width: Of the transformer (768); heads are 64 wide.
        layers: Number of blocks (12).
        hidden: Width of the feed-forward layer (3072).
        dim: Output width (512).
    """

    def __init__(self, vocabulary: int, context: int, width: int, layers: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.zeros(context + 1, width))
        self.cls_emb = nn.Parameter(torch.zeros(width))
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(_Block(width, width // _HEAD_WIDTH, hidden) for _ in range(layers))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros(width, dim))

    def forward(self, ids: Tensor) -> Tensor:
        """Class vectors [B, dim], not normalised, of token ids int64 [B, context + 1], of which the last is dropped."""
        ids = ids[:, :-1]
        tokens = self.token_embedding(ids)
        x = torch.cat([tokens, self.cls_emb.expand(len(ids), 1, -1)], dim=1) + self.positional_embedding
        visible = visible_keys(ids)
        for block in self.transformer.resblocks:  # type: ignore[union-attr]
            x = block(x, visible)
        return self.ln_final(x[:, -1]) @ self.text_projection


def visible_keys(ids: Tensor) -> Tensor:
    """Which keys each query sees, bool [B, 1, L + 1, L + 1], for token ids [B, L] followed by the class vector.

    Causal. The class vector sees key 0, and key k where token k - 1 is no pad: one position late, so that it sees the
    first pad after a text, and itself only where the text fills the context. Released behaviour, kept.
    """
    batch, length = ids.shape
    mask = torch.ones(length + 1, length + 1, dtype=torch.bool, device=ids.device).tril().repeat(batch, 1, 1)
    mask[:, -1, 1:] = ids != _PAD
    return mask[:, None]


def build_tower(state: dict[str, Tensor], source: Path) -> ConchTextTower:
    """The tower of a checkpoint, sizes read off its ``text.*`` tensors; other towers' tensors are left alone.

    Raises:
        PathomixError: A tensor of the tower is missing, left over or of another shape; all are named.
    """
    text = {key.removeprefix("text."): value for key, value in state.items() if key.startswith("text.")}
    sized = ("token_embedding.weight", "positional_embedding", "text_projection")
    absent = [f"missing text.{key}" for key in sized if key not in text or text[key].ndim != 2]
    if absent:
        raise PathomixError(f"{source}: not a CONCH checkpoint", offending=absent, remedy="give the released file")
    vocabulary, width = text["token_embedding.weight"].shape
    hidden = text.get("transformer.resblocks.0.mlp.c_fc.bias", torch.zeros(4 * width)).shape[0]
    layers = 1 + max((int(m.group(1)) for key in text if (m := _BLOCK.match(key))), default=0)
    if width % _HEAD_WIDTH:
        raise PathomixError(f"{source}: width {width} is no multiple of {_HEAD_WIDTH}", remedy="give the released file")
    context = text["positional_embedding"].shape[0] - 1
    with torch.random.fork_rng(devices=[]):
        tower = ConchTextTower(vocabulary, context, width, layers, hidden, text["text_projection"].shape[1])
    load_strictly(tower, text, source)
    return tower.float().eval().requires_grad_(False)


class ConchEncoder:
    """CONCH's text side.

    Args:
        weights: The released ``pytorch_model.bin``, or a safetensors file with the same names.
        tokenizer: The tokeniser's ``tokenizer.json``.
        batch_size: Texts per forward pass.

    Raises:
        PathomixError: A file is missing or does not fit.
    """

    def __init__(self, weights: str, tokenizer: str, batch_size: int = 64) -> None:
        path = Path(tokenizer)
        if not path.is_file():
            raise PathomixError(f"{path}: no such file", remedy="correct the key tokenizer of the texts")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise PathomixError(f"{path}: not a tokenizer.json ({error})", remedy="give CONCH's own file") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tower = build_tower(read_state(Path(weights)), Path(weights))
        rows = self._tower.token_embedding.num_embeddings
        self._start, self._end = (self._tokenizer.token_to_id(token) for token in (_START, _END))
        if self._start is None or self._end is None or self._tokenizer.get_vocab_size() > rows:
            raise PathomixError(
                f"{path}: {self._tokenizer.get_vocab_size()} tokens with {_START} {self._start} and {_END} {self._end} "
                f"do not fit the {rows} rows of {weights}",
                remedy="give the tokenizer.json that belongs to the weights",
            )
        self._context = len(self._tower.positional_embedding) - 1
        self._batch_size = batch_size
        self.dim = int(self._tower.text_projection.shape[1])
        self.identity = f"conch dim={self.dim}"
        self.digest = state_digest(self._tower.state_dict(), path.read_bytes())

    def tokenise(self, text: str) -> list[int]:
        """Start, the text's tokens cut to fit, end, padding to the context, and one more pad."""
        body = self._tokenizer.encode(text, add_special_tokens=False).ids
        if len(body) > self._context - 2:
            log.warning("prompt of %d tokens, only the first %d are read: %s", len(body), self._context - 2, text)
        ids = [self._start, *body[: self._context - 2], self._end]
        return ids + [_PAD] * (self._context + 1 - len(ids))

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [texts, dim]."""
        vectors = [np.zeros((0, self.dim), np.float32)]
        for start in range(0, len(texts), self._batch_size):
            ids = torch.tensor([self.tokenise(text) for text in texts[start : start + self._batch_size]])
            vectors.append(self._tower(ids).numpy())
        return unit_rows(np.concatenate(vectors), texts, self.identity)
