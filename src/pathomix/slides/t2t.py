"""Files of T2T-ViT weights in the released layout: strictly loaded, and written (Path-GPTomic section 6.2).

The network itself is handed in (`nn.t2t_vit.T2TViT`), because rooms of one floor do not know each other.
"""

from __future__ import annotations

import argparse
import logging
import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path
from pathomix.core.parameters import choice
from pathomix.core.weights import load_strictly, read_state

log = logging.getLogger(__name__)

Positions = Literal["bicubic", "sinusoid"]

_STATES = ("state_dict_ema", "state_dict")
_HEAD = "head."
_PARALLEL = "module."
_TABLE = "pos_embed"


def load_t2t(model: nn.Module, path: Path, positions: Positions = "bicubic") -> None:
    """Load a file of the released layout into a T2T-ViT of the same variant, for any image size.

    The scale of the scores is no tensor: the specification has the released weights go with (width of a head)^-1/2,
    which is `T2TSettings.qk_scale` None, while the notes of the golden sets name embed_dim^-1/2. A wrong one loads
    without complaint, so that a set of images with known answers is the only test of it.

    Args:
        model: Network whose state dict has the official names. One without `head` leaves that of the file out.
        path: torch file with `state_dict_ema` (preferred) or `state_dict`, or a plain state dict (safetensors too).
        positions: Position table where the file is of another image size: ``bicubic`` (its grid resized) or
            ``sinusoid`` (the model's own table, for its own size). They differ.

    Raises:
        PathomixError: The file cannot be read, its table is no square grid, or a tensor does not fit; every mismatch
            is named.
    """
    choice(positions, get_args(Positions), "positions")
    own = model.state_dict()
    state = read_t2t(path)
    if not any(name.startswith(_HEAD) for name in own):
        state = {name: value for name, value in state.items() if not name.startswith(_HEAD)}
    table, wanted = state.get(_TABLE), own.get(_TABLE)
    if table is not None and wanted is not None and table.ndim == 3 and table.shape[1] != wanted.shape[1]:
        state[_TABLE] = wanted if positions == "sinusoid" else resized_positions(table, wanted.shape[1] - 1, path)
        log.info("%s: position table of %d tokens, %s to %d", path, table.shape[1], positions, wanted.shape[1])
    load_strictly(model, state, path)


def read_t2t(path: Path) -> dict[str, Tensor]:
    """State dict of a file of the released layout, names without ``module.``; no code in the file is run.

    Raises:
        PathomixError: The file is missing, or holds no state dict.
    """
    if path.suffix == ".safetensors" or not path.is_file():
        state = read_state(path)
    else:
        state = _unwrapped(_torch_content(path), path)
    stripped = {name.removeprefix(_PARALLEL): value for name, value in state.items()}
    if len(stripped) < len(state):
        doubled = sorted(name for name in stripped if name in state and _PARALLEL + name in state)
        raise PathomixError(
            f"{path}: tensors are there with and without `{_PARALLEL}`",
            offending=doubled,
            remedy="leave one of each out of the file",
        )
    return stripped


def resized_positions(table: Tensor, places: int, path: Path) -> Tensor:
    """Position table [1, 1 + places, d]: the grid of `table` [1, 1 + g^2, d] resized bicubically, first row kept.

    Raises:
        PathomixError: One of the grids is not square.
    """
    stored = table.shape[1] - 1
    side, target = math.isqrt(max(stored, 0)), math.isqrt(places)
    if len(table) != 1 or side < 1 or side**2 != stored or target**2 != places:
        raise PathomixError(
            f"{path}: a position table of {stored} places cannot be resized to {places}",
            remedy="use weights and an image_size of square grids, or `positions: sinusoid`",
        )
    grid = table[:, 1:].mT.reshape(1, -1, side, side).float()
    resized = interpolate(grid, size=(target, target), mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], resized.flatten(2).mT.to(table.dtype)], dim=1)


def write_t2t(path: Path, state: Mapping[str, Tensor], ema: Mapping[str, Tensor] | None = None) -> None:
    """Write a state dict in the released layout, atomically.

    Args:
        path: torch file.
        state: Official names; stored under `state_dict`, with ``module.`` before each.
        ema: Averaged weights, stored under `state_dict_ema`.
    """
    content: dict[str, Any] = {"state_dict": {f"{_PARALLEL}{name}": value for name, value in state.items()}}
    if ema is not None:
        content["state_dict_ema"] = dict(ema)
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def _torch_content(path: Path) -> object:
    try:
        # Training scripts store their command line beside the weights: a Namespace, which is attributes and no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise PathomixError(
            f"{path}: not a weights-only file ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            remedy="give a file that holds `state_dict_ema` or `state_dict` with tensors only",
        ) from error


def _unwrapped(content: object, path: Path) -> dict[str, Tensor]:
    if isinstance(content, dict):
        content = next((content[name] for name in _STATES if isinstance(content.get(name), dict)), content)
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise PathomixError(
            f"{path}: holds no state dict", remedy="give a file with `state_dict_ema` or `state_dict`, names to tensors"
        )
    return content
