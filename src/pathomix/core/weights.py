"""Weights of networks on disk: read without running code, loaded strictly, identified by their content."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from pathomix.core.errors import PathomixError

log = logging.getLogger(__name__)

_WRAPPERS = ("state_dict", "model")


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a weights file (safetensors, or a torch file of tensors only); no code in it is ever run.

    Raises:
        PathomixError: The file is missing or is no plain state dict.
    """
    if not path.is_file():
        raise PathomixError(f"{path}: no such weights file", remedy="correct the key `weights`")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # damaged files break the parsers in every way there is: IndexError, struct.error ...
        raise PathomixError(
            f"{path}: not a weights-only file ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            remedy="give a safetensors file or a torch file that holds tensors only",
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise PathomixError(f"{path}: holds no state dict", remedy="give a file whose content maps names to tensors")
    return content


def load_strictly(
    model: nn.Module, state: Mapping[str, Tensor], path: Path, optional: Iterable[str] = (), *, assign: bool = False
) -> None:
    """Load a state dict that has to fit one to one.

    Args:
        model: Receives the tensors.
        state: With the model's own names.
        path: For messages.
        optional: Beginnings of names that may be missing on either side.
        assign: Make the tensors the model's own, in the model's types, instead of copying their values: for a model
            that was built without memory (meta device).

    Raises:
        PathomixError: Tensors are missing, unexpected or of another shape; all are named in the log.
    """
    own = model.state_dict()
    spare = tuple(optional)
    mismatches = [f"missing {key}" for key in own if key not in state and not key.startswith(spare)]
    mismatches += [f"unexpected {key}" for key in state if key not in own and not key.startswith(spare)]
    mismatches += [
        f"{key} has shape {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if mismatches:
        for line in mismatches:
            log.error("%s: %s", path, line)
        raise PathomixError(
            f"{path}: {len(mismatches)} tensors do not fit the architecture (all are named in the log)",
            offending=mismatches,
            remedy="give the weights of this architecture, or correct the sizes in the configuration",
        )
    fitting = {key: value.to(own[key].dtype) if assign else value for key, value in state.items() if key in own}
    model.load_state_dict(fitting, strict=not spare, assign=assign)


def state_digest(state: Mapping[str, Tensor], *more: bytes) -> str:
    """SHA-256 over the sorted names, types, shapes and bytes of a state dict, and over `more`."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    for part in more:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()
