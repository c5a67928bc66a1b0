"""SNN: the genomic network of Pathomic Fusion with its training recipe (Path-GPTomic sections 1.1 and 8.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pathomix.core.parameters import filled
from pathomix.methods.base import Task
from pathomix.methods.heads import Head
from pathomix.methods.tabular_network import NetworkSettings, TabularNetwork
from pathomix.nn.snn import PathomicSNN, init_max


@dataclass(frozen=True, kw_only=True)
class Settings(NetworkSettings):
    """Parameters; `hidden`: encoder widths. Defaults: the published recipe (Cox divided by all patients, 50 epochs)."""

    hidden: tuple[int, ...] = (64, 48, 32, 32)
    survival_loss: str = "pf"
    epochs: int = 50
    learning_rate: float = 2e-3
    l2: float = 5e-4
    l1: float = 3e-4


class SNN(TabularNetwork):
    """Survival by a log hazard squashed into [-3, 3]; subtype and discrete hazards by plain logits."""

    name = "SNN"

    def __init__(self, **parameters: Any) -> None:
        settings = filled(Settings, parameters, "snn")
        super().__init__(settings)
        self.hidden = settings.hidden

    def network(self, inputs: int, head: Head, task: Task) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
        """See `TabularNetwork.network`."""
        squashed = task == "survival" and self.settings.survival_loss != "nll"
        network = PathomicSNN(
            inputs, self.hidden, head.outputs, "Sigmoid" if squashed else "none", self.settings.dropout
        )
        init_max(network)
        return network, lambda rows: network(rows)[1]
