"""scGPT: the encoder with its heads, and the official embedding of a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from checking import GoldenSet, Result, checker, torch_inputs
from numpy.typing import NDArray
from torch import Tensor

from pathomix.core.weights import load_strictly
from pathomix.scgpt.binning import bin_ranges
from pathomix.scgpt.checkpoint import Checkpoint, load_checkpoint, official_names
from pathomix.scgpt.embed import Embedder
from pathomix.scgpt.heads import Heads, contrastive_cell_loss, elastic_similarity_loss
from pathomix.scgpt.model import ScGPT, Sizes
from pathomix.scgpt.parameters import EmbeddingSettings, embedding_settings
from pathomix.scgpt.symbols import Harmonised, harmonise
from pathomix.scgpt.tokens import Tokens, collate, tokenise
from pathomix.scgpt.vocabulary import CLS

_HEADS = ("decoder.", "mvc_decoder.", "cls_decoder.")
_BEYOND = -100.0


@checker("scgpt_transformer")
def transformer(golden: GoldenSet) -> Iterator[Result]:
    """States of padded positions depend on the implementation and are left out, as the set's description asks."""
    tolerance = golden.tolerance("float32_abs", "abs")
    args = golden.config["model_args"]
    weights = golden.weights()
    genes, values, padding = (torch_inputs(golden, f"in.{name}") for name in ("gene_ids", "values", "padding_mask"))
    yield golden.compare("valid_token_mask", ~padding, 0.0)
    valid = ~padding.numpy()
    heads = Heads(args["d_model"], args["n_cls"], args["nlayers_cls"]).eval()
    load_strictly(heads, {k: v for k, v in weights.items() if k.startswith(_HEADS)}, golden.path)
    for layout, prefix in (("released", "out"), ("in_proj", "out_torch_fastpath"), ("_impl", "out_flash_layout")):
        model = _model(args, len(golden.config["vocab"]), _as(layout, weights, golden), golden)
        with torch.inference_mode():
            states, cells = model(genes, values, padding), model.cells(genes, values, padding)
            ours = {
                "states": states,
                "cell_emb": cells,
                "mlm_output": heads.expression(states),
                "mvc_output": heads.expression_by_cell(cells, model.encoder(genes)),
                "cls_output": heads.classes(cells),
                "loss_ecs": elastic_similarity_loss(cells),
                "loss_cce": contrastive_cell_loss(cells, cells),
            }
        for name, value in ours.items():
            expected = f"{prefix}.{name}"
            if expected not in golden.tensors:
                continue
            rows = valid if name in ("states", "mlm_output") else np.ones_like(valid)
            if name in ("states", "mlm_output", "mvc_output"):
                golden.seen.add(expected)
                yield golden.compare_with(expected, value.numpy()[rows], golden.tensors[expected][rows], tolerance)
            else:
                yield golden.compare(expected, value, tolerance)


def _as(layout: str, weights: dict[str, Tensor], golden: GoldenSet) -> dict[str, Tensor]:
    """The weights under the names of one layout; the set repeats those of torch's own attention."""
    if layout == "released":
        return weights
    if layout == "_impl":
        return {f"module.{name.replace('.self_attn.', '.self_attn._impl.')}": value for name, value in weights.items()}
    own = {
        name.removeprefix("inproj_layout."): torch_inputs(golden, name)
        for name in golden.tensors
        if name.startswith("inproj_layout.")
    }
    return {name: value for name, value in weights.items() if ".Wqkv." not in name} | own


def _model(args: dict[str, Any], vocabulary: int, weights: dict[str, Tensor], golden: GoldenSet) -> ScGPT:
    model = ScGPT(Sizes(vocabulary, args["d_model"], args["nhead"], args["d_hid"], args["nlayers"]))
    named = official_names(weights, golden.path)
    load_strictly(model, {k: v for k, v in named.items() if not k.startswith((*_HEADS, "flag_encoder."))}, golden.path)
    return model.eval()


class _Reference:
    """The draws of the reference: NumPy's global stream for ties, torch's for subsets, profile after profile."""

    def __init__(self, numpy_seed: int, torch_seed: int | None = None) -> None:
        self._ties = np.random.RandomState(numpy_seed)
        self._subsets = torch.Generator()
        if torch_seed is not None:
            self._subsets.manual_seed(torch_seed)
            # The loader draws its own base seed when iteration starts.
            torch.empty((), dtype=torch.int64).random_(generator=self._subsets)

    def ties(self, genes: NDArray[np.int64]) -> NDArray[np.float64]:
        return self._ties.random_sample(len(genes))

    def subset(self, genes: NDArray[np.int64], size: int) -> NDArray[np.int64]:
        return torch.randperm(len(genes), generator=self._subsets)[:size].numpy()


class _Case:
    """One matrix of the set under one way of drawing."""

    def __init__(self, golden: GoldenSet, matrix: str, checkpoint: Checkpoint, found: Harmonised) -> None:
        self.rows = golden.input(matrix)
        self.found = found
        self.checkpoint = checkpoint
        self.batch_size = int(golden.config["batch_size"])
        vocabulary = checkpoint.vocabulary
        self._cls = (vocabulary[CLS], checkpoint.pad_value)
        self._pad = (vocabulary[checkpoint.pad_token], checkpoint.pad_value)

    def expressed(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
        values = self.rows[row, self.found.columns]
        return self.found.tokens[values != 0], values[values != 0]

    def tokens(self, settings: EmbeddingSettings, draws: _Reference) -> list[Tokens]:
        return [tokenise(*self.expressed(row), settings, cls=self._cls, draws=draws) for row in range(len(self.rows))]

    def collated(self, profiles: Sequence[Tokens]) -> dict[str, NDArray[Any]]:
        """Genes, bins, embeddings of consecutive batches, as the set stores them."""
        parts = []
        for start in range(0, len(profiles), self.batch_size):
            genes, values, padding = collate(profiles[start : start + self.batch_size], *self._pad)
            with torch.inference_mode():
                cells = self.checkpoint.model.cells(genes, values, padding)
            parts.append((genes.numpy(), values.numpy(), cells.numpy()))
        cells = np.concatenate([part[2] for part in parts])
        return {
            "gene": _side_by_side([part[0] for part in parts]),
            "expr_binned": _side_by_side([part[1] for part in parts]),
            "cell_emb_before_norm": cells,
            "cell_emb": cells / np.linalg.norm(cells, axis=1, keepdims=True),
        }

    def ranges(self, settings: EmbeddingSettings) -> dict[str, NDArray[Any]]:
        """Legal bins of the tokens."""
        found = [bin_ranges(self.expressed(row)[1], settings.n_bins) for row in range(len(self.rows))]
        return {
            name: _side_by_side([np.concatenate([[_BEYOND], pair[side]])[None] for pair in found])
            for side, name in enumerate(("bin_low", "bin_high"))
        }


def _side_by_side(parts: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part.astype(float), ((0, 0), (0, width - part.shape[1])),
                                  constant_values=_BEYOND) for part in parts])  # fmt: skip


@checker("scgpt_embed")
def embed(golden: GoldenSet) -> Iterator[Result]:
    tolerance = golden.tolerance("abs")
    config = golden.config
    checkpoint = load_checkpoint(golden.path / "checkpoint")
    names = config["gene_names"]
    found = harmonise(names, checkpoint.vocabulary, min_coverage=0.0)
    yield golden.compare("all_genes_id_in_vocab", checkpoint.vocabulary.gene_ids(names), 0.0)
    yield golden.compare("kept_gene_columns", found.columns, 0.0)
    yield golden.compare("kept_gene_vocab_ids", found.tokens, 0.0)
    released = {"profile": "released", "n_bins": config["n_bins"], "min_coverage": 0.0}
    whole = embedding_settings(released | {"max_length": len(names) + 1})

    case = _Case(golden, "continuous.X", checkpoint, found)
    ranges = case.ranges(whole)
    fixed = (ranges["bin_low"] == ranges["bin_high"]).all(axis=1)
    yield golden.compare("continuous.cell_is_deterministic", fixed, 0.0)
    ours = case.collated(case.tokens(whole, _Reference(0)))
    for name, value in ours.items():
        expected = f"continuous.{name}"
        golden.seen.add(expected)
        rows = fixed if name != "gene" else np.ones_like(fixed)
        exact = name in ("gene", "expr_binned")
        yield golden.compare_with(expected, value[rows], golden.tensors[expected][rows], 0.0 if exact else tolerance)
    ids = [f"cell {row}" for row in range(len(case.rows))]
    vectors = Embedder(checkpoint, whole).embed(case.rows, ids, names).vectors
    reference = golden.tensors["continuous.cell_emb"]
    yield golden.compare_with("continuous.cell_emb (Embedder)", vectors[fixed], reference[fixed], tolerance)

    case = _Case(golden, "counts.X", checkpoint, found)
    for name, value in case.ranges(whole).items():
        yield golden.compare(f"counts.{name}", value, 0.0)
    yield from _seeded(golden, case, whole)

    recipe = config["sampled"]
    short = embedding_settings(released | {"max_length": recipe["max_length"]})
    case = _Case(golden, recipe["matrix"], checkpoint, found)
    draws = _Reference(recipe["numpy_seed"], recipe["torch_seed"])
    for name, value in case.collated(case.tokens(short, draws)).items():
        exact = name in ("gene", "expr_binned")
        yield golden.compare(f"sampled.{name}", value, 0.0 if exact else tolerance)


def _seeded(golden: GoldenSet, case: _Case, settings: EmbeddingSettings) -> Iterator[Result]:
    """Integer counts, whose ties are binned at random by seeds in the tensors' names."""
    seeds = sorted({int(match[1]) for name in golden.tensors if (match := re.search(r"npseed(\d+)$", name))})
    for place, seed in enumerate(seeds):
        ours = case.collated(case.tokens(settings, _Reference(seed)))
        if place == 0:
            yield golden.compare("counts.gene", ours["gene"], 0.0)
        for name in ("expr_binned", "cell_emb_before_norm", "cell_emb"):
            expected = f"counts.{name}_npseed{seed}"
            if expected in golden.tensors:
                tolerance = 0.0 if name == "expr_binned" else golden.tolerance("abs")
                yield golden.compare(expected, ours[name], tolerance)
