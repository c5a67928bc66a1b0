"""DINOv2 models in the layout of the library transformers, loaded into timm's vision transformer.

Query, key and value are three layers there and one here. A position table of another image size is resized as
transformers does it: bicubic, not antialiased. Both packed feed-forwards put SiLU on the first half.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from pathomix.core.weights import read_state
from pathomix.slides.encoders.families.family import Family, State
from pathomix.slides.encoders.families.vit import network, resized_rows

_TRAINING = "embeddings.mask_token"
_TABLE = "pos_embed"
_WHOLE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": _TABLE,
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
_PARTS = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attention.output.dense": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "mlp.weights_in": "mlp.fc1",
    "mlp.weights_out": "mlp.fc2",
}
_SCALES = {"layer_scale1.lambda1": "ls1.gamma", "layer_scale2.lambda1": "ls2.gamma"}
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)")
_QKV = tuple(f"attention.attention.{part}" for part in ("query", "key", "value"))


def _named(state: State, model: nn.Module, path: Path) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    left = {name: tensor for name, tensor in state.items() if name != _TRAINING}
    for name in list(left):
        joined = _joined(name, left)
        if joined is not None:
            named[joined[0]] = joined[1]
    for name, tensor in left.items():
        own = _own(name)
        # another layout's names may be the network's own: a file in timm's layout is some other encoder's
        named[own if own and own not in named else f"{name} (no name of transformers')"] = tensor
    if _TABLE in named:
        named[_TABLE] = resized_rows(named[_TABLE], model.pos_embed, path, "bicubic")  # type: ignore[arg-type]
    return named


def _joined(name: str, left: dict[str, Tensor]) -> tuple[str, Tensor] | None:
    """For the name of a query: query, key and value as one tensor, taken out of `left`; None if one is missing."""
    found = _LAYER.fullmatch(name)
    if found is None or not found[2].startswith(_QKV[0]):
        return None
    end = found[2].rpartition(".")[2]
    parts = [f"encoder.layer.{found[1]}.{part}.{end}" for part in _QKV]
    if any(part not in left or left[part].shape != left[name].shape for part in parts):
        return None
    return f"blocks.{found[1]}.attn.qkv.{end}", torch.cat([left.pop(part) for part in parts])


def _own(name: str) -> str | None:
    """The network's name of a tensor; None where the layout has none."""
    found = _LAYER.fullmatch(name)
    if found is None:
        return _WHOLE.get(name)
    part, _, end = found[2].rpartition(".")
    if found[2] in _SCALES:
        return f"blocks.{found[1]}.{_SCALES[found[2]]}"
    return f"blocks.{found[1]}.{_PARTS[part]}.{end}" if part in _PARTS else None


FAMILY = Family(network=network, named=_named, read=read_state, whole=True)
