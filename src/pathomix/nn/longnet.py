"""Slide encoder of Prov-GigaPath (Xu et al. 2024): pre-norm LongNet with sub-layer norms (spec 4)."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pathomix.core.errors import PathomixError
from pathomix.nn.backbone import Tokens
from pathomix.nn.dilated_attention import Indexing, at_least_float32, branches, dilated_attention
from pathomix.nn.positions import check_cells, grid_cells, position_index, position_rows

OutOfGrid = Literal["error", "wrap"]

STOCK_RATIOS = (1, 2, 4, 8, 16)
"""Dilation of each branch of the released models."""

_LOG = logging.getLogger(__name__)
_IGNORED = re.compile(r"(pos_embed|mask_token)$|decoder")
_VECTOR = re.compile(r"(?:state_(\d+)|(final))_(cls|mean)")


def stock_segments(max_wsi_size: int = 262144, tile_size: int = 256) -> tuple[int, ...]:
    """Segment lengths of the released models (spec 4.6), to which `STOCK_RATIOS` belong.

    Five lengths evenly spaced in log2 between 1024 and the floor of log2 of the largest number of tiles, truncated.

    Args:
        max_wsi_size: Largest slide edge in pixels.
        tile_size: Tile edge in pixels.

    Raises:
        PathomixError: A slide smaller than a tile.
    """
    tiles = (max_wsi_size // tile_size) ** 2
    if tiles < 1:
        raise PathomixError(
            f"max_wsi_size {max_wsi_size} is below tile_size {tile_size}", remedy="correct the settings"
        )
    last = math.floor(math.log2(tiles))
    return tuple(int(2.0 ** (10 + i * (last - 10) / 4)) for i in range(5))


class WideLayerNorm(nn.LayerNorm):
    """Layer norm evaluated in at least float32, whatever autocast says."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of `x`; the result has the dtype of the weights."""
        with torch.autocast(x.device.type, enabled=False):
            weight, bias = at_least_float32(self.weight), at_least_float32(self.bias)
            x = x.to(torch.promote_types(x.dtype, weight.dtype))
            wide = F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)
        return wide.to(self.weight.dtype)


class DilatedSelfAttention(nn.Module):
    """Projections around dilated attention, with a norm before the output projection.

    Args:
        width: Channels.
        heads: Attention heads; `width` is a multiple of it.
        segment_length: Segment length of each branch.
        dilated_ratio: Dilation of each branch.
        subln: Whether there is the norm.
        indexing: See `dilated_attention.Branch.join`.
        kernel: See `dilated_attention.dilated_attention`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        segment_length: Sequence[int],
        dilated_ratio: Sequence[int],
        *,
        subln: bool = True,
        indexing: Indexing = "aligned",
        kernel: str = "auto",
    ) -> None:
        super().__init__()
        if width % heads:
            raise PathomixError(f"width {width} with {heads} heads", remedy="choose a width that the heads divide")
        self.heads = heads
        self.segment_length, self.dilated_ratio = tuple(segment_length), tuple(dilated_ratio)
        self.indexing: Indexing = indexing
        self.kernel = kernel
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.inner_attn_ln = WideLayerNorm(width, eps=1e-5) if subln else None

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend; all [B, L, width]."""
        q, k, v = (
            projection(x).unflatten(-1, (self.heads, -1))
            for projection, x in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        mixed = dilated_attention(
            q, k, v, self.segment_length, self.dilated_ratio, indexing=self.indexing, kernel=self.kernel
        )
        return self.out_proj(mixed if self.inner_attn_ln is None else self.inner_attn_ln(mixed))


class FeedForward(nn.Module):
    """Linear, exact GELU in float32, norm, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.ffn_layernorm = WideLayerNorm(hidden, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate [B, L, width]."""
        return self.fc2(self.ffn_layernorm(F.gelu(at_least_float32(self.fc1(x)))))


class Block(nn.Module):
    """One pre-norm layer (spec 4.5); dropout and stochastic depth act in train mode only."""

    def __init__(
        self, attention: DilatedSelfAttention, width: int, hidden: int, dropout: float, drop_path: float
    ) -> None:
        super().__init__()
        self.self_attn = attention
        self.self_attn_layer_norm = WideLayerNorm(width, eps=1e-5)
        self.ffn = FeedForward(width, hidden)
        self.final_layer_norm = WideLayerNorm(width, eps=1e-5)
        self.dropout, self.drop_path = dropout, drop_path

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate [B, L, width]."""
        h = self.self_attn_layer_norm(x)
        x = x + self._thin(self.self_attn(h, h, h))
        return x + self._thin(self.ffn(self.final_layer_norm(x)))

    def _thin(self, x: Tensor) -> Tensor:
        x = F.dropout(x, self.dropout, self.training)
        if not self.training or self.drop_path == 0.0:
            return x
        kept = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.drop_path
        return x * (kept / (1.0 - self.drop_path)).to(x.dtype)


class Encoder(nn.Module):
    """Blocks and the closing norm, under their official names."""

    def __init__(self, layers: Iterable[Block], width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.layer_norm = WideLayerNorm(width, eps=1e-5)


class LongNet(nn.Module):
    """Slide encoder; the defaults are the released `gigapath_slide_enc12l768d` (86,330,880 parameters).

    It fulfils `backbone.Backbone`. Cases of one batch have equally many tiles: padding would change the result. Tiles
    are attended to in the order given, which is part of the model: segments are contiguous stretches of the input.

    Args:
        in_chans: Tile feature width.
        embed_dim: Width d, a multiple of 4 and of `heads`.
        depth: Blocks.
        heads: Attention heads.
        mlp_ratio: Hidden width of the feed-forward part in units of `embed_dim`.
        slide_ngrids: Cells of the position grid along each axis.
        tile_size: Tile edge in pixels: sets the stock segments, and divides coordinates.
        coord_divisor: Divides coordinates instead of `tile_size`.
        max_wsi_size: Largest slide edge in pixels, for the stock segments.
        segment_length: Segment length of each branch; None = stock (`stock_segments`).
        dilated_ratio: Dilation of each branch; None = `STOCK_RATIOS`.
        global_pool: Whether the model's own vector is the mean of tiles instead of the class token.
        dropout: After the embedding, the attention and the feed-forward part.
        drop_path: Stochastic depth of the last block; rises linearly from 0.
        norm_eps: Of the outer norm; norms of the encoder have 1e-5.
        indexing: `aligned`, or `compat` with the released code where a ratio does not divide its segment.
        out_of_grid: `error`, or `wrap` into the next row as the released code does.
        kernel: Attention kernel, see `dilated_attention.KERNELS`.
        gradient_checkpointing: Whether the backward pass computes the blocks again instead of storing them.
    """

    def __init__(
        self,
        in_chans: int = 1536,
        embed_dim: int = 768,
        depth: int = 12,
        heads: int = 16,
        mlp_ratio: float = 4.0,
        *,
        slide_ngrids: int = 1000,
        tile_size: int = 256,
        coord_divisor: float | None = None,
        max_wsi_size: int = 262144,
        segment_length: Sequence[int] | None = None,
        dilated_ratio: Sequence[int] | None = None,
        global_pool: bool = False,
        dropout: float = 0.25,
        drop_path: float = 0.1,
        norm_eps: float = 1e-6,
        indexing: Indexing = "aligned",
        out_of_grid: OutOfGrid = "error",
        kernel: str = "auto",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if segment_length is None:
            segment_length = stock_segments(max_wsi_size, tile_size)
        self.segment_length = tuple(segment_length)
        self.dilated_ratio = STOCK_RATIOS if dilated_ratio is None else tuple(dilated_ratio)
        branches(1, self.segment_length, self.dilated_ratio)
        self.in_chans, self.width, self.depth = in_chans, embed_dim, depth
        self.slide_ngrids = slide_ngrids
        self.coord_divisor = float(coord_divisor or tile_size)
        self.global_pool, self.dropout = global_pool, dropout
        self.indexing: Indexing = indexing
        self.out_of_grid: OutOfGrid = out_of_grid
        self.gradient_checkpointing = gradient_checkpointing
        self.patch_embed = nn.ModuleDict({"proj": nn.Linear(in_chans, embed_dim)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        layers = []
        for i in range(depth):
            attention = DilatedSelfAttention(
                embed_dim, heads, self.segment_length, self.dilated_ratio, indexing=indexing, kernel=kernel
            )
            rate = drop_path * i / max(1, depth - 1)
            layers.append(Block(attention, embed_dim, int(embed_dim * mlp_ratio), dropout, rate))
        self.encoder = Encoder(layers, embed_dim)
        self.norm = WideLayerNorm(embed_dim, eps=norm_eps)
        self._initialise()

    def _initialise(self) -> None:
        sub_layer_gain = math.sqrt(math.log(2 * self.depth)) if self.depth else 1.0
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                scaled = name.endswith(("v_proj", "out_proj", "fc1", "fc2"))
                nn.init.xavier_uniform_(module.weight, sub_layer_gain if scaled else 1.0)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.cls_token, std=0.02)

    def prepare(self, features: Tensor, coords: Tensor) -> Tokens:
        """Project tile features [B, L, in_chans], add positions of `coords` [B, L, 2], prepend the class token.

        Raises:
            PathomixError: Shapes that do not fit, no tile, or coordinates outside the grid.
        """
        proj = self.patch_embed["proj"]
        if features.dim() != 3 or features.shape[-1] != self.in_chans or coords.shape != (*features.shape[:2], 2):
            raise PathomixError(
                f"features {list(features.shape)} with coordinates {list(coords.shape)}",
                remedy=f"give [cases, tiles, {self.in_chans}] and [cases, tiles, 2]",
            )
        if features.shape[1] == 0:
            raise PathomixError("a case without tiles", remedy="leave the case out or loosen slides.tiles.min_tissue")
        cells = grid_cells(coords, self.coord_divisor)
        if self.out_of_grid == "error":
            check_cells(cells, self.slide_ngrids)
        self._tell_indexing(features.shape[1] + 1)
        rows = position_rows(position_index(cells, self.slide_ngrids), self.slide_ngrids, self.width)
        cls = self.cls_token.expand(len(features), -1, -1)
        # the sum is not left to autocast: positions stay exact, tokens keep the precision of the weights
        tokens = torch.cat([cls, proj(features).to(cls.dtype) + rows.to(cls)], dim=1)
        return self._tokens(F.dropout(tokens, self.dropout, self.training), cells)

    def run_blocks(self, tokens: Tokens, first: int, last: int) -> Tokens:
        """Blocks `first` to `last`, both included, over class and tile tokens together.

        Raises:
            PathomixError: There are no such blocks.
        """
        if not 0 <= first <= last < self.depth:
            raise PathomixError(f"blocks {first} to {last} of {self.depth}", remedy="correct the interaction indexes")
        x = torch.cat([tokens.cls, tokens.tiles], dim=1)
        for block in self.encoder.layers[first : last + 1]:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return self._tokens(x, tokens.cells)

    def image_vector(self, tokens: Tokens, pooling: str) -> Tensor:
        """Vector [B, d] of `tokens`.

        Args:
            tokens: After any block.
            pooling: `cls` or `mean`: the bare class token or mean of tile tokens; `model`: the closing norm of the
                encoder, the model's own pooling, the outer norm (the final mode of spec 4.7).

        Raises:
            PathomixError: Another pooling.
        """
        if pooling in ("cls", "mean"):
            return _pool(tokens, pooling)
        if pooling != "model":
            raise PathomixError(f"pooling {pooling} of a slide encoder", remedy="choose cls, mean or model")
        return self._final(tokens, "mean" if self.global_pool else "cls")

    def states(self, features: Tensor, coords: Tensor) -> Iterator[Tokens]:
        """Tokens before the first and after each block, one at a time (depth + 1)."""
        tokens = self.prepare(features, coords)
        yield tokens
        for i in range(self.depth):
            tokens = self.run_blocks(tokens, i, i)
            yield tokens

    @property
    def vector_names(self) -> tuple[str, ...]:
        """Names that `vectors` knows: `state_k_cls`, `state_k_mean` for k = 0..depth, `final_cls`, `final_mean`."""
        stages = [*(f"state_{k}" for k in range(self.depth + 1)), "final"]
        return tuple(f"{stage}_{pooling}" for stage in stages for pooling in ("cls", "mean"))

    def vectors(self, features: Tensor, coords: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Named slide vectors [B, d] (spec 4.7).

        Args:
            features: [B, L, in_chans].
            coords: [B, L, 2].
            names: Some of `vector_names`. `state_k_*` passes the outer norm only, `final_*` both closing norms.

        Raises:
            PathomixError: Unknown names, or what `prepare` raises.
        """
        unknown = [name for name in names if name not in self.vector_names]
        if unknown or not names:
            raise PathomixError(
                "unknown slide vectors" if unknown else "no slide vector asked for",
                offending=unknown,
                remedy=f"choose among state_0_cls ... state_{self.depth}_mean, final_cls, final_mean",
            )
        wanted: dict[int, list[tuple[str, bool, str]]] = {}
        for name in names:
            stage, final, pooling = _VECTOR.fullmatch(name).groups()  # type: ignore[union-attr]
            wanted.setdefault(self.depth if final else int(stage), []).append((name, bool(final), pooling))
        found = {}
        for k, tokens in enumerate(self.states(features, coords)):
            for name, final, pooling in wanted.pop(k, []):
                found[name] = self._final(tokens, pooling) if final else self.norm(_pool(tokens, pooling))
            if not wanted:
                break
        return {name: found[name] for name in names}

    def forward(self, features: Tensor, coords: Tensor) -> Tensor:
        """The model's own slide vector [B, d] (`final_mean` with `global_pool`, else `final_cls`)."""
        tokens = self.run_blocks(self.prepare(features, coords), 0, self.depth - 1)
        return self.image_vector(tokens, "model")

    def load_official(self, state: Mapping[str, Any]) -> None:
        """Load a state dict with the official names (spec 4.2), strictly.

        Position tables, decoders and mask tokens are passed over; everything else has to fit one to one.

        Raises:
            PathomixError: Naming every missing, extra and misshapen tensor and every one with NaN or infinity.
        """
        given = {name: value for name, value in state.items() if not _IGNORED.match(name)}
        own = self.state_dict()
        shared = [name for name in own if name in given]
        shapes = [
            f"{name} {_shape(given[name])} instead of {tuple(own[name].shape)}"
            for name in shared
            if _shape(given[name]) != tuple(own[name].shape)
        ]
        broken = [name for name in shared if torch.is_tensor(given[name]) and not bool(given[name].isfinite().all())]
        faults = {
            "missing": [name for name in own if name not in given],
            "unexpected": sorted(set(given) - set(own)),
            "of another shape": shapes,
            "with NaN or infinity": broken,
        }
        if any(faults.values()):
            told = "; ".join(f"{len(found)} {fault}: {', '.join(found)}" for fault, found in faults.items() if found)
            raise PathomixError(
                f"weights do not fit this slide encoder: tensors {told}",
                remedy="give the checkpoint of this architecture, or the settings of that checkpoint",
            )
        self.load_state_dict({name: given[name] for name in own})

    def _tokens(self, x: Tensor, cells: Tensor) -> Tokens:
        return Tokens(cls=x[:, :1], tiles=x[:, 1:], cells=cells)

    def _final(self, tokens: Tokens, pooling: str) -> Tensor:
        norm = self.encoder.layer_norm
        return self.norm(_pool(Tokens(norm(tokens.cls), norm(tokens.tiles), tokens.cells), pooling))

    def _tell_indexing(self, length: int) -> None:
        if any(branch.shifted for branch in branches(length, self.segment_length, self.dilated_ratio)):
            _LOG.info("%d tokens: a ratio does not divide its segment; %s indexing", length, self.indexing)


def _pool(tokens: Tokens, pooling: str) -> Tensor:
    return tokens.cls[:, 0] if pooling == "cls" else tokens.tiles.mean(dim=1)


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if torch.is_tensor(value) else f"({type(value).__name__})"
