"""TransMIL with both versions of the attention package that its users have."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from checking import GoldenSet, Result, checker, torch_inputs

from pathomix.nn.transmil import TransMIL

_KEPT = {"out": "last", "out_nystrom_0_0_9": "first"}


@checker("transmil")
def transmil(golden: GoldenSet) -> Iterator[Result]:
    """Class token and logits of every bag, whole token arrays where the set has them."""
    config, tolerance = golden.config, golden.tolerance("abs")
    bags = [name.removeprefix("in.") for name in golden.tensors if name.startswith("in.")]
    for version, kept in _KEPT.items():
        model = TransMIL(
            config["in_dim"],
            config["dim"],
            config["n_classes"],
            heads=config["heads"],
            dim_head=config["dim_head"],
            landmarks=config["num_landmarks"],
            iterations=config["pinv_iterations"],
            kernel=config["conv_kernel"],
            kept=kept,
            independent=False,
        )
        model.load_state_dict(golden.weights())
        model.eval()
        for bag in bags:
            tiles = torch_inputs(golden, f"in.{bag}")
            with torch.no_grad():
                first, positions, second = model.stages(tiles)
                logits = model(tiles)
                alone = torch.cat([model(one[None]) for one in tiles])
            ours = {
                f"{bag}.after_layer1": first,
                f"{bag}.after_ppeg": positions,
                f"{bag}.layer1_cls": first[:, 0],
                f"{bag}.ppeg_cls": positions[:, 0],
                f"{bag}.layer2_cls": second[:, 0],
                f"{bag}.logits": logits,
                f"{bag}.prob": torch.softmax(logits, dim=1),
                f"{bag}_one_by_one.logits": alone,
            }
            for name, value in ours.items():
                if f"{version}.{name}" in golden.tensors:
                    yield golden.compare(f"{version}.{name}", value, tolerance)
            if f"{version}.{bag}.y_hat" in golden.tensors:
                yield golden.compare(f"{version}.{bag}.y_hat", logits.argmax(dim=1), 0.0)
