"""Writes the raw tables of the simulated cohorts, shaped like GDC and Xena downloads, with the truth beside them."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse
from numpy.typing import NDArray

from pathomix.core.files import atomic_path, write_json, write_text
from pathomix.core.provenance import METADATA_KEY, Provenance
from pathomix.simulate import expression
from pathomix.simulate.alterations import PANEL
from pathomix.simulate.genes import GENES, PATHWAYS
from pathomix.simulate.oracle import oracle_report
from pathomix.simulate.parameters import Parameters
from pathomix.simulate.patients import Patients, draw_patients


def write_simulation(parameters: Parameters, folder: Path) -> None:
    """Write every cohort's tables, the gene sets and the atlas under `folder`; slides are written separately."""
    lines = ["\t".join((name, "pathomix simulator", *genes)) for name, genes in PATHWAYS.items()]
    write_text(folder / "gene_sets.gmt", "\n".join(lines) + "\n")
    _write_atlas(parameters, folder / "atlas.h5ad")
    for cohort in parameters.cohorts:
        write_cohort(parameters, cohort, folder / cohort)


def write_cohort(parameters: Parameters, cohort: str, folder: Path) -> None:
    """Write one cohort: clinical, slide, expression, copy number and mutation tables, truth and oracle."""
    patients = draw_patients(parameters, cohort)
    ids = patients.clinical.index
    bulk = expression.tumour_samples(parameters, cohort, patients)
    truth = patients.truth.copy()
    for t, name in enumerate(expression.TYPES):
        truth[f"composition_{name.replace(' ', '_')}"] = bulk.composition[:, t]
    truth["programme"] = patients.programme

    _write_tsv(clinical_table(patients), folder / "clinical.tsv")
    _write_tsv(slide_table(parameters, cohort, ids), folder / "slides.tsv")
    _write_matrices(parameters, cohort, patients, bulk, folder)
    settings = parameters.to_dict()
    _write_truth(truth, folder / "truth.parquet", Provenance("simulated_truth", parameters=settings))
    write_json(folder / "oracle.json", oracle_report(truth, parameters.random("bootstrap", cohort), settings))


def clinical_table(patients: Patients) -> pd.DataFrame:
    """One row per patient, columns named as in GDC and TCGA clinical files; not applicable is empty."""
    clinical = patients.clinical
    dead = clinical["mechanism"] == "event"
    return pd.DataFrame(
        {
            "bcr_patient_barcode": clinical.index,
            "age_at_diagnosis_years": clinical["age_at_diagnosis_years"].to_numpy(),
            "gender": clinical["gender"].to_numpy(),
            "primary_diagnosis": clinical["primary_diagnosis"].to_numpy(),
            "ajcc_pathologic_stage": clinical["ajcc_pathologic_stage"].to_numpy(),
            "neoplasm_histologic_grade": clinical["neoplasm_histologic_grade"].to_numpy(),
            "vital_status": np.where(dead, "Dead", "Alive"),
            "days_to_death": clinical["days"].where(dead).astype("Int64").array,
            "days_to_last_follow_up": clinical["days"].where(~dead).astype("Int64").array,
        }
    )


def slide_table(parameters: Parameters, cohort: str, ids: pd.Index) -> pd.DataFrame:
    """Diagnostic slides: one or two per patient, none for a few."""
    random = parameters.random("slide table", cohort)
    without = set(random.choice(len(ids), size=min(parameters.missing.slides, len(ids)), replace=False).tolist())
    two = random.random(len(ids)) < parameters.slides.two_slides
    names = [
        f"{patient}-01Z-00-DX{k + 1}"
        for i, patient in enumerate(ids)
        for k in range(0 if i in without else 1 + int(two[i]))
    ]
    return pd.DataFrame(
        {"slide_id": names, "bcr_patient_barcode": [n[:12] for n in names], "file_name": [f"{n}.tiff" for n in names]}
    )


def _write_matrices(
    parameters: Parameters, cohort: str, patients: Patients, bulk: expression.Bulk, folder: Path
) -> None:
    """Genes in rows, samples in columns, with second vials and normal tissue, and without some patients."""
    ids = patients.clinical.index
    random = parameters.random("samples", cohort)
    samples, missing, n = parameters.samples, parameters.missing, len(ids)
    second = np.sort(random.choice(n, size=min(samples.second_tumour, n), replace=False))
    normal = np.sort(random.choice(n, size=min(samples.normal, n), replace=False))
    tumour_names, second_names = [f"{i}-01A" for i in ids], [f"{ids[k]}-01B" for k in second]
    normal_names = [f"{ids[k]}-11A" for k in normal]

    def present(share: float) -> NDArray[np.bool_]:
        return random.random(n) >= share

    def write(
        name: str, values: NDArray[np.generic], genes: tuple[str, ...], names: list[str], keep: NDArray[np.bool_]
    ) -> None:
        absent = set(ids[~keep])
        columns = sorted(s for s in names if s[:12] not in absent)
        frame = pd.DataFrame(values.T, index=pd.Index(genes, name="gene"), columns=names)[columns]
        _write_gzip(frame, folder / f"{name}.tsv.gz")

    tpm = np.vstack(
        [
            bulk.tpm,
            expression.second_tumour_samples(parameters, cohort, bulk, second),
            expression.normal_samples(parameters, cohort, patients, normal).tpm,
        ]
    )
    names = tumour_names + second_names + normal_names
    write("expression", expression.log_tpm(tpm), GENES, names, present(missing.expression))
    changes = patients.alterations
    copies = np.vstack([changes.copy_number, changes.copy_number[second]])
    write("copy_number", copies, GENES, tumour_names + second_names, present(missing.copy_number))
    mutations = np.vstack([changes.mutation, changes.mutation[second]])
    write("mutation", mutations, PANEL, tumour_names + second_names, present(missing.mutation))


def _write_tsv(frame: pd.DataFrame, path: Path) -> None:
    write_text(path, frame.to_csv(sep="\t", index=False, lineterminator="\n"))


def _write_gzip(frame: pd.DataFrame, path: Path) -> None:
    """Compressed without file name and time, so that equal content gives equal bytes."""
    text = io.StringIO()
    float_format = "%.4f" if frame.dtypes.iloc[0].kind == "f" else None
    frame.to_csv(text, sep="\t", float_format=float_format, lineterminator="\n")
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(text.getvalue().encode(), compresslevel=6, mtime=0))


def _write_truth(truth: pd.DataFrame, path: Path, provenance: Provenance) -> None:
    table = pa.Table.from_pandas(truth.reset_index(), preserve_index=False)
    metadata = {**(table.schema.metadata or {}), METADATA_KEY.encode(): provenance.to_json().encode()}
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")


def _write_atlas(parameters: Parameters, path: Path) -> None:
    counts, kind, donor = expression.atlas_counts(parameters)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(np.array(expression.TYPES)[kind], categories=expression.TYPES),
            "donor": pd.Categorical([f"donor_{d + 1}" for d in donor]),
        },
        index=[f"cell_{i:05d}" for i in range(len(kind))],
    )
    matrix = scipy.sparse.csr_matrix(counts.astype(np.float32))
    atlas = anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(index=pd.Index(GENES, name="gene")))
    atlas.uns["pathomix"] = Provenance("simulated_atlas", parameters=parameters.to_dict()).to_json()
    with atomic_path(path) as temporary:
        atlas.write_h5ad(temporary, compression="gzip")
