"""S-MLP: self-normalising multi-layer perceptron on feature blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pathomix.core.parameters import filled
from pathomix.methods.base import Task
from pathomix.methods.heads import Head
from pathomix.methods.tabular_network import NetworkSettings, TabularNetwork
from pathomix.nn.mlp import SelfNormalisingMLP
from pathomix.nn.snn import init_max


@dataclass(frozen=True, kw_only=True)
class Settings(NetworkSettings):
    """Parameters; `hidden`: widths of the layers (ModalTune section 7: "small")."""

    hidden: tuple[int, ...] = (256, 256)


class SMLP(TabularNetwork):
    """Linear-ELU-AlphaDropout [256, 256] and a linear head."""

    name = "SMLP"

    def __init__(self, **parameters: Any) -> None:
        settings = filled(Settings, parameters, "s_mlp")
        super().__init__(settings)
        self.hidden = settings.hidden

    def network(self, inputs: int, head: Head, task: Task) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
        """See `TabularNetwork.network`."""
        network = SelfNormalisingMLP(inputs, self.hidden, head.outputs, self.settings.dropout)
        init_max(network)
        return network, network.__call__
