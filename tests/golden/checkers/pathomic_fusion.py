"""Pathomic Fusion: gated bilinear fusion, and the network around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from checking import GoldenSet, Result, checker, torch_inputs
from torch import Tensor, nn

from pathomix.nn.pathomic_fusion import GatedBilinearFusion, PathomicNet
from pathomix.nn.snn import PathomicSNN


@checker("pathomic_fusion_bilinear")
def pathomic_fusion_bilinear(golden: GoldenSet) -> Iterator[Result]:
    args = golden.config["args"]
    model = _fusion(
        golden, "", args["dim1"], args["dim2"], args["mmhid"], args["gate1"], args["gate2"], args["skip"],
        args["use_bilinear"],
    )  # fmt: skip
    _load(model, golden)
    first, second = (torch_inputs(golden, f"in.{name}").requires_grad_() for name in ("vec1", "vec2"))
    out = model(first, second)
    tolerance = golden.tolerance("abs")
    yield golden.compare("out.out", out.detach(), tolerance)
    (out * torch_inputs(golden, "grad.weight_for_sum")).sum().backward()
    for name, vector in (("vec1", first), ("vec2", second)):
        assert vector.grad is not None
        yield golden.compare(f"grad.{name}", vector.grad, tolerance)


@checker("pathomic_net")
def pathomic_net(golden: GoldenSet) -> Iterator[Result]:
    """Widths of the omic network come from the weights: the set names only its last one."""
    opt, weights = golden.config["opt"], golden.weights()
    omic = PathomicSNN(opt["input_size_omic"], _widths(weights), opt["label_dim"])
    fusion = _fusion(
        golden, "fusion.", opt["path_dim"], opt["omic_dim"], opt["mmhid"], opt["path_gate"], opt["omic_gate"],
        opt["skip"], opt["use_bilinear"],
    )  # fmt: skip
    model = PathomicNet(omic, fusion, opt["label_dim"], golden.config["act"])
    _load(model, golden)
    with torch.no_grad():
        features, hazard = model(torch_inputs(golden, "in.x_path"), torch_inputs(golden, "in.x_omic"))
    yield golden.compare("out.features", features, golden.tolerance("abs"))
    yield golden.compare("out.hazard", hazard, golden.tolerance("abs"))


def _fusion(
    golden: GoldenSet, prefix: str, image: int, omic: int, hidden: int, gate_image: int, gate_omic: int, skip: int,
    bilinear: int,
) -> GatedBilinearFusion:  # fmt: skip
    """The fusion of a set; scales are seen in the widths of its weights."""
    widths = [len(golden.weights()[f"{prefix}linear_o{number}.0.weight"]) for number in (1, 2)]
    return GatedBilinearFusion(
        image,
        omic,
        hidden=hidden,
        out=hidden,
        scale_image=image // widths[0],
        scale_omic=omic // widths[1],
        gate_image=bool(gate_image),
        gate_omic=bool(gate_omic),
        skip=bool(skip),
        bilinear=bool(bilinear),
    )


def _widths(weights: Mapping[str, Tensor]) -> list[int]:
    layers = sorted(name for name in weights if name.startswith("omic_net.encoder.") and name.endswith(".weight"))
    return [len(weights[name]) for name in layers]


def _load(model: nn.Module, golden: GoldenSet) -> None:
    """Strictly, but for layers that the reference has and never uses (those of a gate that is off)."""
    idle, own = set(golden.config["weights_without_effect_on_saved_outputs"]), model.state_dict()
    model.load_state_dict({name: value for name, value in golden.weights().items() if name in own or name not in idle})
    model.eval()
