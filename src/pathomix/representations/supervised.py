"""Vectors of a slide encoder fine-tuned on one task elsewhere: rows "Cls. (cat)" and "Surv. (cat)" of the OOD tables.

The network is that of the row Prov-GigaPath (cat), trained on the source for one task; what its head reads is the
vector that probes of another cohort, or of another task, get (spec modaltune 6.4). How the authors trained theirs is
not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.fitting import note_fitted
from pathomix.core.parameters import choice
from pathomix.core.seeding import seeded
from pathomix.genomics.expression import Standardiser
from pathomix.methods.base import Task
from pathomix.methods.blocks import Design, Layout
from pathomix.methods.gigapath_tuned import GigaPathTuned
from pathomix.methods.gigapath_tuned import Settings as TunedSettings
from pathomix.methods.molecular import BlockVector
from pathomix.methods.network import NetworkModel, Reader
from pathomix.methods.per_task import PerTaskModel
from pathomix.nn.tuned_encoder import TunedEncoder
from pathomix.representations.base import Embedding
from pathomix.representations.measurements import moments, require_genes
from pathomix.training.checkpoint import Checkpoint

_TASKS = ("survival", "subtype")
_BLOCK = "expression"
_NETWORK = "network."


@dataclass(frozen=True, kw_only=True)
class Settings(TunedSettings):
    """Parameters of the row.

    Attributes:
        task: What the network is trained for: ``survival`` or ``subtype``.
        min_gene_coverage: Smallest share of the model's genes that another cohort has to measure.
    """

    task: str = "subtype"
    min_gene_coverage: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        choice(self.task, _TASKS, "task")
        if set(self.blocks) - {_BLOCK}:
            raise PathomixError("supervised: `blocks` may hold expression alone", remedy="set `blocks: [expression]`")


class Supervised:
    """A fine-tuned slide encoder without its head, `pathomix.representations.base.Representation`."""

    inner_folds = 0

    def __init__(self, slide_encoder: Mapping[str, Any], **parameters: Any) -> None:
        given = dict(parameters)
        own = {name: given.pop(name) for name in ("task", "min_gene_coverage") if name in given}
        # All parameters together are checked by the method but these two.
        self.method = GigaPathTuned(slide_encoder=dict(slide_encoder), **given)
        fields = {name: getattr(self.method.parameters, name) for name in self.method.parameters.__dataclass_fields__}
        self.settings = Settings(**fields, **own)

    @property
    def fitted_parts(self) -> tuple[str, ...]:
        """Parts of a fold that it may be fitted on, for the leakage guard: those of the method."""
        return self.method.fitted_parts

    def fit(
        self, train: Cases, valid: Cases, *, seed: int, checkpoint: Checkpoint, cohort: Cases | None = None
    ) -> FittedSupervised:
        """Train for the task; a run that was interrupted starts again, nothing is kept in `checkpoint`.

        Raises:
            PathomixError: The training part cannot carry the task, or lacks tiles or expression.
        """
        task = cast(Task, self.settings.task)
        fitted = cast(PerTaskModel, self.method.fit(train, valid, tasks=[task], seed=seed))
        model = cast(NetworkModel, fitted.models[task])
        assert train.tiles is not None
        return FittedSupervised(self, model.reader, cast(TunedEncoder, model.network), train.tiles.dim, model.history())

    def load(self, state: Mapping[str, NDArray[np.generic]]) -> FittedSupervised:
        """Rebuild; a tensor that does not fit the parameters is an error of torch that names it."""
        tile_dim = int(state["tile_dim"].item())
        weights = {n.removeprefix(_NETWORK): torch.from_numpy(np.array(v)) for n, v in state.items() if _NETWORK in n}
        molecular = None
        if self.settings.blocks:
            scaling = Standardiser.from_state(state)
            layout = Layout((_BLOCK,), {}, tuple(f"{_BLOCK}:{name}" for name in _genes(scaling)))
            molecular = BlockVector(Design(layout, scaling, self.settings.clip))
        reader = Reader(molecular, self.method.arrange(tile_dim), None, self.method.device)
        with seeded(0):  # initial values, all of them replaced below
            omic_dim = sum(molecular.sizes) if molecular else 0
            network = self.method.network(tile_dim, len(weights["head.bias"]), omic_dim)
        network.load_state_dict(weights)
        return FittedSupervised(self, reader, network.to(self.method.device).eval(), tile_dim, _no_history())


@dataclass(frozen=True)
class FittedSupervised:
    """`pathomix.representations.base.FittedRepresentation`."""

    owner: Supervised
    reader: Reader
    network: TunedEncoder
    tile_dim: int
    epochs: pd.DataFrame

    def embed(self, cases: Cases, *, foreign: Cases | None = None) -> Embedding:
        """The vector `general` of every patient who has what the network reads.

        Raises:
            PathomixError: Tiles of another width, or a foreign cohort that measures too few of the model's genes.
        """
        if cases.tiles is not None and cases.tiles.patient_ids and cases.tiles.dim != self.tile_dim:
            raise PathomixError(
                f"tile features of width {cases.tiles.dim}, the network was trained on {self.tile_dim}",
                remedy="embed this cohort's tiles with the same tile encoder",
            )
        reader = self._reader(cases, foreign)
        frames = []
        for part in reader.stretches(self._measured(cases)):
            inputs = reader.read(part)
            rows = [self._vector(inputs.batch(np.array([row]))) for row in range(len(inputs.index))]
            if rows:
                frames.append(pd.DataFrame(np.stack(rows), index=inputs.index))
        general = pd.concat(frames) if frames else pd.DataFrame(index=cases.ids[:0])
        missing = dict.fromkeys(cases.ids.difference(general.index), f"no {self.owner.method.modality}")
        return Embedding({"general": general}, missing)

    def _vector(self, batch: Any) -> NDArray[np.float32]:
        with torch.no_grad():
            vector = self.network.vector(batch.tiles[0][None], batch.coords[0][None], batch.molecular)
        return np.asarray(vector[0].float().cpu().numpy())

    def _measured(self, cases: Cases) -> Cases:
        """Cases with exactly the model's genes; one that the cohort does not measure is unknown throughout."""
        if self.reader.molecular is None or cases.expression is None:
            return cases
        return replace(cases, expression=cases.expression.reindex(columns=_genes(self._scaling)))

    @property
    def _scaling(self) -> Standardiser:
        return cast(BlockVector, self.reader.molecular).design.scaling

    def _reader(self, cases: Cases, foreign: Cases | None) -> Reader:
        """The reader, with the gene statistics of a foreign training part."""
        if self.reader.molecular is None or foreign is None or foreign.expression is None:
            return self.reader
        genes = _genes(self._scaling)
        require_genes(genes, foreign.expression, self.owner.settings.min_gene_coverage)
        for step in ("imputation", "gene_filter", "scaler"):
            note_fitted(step, foreign.expression.index)
        mean, sd = moments(foreign.expression.reindex(columns=genes).to_numpy(np.float64))
        scaling = Standardiser(self._scaling.columns, mean, mean, sd)
        design = replace(cast(BlockVector, self.reader.molecular).design, scaling=scaling)
        return replace(self.reader, molecular=BlockVector(design))

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Statistics, tile width and network, the tuned encoder included."""
        weights = {f"{_NETWORK}{name}": value.cpu().numpy() for name, value in self.network.state_dict().items()}
        return {"tile_dim": np.array([self.tile_dim]), **self.reader.state(), **weights}

    def history(self) -> pd.DataFrame:
        """One row per epoch."""
        return self.epochs


def _genes(scaling: Standardiser) -> list[str]:
    return [str(column).removeprefix(f"{_BLOCK}:") for column in scaling.columns]


def _no_history() -> pd.DataFrame:
    return pd.DataFrame({"step": pd.Series(dtype="int64")})
