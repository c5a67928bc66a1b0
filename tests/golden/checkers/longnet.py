"""LongNet slide encoder, its dilated attention and its positions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from checking import GoldenSet, Result, checker, torch_inputs

from pathomix.nn.dilated_attention import SKIPPED_LSE, branch_lse, branches, dilated_attention, kernel_for
from pathomix.nn.longnet import DilatedSelfAttention, LongNet, stock_segments
from pathomix.nn.positions import grid_cells, position_index, position_rows

# README_slide_encoders.md: |a - b| <= 1e-5 * max(1, largest |reference|); log-sum-exp 1e-4
TOLERANCE, LSE_TOLERANCE = 1e-5, 1e-4
SETTINGS = (
    "in_chans", "embed_dim", "depth", "heads", "mlp_ratio", "slide_ngrids", "tile_size", "max_wsi_size", "norm_eps",
    "segment_length", "dilated_ratio",
)  # fmt: skip


def compare(golden: GoldenSet, name: str, ours: Any) -> Result:
    """Compare within the tolerance of the README."""
    largest = float(abs(golden.tensors[name]).max(initial=0.0))
    return golden.compare(name, ours, TOLERANCE * max(1.0, largest))


@checker("longnet_slide_encoder")
def longnet_slide_encoder(golden: GoldenSet) -> Iterator[Result]:
    """Plain and all-layer mode, states and closing norm of the encoder."""
    config = golden.config["config"]
    settings = {name: config[name] for name in SETTINGS if name in config}
    model = LongNet(**settings, indexing="compat", out_of_grid="wrap")
    model.load_official(golden.weights())
    model.eval()
    for key, ours in (("segment_length", model.segment_length), ("dilated_ratio", model.dilated_ratio)):
        if f"resolved_{key}" in config:
            yield golden.compare_with(f"config/resolved_{key}", list(ours), config[f"resolved_{key}"], 0.0)
    for case in golden.config["cases"]:
        yield from _slide_case(golden, model, case)


@torch.no_grad()
def _slide_case(golden: GoldenSet, model: LongNet, case: str) -> Iterator[Result]:
    x, coords = (torch_inputs(golden, f"{case}/in/{name}") for name in ("x", "coords"))
    cells = grid_cells(coords, model.coord_divisor)
    yield golden.compare(f"{case}/out/pos_index", position_index(cells, model.slide_ngrids), 0.0)
    found = model.vectors(x, coords, model.vector_names)
    states = range(model.depth + 1)
    for pooling, name in (("cls", "cls"), ("mean", "meanpool")):
        yield compare(golden, f"{case}/out/{name}_last", found[f"final_{pooling}"])
        layers = torch.stack([found[f"state_{k}_{pooling}"] for k in states])
        yield compare(golden, f"{case}/out/{name}_all_layers", layers)
    tokens = [torch.cat([state.cls, state.tiles], dim=1) for state in model.states(x, coords)]
    for name, ours in (("token_states", torch.stack(tokens)), ("encoder_out", model.encoder.layer_norm(tokens[-1]))):
        if f"{case}/out/{name}" in golden.tensors:
            yield compare(golden, f"{case}/out/{name}", ours)


@checker("dilated_attention_core")
def dilated_attention_core(golden: GoldenSet) -> Iterator[Result]:
    """Branches, mixture and gradients."""
    for case, settings in golden.config["cases"].items():
        q, k, v, grad = (torch_inputs(golden, f"{case}/in/{name}") for name in ("q", "k", "v", "grad_out"))
        lists = settings["segment_length"], settings["dilated_ratio"]
        for x in (q, k, v):
            x.requires_grad_()
        out = dilated_attention(q, k, v, *lists, indexing="compat")
        yield compare(golden, f"{case}/out/out", out.detach())
        attend = kernel_for(q)
        plan = branches(q.shape[1], *lists)
        with torch.no_grad():
            pieces = [(branch, *attend(branch.split(q), branch.split(k), branch.split(v))) for branch in plan]
            outs = torch.stack([branch.join(out, "compat") for branch, out, _ in pieces])
            lses = torch.stack([branch_lse(branch, lse, "compat") for branch, _, lse in pieces])
        yield compare(golden, f"{case}/out/branch_out", outs)
        yield _compare_lse(golden, f"{case}/out/branch_lse", lses)
        for name, ours in zip("qkv", torch.autograd.grad(out, (q, k, v), grad), strict=True):
            yield compare(golden, f"{case}/out/d{name}", ours)


def _compare_lse(golden: GoldenSet, name: str, ours: Any) -> Result:
    """Compare log-sum-exps; the marker of skipped positions does not widen the tolerance of the others."""
    visited = golden.tensors[name][golden.tensors[name] > SKIPPED_LSE]
    return golden.compare(name, ours, LSE_TOLERANCE * max(1.0, float(abs(visited).max(initial=0.0))))


@checker("dilated_attention_layer")
def dilated_attention_layer(golden: GoldenSet) -> Iterator[Result]:
    """The mixture between its projections."""
    config = golden.config["config"]
    layer = DilatedSelfAttention(
        config["embed_dim"],
        config["heads"],
        config["segment_length"],
        config["dilated_ratio"],
        subln=config["subln"],
        indexing="compat",
    )
    layer.load_state_dict(golden.weights())
    layer.eval()
    for case in golden.config["cases"]:
        with torch.no_grad():
            out = layer(*(torch_inputs(golden, f"{case}/in/{name}") for name in ("query", "key", "value")))
        yield compare(golden, f"{case}/out/out", out)


@checker("slide_positions")
def slide_positions(golden: GoldenSet) -> Iterator[Result]:
    """Index, small tables, chosen rows of a large one, and the rule of stock segments."""
    for case, settings in golden.config["cases"].items():
        if settings["what"] == "index":
            cells = grid_cells(torch_inputs(golden, f"{case}/in/coords"), settings["tile_size"])
            yield golden.compare(f"{case}/out/index", position_index(cells, settings["slide_ngrids"]), 0.0)
            continue
        grid, width = settings["grid"], settings["embed_dim"]
        if f"{case}/out/table" in golden.tensors:
            rows = torch.arange(grid * grid + 1)
            yield compare(golden, f"{case}/out/table", position_rows(rows, grid, width))
        else:
            rows = torch_inputs(golden, f"{case}/in/rows")
            yield compare(golden, f"{case}/out/rows_of_table", position_rows(rows, grid, width))
    for rule, expected in golden.config.get("stock_segment_length_rule_examples", {}).items():
        settings = {name: int(value) for name, value in (part.split("=") for part in rule.split(","))}
        yield golden.compare_with(f"config/{rule}", stock_segments(**settings), expected, 0.0)
