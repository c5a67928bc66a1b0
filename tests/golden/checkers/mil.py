"""Multiple-instance baselines: gated attention."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from checking import GoldenSet, Result, checker, torch_inputs

from pathomix.losses.discrete import hazards_and_survival
from pathomix.nn.abmil import ABMIL


@checker("abmil")
def abmil(golden: GoldenSet) -> Iterator[Result]:
    """Widths come from the weights: the set replaces the reference's own."""
    fusion = golden.config["args"]["fusion"]
    bags = [name.removeprefix("in.") for name in golden.tensors if name.startswith("in.bag")]
    if fusion not in (None, "concat"):
        for name in sorted(golden.tensors):
            yield golden.unsupported(name, f"fusion {fusion} is not implemented yet")
        return
    weights = golden.weights()
    width, inputs = weights["attention_net.0.weight"].shape
    omic = torch_inputs(golden, "in.x_omic").reshape(1, -1) if fusion else None
    model = ABMIL(
        inputs,
        width,
        attention=len(weights["attention_net.3.attention_a.0.weight"]),
        pooled=len(weights["rho.0.weight"]),
        classes=len(weights["classifier.weight"]),
        omic_dim=0 if omic is None else omic.shape[1],
        omic_hidden=len(weights["fc_omic.0.0.weight"]) if fusion else 0,
    )
    model.load_state_dict(weights)
    model.eval()
    for bag in bags:
        tiles = torch_inputs(golden, f"in.{bag}")
        with torch.no_grad():
            logits, attention = model(tiles, torch.zeros(len(tiles), dtype=torch.long), 1, omic)
        hazards, survival = hazards_and_survival(logits)
        tolerance = golden.tolerance("abs")
        yield golden.compare(f"out.{bag}.hazards", hazards, tolerance)
        yield golden.compare(f"out.{bag}.survival", survival, tolerance)
        yield golden.compare(f"out.{bag}.attention_raw", attention, tolerance)
        yield golden.compare(f"out.{bag}.y_hat", logits.argmax(dim=1), 0.0)
