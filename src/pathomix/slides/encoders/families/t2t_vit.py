"""T2T-ViT, our own network, from its authors' files (spec path_gptomic 6.2)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from pathomix.core.parameters import filled
from pathomix.core.registry import entry_of
from pathomix.slides.encoders.entries import REGISTRY
from pathomix.slides.encoders.families.family import Family, State
from pathomix.slides.encoders.parameters import EncoderParameters
from pathomix.slides.t2t import read_t2t, resized_positions

_TABLE = "pos_embed"
_HEAD = "head."
_PARALLEL = "module."


def _network(parameters: EncoderParameters) -> nn.Module:
    settings, built = (
        entry_of(f"{REGISTRY}:NETWORKS", name, what="network", key="network") for name in ("t2t_settings", "t2t_vit")
    )
    arguments = {"image_size": parameters.input_size, **parameters.model_args}
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = built(filled(settings, arguments, "T2T-ViT"))
    return network


def _named(state: State, model: nn.Module, path: Path) -> dict[str, Tensor]:
    stripped = {name.removeprefix(_PARALLEL): tensor for name, tensor in state.items()}
    named = {name: tensor for name, tensor in stripped.items() if not name.startswith(_HEAD)}
    table, places = named.get(_TABLE), int(model.pos_embed.shape[1])  # type: ignore[index]
    if table is not None and table.ndim == 3 and table.shape[1] != places:
        named[_TABLE] = resized_positions(table, places - 1, path)
    return named


FAMILY = Family(network=_network, named=_named, read=read_t2t, whole=False)
