"""The official checkpoint directory: ``args.json``, ``vocab.json``, ``best_model.pt`` (spec scgpt 1 and 3)."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path, file_digest, write_json
from pathomix.core.weights import load_strictly, read_state
from pathomix.scgpt.heads import Heads
from pathomix.scgpt.model import ScGPT, Sizes, random_model
from pathomix.scgpt.vocabulary import PAD, Vocabulary

log = logging.getLogger(__name__)

ARGS, VOCABULARY, WEIGHTS = "args.json", "vocab.json", "best_model.pt"
REQUIRED = ("embsize", "nheads", "d_hid", "nlayers", "dropout", "pad_token", "pad_value")
"""Fields of ``args.json`` without which a model cannot be built; all others are ignored but `pre_norm`."""

UNUSED = ("flag_encoder.", "decoder.", "mvc_decoder.", "cls_decoder.")
"""Prefixes of tensors that no cell embedding reads."""

_NAMES = (
    (re.compile(r"^module\."), ""),
    (re.compile(r"\.self_attn\._impl\."), ".self_attn."),
    (re.compile(r"\.self_attn\.in_proj_(weight|bias)$"), r".self_attn.Wqkv.\1"),
)


@dataclass(frozen=True)
class LoadReport:
    """What became of the tensors of a weights file.

    Attributes:
        matched: Names as in the model, all of its tensors.
        unused: Names as in the file, of heads that embeddings do not need.
        sha256: Of the weights file.
    """

    matched: tuple[str, ...]
    unused: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with what belongs to it.

    Attributes:
        model: In evaluation mode, float32, without gradients.
        vocabulary: One token per row of its table.
        pad_token: Token that fills up short cells.
        pad_value: Value of padded positions, and of ``<cls>`` in pretraining.
        n_bins: Bins the model was trained with; None where ``args.json`` does not say.
        report: What was loaded.
    """

    model: ScGPT
    vocabulary: Vocabulary
    pad_token: str
    pad_value: float
    n_bins: int | None
    report: LoadReport

    @property
    def identity(self) -> dict[str, str]:
        """Digests of everything embeddings read from the directory."""
        return {"weights": self.report.sha256, "vocabulary": self.vocabulary.digest}


def load_checkpoint(folder: Path) -> Checkpoint:
    """Load an official checkpoint directory; nothing in it is run.

    Args:
        folder: With ``args.json``, ``vocab.json`` and ``best_model.pt``.

    Raises:
        PathomixError: A file is missing or damaged; a field is missing; the vocabulary has not one token per row of
            the table; a tensor is missing, unexpected, of another shape or not finite. All mismatches are named.
    """
    args = _read_args(folder / ARGS)
    vocabulary = Vocabulary.read(folder / VOCABULARY)
    vocabulary[args["pad_token"]]
    path = folder / WEIGHTS
    raw = read_state(path)
    state = official_names(raw, path)
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(UNUSED)}
    _check_vocabulary(kept, vocabulary, path)
    sizes = Sizes(
        len(vocabulary), args["embsize"], args["nheads"], args["d_hid"], args["nlayers"], float(args["dropout"])
    )
    with torch.device("meta"):
        model = ScGPT(sizes)
    model = model.to_empty(device="cpu")
    load_strictly(model, kept, path)
    damaged = [name for name, tensor in kept.items() if not torch.isfinite(tensor).all()]
    if damaged:
        raise PathomixError(f"{path}: tensors hold NaN or infinity", offending=damaged, remedy="get the file again")
    report = LoadReport(
        tuple(kept), tuple(name for name in raw if _renamed(name).startswith(UNUSED)), file_digest(path)
    )
    log.info("%s: %d tensors loaded, %d of heads unused", path, len(report.matched), len(report.unused))
    return Checkpoint(
        model.eval().requires_grad_(False), vocabulary, args["pad_token"], float(args["pad_value"]),
        args.get("n_bins"), report,
    )  # fmt: skip


def official_names(state: Mapping[str, Tensor], source: Path | str) -> dict[str, Tensor]:
    """A state dict under the names of the released files.

    Known are ``self_attn.Wqkv.*`` (released), ``self_attn.in_proj_*`` (torch's own attention) and
    ``self_attn._impl.{Wqkv,out_proj}.*`` (present repository), each with or without ``module.``; only names differ.

    Raises:
        PathomixError: Two names of the file mean the same tensor.
    """
    renamed: dict[str, Tensor] = {}
    double = []
    for name, tensor in state.items():
        new = _renamed(name)
        if new in renamed:
            double.append(name)
        renamed[new] = tensor
    if double:
        raise PathomixError(
            f"{source}: tensors are there under several names", offending=double, remedy="keep one naming"
        )
    return renamed


def _renamed(name: str) -> str:
    for pattern, replacement in _NAMES:
        name = pattern.sub(replacement, name)
    return name


def _read_args(path: Path) -> dict[str, Any]:
    """Fields of ``args.json``, checked."""
    try:
        args = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PathomixError(f"{path}: cannot be read as JSON ({error})", remedy="give the model's own file") from error
    missing = [name for name in REQUIRED if not isinstance(args, dict) or name not in args]
    if missing:
        raise PathomixError(f"{path}: fields are missing", offending=missing, remedy="give the model's own file")
    sizes = ("embsize", "nheads", "d_hid", "nlayers")
    wrong = [f"{name} = {args[name]!r}" for name in sizes if type(args[name]) is not int or args[name] < 1]
    for name in ("dropout", "pad_value"):
        if isinstance(args[name], bool) or not isinstance(args[name], (int, float)):
            wrong.append(f"{name} = {args[name]!r}")
    if not isinstance(args["pad_token"], str):
        wrong.append(f"pad_token = {args['pad_token']!r}")
    if not wrong and (args["embsize"] % args["nheads"] or not 0 <= args["dropout"] < 1):
        wrong = [f"{name} = {args[name]!r}" for name in ("embsize", "nheads", "dropout")]
    if wrong:
        raise PathomixError(
            f"{path}: fields do not describe a model", offending=wrong, remedy="give the model's own file"
        )
    if args.get("pre_norm"):
        raise PathomixError(
            f"{path}: pre_norm is set; its layers overwrite the residual stream and are not implemented",
            remedy="use a model trained with pre_norm: false, as all released ones are",
        )
    return args


def _check_vocabulary(state: Mapping[str, Tensor], vocabulary: Vocabulary, path: Path) -> None:
    table = state.get("encoder.embedding.weight")
    if table is None or len(table) == len(vocabulary):
        return
    appended = f" ({', '.join(vocabulary.appended)} were not in the file and count)" if vocabulary.appended else ""
    tokens = f"{vocabulary.source} names {len(vocabulary)} tokens{appended}"
    raise PathomixError(
        f"{path}: the token table has {len(table)} rows and {tokens}",
        remedy="give the vocab.json that belongs to the weights",
    )


def write_random_checkpoint(folder: Path, genes: list[str], sizes: Sizes, seed: int, n_bins: int = 51) -> None:
    """Write a model with random weights in the official layout, pretraining heads included.

    For demonstrations and tests: it knows no biology. Equal arguments give equal bytes.

    Args:
        folder: Receives the three files.
        genes: Vocabulary; special tokens are appended.
        sizes: Of the model; `vocabulary` has to count the special tokens.
        seed: Of the weights.
        n_bins: Recorded in ``args.json``.

    Raises:
        PathomixError: `sizes.vocabulary` does not fit the genes.
    """
    vocabulary = Vocabulary(genes)
    if sizes.vocabulary != len(vocabulary):
        raise PathomixError(
            f"{len(vocabulary)} tokens for a table of {sizes.vocabulary} rows", remedy="set sizes.vocabulary to match"
        )
    state = random_model(sizes, seed).state_dict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        state |= Heads(sizes.width).state_dict()
        state["flag_encoder.weight"] = torch.randn(2, sizes.width)
    fields = asdict(sizes)
    args = {
        "embsize": fields["width"], "nheads": fields["heads"], "d_hid": fields["hidden"], "nlayers": fields["layers"],
        "n_layers_cls": 3, "dropout": fields["dropout"], "pad_token": PAD, "pad_value": -2, "mask_value": -1,
        "n_bins": n_bins, "max_seq_len": 1200, "input_style": "binned", "input_emb_style": "continuous",
    }  # fmt: skip
    write_json(folder / ARGS, args)
    write_json(folder / VOCABULARY, vocabulary.to_json())
    with atomic_path(folder / WEIGHTS) as temporary, temporary.open("wb") as stream:
        # Into a stream: given a path, torch writes the file's name into the archive.
        torch.save(state, stream)
