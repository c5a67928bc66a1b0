"""Pathomic Fusion: genomic network and Cox loss."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from checking import GoldenSet, Result, checker, torch_inputs

from pathomix.losses.cox import cox_loss
from pathomix.nn.snn import PathomicSNN
from pathomix.survival.concordance import harrell_c


@checker("pathomic_snn")
def pathomic_snn(golden: GoldenSet) -> Iterator[Result]:
    config = golden.config
    model = PathomicSNN(config["input_dim"], config["hidden"], config["label_dim"], config["act"])
    model.load_state_dict(golden.weights())
    with torch.no_grad():
        features, hazard = model.eval()(torch_inputs(golden, "in.x_omic"))
    yield golden.compare("out.features", features, golden.tolerance("abs"))
    yield golden.compare("out.hazard", hazard, golden.tolerance("abs"))


@checker("pathomic_cox")
def pathomic_cox(golden: GoldenSet) -> Iterator[Result]:
    """Where the unprotected reference overflows, ours has to be finite and equal to itself in float64."""
    for case, facts in golden.config["cases"].items():
        time, event = (torch_inputs(golden, f"{case}.{name}") for name in ("time", "event"))
        theta = torch_inputs(golden, f"{case}.log_hazard")
        ours, double = (_loss_and_gradient(theta.to(kind), time, event) for kind in (torch.float32, torch.float64))
        for number, (name, key) in enumerate((("loss", "loss_rel"), ("grad", "grad_abs"))):
            tensor, relative = f"{case}.{name}", key.endswith("_rel")
            if np.isfinite(golden.tensors[tensor]).all():
                yield golden.compare(tensor, ours[number], golden.tolerance(key), relative)
            else:
                golden.seen.add(tensor)
                yield golden.compare_with(tensor, ours[number], double[number], golden.tolerance(key), relative)
        c_index = harrell_c(time, event, golden.tensors[f"{case}.log_hazard"])
        wanted = facts["cindex_lifelines"]
        # lifelines raises where no pair is comparable; ours is NaN there.
        expected = float("nan") if isinstance(wanted, str) else wanted
        yield golden.compare_with(f"{case}.cindex_lifelines", c_index, expected, 1e-12)


def _loss_and_gradient(
    theta: torch.Tensor, time: torch.Tensor, event: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    variable = theta.clone().requires_grad_()
    loss = cox_loss(variable, time, event, "pf")
    loss.backward()
    assert variable.grad is not None
    return loss.detach(), variable.grad
