"""Artefacts of the smoothing: index of the pool, history, validation, model, and vectors of patients."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import safetensors
import safetensors.torch

from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path
from pathomix.core.parameters import filled
from pathomix.core.provenance import METADATA_KEY, Provenance
from pathomix.core.tables import Column, TableSchema
from pathomix.core.weights import state_digest
from pathomix.nn.smoother import Smoother
from pathomix.smoothing.cells import PARTS
from pathomix.smoothing.parameters import TrainingSettings

KINDS = ("mixture", "cell")

# One row per block of embedded profiles; `path` is relative to the table's folder, `lost` counts profiles without any
# gene to embed.
POOL = TableSchema(
    "smoothing_pool",
    ("kind", "part", "block"),
    {
        "kind": Column("str", allowed=KINDS),
        "part": Column("str", allowed=PARTS),
        "block": Column("int64"),
        "rows": Column("int64"),
        "lost": Column("int64"),
        "path": Column("str"),
        "sha256": Column("str"),
    },
)

# One row per epoch; `train_loss` with dropout, over the epoch; `valid_loss` after it; `best`: kept.
SMOOTHER_HISTORY = TableSchema(
    "smoother_history",
    ("epoch",),
    {
        "epoch": Column("int64"),
        "learning_rate": Column("float64"),
        "train_loss": Column("float64"),
        "valid_loss": Column("float64"),
        "best": Column("bool"),
    },
)

# One row per held-out mixture or unmixed cell. `number`: of the mixture in its stream, or the cell's row in the atlas.
# `first_class` and `second_class`: of the first two cells (a single cell has no second). `weight`: what the mixture
# holds of the first cell's class; empty where nothing else is in it. `..._raw`: of the linear readout of the raw
# embedding, the others of the smoother. `gap`: squared distance of the mixture's vector from the mixture of its cells'
# vectors, over the variance of vectors of single cells; empty for single cells and where a cell has no vector.
# `target_<class>`, `predicted_<class>`, `raw_<class>`: true composition, the head's, the linear readout's.
VALIDATION = TableSchema(
    "smoothing_validation",
    ("kind", "number"),
    {
        "kind": Column("str", allowed=KINDS),
        "number": Column("int64"),
        "first_class": Column("str"),
        "second_class": Column("object", nullable=True),
        "weight": Column("float64", nullable=True),
        "predicted_weight": Column("float64", nullable=True),
        "predicted_weight_raw": Column("float64", nullable=True),
        "gap": Column("float64", nullable=True),
        "gap_raw": Column("float64", nullable=True),
    },
    extra_prefixes=("target_", "predicted_", "raw_"),
)


@dataclass(frozen=True)
class TrainedSmoother:
    """A trained smoother and what belongs to it.

    Attributes:
        model: In evaluation mode.
        classes: In the order of its outputs.
        settings: It was trained with.
        protocol: Of the embeddings it was trained on.
    """

    model: Smoother
    classes: tuple[str, ...]
    settings: TrainingSettings
    protocol: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of its weights."""
        return state_digest(self.model.state_dict())


def write_smoother(path: str | os.PathLike[str], smoother: TrainedSmoother, inputs: Mapping[str, str]) -> None:
    """Write a smoother as safetensors; what belongs to it is in the provenance.

    Args:
        path: The file.
        smoother: Trained.
        inputs: Digests of what it was trained on.
    """
    facts = {
        "classes": smoother.classes,
        "settings": asdict(smoother.settings),
        "protocol": dict(smoother.protocol),
    }
    metadata = {METADATA_KEY: Provenance("smoother", inputs=inputs, parameters=facts).to_json()}
    state = {name: tensor.contiguous() for name, tensor in smoother.model.state_dict().items()}
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(state, temporary, metadata=metadata)


def read_smoother(path: str | os.PathLike[str]) -> TrainedSmoother:
    """Read what `write_smoother` wrote.

    Raises:
        PathomixError: The file cannot be read.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = Provenance.from_json(file.metadata()[METADATA_KEY]).parameters
        settings = filled(TrainingSettings, facts["settings"], "smoother")
        classes = tuple(facts["classes"])
        model = Smoother(
            len(state["mean"]), len(classes), settings.hidden, settings.out_dim, settings.activation, settings.dropout
        )
        model.load_state_dict(state)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise PathomixError(f"{path}: not a trained smoother ({error})", remedy="run train_smoother again") from error
    return TrainedSmoother(model.eval(), classes, settings, facts["protocol"])


@dataclass(frozen=True)
class PatientVectors:
    """One vector per patient.

    Attributes:
        vectors: float32 [patients with a vector, dimensions], index ``patient_id``.
        missing: Patient to the reason why there is none.
        protocol: How the vectors were made.
    """

    vectors: pd.DataFrame
    missing: Mapping[str, str]
    protocol: Mapping[str, Any]


def write_vectors(path: str | os.PathLike[str], patients: PatientVectors, provenance: Provenance) -> None:
    """Write vectors of a cohort's patients.

    Args:
        path: ``.h5ad``: `X` float32, ``obs_names`` patients, ``uns["protocol"]``, ``uns["missing"]`` and
            ``uns["pathomix"]`` JSON.
        patients: Vectors, and who has none.
        provenance: Lineage.
    """
    import anndata

    frame = patients.vectors
    obs = pd.DataFrame(index=pd.Index(list(frame.index), dtype=object, name="patient_id"))
    data = anndata.AnnData(frame.to_numpy(np.float32), obs=obs)
    data.uns["protocol"] = json.dumps(dict(patients.protocol), sort_keys=True)
    data.uns["missing"] = json.dumps(dict(patients.missing), sort_keys=True)
    data.uns[METADATA_KEY] = provenance.to_json()
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        data.write_h5ad(temporary, compression="gzip")


def read_vectors(path: str | os.PathLike[str]) -> PatientVectors:
    """Read what `write_vectors` wrote.

    Raises:
        PathomixError: The file cannot be read or holds something else.
    """
    import anndata

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            data = anndata.read_h5ad(path)
        protocol, missing = (json.loads(data.uns[name]) for name in ("protocol", "missing"))
    except (OSError, KeyError, ValueError) as error:
        raise PathomixError(
            f"{path}: not a file of expression vectors ({error})", remedy="run embed_expression again"
        ) from error
    index = pd.Index(data.obs_names.astype(str), name="patient_id", dtype=object)
    return PatientVectors(pd.DataFrame(np.asarray(data.X, np.float32), index=index), missing, protocol)
