"""scGPT as an expression encoder: the released weights, or a small stand-in of the same code."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.core.parameters import choice, filled
from pathomix.core.weights import state_digest
from pathomix.scgpt.checkpoint import Checkpoint, LoadReport, load_checkpoint
from pathomix.scgpt.embed import Embedder
from pathomix.scgpt.expression import Matrix, by_rows, check_expression
from pathomix.scgpt.model import Sizes, random_model
from pathomix.scgpt.parameters import EmbeddingSettings, embedding_settings
from pathomix.scgpt.pretrain import PretrainingSettings, pretrain, pretraining_heads, spread_over_bins
from pathomix.scgpt.symbols import Names, harmonise
from pathomix.scgpt.tokens import KeyedDraws, Tokens, tokenise
from pathomix.scgpt.vocabulary import CLS, PAD, Vocabulary
from pathomix.smoothing.cells import AtlasCells
from pathomix.smoothing.encoders import (
    Embedded,
    State,
    as_text,
    from_text,
    names_digest,
    require_fitted_with,
    require_genes,
)

log = logging.getLogger(__name__)

_MODEL = "model/"
_PAD_VALUE = -2.0


@dataclass(frozen=True)
class Settings(EmbeddingSettings):
    """Parameters: those of `scgpt.parameters.EmbeddingSettings`, and the following.

    Expression is first scaled to a million over the genes of the panel, so that `min_expression` means the same for
    cells, mixtures and bulk.

    Attributes:
        profile: Of the embedding switches that are not given (`scgpt.parameters.PROFILES`).
        weights: Folder of an official checkpoint; empty: a small model whose vocabulary are the genes of the atlas.
            `seed` is then also that of its weights.
        width: Of the small model.
        depth: Its layers.
        heads: Its attention heads.
        hidden: Its feed-forward width.
        pretrain_epochs: Passes of its pretraining over the training part of the atlas (`scgpt.pretrain`), on the CPU;
            all it knows of biology is what these cells show. 0: random weights, which know none.
        pretrain_genes: Genes of a cell that one pass reads.
        pretrain_learning_rate: Of the pretraining.
        aliases: Table (CSV) of aliases and previous gene symbols; empty: none.
        alias_columns: Its columns of names and of approved symbols.
        panel: ``common``: atlas and bulk are read on the genes they share, and binned over them; ``own``: each on all
            it measures, as the reference does.
        device: ``auto`` (cuda where there is one), ``cpu`` or ``cuda``.
    """

    profile: str = "recommended"
    weights: str = ""
    width: int = 64
    depth: int = 2
    heads: int = 4
    hidden: int = 64
    pretrain_epochs: int = 0
    pretrain_genes: int = 64
    pretrain_learning_rate: float = 5e-3
    aliases: str = ""
    alias_columns: tuple[str, ...] = ("Symbol", "Approved.Symbol")
    panel: str = "common"
    device: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        choice(self.panel, ("common", "own"), "panel")
        choice(self.device, ("auto", "cpu", "cuda"), "device")
        small = [name for name in ("width", "depth", "heads", "hidden") if getattr(self, name) < 1]
        if small or self.width % self.heads or len(self.alias_columns) != 2:
            raise PathomixError(
                "expression encoder scgpt: sizes are below 1, width is no multiple of heads, or alias_columns are not "
                "two",
                offending=small,
                remedy="correct them",
            )
        if self.pretrain_epochs < 0 or (self.weights and self.pretrain_epochs):
            raise PathomixError(
                f"expression encoder scgpt: pretrain_epochs is {self.pretrain_epochs}, and only the small model is "
                "pretrained, which stands in where there are no weights",
                remedy="set pretrain_epochs: 0, or above with no weights",
            )
        if self.pretrain_epochs:
            self.pretraining()

    def pretraining(self) -> PretrainingSettings:
        """How the small model is pretrained."""
        return PretrainingSettings(
            self.pretrain_epochs, self.pretrain_genes, self.pretrain_learning_rate, n_bins=self.n_bins, seed=self.seed
        )


_EMBEDDING = tuple(field.name for field in fields(EmbeddingSettings))
# Of the machine, not of the vectors; weights and aliases count by their content.
_INCIDENTAL = ("weights", "aliases", "device", "tokens_per_batch", "min_coverage", "profile")
_SMALL = ("width", "depth", "heads", "hidden", "pretrain_epochs", "pretrain_genes", "pretrain_learning_rate")


def scgpt_settings(given: Mapping[str, Any]) -> Settings:
    """Settings from configured values, embedding switches by their profile.

    Raises:
        PathomixError: A key is unknown, or a value makes no sense.
    """
    own = {name for name in (field.name for field in fields(Settings)) if name not in _EMBEDDING}
    embedding = {name: value for name, value in given.items() if name not in own or name == "profile"}
    if given.get("panel", "common") == "common":
        embedding.setdefault("bin_scope", "selected")
    unknown = sorted(set(embedding) - set(_EMBEDDING) - {"profile"})
    if unknown:
        known = sorted({*own, *_EMBEDDING})
        raise PathomixError("expression encoder scgpt: unknown parameters", offending=unknown, remedy=f"use {known}")
    values = asdict(embedding_settings(embedding)) | {name: given[name] for name in own & set(given)}
    return filled(Settings, values, "expression encoder scgpt")


class ScgptEncoder:
    """scGPT applied to atlas and bulk in one way.

    Args:
        given: Fields of `Settings`.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.settings = scgpt_settings(given)

    def fit(self, atlas: AtlasCells, tables: Sequence[Sequence[str]]) -> FittedScgpt:
        """Load the model and fix the panel; a small model is pretrained where `pretrain_epochs` says so.

        Args:
            atlas: Labelled cells.
            tables: Gene names of the bulk tables.

        Raises:
            PathomixError: Weights or aliases cannot be read, atlas and tables share no gene of the vocabulary, or the
                loss of the pretraining is not finite.
        """
        settings = self.settings
        checkpoint = load_checkpoint(Path(settings.weights)) if settings.weights else _stand_in(atlas.genes, settings)
        aliases, panel = self._aliases(), None
        if settings.panel == "common":
            panel = _common(FittedScgpt(settings, checkpoint, None, aliases), atlas.genes, tables)
        fitted = FittedScgpt(settings, checkpoint, panel, aliases)
        if settings.pretrain_epochs:
            return FittedScgpt(settings, _pretrained(fitted, checkpoint.vocabulary, atlas, settings), panel, aliases)
        return fitted

    def rebuilt(self, arrays: State, facts: Mapping[str, Any]) -> FittedScgpt:
        """Inverse of `FittedScgpt.state`.

        Raises:
            PathomixError: It was fitted with other parameters, weights or aliases.
        """
        require_fitted_with(facts, _described(self.settings))
        if self.settings.weights:
            checkpoint = load_checkpoint(Path(self.settings.weights))
        else:
            vocabulary = Vocabulary(from_text(arrays["vocabulary"]))
            state = {name: torch.from_numpy(np.array(arrays[_MODEL + name])) for name in facts["tensors"]}
            checkpoint = _checkpoint(vocabulary, self.settings, state)
        panel = tuple(from_text(arrays["panel"])) if "panel" in arrays else None
        return FittedScgpt(self.settings, checkpoint, panel, self._aliases())

    def _aliases(self) -> Names | None:
        if not self.settings.aliases:
            return None
        return Names.read(self.settings.aliases, *self.settings.alias_columns)


class FittedScgpt:
    """A loaded model and the genes it reads.

    Args:
        settings: As configured.
        checkpoint: The model.
        panel: Genes of the vocabulary that are read, sorted; None: all.
        aliases: Aliases and previous symbols.
    """

    def __init__(
        self, settings: Settings, checkpoint: Checkpoint, panel: tuple[str, ...] | None, aliases: Names | None
    ) -> None:
        self._settings, self._checkpoint, self._panel, self._aliases = settings, checkpoint, panel, aliases
        self._embedding = EmbeddingSettings(**{name: getattr(settings, name) for name in _EMBEDDING})

    @property
    def dim(self) -> int:
        """Width of the model."""
        return self._checkpoint.model.sizes.width

    @cached_property
    def protocol(self) -> dict[str, Any]:
        """Settings and digests of checkpoint, panel and aliases."""
        return {
            "encoder": "scgpt",
            **self._embedding.protocol,
            **self._checkpoint.identity,
            "panel": None if self._panel is None else names_digest(self._panel),
            "aliases": file_digest(self._settings.aliases) if self._settings.aliases else None,
            "precision": self._settings.precision,
        }

    @cached_property
    def _embedder(self) -> Embedder:
        name = self._settings.device
        if name == "cuda" and not torch.cuda.is_available():
            raise PathomixError("device is 'cuda' and this machine has none", remedy="set `device: auto`")
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        return Embedder(self._checkpoint, self._embedding, name)

    def _columns(self, genes: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
        """Columns that the model reads, and the gene of the vocabulary that each is."""
        found = harmonise(
            genes, self._checkpoint.vocabulary, aliases=self._aliases, min_coverage=self._settings.min_coverage
        )
        names = [self._checkpoint.vocabulary.tokens[token] for token in found.tokens]
        if self._panel is None:
            return found.columns, names
        panel = set(self._panel)
        kept = [place for place, name in enumerate(names) if name in panel]
        return found.columns[kept], [names[place] for place in kept]

    def names(self, genes: Sequence[str]) -> set[str]:
        """Genes of the vocabulary (and panel) that a table with these names has."""
        return set(self._columns(genes)[1])

    def readable(self, genes: Sequence[str]) -> NDArray[np.bool_]:
        """Which columns reach the model."""
        result = np.zeros(len(genes), dtype=bool)
        result[self._columns(genes)[0]] = True
        return result

    def embed(self, matrix: Matrix, ids: Sequence[str], genes: Sequence[str]) -> Embedded:
        """Embed profiles.

        Args:
            matrix: Profiles x genes, linear scale.
            ids: Of the profiles, each once; they key the draws.
            genes: Names of the columns; columns of one gene are summed.

        Raises:
            PathomixError: As `scgpt.embed.Embedder.embed`, or a gene of the panel is not there.
        """
        scaled = self._scaled(matrix, ids, genes)
        found = self._embedder.embed(scaled, ids, genes, aliases=self._aliases, panel=self._panel)
        return Embedded(found.vectors, list(found.profiles["problem"]))

    def tokens(self, matrix: Matrix, ids: Sequence[str], genes: Sequence[str]) -> dict[str, Tokens]:
        """All tokens of profiles, as the model reads them, by id; profiles with nothing to read are left out.

        Args:
            matrix: As in `embed`.
            ids: As in `embed`.
            genes: As in `embed`.

        Raises:
            PathomixError: As `embed`.
        """
        vocabulary, settings = self._checkpoint.vocabulary, replace(self._embedding, length="full", draws=1)
        found = harmonise(genes, vocabulary, aliases=self._aliases, min_coverage=settings.min_coverage)
        places = (np.ones(len(found.tokens)), (found.columns, found.tokens))
        scaled = self._scaled(matrix, ids, genes)
        by_token = by_rows(scaled @ scipy.sparse.csr_matrix(places, shape=(len(genes), len(vocabulary))))
        allowed = np.isin(np.arange(len(vocabulary)), vocabulary.gene_ids(self._panel)) if self._panel else None
        cls = (vocabulary[CLS], self._checkpoint.pad_value if settings.cls_value is None else settings.cls_value)
        result = {}
        for row, name in enumerate(ids):
            span = slice(by_token.indptr[row], by_token.indptr[row + 1])
            values, tokens = by_token.data[span], by_token.indices[span].astype(np.int64)
            kept = (values > 0) & (values >= settings.min_expression)
            if (kept if allowed is None else kept & allowed[tokens]).any():
                draws = KeyedDraws(settings.seed, name, 0)
                result[name] = tokenise(tokens[kept], values[kept], settings, cls=cls, draws=draws, panel=allowed)
        return result

    def _scaled(self, matrix: Matrix, ids: Sequence[str], genes: Sequence[str]) -> Matrix:
        """Profiles scaled to a million over the genes that are read, CSR."""
        matrix = by_rows(matrix)
        check_expression(matrix, ids, genes)
        columns, names = self._columns(genes)
        require_genes(set(self._panel or ()) - set(names), "this table")
        total = np.asarray(matrix[:, columns].sum(axis=1), dtype=np.float64).ravel()
        factor = np.divide(1e6, total, out=np.zeros(len(total)), where=total > 0)
        return scipy.sparse.csr_matrix(scipy.sparse.diags(factor) @ matrix)

    def state(self) -> tuple[State, dict[str, Any]]:
        """The panel, and of the small model its vocabulary and weights; settings and names of the weights."""
        arrays: State = {} if self._panel is None else {"panel": as_text(self._panel)}
        tensors: list[str] = []
        if not self._settings.weights:
            state = self._checkpoint.model.state_dict()
            tensors = sorted(state)
            arrays |= {_MODEL + name: state[name].cpu().numpy() for name in tensors}
            arrays["vocabulary"] = as_text(self._checkpoint.vocabulary.genes)
        return arrays, {"settings": _described(self._settings), "tensors": tensors}


def _described(settings: Settings) -> dict[str, Any]:
    """Settings and the content of the user's files, without paths."""
    described = {name: value for name, value in asdict(settings).items() if name not in _INCIDENTAL}
    if settings.weights:
        for name in _SMALL:
            del described[name]
        folder = Path(settings.weights)
        files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
        described["weights"] = {path.name: file_digest(path) for path in files}
    if settings.aliases:
        described["aliases"] = file_digest(settings.aliases) if Path(settings.aliases).is_file() else None
    return described


def _common(whole: FittedScgpt, genes: Sequence[str], tables: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Genes of the vocabulary that atlas and tables share, sorted."""
    common = set.intersection(*(whole.names(names) for names in (genes, *tables)))
    if not common:
        raise PathomixError(
            "no gene of the vocabulary is common to the atlas and all bulk tables",
            offending=list(genes[:4]),
            remedy="give both the same gene symbols",
        )
    log.info("panel of %d genes, common to the atlas and %d tables", len(common), len(tables))
    return tuple(sorted(common))


def _stand_in(genes: Sequence[str], settings: Settings) -> Checkpoint:
    """A small model with random weights for these genes."""
    vocabulary = Vocabulary(dict.fromkeys(name.strip() for name in genes if name.strip()))
    return _checkpoint(vocabulary, settings, None)


def _sizes(vocabulary: Vocabulary, settings: Settings) -> Sizes:
    return Sizes(len(vocabulary), settings.width, settings.heads, settings.hidden, settings.depth)


def _checkpoint(vocabulary: Vocabulary, settings: Settings, state: Mapping[str, torch.Tensor] | None) -> Checkpoint:
    model = random_model(_sizes(vocabulary, settings), settings.seed)
    if state is not None:
        model.load_state_dict(state)
    named = model.state_dict()
    report = LoadReport(tuple(named), (), state_digest(named))
    return Checkpoint(model.requires_grad_(False), vocabulary, PAD, _PAD_VALUE, settings.n_bins, report)


def _pretrained(fitted: FittedScgpt, vocabulary: Vocabulary, atlas: AtlasCells, settings: Settings) -> Checkpoint:
    """The small model after its pretraining on the training part of the atlas."""
    rows = atlas.rows("train")
    cells = fitted.tokens(atlas.counts[rows], [atlas.ids[row] for row in rows], atlas.genes)
    model = random_model(_sizes(vocabulary, settings), settings.seed)
    spread_over_bins(model, settings.n_bins, settings.seed)
    pretrain(model, pretraining_heads(settings.width, settings.seed), cells, settings.pretraining())
    return _checkpoint(vocabulary, settings, model.state_dict())
