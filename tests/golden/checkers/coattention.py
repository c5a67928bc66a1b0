"""Gene groups and tiles in one attention: MCAT, SurvPath and MMP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from checking import GoldenSet, Result, checker, torch_inputs
from torch import Tensor

from pathomix.losses.discrete import discrete_risk, hazards_and_survival
from pathomix.nn.mcat import MCAT
from pathomix.nn.mmp import MMP
from pathomix.nn.survpath import SurvPath


def _genes(golden: GoldenSet, sizes: list[int]) -> Tensor:
    """Expression [B, sum(sizes)]; the set has one tensor per group, numbered from 1."""
    return torch.cat([torch_inputs(golden, f"in.x_omic{i + 1}").reshape(-1, n) for i, n in enumerate(sizes)], dim=1)


def _bags(golden: GoldenSet) -> list[str]:
    return [name.removeprefix("in.") for name in golden.tensors if name.startswith("in.bag")]


@checker("mcat")
def mcat(golden: GoldenSet) -> Iterator[Result]:
    """Both fusions; the reference returns the scores of its poolings and of the attention to tiles."""
    config, tolerance, weights = golden.config, golden.tolerance("abs"), golden.weights()
    options: dict[str, Any] = {}
    if config["fusion"] == "bilinear":
        options["reduction"] = config["hidden"] // len(weights["mm.linear_h1.0.weight"])
    model = MCAT(
        config["in_dim"],
        config["omic_sizes"],
        config["hidden"],
        config["gated_attention_hidden"],
        config["ffn"],
        config["n_classes"],
        fusion=config["fusion"],
        heads=config["heads_transformer"],
        coattention_heads=config["heads_coattention"],
        layers=1 + max(int(name.split(".")[2]) for name in weights if name.startswith("path_transformer.layers.")),
        **options,
    )
    model.load_state_dict(weights)
    model.eval()
    genes = _genes(golden, config["omic_sizes"])
    for bag in _bags(golden):
        tiles = torch_inputs(golden, f"in.{bag}").reshape(-1, config["in_dim"])
        with torch.no_grad():
            logits, path, omic = model([tiles], genes)
            scores = model.coattention_scores(tiles, genes)
        hazards, survival = hazards_and_survival(logits)
        yield golden.compare(f"out.{bag}.hazards", hazards, tolerance)
        yield golden.compare(f"out.{bag}.survival", survival, tolerance)
        yield golden.compare(f"out.{bag}.path_attn_raw", path, tolerance)
        yield golden.compare(f"out.{bag}.omic_attn_raw", omic, tolerance)
        yield golden.compare(f"out.{bag}.coattn_raw", scores, tolerance)
        yield golden.compare(f"out.{bag}.y_hat", logits.argmax(dim=1), 0.0)


@checker("survpath")
def survpath(golden: GoldenSet) -> Iterator[Result]:
    """One patient at a time, as the reference does."""
    config, tolerance = golden.config, golden.tolerance("abs")
    hidden, width = config["pathway_hidden"]
    if width != config["wsi_projection_dim"]:
        for name in sorted(golden.tensors):
            yield golden.unsupported(name, f"pathway tokens of width {width}, tiles of another")
        return
    model = SurvPath(
        config["wsi_embedding_dim"], config["omic_sizes"], width, hidden, config["num_classes"], dropout=0.0
    )
    model.load_state_dict(golden.weights())
    model.eval()
    genes = _genes(golden, config["omic_sizes"])
    with torch.no_grad():
        yield golden.compare("out.pathway_embeddings", model.sig_networks(genes)[0], tolerance)
        for bag in _bags(golden):
            tiles = torch_inputs(golden, f"in.{bag}").reshape(-1, config["wsi_embedding_dim"])
            logits = model([tiles], genes)
            hazards, survival = hazards_and_survival(logits)
            scores = model.scores(tiles, genes)
            ours = {
                "logits": logits,
                "hazards": hazards,
                "survival": survival,
                "risk": discrete_risk(logits),
                "attn_pathways_raw": scores.pathways,
                "cross_attn_pathways_raw": scores.pathways_on_tiles,
                "cross_attn_histology_raw": scores.tiles_on_pathways,
            }
            for name, value in ours.items():
                yield golden.compare(f"out.{bag}.{name}", value, tolerance)


@checker("mmp_coattn")
def mmp(golden: GoldenSet) -> Iterator[Result]:
    """Both attention modes; prototypes have 2 d + 1 numbers (PANTHER) or d, which the weights show."""
    tolerance, weights = golden.tolerance("abs"), golden.weights()
    args = golden.config["args"]
    hidden, width = golden.config["pathway_hidden"]
    mode = args.get("modality", "full")
    refused = {
        f"attention mode {mode}": mode not in ("full", "survpath"),
        f"pathway tokens of width {width}, prototypes of {args['path_proj_dim']}": width != args["path_proj_dim"],
        "tokens with an appended embedding": args.get("append_embed", "none") != "none",
        "a feed-forward network per token": bool(args.get("net_indiv")),
        "prototypes that are not projected": "path_proj_net.0.weight" not in weights,
    }
    reasons = [reason for reason, met in refused.items() if met]
    if reasons:
        for name in sorted(golden.tensors):
            yield golden.unsupported(name, f"not implemented: {'; '.join(reasons)}")
        return
    inputs = weights["path_proj_net.0.weight"].shape[1]
    model = MMP(inputs, args["omic_sizes"], width, hidden, args["num_classes"], mode)
    model.load_state_dict(weights)
    model.eval()
    genes, prototypes = _genes(golden, args["omic_sizes"]), torch_inputs(golden, "in.x_path")
    with torch.no_grad():
        scores = model.scores(prototypes, genes)
        yield golden.compare("out.logits", model(prototypes, genes), tolerance)
        yield golden.compare("out.pathway_embeddings", model.sig_networks(genes), tolerance)
    yield golden.compare("out.omic_attn_raw", scores.pathways, tolerance)
    yield golden.compare("out.cross_attn_raw", scores.pathways_on_tiles, tolerance)
    yield golden.compare("out.path_attn_raw", scores.tiles_on_pathways, tolerance)
