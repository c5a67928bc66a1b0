"""The public tables beside the repository import as their README says, and each of their traps is handled or named."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml

from pathomix.cohort.given_splits import GIVEN_SPLITS
from pathomix.cohort.importer import build_cohort
from pathomix.cohort.loader import load_cases
from pathomix.cohort.splits import make_splits
from pathomix.core.errors import PathomixError
from pathomix.core.schemas import PATIENTS, SLIDES
from pathomix.core.tables import read_table
from pathomix.genomics.gene_sets import read_measured

Import = Callable[..., Path]

# slides, patients, deaths, rna, cnv, mut: the table of the data's README.
PORPOISE = {
    "porpoise_gbmlgg": (1011, 569, 187, 1544, 30, 16),
    "porpoise_kirc": (350, 345, 92, 1556, 937, 10),
    "porpoise_blca": (437, 373, 169, 1554, 256, 371),
    "porpoise_brca": (1022, 956, 130, 1558, 1333, 21),
    "porpoise_luad": (515, 453, 158, 1555, 517, 864),
    "porpoise_ucec": (538, 480, 75, 0, 5, 1406),
    "porpoise_ucec_raw": (539, 480, 75, 0, 935, 8137),
}
FAST = ("porpoise_gbmlgg", "porpoise_kirc")
SURVPATH = {
    ("survpath_blca", "OS"): (423, 359, 156), ("survpath_blca", "DSS"): (423, 359, 113),
    ("survpath_blca", "PFI"): (423, 359, 158), ("survpath_coadread", "OS"): (301, 298, 58),
    ("survpath_coadread", "DSS"): (301, 298, 37), ("survpath_coadread", "PFI"): (301, 298, 83),
}  # fmt: skip


@pytest.fixture(scope="session")
def imported(root: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Import:
    """Import a shipped description once per session."""
    done: dict[tuple[str, str | None], Path] = {}

    def run(name: str, endpoint: str | None = None) -> Path:
        if (name, endpoint) not in done:
            out = tmp_path_factory.mktemp(name)
            description = root / "config" / "cohorts" / f"{name}.yaml"
            build_cohort(name, description, shared_data, out, read_gene_sets=read_measured, endpoint=endpoint)
            done[name, endpoint] = out
        return done[name, endpoint]

    return run


@pytest.fixture
def variant(root: Path, shared_data: Path, tmp_path: Path) -> Callable[..., Path]:
    """Import a shipped description with some keys changed; relative paths fall back to the shared data."""

    def run(name: str, changes: dict[str, Any], endpoint: str | None = None) -> Path:
        content = yaml.safe_load((root / "config" / "cohorts" / f"{name}.yaml").read_text())
        for path, value in changes.items():
            *parents, last = path.split(".")
            place = content
            for part in parents:
                place = place[part]
            if value is None:
                place.pop(last)
            else:
                place[last] = value
        description = tmp_path / f"{name}.yaml"
        description.write_text(yaml.safe_dump(content))
        out = tmp_path / "out"
        build_cohort(name, description, shared_data, out, read_gene_sets=read_measured, endpoint=endpoint)
        return out

    return run


@pytest.fixture(scope="session")
def glioma_table(shared_data: Path) -> pd.DataFrame:
    """The clinical columns and 20 genes of the real glioma table."""
    with zipfile.ZipFile(shared_data / "porpoise/mutsig/tcga_gbmlgg_all_clean.csv.zip") as archive:
        table = pd.read_csv(archive.open(archive.namelist()[0]), dtype=str, keep_default_na=False)
    return table[[*table.columns[:10], *[c for c in table if c.endswith("_rnaseq")][:20]]]


@pytest.fixture
def spoilt(variant: Callable[..., Path], glioma_table: pd.DataFrame, tmp_path: Path) -> Callable[..., Path]:
    """Import a copy of part of the real glioma table after something was done to it."""

    def run(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
        change(glioma_table.copy()).to_csv(tmp_path / "spoilt.csv", index=False)
        keys = {"molecular.copy_number": None, "molecular.mutation": None, "splits": {}}
        return variant("porpoise_gbmlgg", {**keys, "tables.cases.path": str(tmp_path / "spoilt.csv")})

    return run


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in PORPOISE])
def test_porpoise_counts(imported: Import, name: str) -> None:
    slides, patients, deaths, rna, cnv, mut = PORPOISE[name]
    cases, table = load_cases(imported(name)), read_table(imported(name) / "slides.parquet", SLIDES)
    assert (len(table), len(cases.ids), int(cases.patients["event"].sum())) == (slides, patients, deaths)
    genes = [0 if block is None else block.shape[1] for block in (cases.expression, cases.copy_number, cases.mutation)]
    assert genes == [rna, cnv, mut]
    splits = read_table(imported(name) / "given_splits.parquet", GIVEN_SPLITS).query("set == 'cv5'")
    assert splits.query("part == 'test'")["patient_id"].is_unique and len(splits) == 5 * patients


def test_glioma_subtypes(imported: Import) -> None:
    counts = json.loads((imported("porpoise_gbmlgg") / "report.json").read_text())["counts"]["classes"]
    assert counts == {"OAST": 128, "AASTR": 121, "ODG": 101, "GBM": 90, "AOAST": 71, "ASTR": 58}


@pytest.mark.parametrize(("name", "endpoint"), SURVPATH)
def test_survpath_counts(variant: Callable[..., Path], name: str, endpoint: str) -> None:
    slides, patients, deaths = SURVPATH[name, endpoint]
    out = variant(name, {"molecular": {}, "pathways": None}, endpoint)
    table = read_table(out / "patients.parquet", PATIENTS)
    assert len(read_table(out / "slides.parquet", SLIDES)) == slides and len(table) == patients
    # Trap 3 says that only ModalTune has non-positive times; COADREAD's PFI has two as well, neither with an event.
    assert table["event"].isna().sum() == (2 if (name, endpoint) == ("survpath_coadread", "PFI") else 0)
    assert abs(int(table["event"].sum()) - deaths) <= table["event"].isna().sum()


def test_mc15_split_patients_without_data(imported: Import) -> None:
    for name, listed, joined in (("porpoise_gbmlgg", 728, 454), ("porpoise_kirc", 417, 287)):
        splits = read_table(imported(name) / "given_splits.parquet", GIVEN_SPLITS).query("set == 'mc15'")
        assert splits["fold"].nunique() == 15 and splits["patient_id"].nunique() == joined
        quarantine = pd.read_csv(imported(name) / "quarantine.tsv", sep="\t")
        assert quarantine["reason"].str.contains("split set mc15").sum() == listed - joined


def test_splits_can_be_made_from_the_given_ones(imported: Import) -> None:
    out = imported("porpoise_gbmlgg")
    patients = read_table(out / "patients.parquet", PATIENTS)
    given = read_table(out / "given_splits.parquet", GIVEN_SPLITS)
    splits, _ = make_splits(patients, {"scheme": "given", "set": "mc15", "valid_fraction": 0.15}, given)
    key = ["fold", "patient_id"]
    both = splits.merge(given.query("set == 'mc15'"), on=key, suffixes=("", "_given"))
    assert ((both["part"] == "test") == (both["part_given"] == "test")).all() and len(both) == 454 * 15


# --- trap 1 and 2: censoring coded both ways, four time units


def test_days_of_one_source_are_the_months_of_the_other(imported: Import, shared_data: Path) -> None:
    """MMP days / 30.4375 = PORPOISE months within 0.1, no event disagreement: join, unit and coding at once."""
    porpoise = load_cases(imported("porpoise_kirc")).patients
    folder = shared_data / "mmp" / "TCGA_KIRC_overall_survival_k=0"
    rows = pd.concat([pd.read_csv(folder / f"{part}.csv.gz") for part in ("train", "test")])
    mmp = rows.drop_duplicates("case_id").set_index("case_id")
    assert len(mmp) == 340 and set(mmp.index) <= set(porpoise.index)
    months = mmp["os_survival_days"] / 30.4375
    assert (porpoise["time"].reindex(mmp.index) - months).abs().max() < 0.1
    assert (porpoise["event"].reindex(mmp.index).astype(int) == 1 - mmp["os_censorship"]).all()


def test_survpath_months_of_30_days(imported: Import, shared_data: Path) -> None:
    """SurvPath's days / 30 and PORPOISE's days / 30.4375 name the same times once read with their own unit."""
    ours = load_cases(imported("survpath_blca")).patients["time"]
    theirs = pd.read_csv(shared_data / "survpath/metadata/tcga_blca.csv.gz")
    days = theirs.drop_duplicates("case_id").set_index("case_id")["survival_months"] * 30
    np.testing.assert_allclose(ours, days.reindex(ours.index) / 30.4375, rtol=1e-9)


def test_text_status_of_cbioportal(variant: Callable[..., Path], shared_data: Path) -> None:
    """KIRC clinical table: LIVING/DECEASED, sample ids ending -01, months of its own; joins as a further endpoint."""
    endpoint = {
        "table": "cbio",
        "time": {"column": "Overall Survival (Months)", "unit": "months", "days_per_month": 30.4375},
        "event": {
            "column": "Overall Survival Status", "event_values": ["DECEASED"], "censored_values": ["LIVING"],
        },
    }  # fmt: skip
    tables = {
        "cases": {"path": "porpoise/mutsig/tcga_kirc_all_clean.csv.zip", "id": "case_id"},
        "cbio": {"path": "pathomicfusion/kirc_tcga_pan_can_atlas_2018_clinical_data.tsv.gz", "id": "Sample ID"},
    }
    survival = {"default_endpoint": "cbio", "non_positive": "quarantine", "endpoints": {"cbio": endpoint}}
    changes = {"tables": tables, "survival": survival, "molecular": {}, "pathways": None, "splits": {}}
    table = load_cases(variant("porpoise_kirc", changes)).patients
    reference = pd.read_csv(shared_data / tables["cbio"]["path"], sep="\t", dtype=str).set_index("Patient ID")
    dead = reference["Overall Survival Status"].reindex(table.index) == "DECEASED"
    assert (table["event"].dropna() == dead[table["event"].notna()].astype(int)).all()
    assert table["event"].notna().sum() > 330


# --- trap 3: times of zero and below; JSON records


def modaltune(cohort: str, part: str) -> dict[str, Any]:
    return {
        "tables": {
            "cases": {
                "path": f"modaltune_nolicence/tcga_{cohort}/{part}_{cohort}_cls_feat.json.gz",
                "records": "data",
                "id": "case_submitter_id",
            }
        },
        "patients": "cases",
        "survival": {
            "default_endpoint": "OS",
            "endpoints": {
                "OS": {
                    "time": {"column": "durations", "unit": "months", "days_per_month": 30.44},
                    "event": {"column": "vital_status", "event_values": [1], "censored_values": [0]},
                }
            },
        },
        "class_label": {"column": "primary_class", "ignore": [-1]},
        "clinical": {"age": "age_at_index"},
        "slides": {"table": "cases", "id": "slide_submitter_id"},
    }


def run(content: dict[str, Any], shared_data: Path, tmp_path: Path) -> Path:
    (tmp_path / "d.yaml").write_text(yaml.safe_dump(content))
    build_cohort("x", tmp_path / "d.yaml", shared_data, tmp_path / "out", read_gene_sets=read_measured)
    return tmp_path / "out"


def test_non_positive_times(shared_data: Path, tmp_path: Path) -> None:
    content = modaltune("brca", "train")
    with pytest.raises(PathomixError, match=r"OS time is zero or negative: TCGA-.*non_positive: quarantine"):
        run(content, shared_data, tmp_path)
    content["survival"]["non_positive"] = "quarantine"
    out = run(content, shared_data, tmp_path)
    patients = read_table(out / "patients.parquet", PATIENTS)
    quarantine = pd.read_csv(out / "quarantine.tsv", sep="\t")
    assert 0 < len(quarantine) <= 20 and patients["time"].isna().sum() == len(quarantine)
    # class -1 means "ignore", and it is no class here
    assert set(patients["class_label"].dropna()) == {"0", "1"} and patients["class_label"].isna().any()


def test_uuid_column_is_refused_with_the_way_out(shared_data: Path, tmp_path: Path) -> None:
    content = modaltune("rcc", "train")
    content["tables"]["cases"]["id"] = "case_id"
    with pytest.raises(PathomixError, match=r"column 'case_id': not a TCGA barcode.*submitter ids"):
        run(content, shared_data, tmp_path)


def test_age_stored_as_text(shared_data: Path, tmp_path: Path) -> None:
    content = modaltune("rcc", "val")
    content["survival"]["non_positive"] = "quarantine"
    ages = load_cases(run(content, shared_data, tmp_path)).patients["age"]
    assert ages.dtype == np.float64 and 20 < ages.median() < 90


# --- trap 4 and 5: rows are slides, ids differ


def test_slides_collapse_to_patients(imported: Import) -> None:
    steps = json.loads((imported("porpoise_gbmlgg") / "report.json").read_text())["steps"]
    assert steps[0]["rows_in"] == 1011 and steps[0]["patients"] == 569 and steps[0]["repeated_rows"] == 442


def test_contradicting_duplicate(spoilt: Callable[..., Path]) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        row = table[table["case_id"] == "TCGA-02-0047"].iloc[[0]].assign(survival_months="99", slide_id="other")
        return pd.concat([table, row])

    with pytest.raises(PathomixError, match=r"contradict each other in time of OS: TCGA-02-0047"):
        spoilt(change)


def test_contradicting_molecular_duplicate(spoilt: Callable[..., Path]) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        gene = table.columns[-1]
        row = table[table["case_id"] == "TCGA-02-0047"].iloc[[0]]
        return pd.concat([table, row.assign(**{gene: "99"})])

    with pytest.raises(PathomixError, match=r"rows of one patient differ: TCGA-02-0047.*aliquots"):
        spoilt(change)


# --- trap 6: sites without their zeros


def test_sites_keep_their_zeros(imported: Import, variant: Callable[..., Path]) -> None:
    sites = set(load_cases(imported("porpoise_gbmlgg")).patients["tissue_source_site"])
    assert {"02", "06"} <= sites and not {"2", "6"} & sites
    with pytest.raises(PathomixError, match=r"'site' disagrees.*2 against 02.*remove `tissue_source_site`"):
        variant("porpoise_gbmlgg", {"molecular": {}, "tissue_source_site": "site"})


# --- trap 7: expression scales


def test_expression_scales(imported: Import) -> None:
    z = anndata.read_h5ad(imported("porpoise_gbmlgg") / "expression.h5ad")
    assert z.uns["scale"] == "zscore" and round(float(z.layers["raw"].max())) == 3515
    warnings = json.loads((imported("porpoise_gbmlgg") / "report.json").read_text())["warnings"]
    assert any("largest 3515" in text for text in warnings)
    log = anndata.read_h5ad(imported("survpath_blca") / "expression.h5ad")
    assert log.uns["scale"] == "log2_tpm_plus_0.001" and float(log.X.min()) == pytest.approx(-9.9658, abs=1e-4)
    assert 0.05 < float((log.X < -9.96).mean()) < 0.09


def test_wrong_scale_is_refused(variant: Callable[..., Path]) -> None:
    with pytest.raises(PathomixError, match=r"tpm cannot be negative"):
        variant("survpath_blca", {"molecular.expression.scale": "tpm"})
    with pytest.raises(PathomixError, match=r"goes up to 3515.03, too large"):
        variant("porpoise_gbmlgg", {"molecular.expression.scale": "log2_tpm_plus_1"})


# --- trap 8: blocks without suffix, a modality missing for a whole cohort


@pytest.mark.slow
def test_ucec_mutations_without_suffix(imported: Import, variant: Callable[..., Path]) -> None:
    cases = load_cases(imported("porpoise_ucec_raw"))
    assert cases.expression is None and cases.mutation is not None and cases.copy_number is not None
    assert "site" not in cases.mutation and "A1CF" in cases.mutation and "Y_RNA" in cases.mutation
    assert set(np.unique(cases.copy_number)) <= {-2, -1, 0, 1, 2}
    with pytest.raises(PathomixError, match=r"no column for `molecular.mutation` \(none ends in '_mut'\)"):
        variant("porpoise_ucec_raw", {"molecular.mutation": {"table": "cases", "suffix": "_mut"}})


@pytest.mark.slow
def test_expression_the_cohort_does_not_have(variant: Callable[..., Path]) -> None:
    block = {"table": "cases", "suffix": "_rnaseq", "scale": "zscore"}
    with pytest.raises(PathomixError, match=r"remove `molecular.expression` if the cohort has none"):
        variant("porpoise_ucec", {"molecular.expression": block})


# --- trap 10: COADREAD


def test_coadread_duplicates_and_strangers(imported: Import, variant: Callable[..., Path]) -> None:
    cases = load_cases(imported("survpath_coadread"))
    assert cases.expression is not None and cases.expression.shape == (296, 1577)
    assert set(cases.ids) - set(cases.expression.index) == {"TCGA-G4-6323", "TCGA-EI-6883"}
    steps = json.loads((imported("survpath_coadread") / "report.json").read_text())["steps"]
    rna = next(s for s in steps if s.get("kind") == "expression")
    assert rna["rows_in"] == 320 and rna["patients_with_differing_rows"] == 3
    clinical = next(s for s in steps if s["file"].endswith("coadread_clinical.csv.gz"))
    assert clinical["rows_in"] == 1441 and clinical["excluded"] == {"not a TCGA patient": 801}
    with pytest.raises(PathomixError, match=r"rows of one patient differ: TCGA-G4-6317, TCGA-G5-6572, TCGA-NH-A8F7"):
        variant("survpath_coadread", {"molecular.expression.aliquots": "error"})
    with pytest.raises(PathomixError, match=r"not a TCGA barcode: 'P-0000674'.*`exclude`"):
        variant("survpath_coadread", {"tables.clinical.exclude": []})
    with pytest.raises(PathomixError, match=r"contradict each other in class_label .*TCGA-G4-6317 \(COAD / COADREAD\)"):
        variant("survpath_coadread", {"class_label": {"table": "clinical", "column": "subtype"}})
    with pytest.raises(PathomixError, match=r"PFI time is zero or negative: TCGA-"):
        variant("survpath_coadread", {"molecular": {}, "survival.non_positive": "error"}, "PFI")


# --- trap 11: pathways with one gene, and without


def test_pathway_coverage(imported: Import, variant: Callable[..., Path]) -> None:
    cases = load_cases(imported("survpath_blca"))
    assert len(cases.pathways) == 331 and min(map(len, cases.pathways.values())) == 1
    genes = {gene for members in cases.pathways.values() for gene in members}
    assert cases.expression is not None and genes == set(cases.expression.columns)
    ragged = {"path": "survpath/metadata/combine_signatures.csv.gz", "format": "signatures"}
    again = load_cases(variant("survpath_blca", {"pathways": ragged}))
    assert dict(again.pathways) == dict(cases.pathways)  # both files say the same


# --- trap 14: missing values


def test_missing_clinical_values_stay_missing(imported: Import) -> None:
    sex = load_cases(imported("porpoise_kirc")).patients["sex"]
    assert sex.isna().sum() == 1 and pd.isna(sex["TCGA-3Z-A93Z"])


@pytest.mark.slow
def test_missing_ages(imported: Import) -> None:
    assert load_cases(imported("porpoise_luad")).patients["age"].isna().sum() == 10
    assert load_cases(imported("porpoise_ucec")).patients["age"].isna().sum() == 2


# --- leakage: HIPT's splits are by slide


def test_splits_by_slide_leak_patients(shared_data: Path, tmp_path: Path) -> None:
    content = {
        "tables": {"cases": {"path": "hipt/tcga_lung_subset.csv.zip", "id": "case_id"}},
        "patients": "cases",
        "class_label": "oncotree_code",
        "splits": {
            "ten": {
                "path": "hipt/splits/10foldcv_subtype/tcga_lung/splits_{fold}.csv.gz",
                "folds": [0],
                "parts": {"train": "train", "val": "valid", "test": "test"},
            }
        },
    }
    with pytest.raises(PathomixError, match=r"two parts of one fold: TCGA-.*split_cohort.py") as error:
        run(content, shared_data, tmp_path)
    both_sides = [text for text in error.value.offending if "test and train" in text]
    assert len(both_sides) == 7


# --- what nobody has upstream, but users have: small spoilt copies


def test_missing_molecular_value(spoilt: Callable[..., Path]) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        gene = table.columns[-1]
        table.loc[table["case_id"] == "TCGA-02-0047", gene] = "NA"
        return table

    with pytest.raises(PathomixError, match=r"missing expression values \(1 in 1 genes\): \w+; .*impute_median"):
        spoilt(change)


def test_third_event_value(spoilt: Callable[..., Path]) -> None:
    with pytest.raises(PathomixError, match=r"'censorship' holds '2'.*TCGA-06-0125"):
        spoilt(lambda t: t.assign(censorship=t["censorship"].where(t["case_id"] != "TCGA-06-0125", "2")))


def test_negative_time(spoilt: Callable[..., Path]) -> None:
    with pytest.raises(PathomixError, match=r"zero or negative: TCGA-06-0125 \(-30.4375 days\)"):
        spoilt(lambda t: t.assign(survival_months=t["survival_months"].where(t["case_id"] != "TCGA-06-0125", "-1")))


def test_repeated_symbol(spoilt: Callable[..., Path]) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        gene = table.columns[-1]
        return pd.concat([table, table[[gene]]], axis=1)

    with pytest.raises(PathomixError, match=r"gene symbols more than once.*duplicate_genes"):
        spoilt(change)


def test_no_gene_in_any_pathway(variant: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "ensembl.gmt").write_text("apoptosis\tx\tENSG00000141510\tENSG00000146648\n")
    changes = {"pathways": {"path": str(tmp_path / "ensembl.gmt"), "format": "gmt"}}
    with pytest.raises(PathomixError, match=r"no gene of the table is in any pathway"):
        variant("survpath_blca", changes)


def test_patient_in_two_parts(variant: Callable[..., Path], shared_data: Path, tmp_path: Path) -> None:
    table = pd.read_csv(shared_data / "survpath/splits/5foldcv/tcga_blca/splits_0.csv", dtype=str)
    table.loc[0, "val"] = table.loc[0, "train"]
    table.to_csv(tmp_path / "splits_0.csv", index=False)
    split = {"path": str(tmp_path / "splits_{fold}.csv"), "folds": [0], "parts": {"train": "train", "val": "test"}}
    with pytest.raises(PathomixError, match=rf"two parts of one fold: {table.loc[0, 'train']}"):
        variant("survpath_blca", {"splits": {"cv5": split}})
