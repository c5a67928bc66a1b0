"""Bulk samples of a cohort to vectors, before and after smoothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pathomix.core.errors import PathomixError
from pathomix.scgpt.expression import linear_expression
from pathomix.scgpt.protocol import require_same_protocol
from pathomix.smoothing.encoders import FittedEncoder
from pathomix.smoothing.files import PatientVectors, TrainedSmoother
from pathomix.smoothing.train import smooth

log = logging.getLogger(__name__)

_UNMEASURED = "expression is not measured"


def embed_patients(
    expression: pd.DataFrame | None, scale: str, patients: Sequence[str], encoder: FittedEncoder
) -> PatientVectors:
    """Embed the bulk profile of each patient.

    Args:
        expression: Measured patients x gene symbols, None where the cohort has none.
        scale: Of its values (`scgpt.expression.linear_expression`).
        patients: All patients of the cohort.
        encoder: Fitted.

    Raises:
        PathomixError: Values are relative to each gene's mean (z-scores) or negative, genes of the panel are not
            measured or have gaps, or a patient of the table is not one of the cohort.
    """
    frame = pd.DataFrame(index=pd.Index([], dtype=object)) if expression is None else expression
    strangers = frame.index.difference(pd.Index(list(patients)))
    if len(strangers):
        raise PathomixError(
            "patients with expression are not in the patients table",
            offending=strangers,
            remedy="run the rule build_cohort again",
        )
    missing = {patient: _UNMEASURED for patient in patients if patient not in frame.index}
    if not len(frame):
        empty = pd.DataFrame(np.zeros((0, encoder.dim), np.float32), index=frame.index.rename("patient_id"))
        return PatientVectors(empty, missing, encoder.protocol)
    frame = _without_gaps(frame, encoder)
    ids, genes = [str(name) for name in frame.index], [str(name) for name in frame.columns]
    found = encoder.embed(linear_expression(frame.to_numpy(), scale), ids, genes)
    missing |= {patient: problem for patient, problem in zip(ids, found.problems, strict=True) if problem}
    kept = np.array([not problem for problem in found.problems])
    index = pd.Index([patient for patient, there in zip(ids, kept, strict=True) if there], dtype=object)
    vectors = pd.DataFrame(found.vectors[kept], index=index.rename("patient_id"))
    log.info("%d patients embedded, %d without a vector", len(vectors), len(missing))
    return PatientVectors(vectors, dict(sorted(missing.items())), encoder.protocol)


def smooth_patients(patients: PatientVectors, smoother: TrainedSmoother) -> PatientVectors:
    """Smoothed vectors of patients.

    Args:
        patients: Raw vectors.
        smoother: Trained on vectors made in the same way.

    Raises:
        PathomixError: They were made in another way than those the smoother was trained on.
    """
    require_same_protocol(smoother.protocol, patients.protocol)
    vectors, _ = smooth(smoother.model, patients.vectors.to_numpy(np.float32))
    protocol: Mapping[str, object] = {**patients.protocol, "smoother": smoother.digest}
    return PatientVectors(pd.DataFrame(vectors, index=patients.vectors.index), patients.missing, protocol)


def _without_gaps(frame: pd.DataFrame, encoder: FittedEncoder) -> pd.DataFrame:
    """The table without genes that are missing in some patients, none of which may be read."""
    gaps = frame.isna().any(axis=0).to_numpy()
    if not gaps.any():
        return frame
    read = gaps & encoder.readable([str(name) for name in frame.columns])
    if read.any():
        raise PathomixError(
            "genes the encoder reads are missing in some patients",
            offending=frame.columns[read],
            remedy="name this cohort among the `cohorts` of the expression encoder, which leaves such genes out",
        )
    return frame.loc[:, ~gaps]


def measured_genes(expression: pd.DataFrame) -> list[str]:
    """Genes of a bulk table that are known in every patient."""
    return [str(name) for name in expression.columns[expression.notna().all(axis=0)]]
