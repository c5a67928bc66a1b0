"""Weights of text encoders: read without running code, loaded strictly, every mismatch named."""

from __future__ import annotations

import hashlib
import logging
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from pathomix.core.errors import PathomixError

log = logging.getLogger(__name__)


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors or weights-only torch file (bare, or under ``state_dict``).

    Raises:
        PathomixError: The file is missing or holds anything but named tensors.
    """
    if not path.is_file():
        raise PathomixError(f"{path}: no such weights file", remedy="correct the key weights of the texts")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, safetensors.SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise PathomixError(
            f"{path}: not a weights-only file ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            remedy="give a safetensors file or a torch file that holds tensors only",
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise PathomixError(f"{path}: holds no state dict", remedy="give a file whose content maps names to tensors")
    return content


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], source: Path, optional: Iterable[str] = ()) -> None:
    """Load a state dict.

    Args:
        model: Receives the tensors.
        state: With the model's own names.
        source: For messages.
        optional: Prefixes of names that may be missing on either side.

    Raises:
        PathomixError: A tensor is missing, left over or of another shape; all of them are named.
    """
    own = model.state_dict()
    spare = tuple(optional)
    wrong = [f"missing {key}" for key in own if key not in state and not key.startswith(spare)]
    wrong += [f"unexpected {key}" for key in state if key not in own and not key.startswith(spare)]
    wrong += [
        f"{key} has shape {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if wrong:
        for line in wrong:
            log.error("%s: %s", source, line)
        raise PathomixError(
            f"{source}: {len(wrong)} tensors do not fit the text encoder (all are named in the log)",
            offending=wrong,
            remedy="give the weights of this encoder",
        )
    model.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


def module_digest(model: nn.Module, *more: bytes) -> str:
    """SHA-256 over the names, types, shapes and values of a module's tensors, and over `more`."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        tensor = value.detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    for part in more:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()
