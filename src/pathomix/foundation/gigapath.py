"""The file in which Prov-GigaPath's slide encoder is handed out (spec slides_and_encoders 4.1)."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[Mapping[str, Any], str]:
    """State dict and sha256 of a checkpoint file.

    A torch file is read without executing anything in it and holds the tensors under the key ``model``, as the released
    `slide_encoder.pth` does; a safetensors file holds them directly.

    Raises:
        PathomixError: The file is missing or is neither.
    """
    file = Path(path)
    remedy = "set weights to the slide_encoder.pth that its authors hand out"
    if not file.is_file():
        raise PathomixError(f"{file}: no such file", remedy=remedy)
    if file.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(file), file_digest(file)
        except safetensors.SafetensorError as error:
            raise PathomixError(f"{file}: no safetensors file ({error})", remedy=remedy) from None
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PathomixError(f"{file}: cannot be read as a torch file of tensors ({reason})", remedy=remedy) from None
    state = content.get("model") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        keys = sorted(map(str, content)) if isinstance(content, Mapping) else [type(content).__name__]
        raise PathomixError(f"{file}: no state dict under the key model; found", offending=keys, remedy=remedy)
    return state, file_digest(file)
