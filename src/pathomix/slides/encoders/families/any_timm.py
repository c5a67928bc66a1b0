"""Any architecture of timm: seeded random, from a local file, or timm's own weights."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from pathomix.core.errors import PathomixError
from pathomix.core.weights import read_state
from pathomix.slides.encoders.families.family import Family, State
from pathomix.slides.encoders.parameters import EncoderParameters


def _network(parameters: EncoderParameters) -> nn.Module:
    if not timm.is_model(parameters.timm):
        raise PathomixError(
            f"timm {timm.__version__} has no model {parameters.timm!r}",
            remedy="correct the key `timm` (python -c 'import timm; print(timm.list_models())')",
        )
    try:
        with torch.random.fork_rng():  # timm draws initial weights from the global generator
            model: nn.Module = timm.create_model(
                parameters.timm, pretrained=parameters.pretrained, num_classes=0, **parameters.model_args
            )
    except Exception as error:  # the hub client raises its own types and those of its transport
        if not parameters.pretrained:
            raise
        raise PathomixError(
            f"timm's weights of {parameters.timm} cannot be fetched ({type(error).__name__}: {error})",
            remedy="run once where the network is, or download them and set `weights` to the file",
        ) from error
    return model


def _named(state: State, model: nn.Module, path: Path) -> dict[str, Tensor]:
    """Without the classifier that the model was built without."""
    del path
    classifier = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    own = model.state_dict()
    return {k: v for k, v in state.items() if k in own or not k.startswith(tuple(f"{head}." for head in heads))}


FAMILY = Family(network=_network, named=_named, read=read_state, whole=False)
