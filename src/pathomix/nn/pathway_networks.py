"""One self-normalising network per pathway, all of them evaluated together (ModalTune 3.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_OFFICIAL = re.compile(r"\d+\.[01]\.0\.(weight|bias)")


class PathwayNetworks(nn.Module):
    """Per pathway Linear, ELU, AlphaDropout, Linear, ELU, AlphaDropout.

    Hundreds of small layers cost more in calls than in arithmetic. Here the first layers are one weighted sum of rows
    per pathway (`embedding_bag`: a row of weights per membership of a gene in a pathway, summed with expression as
    weights) and the second layers one batched product, so the module has four parameters instead of four per pathway.
    State dicts under the official names (``<pathway>.<layer>.0.weight``) load directly; `official` writes them.

    Args:
        sizes: Genes of each pathway.
        width: Of the tokens.
        dropout: AlphaDropout probability.
        hidden: Width of the first layers; None: `width`.
    """

    offsets: Tensor

    def __init__(
        self, sizes: Sequence[int], width: int = 256, dropout: float = 0.25, hidden: int | None = None
    ) -> None:
        super().__init__()
        self.sizes, self.hidden, self.dropout = tuple(sizes), hidden or width, dropout
        self.weight_in = nn.Parameter(nn.init.trunc_normal_(torch.empty(sum(sizes), self.hidden), std=0.02))
        self.bias_in = nn.Parameter(torch.zeros(len(sizes), self.hidden))
        self.weight_out = nn.Parameter(nn.init.trunc_normal_(torch.empty(len(sizes), self.hidden, width), std=0.02))
        self.bias_out = nn.Parameter(torch.zeros(len(sizes), width))
        starts = list(accumulate(self.sizes, initial=0))[:-1]
        self.register_buffer("offsets", torch.tensor(starts, dtype=torch.long), persistent=False)
        self.register_load_state_dict_pre_hook(_stack_official)  # type: ignore[no-untyped-call]

    def init_max(self) -> PathwayNetworks:
        """Weights N(0, 1/fan_in), biases 0 (as `snn.init_max`); the module itself."""
        with torch.no_grad():
            scale = torch.tensor(self.sizes, dtype=self.weight_in.dtype).rsqrt()
            self.weight_in.normal_().mul_(scale.repeat_interleave(torch.tensor(self.sizes))[:, None])
            self.weight_out.normal_(0.0, self.hidden**-0.5)
            self.bias_in.zero_()
            self.bias_out.zero_()
        return self

    def forward(self, genes: Tensor) -> Tensor:
        """Pathway tokens [B, pathways, width].

        Args:
            genes: [B, sum(sizes)], expression of the first pathway's genes, then the second's, and so on.
        """
        cases, memberships = genes.shape
        rows = torch.arange(memberships, device=genes.device).repeat(cases)
        bags = (self.offsets + memberships * torch.arange(cases, device=genes.device)[:, None]).flatten()
        weights = genes.flatten().to(self.weight_in.dtype)
        hidden = functional.embedding_bag(rows, self.weight_in, bags, mode="sum", per_sample_weights=weights)
        hidden = self._activate(hidden.view(cases, len(self.sizes), self.hidden) + self.bias_in)
        hidden = torch.baddbmm(self.bias_out[:, None], hidden.transpose(0, 1), self.weight_out).transpose(0, 1)
        return self._activate(hidden)

    def _activate(self, hidden: Tensor) -> Tensor:
        return functional.alpha_dropout(functional.elu(hidden), self.dropout, self.training)

    def official(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Parameters (or gradients) of this module, by own name, under the official names and shapes."""
        named: dict[str, Tensor] = {}
        for pathway, rows in enumerate(torch.split(tensors["weight_in"], list(self.sizes))):
            named[f"{pathway}.0.0.weight"] = rows.T
            named[f"{pathway}.0.0.bias"] = tensors["bias_in"][pathway]
            named[f"{pathway}.1.0.weight"] = tensors["weight_out"][pathway].T
            named[f"{pathway}.1.0.bias"] = tensors["bias_out"][pathway]
        return named


def _stack_official(
    module: PathwayNetworks,
    state: dict[str, Tensor],
    prefix: str,
    metadata: dict[str, Any],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Turn official tensors into own ones before loading; every missing or misshapen one is named."""
    if not any(name.startswith(prefix) and _OFFICIAL.fullmatch(name[len(prefix) :]) for name in state):
        return
    own = {name: value.detach() for name, value in module.named_parameters()}
    found: dict[str, Tensor] = {}
    for name, like in module.official(own).items():
        given = state.pop(prefix + name, None)
        if given is None:
            missing.append(prefix + name)
        elif given.shape != like.shape:
            errors.append(f"size mismatch for {prefix}{name}: {tuple(given.shape)}, expected {tuple(like.shape)}")
        found[name] = like if given is None or given.shape != like.shape else given
    pathways = range(len(module.sizes))
    state[prefix + "weight_in"] = torch.cat([found[f"{pathway}.0.0.weight"].T for pathway in pathways])
    state[prefix + "bias_in"] = torch.stack([found[f"{pathway}.0.0.bias"] for pathway in pathways])
    state[prefix + "weight_out"] = torch.stack([found[f"{pathway}.1.0.weight"].T for pathway in pathways])
    state[prefix + "bias_out"] = torch.stack([found[f"{pathway}.1.0.bias"] for pathway in pathways])
