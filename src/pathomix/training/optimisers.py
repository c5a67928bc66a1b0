"""The optimisers of methods and representations.

They are torch's own, but for one thing: torch imports its compiler at the first step, as long again as importing torch
itself, to tell it where not to look. Nothing here is compiled, so the first step goes without.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

OPTIMISERS: Mapping[str, tuple[type[torch.optim.Optimizer], Mapping[str, Any]]] = {
    "adam": (torch.optim.Adam, {"fused": True}),
    "radam": (torch.optim.RAdam, {}),
}
FURTHER_OPTIMISERS: Mapping[str, tuple[type[torch.optim.Optimizer], Mapping[str, Any]]] = {
    "adamw": (torch.optim.AdamW, {"fused": True}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
}
"""Only for methods that offer them."""


def make_optimiser(
    name: str, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]], **settings: Any
) -> torch.optim.Optimizer:
    """An optimiser of `parameters` (or groups of them).

    Args:
        name: Key of OPTIMISERS or FURTHER_OPTIMISERS.
        parameters: As torch takes them.
        **settings: Further arguments of torch's class.
    """
    kind, fixed = {**OPTIMISERS, **FURTHER_OPTIMISERS}[name]
    return _eager(kind)(parameters, **{**fixed, **settings})


def _eager(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """`kind` with the same step, without the compiler's guard around it."""
    for method in vars(torch.optim.Optimizer).values():
        plain = getattr(method, "__wrapped__", None)
        if plain is not None:
            # What torch would store after importing the compiler: the function that is not to be compiled.
            plain.__dict__.setdefault("__dynamo_disable", plain)
    return type(kind.__name__, (kind,), {"step": torch.no_grad()(inspect.unwrap(kind.step))})
