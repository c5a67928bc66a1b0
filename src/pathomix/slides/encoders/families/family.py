"""The contract of a family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from pathomix.slides.encoders.parameters import EncoderParameters

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Family:
    """Networks of one construction.

    Attributes:
        network: The network of some parameters, without weights that mean anything.
        named: A file's tensors under the network's own names and sizes; what has no place in the network stays, under
            the name it has, so that strict loading names it. Works on tensors without memory (meta device) too.
        read: Tensors of a file.
        whole: Whether every tensor of the network is in a file or drawn from a seed, so that it is first built without
            memory. Its attribute `num_features` is then the width of a token or vector.
    """

    network: Callable[[EncoderParameters], nn.Module]
    named: Callable[[State, nn.Module, Path], dict[str, Tensor]]
    read: Callable[[Path], dict[str, Tensor]]
    whole: bool
