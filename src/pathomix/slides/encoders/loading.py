"""Weights of a tile encoder: from the authors' file, strictly, or from a seed."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from pathomix.core.errors import PathomixError
from pathomix.core.registry import entry_of
from pathomix.core.weights import load_strictly
from pathomix.slides.encoders.entries import REGISTRY, how_to_get, names, spec_of
from pathomix.slides.encoders.families.family import Family
from pathomix.slides.encoders.parameters import EncoderParameters

log = logging.getLogger(__name__)


def family_of(parameters: EncoderParameters) -> Family:
    """What builds the network of these parameters."""
    family: Family = entry_of(f"{REGISTRY}:FAMILIES", spec_of(parameters.model).family, what="family", key="family")
    return family


def build_network(name: str, parameters: EncoderParameters) -> nn.Module:
    """The network, weights in place; `name` is that of the configuration, for messages.

    Raises:
        PathomixError: Unknown architecture, weights that cannot be had or do not fit; every mismatch is named.
    """
    family = family_of(parameters)
    if family.whole:  # neither time nor memory for first weights that are replaced: a giant has 4.5 GB
        with torch.device("meta"):
            network = family.network(parameters)
    else:
        network = family.network(parameters)
    if parameters.weights is not None:
        load_weights(name, network, parameters)
    elif parameters.seed is not None:
        if family.whole:
            network.to_empty(device="cpu")
        seed_weights(network, parameters.seed)
    return network


def load_weights(name: str, network: nn.Module, parameters: EncoderParameters) -> None:
    """Load the file of `parameters.weights` into a network, strictly.

    Raises:
        PathomixError: The file is missing, is no plain state dict, or does not fit; every mismatch is named, and the
            registered encoder that the file does fit.
    """
    path, spec, family = Path(str(parameters.weights)), spec_of(parameters.model), family_of(parameters)
    if spec.file and not path.is_file():
        raise PathomixError(f"no file {path} with the weights of {spec.title}", remedy=how_to_get(name, spec))
    state = family.read(path)
    try:
        load_strictly(network, family.named(state, network, path), path, assign=family.whole)
    except PathomixError as error:
        fitting = [other for other in fitting_encoders(state, path) if other != parameters.model]
        hint = f"the file fits {' or '.join(fitting)}: set encoders.{name}.model to that, or " if fitting else ""
        raise PathomixError(
            error.fact,
            offending=error.offending,
            remedy=f"{hint}give the file of {parameters.model}, or correct encoders.{name}.model_args",
        ) from error


def fitting_encoders(state: Mapping[str, Tensor], path: Path) -> list[str]:
    """Registered encoders whose names and shapes a file's tensors have; nothing is computed and no memory used."""
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}
    found = []
    for name in names():
        if not spec_of(name).file:
            continue
        network = bare_network(name)
        try:
            named = family_of(spec_of(name).parameters).named(shapes, network, path)
        except PathomixError:  # a position table that cannot be resized
            continue
        if {k: v.shape for k, v in named.items()} == {k: v.shape for k, v in network.state_dict().items()}:
            found.append(name)
    return found


@cache
def bare_network(name: str) -> nn.Module:
    """The registered network at its official size, without memory for its weights."""
    parameters = spec_of(name).parameters
    with torch.device("meta"):
        return family_of(parameters).network(parameters)


@torch.no_grad()
def seed_weights(model: nn.Module, seed: int) -> None:
    """Random weights that depend on the seed and each tensor's name only, not on timm's own initialisation.

    Kaiming normal for convolutions and linear layers; normalisation and scaling layers pass on what they get, those
    that timm would start at or near zero (residual branches) included, so that every layer takes part.
    """
    for name, tensor in model.named_parameters():
        generator = torch.Generator().manual_seed(int(hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()[:15], 16))
        if tensor.ndim >= 2 and name.endswith("weight"):
            gain = math.sqrt(2 / math.prod(tensor.shape[1:]))
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * gain)
        elif tensor.ndim >= 2:  # class token, position table
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.02)
        else:
            tensor.fill_(1.0 if name.endswith(("weight", "gamma")) else 0.0)
