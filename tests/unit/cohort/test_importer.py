from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from pathomix.cohort.given_splits import GIVEN_SPLITS
from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS, SLIDES
from pathomix.core.tables import read_provenance, read_table

FILES = {
    "patients.parquet", "slides.parquet", "expression.h5ad", "alterations.h5ad", "pathways.json",
    "given_splits.parquet", "quarantine.tsv", "report.json",
}  # fmt: skip


def test_artefacts_hold_what_the_tables_say(study):
    out = study.build()
    assert {p.name for p in out.iterdir()} == FILES
    patients = read_table(out / "patients.parquet", PATIENTS).set_index("patient_id")
    first = patients.loc["TEST-02-0001"]
    assert first["time"] == pytest.approx(30 / 30.4375) and first["event"] == 1 and first["tissue_source_site"] == "02"
    assert patients.loc["TEST-02-0002", "time"] == pytest.approx(10.0)
    assert patients.loc["TEST-02-0003", "time"] == pytest.approx(2.0)
    assert patients["event"].tolist() == [1, 0] * 4
    # "other" is ignored, the last patient has no class: both missing, neither lost
    assert patients["class_label"].tolist() == [*["a", "b"] * 3, None, None]
    assert np.isnan(patients.loc["TEST-02-0003", "age"]) and patients["age"].notna().sum() == 7
    slides = read_table(out / "slides.parquet", SLIDES)
    assert len(slides) == 7 and slides["slide_id"].iloc[0] == "TEST-02-0001-01Z-00-DX1"
    assert slides["mpp"].isna().sum() == 1
    assert set(read_table(out / "given_splits.parquet", GIVEN_SPLITS)["fold"]) == {0, 1}


def test_matrices_are_anndata_with_named_scale_and_raw_layer(study):
    out = study.build()
    data = anndata.read_h5ad(out / "expression.h5ad")
    assert data.uns["scale"] == "log2_tpm_plus_1" and data.X.dtype == np.float32
    assert list(data.var_names) == study.expression.index.tolist()  # the symbol "NA" is a gene
    np.testing.assert_allclose(data.X, study.expression.T.to_numpy(), rtol=1e-6)
    np.testing.assert_array_equal(data.layers["raw"], data.X)
    assert Provenance.from_json(data.uns["pathomix"]).artifact == "expression"
    altered = anndata.read_h5ad(out / "alterations.h5ad")
    assert set(altered.var["kind"]) == {"mutation"} and list(altered.var["gene"]) == ["TP53", "VHL", "IDH1"]
    np.testing.assert_array_equal(altered.X, study.mutation.to_numpy())


def test_bytes_do_not_depend_on_row_order(study):
    first = study.build("one")
    study.clinical = study.clinical.iloc[::-1]
    study.slides = study.slides.iloc[::-1]
    study.expression = study.expression.iloc[:, ::-1]
    second = study.build("two")
    patients = [read_table(f / "patients.parquet", PATIENTS) for f in (first, second)]
    pd.testing.assert_frame_equal(*patients)
    expression = [anndata.read_h5ad(f / "expression.h5ad").to_df() for f in (first, second)]
    pd.testing.assert_frame_equal(*expression)


def test_same_input_same_bytes(study):
    one, two = study.build("one"), study.build("two")
    for name in FILES:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_provenance_hashes_every_input(study):
    out = study.build()
    inputs = read_provenance(out / "patients.parquet").inputs
    assert set(inputs) == {
        "toy/clinical.tsv", "toy/slides.csv", "toy/expression.tsv.gz", "toy/mutation.csv", "toy/folds.csv", "sets.gmt",
        "description",
    }  # fmt: skip


def test_report_counts_rows_in_and_dropped(study):
    study.expression["TEST-02-0001-11A"] = 1.0
    report = study.report()
    step = next(s for s in report["steps"] if s.get("kind") == "expression")
    assert step["rows_in"] == 8 and step["other_sample_types"] == {"11": 1} and step["patients"] == 7
    assert report["counts"]["events"] == 4 and report["counts"]["classes"] == {"a": 3, "b": 3}
    assert report["counts"]["patients_with_slides"] == 6


def test_a_missing_file_is_named_and_nothing_is_written(study):
    description = study.write()
    (study.folder / "raw" / "toy" / "mutation.csv").unlink()
    from pathomix.cohort.importer import build_cohort
    from pathomix.genomics.gene_sets import read_measured

    with pytest.raises(PathomixError, match=r"toy/mutation.csv.*--root"):
        build_cohort("toy", description, study.folder / "raw", study.folder / "out", read_gene_sets=read_measured)
    assert not (study.folder / "out").exists()


def test_whole_modalities_may_be_absent(study):
    for key in ("molecular", "slides", "pathways", "splits", "survival"):
        study.description.pop(key)
    out = study.build()
    patients = read_table(out / "patients.parquet", PATIENTS)
    assert patients["time"].isna().all() and patients["event"].isna().all() and set(patients["endpoint"]) == {"none"}
    assert not len(read_table(out / "slides.parquet", SLIDES)) and anndata.read_h5ad(out / "expression.h5ad").n_obs == 0


def test_no_gene_in_any_pathway_is_an_error(study):
    study.sets = {"one": ["ENSG00000141510"]}
    with pytest.raises(PathomixError, match=r"no gene of the table is in any pathway.*symbols"):
        study.build()


def test_endpoint_can_be_chosen(study, edit):
    other = {
        "time": {"column": "follow_up", "unit": "months", "days_per_month": 30},
        "event": {"column": "status", "event_values": ["Alive"], "censored_values": ["Dead"]},
    }
    edit("survival.endpoints.PFI", other)
    study.clinical["follow_up"] = "1"
    patients = read_table(study.build(endpoint="PFI") / "patients.parquet", PATIENTS)
    assert set(patients["endpoint"]) == {"PFI"} and patients["event"].sum() == 4
    assert patients["time"].to_numpy() == pytest.approx(30 / 30.4375)
    with pytest.raises(PathomixError, match=r"'DSS'.*OS, PFI"):
        study.build(endpoint="DSS")


def test_a_patient_known_to_a_modality_only_goes_to_quarantine(study):
    study.expression["TEST-A1-0099-01A"] = 5.0
    study.slides.loc[len(study.slides)] = ["TEST-A1-0098-01Z-00-DX1.svs", "TEST-A1-0098", "0.5"]
    table = study.quarantine()
    assert set(table["patient_id"]) == {"TEST-A1-0099", "TEST-A1-0098"}
    assert table["reason"].str.contains("not in").all()


def parted(study, edit, **changes):
    """The clinical table in two files, the second with some columns renamed."""
    study.write()
    raw = study.folder / "raw" / "toy"
    study.clinical.iloc[:4].to_csv(raw / "part_a.tsv", sep="\t", index=False)
    study.clinical.iloc[4:].rename(columns=changes).to_csv(raw / "part_b.tsv", sep="\t", index=False)
    edit("tables.clinical.path", "{name}/part_{part}.tsv")
    return edit("tables.clinical.parts", ["a", "b"])


def test_the_part_of_a_row_can_be_a_column(study, edit):
    parted(study, edit)
    edit("tables.clinical.part_column", "project")
    edit("clinical.extra", {"project": "project"})
    patients = read_table(study.build() / "patients.parquet", PATIENTS)
    assert patients["clinical_project"].tolist() == ["a"] * 4 + ["b"] * 4
    edit("tables.clinical.part_column", "age")
    with pytest.raises(PathomixError, match=r"there is a column 'age' already"):
        study.build()


def test_a_changed_column_in_one_of_several_files(study, edit):
    parted(study, edit, age="Age")
    report = study.report()  # without `optional`: missing, and said so
    assert any("part_b.tsv: there is no column 'age'" in text for text in report["warnings"])
    edit("tables.clinical.optional", [])
    with pytest.raises(PathomixError, match=r"part_b.tsv: there is no column 'age': Age; these are near"):
        study.build()
    edit("tables.clinical.optional", ["age"])
    patients = read_table(study.build() / "patients.parquet", PATIENTS)
    assert patients["age"].iloc[4:].isna().all() and patients["age"].iloc[:2].notna().all()


def test_rows_of_normal_tissue_need_a_choice(study, edit):
    study.clinical["barcode"] = [f"{p}-01" for p in study.clinical["barcode"]]
    study.clinical.loc[len(study.clinical)] = ["TEST-02-0009-11", "Dead", "9", "", "a", "50", "female"]
    study.clinical.loc[len(study.clinical)] = ["TEST-02-0001-11", "Alive", "", "9", "b", "50", "male"]
    with pytest.raises(PathomixError, match=r"ids of normal tissue \(11\).*TEST-02-0009-11.*sample_types"):
        study.build()
    edit("tables.clinical.sample_types", ["01"])
    report = study.report()
    assert report["steps"][0]["other_sample_types"] == {"11": 2} and report["counts"]["patients"] == 8
    edit("tables.clinical.sample_types", ["06"])
    with pytest.raises(PathomixError, match="no patient is left"):
        study.build()


def test_a_sample_type_where_ids_have_none(study, edit):
    edit("tables.clinical.sample_types", ["01"])
    with pytest.raises(PathomixError, match=r"`sample_types` is set, but the ids carry no sample type"):
        study.build()
