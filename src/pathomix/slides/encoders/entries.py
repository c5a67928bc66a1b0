"""From an entry of the configuration to what an encoder is. No torch: the plan checks every entry with it."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import filled
from pathomix.core.registry import entry_of
from pathomix.slides.encoders.parameters import EncoderParameters

REGISTRY = "pathomix.slides.encoders.registry"


@dataclass(frozen=True)
class EncoderSpec:
    """A registered encoder.

    Attributes:
        family: Key of `registry.FAMILIES`: builds the network and knows the layout of its files.
        parameters: Its parameters; an entry of the configuration is laid over them.
        dim: Feature width; 0 for any architecture of timm, which the entry names.
        title: Name its authors use.
        hub: Where its weights are, an id of the Hugging Face hub unless it is a full address; empty if there is none.
        file: Name of the file there; a safetensors file of the same tensors serves as well.
        licence: Licence of the weights.
        gated: Whether the authors have to approve each user.
        pretrained: Whether timm can fetch the weights.
        networks: Keys of `registry.NETWORKS` that the family asks for.
        note: What a user has to know.
    """

    family: str
    parameters: EncoderParameters
    dim: int
    title: str
    hub: str = ""
    file: str = ""
    licence: str = ""
    gated: bool = False
    pretrained: bool = False
    networks: tuple[str, ...] = ()
    note: str = ""

    @property
    def address(self) -> str:
        """Page of the weights."""
        return self.hub if "://" in self.hub or not self.hub else f"https://huggingface.co/{self.hub}"


def names() -> list[str]:
    """Names of the registered encoders, sorted."""
    return sorted(importlib.import_module(REGISTRY).ENCODERS)


def spec_of(model: object, key: str = "model") -> EncoderSpec:
    """The registered encoder of this name.

    Raises:
        PathomixError: There is none.
    """
    spec: EncoderSpec = entry_of(f"{REGISTRY}:ENCODERS", model, what="tile encoder", key=key)
    return spec


def resolve(name: str, entry: Mapping[str, Any]) -> EncoderParameters:
    """Parameters of the encoder that the configuration calls `name`.

    Args:
        name: Name in the configuration, for messages.
        entry: Key `model` and, laid over what is registered, any other field of `EncoderParameters`.

    Raises:
        PathomixError: Unknown encoder or key, values that contradict each other, or nothing to take weights from.
    """
    spec = spec_of(entry.get("model"), f"encoders.{name}.model")
    registered = {f.name: getattr(spec.parameters, f.name) for f in dataclasses.fields(EncoderParameters)}
    arguments = entry.get("model_args", {})
    if not isinstance(arguments, Mapping):
        raise PathomixError(f"encoders.{name}.model_args is {arguments!r}", remedy="give names and values")
    over = {**entry, "model_args": {**spec.parameters.model_args, **arguments}}
    if entry.get("weights") is not None or entry.get("pretrained"):
        registered["seed"] = None
    parameters = filled(EncoderParameters, {**registered, **over}, f"encoders.{name}").checked(name)
    _check_source(name, spec, parameters)
    return parameters


def check_entry(name: str, entry: Mapping[str, Any]) -> None:
    """Refuse an entry that no encoder can be built from; see `resolve`."""
    resolve(name, entry)


def tiling_of(entry: Mapping[str, Any]) -> tuple[int, float]:
    """Tile edge in pixels and µm per pixel of an encoder's tiles."""
    parameters = resolve(str(entry.get("model")), entry)
    return parameters.tile_size, parameters.mpp


def modules_of(entry: Mapping[str, Any]) -> set[str]:
    """Modules that are imported by name when the entry's encoder is built, for the code digest."""
    tables = importlib.import_module(REGISTRY)
    spec = spec_of(entry.get("model"))
    places = [tables.ENCODERS[entry["model"]], tables.FAMILIES[spec.family]]
    places += [tables.NETWORKS[network] for network in spec.networks]
    return {place.partition(":")[0] for place in places}


def _check_source(name: str, spec: EncoderSpec, parameters: EncoderParameters) -> None:
    """Architecture and weights come from somewhere the user named."""
    registered = spec.parameters.timm
    if spec.dim and parameters.timm != registered:
        raise PathomixError(
            f"encoder {name}: {parameters.model} is {registered or 'no model'} of timm, not {parameters.timm}",
            remedy=f"leave encoders.{name}.timm out, or set encoders.{name}.model to timm",
        )
    if not parameters.timm and not spec.dim:
        raise PathomixError(f"encoder {name} names no architecture", remedy=f"set encoders.{name}.timm")
    if parameters.pretrained and not spec.pretrained:
        raise PathomixError(
            f"encoder {name}: timm has no weights of {parameters.model}",
            remedy=f"set encoders.{name}.weights to your copy of {spec.file} ({spec.address})",
        )
    if parameters.weights is None and not parameters.pretrained and parameters.seed is None:
        raise PathomixError(f"encoder {name}: no weights of {spec.title} are given", remedy=how_to_get(name, spec))


def how_to_get(name: str, spec: EncoderSpec) -> str:
    """One sentence: where the weights are, under which terms, and where to put them."""
    ask = "ask its authors for access there, " if spec.gated else ""
    fetch = f", or set encoders.{name}.pretrained to true where the network is" if spec.pretrained else ""
    return (
        f"{ask}download {spec.file} from {spec.address} (licence {spec.licence}) and set encoders.{name}.weights to "
        f"the file, for example {{data}}/weights/{spec.parameters.model}/{spec.file}{fetch}; "
        f"encoders.{name}.seed gives random weights, which mean nothing"
    )
