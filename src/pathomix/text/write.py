"""The stage: from a cohort's patients and splits to prompts, embeddings and the table of cleaned values."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest, write_text
from pathomix.core.schemas import PATIENTS, SPLITS
from pathomix.core.tables import read_table
from pathomix.text.bins import SurvivalBins
from pathomix.text.encoders import build_encoder
from pathomix.text.fields import clean_fields
from pathomix.text.parameters import TextParameters
from pathomix.text.prompts import make_prompts
from pathomix.text.store import write_texts
from pathomix.text.wording import read_wording

log = logging.getLogger(__name__)


def write_cohort_texts(
    name: str,
    patients_path: str | Path,
    splits_path: str | Path,
    wording_path: str | Path,
    given: Mapping[str, Any],
    output: str | Path,
    embeddings: str | Path,
    cleaning: str | Path,
) -> None:
    """Write the label texts of one cohort and scheme.

    Args:
        name: Cohort, for messages.
        patients_path: PATIENTS table.
        splits_path: SPLITS table.
        wording_path: `resources/prompts.yaml`.
        given: `TextParameters` as configured.
        output: TEXTS table to write.
        embeddings: Vectors to write, `output` with the suffix ``.safetensors``.
        cleaning: TSV to write: every value seen and what it became.

    Raises:
        PathomixError: Parameters, wording or encoder cannot be used, or a text cannot be written.
    """
    if Path(output).with_suffix(".safetensors") != Path(embeddings):
        raise PathomixError(
            f"{embeddings}: does not lie beside {output}", remedy="give both the same name, suffix aside"
        )
    parameters = TextParameters.of(given)
    wording = read_wording(wording_path)
    encoder = build_encoder(parameters.encoder, parameters.encoder_settings)
    patients = read_table(patients_path, PATIENTS).set_index("patient_id")
    splits = read_table(splits_path, SPLITS)
    fields, table = clean_fields(patients)
    endpoint = str(patients["endpoint"].iloc[0]) if len(patients) else "none"
    prompts, bins = make_prompts(fields, splits, endpoint, parameters, wording, name)
    inputs = {"patients": patients_path, "splits": splits_path, "wording": wording_path}
    write_texts(
        prompts,
        encoder,
        output,
        embeddings,
        {key: file_digest(path) for key, path in inputs.items()},
        # Paths of weights are a machine's; the encoder's digest says what they held.
        {"profile": parameters.profile, "bins": parameters.bins, **parameters.rules, "edges": _edges(bins)},
        {str(fold): list(found.fitted_on) for fold, found in bins.items() if found is not None},
    )
    write_text(cleaning, table.to_csv(sep="\t", index=False, lineterminator="\n"))
    log.info("%s: %d texts, %d distinct", name, prompts["prompt"].notna().sum(), prompts["prompt"].nunique())


def _edges(bins: Mapping[int, SurvivalBins | None]) -> dict[str, list[float] | None]:
    """Inner edges by fold, JSON-serialisable."""
    return {str(fold): None if found is None else list(found.inner) for fold, found in bins.items()}
