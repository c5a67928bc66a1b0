"""Embeddings of cells and bulk samples (spec scgpt 4 to 6)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathomix.core.errors import PathomixError
from pathomix.scgpt.checkpoint import Checkpoint
from pathomix.scgpt.expression import Matrix, by_rows, check_expression
from pathomix.scgpt.parameters import EmbeddingSettings
from pathomix.scgpt.symbols import Harmonised, Names, harmonise
from pathomix.scgpt.tokens import KeyedDraws, Tokens, collate, profile_length, tokenise
from pathomix.scgpt.vocabulary import CLS

log = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""Largest difference (float32, embeddings of length 1) that batch, order or a subset of the profiles may make."""

FEW_GENES = 200
_NOTHING = "no gene of the vocabulary is expressed"


@dataclass(frozen=True)
class Embeddings:
    """Embedded profiles.

    Attributes:
        vectors: float32 [profiles, width]; NaN where a profile has nothing to embed.
        profiles: Index ids; `expressed` genes that can be read, `tokens` of a view, `views` averaged, `problem` (empty
            where there is none).
        genes: What became of the gene names.
        protocol: Settings, digests of checkpoint, panel and measured genes, precision; see
            `protocol.require_same_protocol`.
    """

    vectors: NDArray[np.float32]
    profiles: pd.DataFrame
    genes: Harmonised
    protocol: Mapping[str, Any]


class _Job(NamedTuple):
    row: int
    view: int
    length: int


class Embedder:
    """A checkpoint applied to expression tables.

    Args:
        checkpoint: Loaded model.
        settings: How profiles become tokens.
        device: Of the model.
    """

    def __init__(self, checkpoint: Checkpoint, settings: EmbeddingSettings, device: str | torch.device = "cpu") -> None:
        self.settings = settings
        self._checkpoint = checkpoint
        self._device = torch.device(device)
        self._model = checkpoint.model.to(self._device).eval()
        vocabulary = checkpoint.vocabulary
        cls_value = checkpoint.pad_value if settings.cls_value is None else settings.cls_value
        self._cls = (vocabulary[CLS], cls_value)
        self._pad = (vocabulary[checkpoint.pad_token], checkpoint.pad_value)
        if checkpoint.n_bins not in (None, settings.n_bins):
            log.warning("the model was trained with %s bins, %d are used", checkpoint.n_bins, settings.n_bins)

    def embed(
        self,
        matrix: Matrix,
        ids: Sequence[str],
        genes: Sequence[str],
        *,
        aliases: Names | None = None,
        ensembl: Names | None = None,
        panel: Collection[str] | None = None,
    ) -> Embeddings:
        """Embed profiles; each one's embedding is the same whatever the others are, within `TOLERANCE`.

        Args:
            matrix: Profiles x genes, linear scale (`pathomix.scgpt.expression.linear_expression`), dense or CSR, which
                is never made dense.
            ids: Of the profiles, each once; they key the draws.
            genes: Names of the columns; columns of one gene are summed.
            aliases: Aliases and previous symbols.
            ensembl: Ensembl ids.
            panel: The only genes that may be read, as named in the vocabulary.

        Raises:
            PathomixError: Expression that cannot be ranked, too few genes in the vocabulary, a panel's gene outside
                it, or no profile with anything to embed.
        """
        matrix = by_rows(matrix)
        check_expression(matrix, ids, genes)
        found = harmonise(
            genes, self._checkpoint.vocabulary, aliases=aliases, ensembl=ensembl,
            min_coverage=self.settings.min_coverage,
        )  # fmt: skip
        allowed = self._allowed(panel)
        rows = _ByToken(matrix, found, self.settings.min_expression)
        profiles = self._lengths(rows, ids, allowed)
        total = torch.zeros(len(ids), self._model.sizes.width, dtype=torch.float64)
        for jobs in _batches(_jobs(profiles), self.settings.tokens_per_batch):
            batch = [self._tokens(rows, ids[job.row], job, allowed) for job in jobs]
            total.index_add_(0, torch.tensor([job.row for job in jobs]), self._vectors(batch).double())
        vectors = total / torch.from_numpy(profiles["views"].to_numpy(np.float64))[:, None]
        if self.settings.l2_normalise:
            vectors = vectors / vectors.norm(dim=1, keepdim=True)
        broken = profiles.index[(~torch.isfinite(vectors).all(dim=1)).numpy() & (profiles["views"] > 0)]
        if len(broken):
            raise PathomixError(
                "the model gives no finite embedding", offending=broken, remedy="check the weights, or use float32"
            )
        return Embeddings(vectors.float().numpy(), profiles, found, self._protocol(panel, found))

    def _allowed(self, panel: Collection[str] | None) -> NDArray[np.bool_] | None:
        if panel is None:
            return None
        vocabulary = self._checkpoint.vocabulary
        absent = sorted(gene for gene in panel if gene not in vocabulary)
        if absent or not panel:
            raise PathomixError(
                "the panel is empty or has genes outside the vocabulary", offending=absent, remedy="correct the panel"
            )
        allowed = np.zeros(len(vocabulary), dtype=bool)
        allowed[vocabulary.gene_ids(panel)] = True
        return allowed

    def _lengths(self, rows: _ByToken, ids: Sequence[str], allowed: NDArray[np.bool_] | None) -> pd.DataFrame:
        """One row per profile: readable genes, tokens of a view, views, problem."""
        expressed = np.array([
            len(genes) if allowed is None else int(allowed[genes].sum())
            for genes, _ in (rows[place] for place in range(len(ids)))
        ], dtype=np.int64)  # fmt: skip
        tokens = np.array([profile_length(count, self.settings) if count else 0 for count in expressed], dtype=np.int64)
        varies = (tokens < expressed + 1) | (self.settings.ties == "random")
        views = np.where(expressed == 0, 0, np.where(varies, self.settings.draws, 1))
        profiles = pd.DataFrame(
            {"expressed": expressed, "tokens": tokens, "views": views, "problem": np.where(expressed, "", _NOTHING)},
            index=pd.Index(list(ids), name="id", dtype=object),
        )
        empty = list(profiles.index[expressed == 0])
        if len(empty) == len(ids):
            raise PathomixError(
                f"{_NOTHING} in any of {len(ids)} profiles", offending=empty, remedy="check scale and `min_expression`"
            )
        poor = list(profiles.index[(expressed > 0) & (expressed < FEW_GENES)])
        for told, named in ((f"{_NOTHING}, no embedding", empty), (f"fewer than {FEW_GENES} genes are read", poor)):
            if named:
                log.warning("%d of %d profiles: %s: %s", len(named), len(ids), told, ", ".join(named[:8]))
        return profiles

    def _tokens(self, rows: _ByToken, name: str, job: _Job, allowed: NDArray[np.bool_] | None) -> Tokens:
        genes, expression = rows[job.row]
        draws = KeyedDraws(self.settings.seed, name, job.view)
        return tokenise(genes, expression, self.settings, cls=self._cls, draws=draws, panel=allowed)

    @torch.inference_mode()
    def _vectors(self, batch: Sequence[Tokens]) -> Tensor:
        """Cell embeddings [B, width] of a batch, on the CPU."""
        genes, values, padding = collate(batch, *self._pad)
        if padding is not None:
            padding = padding.to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            return self._model.cells(genes.to(self._device), values.to(self._device), padding).float().cpu()

    def _protocol(self, panel: Collection[str] | None, found: Harmonised) -> dict[str, Any]:
        return {
            **self.settings.protocol,
            **self._checkpoint.identity,
            "panel": None if panel is None else _digest(panel),
            "precision": self.settings.precision,
            "measured": _digest(self._checkpoint.vocabulary.tokens[token] for token in found.tokens),
        }


def _digest(genes: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(set(genes))).encode()).hexdigest()


class _ByToken:
    """Expressed genes of each profile by token id, in the order of the table's columns; columns of one gene summed."""

    def __init__(self, matrix: Matrix, found: Harmonised, least: float) -> None:
        self._matrix = matrix
        self._sparse = scipy.sparse.issparse(matrix)
        self._least = least
        self._columns = found.columns
        tokens, first, place = np.unique(found.tokens, return_index=True, return_inverse=True)
        order = np.argsort(first)
        self._tokens = tokens[order]
        # Position among the distinct genes of each used column; -1 for columns that are not read.
        self._slot = np.full(matrix.shape[1], -1, dtype=np.int64)
        self._slot[found.columns] = np.argsort(order)[place]
        self._repeated = len(tokens) < len(found.tokens)

    def __getitem__(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
        """Token ids and expression of the genes a profile expresses."""
        if self._sparse:
            span = slice(self._matrix.indptr[row], self._matrix.indptr[row + 1])
            columns, values = self._matrix.indices[span], self._matrix.data[span]
        else:
            columns, values = self._columns, self._matrix[row, self._columns]
        slots = self._slot[columns]
        slots, values = slots[slots >= 0], values[slots >= 0]
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float64)
        if self._repeated:
            slots, inverse = np.unique(slots, return_inverse=True)
            summed = np.zeros(len(slots), dtype=values.dtype)
            np.add.at(summed, inverse, values)
            values = summed
        kept = (values > 0) & (values >= self._least)
        return self._tokens[slots[kept]], values[kept]


def _jobs(profiles: pd.DataFrame) -> list[_Job]:
    """All views of all profiles, longest first."""
    tokens, views = profiles["tokens"].to_numpy(), profiles["views"].to_numpy()
    jobs = [_Job(row, view, int(tokens[row])) for row in range(len(profiles)) for view in range(views[row])]
    return sorted(jobs, key=lambda job: (-job.length, job.row, job.view))


def _batches(jobs: Sequence[_Job], tokens: int) -> Iterator[list[_Job]]:
    """Runs of jobs of similar length whose padded batch holds at most `tokens` tokens, or one job."""
    batch: list[_Job] = []
    for job in jobs:
        if batch and batch[0].length * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch
