"""Multiple-instance baselines: gated attention, Deep Sets, DeepAttnMISL, CLAM. Widths come from the weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from checking import GoldenSet, Result, checker, torch_inputs
from torch import Tensor

from pathomix.losses.discrete import hazards_and_survival
from pathomix.nn.abmil import ABMIL
from pathomix.nn.clam import CLAM, CLAMOutput, instance_loss
from pathomix.nn.deep_attn_misl import DeepAttnMISL
from pathomix.nn.deep_sets import DeepSets


def _bags(golden: GoldenSet) -> list[str]:
    names = (name.removeprefix("in.") for name in golden.tensors if name.startswith("in.bag"))
    return [name for name in names if "." not in name]


def _one(tiles: Tensor) -> tuple[Tensor, int]:
    return torch.zeros(len(tiles), dtype=torch.long), 1


def _fusion(golden: GoldenSet, weights: dict[str, Tensor]) -> tuple[Tensor | None, dict[str, Any]]:
    """The molecular vector and the options of the last layers."""
    fusion = golden.config["args"]["fusion"]
    if fusion is None:
        return None, {}
    omic = torch_inputs(golden, "in.x_omic").reshape(1, -1)
    options = {"omic_dim": omic.shape[1], "omic_hidden": len(weights["fc_omic.0.0.weight"]), "fusion": fusion}
    if fusion == "bilinear":
        options["reduction"] = len(weights["rho.0.weight"]) // len(weights["mm.linear_h1.0.weight"])
    return omic, options


def _survival(golden: GoldenSet, bag: str, logits: Tensor) -> Iterator[Result]:
    hazards, survival = hazards_and_survival(logits)
    yield golden.compare(f"out.{bag}.hazards", hazards, golden.tolerance("abs"))
    yield golden.compare(f"out.{bag}.survival", survival, golden.tolerance("abs"))
    yield golden.compare(f"out.{bag}.y_hat", logits.argmax(dim=1), 0.0)


@checker("abmil")
def abmil(golden: GoldenSet) -> Iterator[Result]:
    """Images alone and fused with genes."""
    weights = golden.weights()
    omic, options = _fusion(golden, weights)
    width, inputs = weights["attention_net.0.weight"].shape
    model = ABMIL(
        inputs, width, len(weights["attention_net.3.attention_a.0.weight"]), len(weights["rho.0.weight"]),
        len(weights["classifier.weight"]), **options,
    )  # fmt: skip
    model.load_state_dict(weights)
    model.eval()
    for bag in _bags(golden):
        tiles = torch_inputs(golden, f"in.{bag}")
        with torch.no_grad():
            logits, attention = model(tiles, *_one(tiles), omic)
        yield from _survival(golden, bag, logits)
        yield golden.compare(f"out.{bag}.attention_raw", attention, golden.tolerance("abs"))


@checker("deepsets")
def deep_sets(golden: GoldenSet) -> Iterator[Result]:
    """Sums of tile embeddings."""
    weights = golden.weights()
    omic, options = _fusion(golden, weights)
    width, inputs = weights["phi.0.weight"].shape
    model = DeepSets(inputs, width, len(weights["rho.0.weight"]), len(weights["classifier.weight"]), **options)
    model.load_state_dict(weights)
    model.eval()
    for bag in _bags(golden):
        tiles = torch_inputs(golden, f"in.{bag}")
        with torch.no_grad():
            logits = model(tiles, *_one(tiles), omic)
        yield from _survival(golden, bag, logits)


@checker("deepattnmisl")
def deep_attn_misl(golden: GoldenSet) -> Iterator[Result]:
    """Cluster numbers are an input of the set."""
    weights = golden.weights()
    omic, options = _fusion(golden, weights)
    width, inputs = weights["phis.0.0.weight"].shape
    model = DeepAttnMISL(
        inputs, golden.config["args"]["num_clusters"], width, len(weights["attention_net.3.attention_a.0.weight"]),
        len(weights["rho.0.weight"]), len(weights["classifier.weight"]), **options,
    )  # fmt: skip
    model.load_state_dict(weights)
    model.eval()
    for bag in _bags(golden):
        tiles, cluster = torch_inputs(golden, f"in.{bag}"), torch_inputs(golden, f"in.{bag}.cluster_id")
        with torch.no_grad():
            logits, attention = model(tiles, cluster.reshape(-1).long(), *_one(tiles), omic)
        yield from _survival(golden, bag, logits)
        if f"out.{bag}.attention_raw" in golden.tensors:
            yield golden.compare(f"out.{bag}.attention_raw", attention, golden.tolerance("abs"))


@checker("clam")
def clam(golden: GoldenSet) -> Iterator[Result]:
    """Bag outputs, and instance outputs where the bag has at least k tiles."""
    config, tolerance = golden.config, golden.tolerance("abs")
    weights, gated = _renamed(golden.weights())
    scores = weights["attention_net.3.attention_a.0.weight" if gated else "attention_net.3.0.weight"]
    width, inputs = weights["attention_net.0.weight"].shape
    model = CLAM(
        inputs,
        width,
        len(scores),
        config["n_classes"],
        branches="sb" if "classifiers.weight" in weights else "mb",
        gated=gated,
    )
    model.load_state_dict(weights)
    model.eval()
    for bag in _bags(golden):
        tiles = torch_inputs(golden, f"in.{bag}")
        with torch.no_grad():
            output = model(tiles, *_one(tiles))
        ours = {
            "logits": output.logits,
            "prob": torch.softmax(output.logits, dim=1),
            "attention_raw": output.attention,
            "features": output.features[0],
        }
        for name, value in ours.items():
            yield golden.compare(f"out.{bag}.{name}", value, tolerance)
        yield golden.compare(f"out.{bag}.y_hat", output.logits.argmax(dim=1), 0.0)
        if f"out.{bag}.instance_loss" in golden.tensors:
            yield from _instances(golden, bag, model, output)


def _instances(golden: GoldenSet, bag: str, model: CLAM, output: CLAMOutput) -> Iterator[Result]:
    """Classes one after the other; of the slide's own class both ends, of the others the most attended tiles."""
    config, label = golden.config, golden.config["slide_label"]
    k, subtyping = config["args"].get("k_sample", 8), bool(config["args"].get("subtyping"))
    with torch.no_grad():
        found = model.extremes(output.hidden, output.weights, k)
        losses = model.instance_losses(output, [len(output.hidden)], k)
    predicted, expected = [], []
    for number, ends in enumerate(found):
        if number == label:
            predicted += [ends.most, ends.least]
            expected += [1] * k + [0] * k
        elif subtyping:
            predicted.append(ends.most)
            expected += [0] * k
    logits = torch.cat(predicted)
    yield golden.compare(f"out.{bag}.inst_preds", logits.argmax(dim=1), 0.0)
    yield golden.compare(f"out.{bag}.inst_labels", expected, 0.0)
    loss = instance_loss(*losses, torch.tensor([label]), subtyping)
    yield golden.compare(f"out.{bag}.instance_loss", loss, golden.tolerance("abs"))


def _renamed(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """Weights under our names, and whether attention is gated: other options leave other places in the sequences."""
    gated = any("attention_a" in name for name in weights)
    net = {name: value for name, value in weights.items() if name.startswith("attention_net.")}
    rest = {name: value for name, value in weights.items() if name not in net}
    last = max({int(name.split(".")[1]) for name in net})
    layers: dict[str, str] = {"attention_net.0": "attention_net.0"}
    inner = sorted({name.rpartition(".")[0] for name in net if name.startswith(f"attention_net.{last}.")})
    for place, name in enumerate(inner):
        parts = name.split(".")
        layers[name] = f"attention_net.3.{'.'.join(parts[2:])}" if gated else f"attention_net.3.{(0, 3)[place]}"
    for name, value in net.items():
        layer, _, kind = name.rpartition(".")
        rest[f"{layers[layer]}.{kind}"] = value
    return rest, gated
