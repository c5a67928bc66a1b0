"""All seven TCGA cohorts by configuration alone, from files in the shapes of the acquisition; and what may be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from pathomix.cohort.loader import load_cases
from pathomix.core.errors import PathomixError
from pathomix.core.schemas import PATIENTS, SLIDES
from pathomix.core.tables import read_table
from tests.unit.cohort.acquired import APPROVED, PER_PROJECT, SITES, Acquired, patients

# Patients of each class: nine per project, codes in turn; the last patient of a project is redacted (out of survival).
CLASSES = {
    "brca": {"IDC": 3, "ILC": 3}, "gbmlgg": {"GBM": 8, "LGG": 8}, "nsclc": {"LUAD": 6, "LUSC": 4},
    "rcc": {"KIRC": 8, "KIRP": 8, "KICH": 8}, "coadread": {"colon": 4, "rectum": 8}, "blca": {"TCC": 3,
    "papillary TCC": 3}, "kirc": {},
}  # fmt: skip
ENDPOINT = {"brca": "PFI", "gbmlgg": "PFI", "nsclc": "OS", "rcc": "OS", "coadread": "PFI", "blca": "OS", "kirc": "OS"}


@pytest.fixture
def acquired(tmp_path: Path) -> Acquired:
    return Acquired(tmp_path, "coadread")


@pytest.mark.parametrize("site", SITES)
def test_a_cohort_by_configuration_alone(site: str, root: Path, tmp_path: Path) -> None:
    files = Acquired(tmp_path, site)
    out = files.build(root)
    cases, slides = load_cases(out), read_table(out / "slides.parquet", SLIDES)
    count = (PER_PROJECT - 1) * len(SITES[site])
    assert len(cases.ids) == count and set(cases.patients["endpoint"]) == {ENDPOINT[site]}
    assert cases.patients["class_label"].value_counts().to_dict() == CLASSES[site]
    assert set(cases.patients["clinical_project"]) == set(SITES[site])
    first = patients(next(iter(SITES[site])))[0]
    shift = {"OS": 0, "PFI": 3}[ENDPOINT[site]]
    assert cases.patients.loc[first, "time"] == pytest.approx((100 + shift) / 30.4375)
    assert cases.patients.loc[first, "event"] == shift % 2
    assert cases.patients.loc[first, "tissue_source_site"] == first[5:7]
    assert cases.patients["sex"].notna().all() and cases.patients["clinical_location"].notna().all()
    assert cases.patients["stage"].notna().all() == (site != "gbmlgg")
    # primary tumour only; the patient with normal tissue alone is not measured
    assert first not in cases.expression.index and cases.expression.to_numpy().max() < 20
    assert set(cases.expression.columns) == set(APPROVED) and len(cases.expression) == count - len(SITES[site])
    assert list(cases.copy_number.index) == list(cases.mutation.index) == list(cases.expression.index)
    assert dict(cases.pathways) == {
        "HALLMARK_P53_PATHWAY": ("TP53", "VHL", "XK"),
        "Metabolism": ("IDH1", "MMUT"),
        "Tyrosine things": ("EGFR", "YARS1"),
    }
    row = slides.set_index("patient_id").loc[first]
    project = next(iter(SITES[site]))
    assert row["path"] == f"raw/gdc/TCGA-{project}/{first}-01Z-00-DX1.{project}-{first[-4:]}.svs"
    assert len(slides) == count and row["md5"] == "0" * 31 + "a" and row["size"] == 1000


def test_the_values_are_those_of_the_tumour_and_of_the_right_patient(root: Path, acquired: Acquired) -> None:
    cases = load_cases(acquired.build(root))
    for project, frame in acquired.expression.items():
        raw = frame.set_index("sample")
        for patient in patients(project)[1:-1]:
            assert cases.expression.loc[patient, "MMUT"] == pytest.approx(raw.loc["MUT", f"{patient}-01"], rel=1e-6)
    # EGFR has two rows: the one that varies more over the whole cohort, one choice for all projects
    both = pd.concat([f.set_index("sample").loc["EGFR"].reset_index(drop=True) for f in acquired.expression.values()],
                     axis=1)  # fmt: skip
    columns = [c for c in both if str(c).endswith("-01") and c[:12] in cases.ids]
    best = both[columns].var(axis=1, ddof=0).idxmax()
    expected = both.loc[best, columns].rename(lambda c: c[:12])
    pd.testing.assert_series_equal(
        cases.expression["EGFR"].astype(float), expected.sort_index(), check_names=False, rtol=1e-6
    )


def test_os_for_fidelity_by_configuration(root: Path, acquired: Acquired) -> None:
    patients_os = read_table(acquired.build(root, endpoint="OS") / "patients.parquet", PATIENTS)
    assert set(patients_os["endpoint"]) == {"OS"}
    assert patients_os.iloc[0]["time"] == pytest.approx(100 / 30.4375)


def test_a_membership_table_is_read_with_the_same_aliases(root: Path, acquired: Acquired, tmp_path: Path) -> None:
    content = yaml.safe_load((root / "config/cohorts/tcga_coadread.yaml").read_text())
    content["pathways"] = {"path": "own.csv", "format": "membership"}
    (tmp_path / "own.csv").write_text("gene,old names\nMUT,1\nERBB,1\nnothing,1\n")
    (tmp_path / "config/cohorts").mkdir(parents=True)
    (tmp_path / "config/cohorts/tcga_coadread.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "resources").symlink_to(root / "resources")
    assert dict(load_cases(acquired.build(tmp_path)).pathways) == {"old names": ("EGFR", "MMUT")}


def test_same_files_same_bytes(root: Path, acquired: Acquired) -> None:
    one, two = acquired.build(root, output="one"), acquired.build(root, output="two")
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes(), path.name


def test_the_report_says_what_was_renamed_chosen_and_left_out(root: Path, acquired: Acquired) -> None:
    report = json.loads((acquired.build(root) / "report.json").read_text())
    steps = {(s["step"], s.get("kind")): s for s in report["steps"]}
    symbols = steps["symbols", "expression"]
    assert symbols["renamed"] == {"MUT": "MMUT", "NA": "XK", "YARS": "YARS1"}
    assert symbols["ambiguous_names"] == {"FOO": ["ONE", "TWO"]} and symbols["left"] == {"SEPT1": "SEPTIN1"}
    assert symbols["unnamed"] == 1
    assert steps["endpoint", None]["recommended"] == "PFI" and steps["classes", None]["ignored_values"]
    assert steps["molecular", "expression"]["other_sample_types"] == {"11": 4}
    assert steps["pathways", None]["pathways_left_out_for_coverage"] == ["Unmeasured"]


# --- bad input


def test_survival_rows_of_one_patient_that_disagree(root: Path, acquired: Acquired) -> None:
    table = acquired.survival["COAD"]
    patient = table.loc[0, "_PATIENT"]
    acquired.survival["COAD"] = pd.concat([table, table.iloc[[0]].assign(**{"PFI.time": 7})])
    with pytest.raises(PathomixError, match=rf"contradict each other in time of PFI: {patient}"):
        acquired.build(root)


def test_rows_that_agree_are_one_patient(root: Path, acquired: Acquired) -> None:
    table = acquired.survival["COAD"]
    acquired.survival["COAD"] = pd.concat([table, table.iloc[[0]].assign(**{"PFI": "", "PFI.time": ""})])
    assert len(load_cases(acquired.build(root)).ids) == 16


@pytest.mark.parametrize("project", ["COAD", "READ"])
def test_a_survival_table_with_changed_columns(root: Path, acquired: Acquired, project: str) -> None:
    acquired.survival[project] = acquired.survival[project].rename(columns={"PFI.time": "PFI_time"})
    with pytest.raises(PathomixError, match=rf"{project}_survival.txt: there is no column 'PFI.time': PFI_time.*near"):
        acquired.build(root)


def test_a_clinical_table_with_changed_columns(root: Path, acquired: Acquired) -> None:
    acquired.clinical["READ"] = acquired.clinical["READ"].rename(columns={"icd_o_3_histology": "morphology"})
    with pytest.raises(PathomixError, match=r"READ_clinicalMatrix: there is no column 'icd_o_3_histology'"):
        acquired.build(root)


def test_a_matrix_in_the_other_orientation(root: Path, acquired: Acquired) -> None:
    frame = acquired.expression["READ"].set_index("sample").T
    acquired.expression["READ"] = frame.reset_index(names="sample")
    with pytest.raises(PathomixError, match=r"READ.*HiSeqV2.gz: not a TCGA barcode.*orientation: patients_in_rows"):
        acquired.build(root)


def test_a_class_that_matches_nobody(root: Path, acquired: Acquired) -> None:
    acquired.clinical["READ"]["icd_o_3_histology"] = "8480/3"
    with pytest.raises(
        PathomixError, match=r"coadread.yaml match no patient \(rectum\): READ / 8480/3 \(\d+\), COAD / 8140/3"
    ):
        acquired.build(root)


def test_values_the_definition_does_not_know_are_listed(root: Path, acquired: Acquired) -> None:
    acquired.clinical["COAD"].loc[0, "icd_o_3_histology"] = "9999/9"
    out = acquired.build(root)
    report = json.loads((out / "report.json").read_text())
    step = next(s for s in report["steps"] if s["step"] == "classes")
    assert step["unseen_values"] == {"COAD / 9999/9": 1} and any("9999/9" in text for text in report["warnings"])
    assert load_cases(out).patients["class_label"].value_counts().to_dict() == {"rectum": 8, "colon": 3}


def test_an_unknown_project(root: Path, acquired: Acquired, tmp_path: Path) -> None:
    content = yaml.safe_load((root / "config/cohorts/tcga_coadread.yaml").read_text())
    content["survival"]["recommended"]["projects"] = ["COAD", "COLON"]
    (tmp_path / "config/cohorts").mkdir(parents=True)
    (tmp_path / "config/cohorts/tcga_coadread.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "resources").symlink_to(root / "resources")
    with pytest.raises(PathomixError, match=r"projects are not known \(it has ACC, BLCA.*\): COLON"):
        acquired.build(tmp_path)


def test_an_endpoint_that_is_not_there(root: Path, acquired: Acquired) -> None:
    with pytest.raises(PathomixError, match=r"no endpoint 'DXS'.*DFI, DSS, OS, PFI"):
        acquired.build(root, endpoint="DXS")


def test_parts_of_other_kinds_are_refused(root: Path, acquired: Acquired) -> None:
    acquired.expression["READ"]["sample"] = [f"ENSG{i}" for i in range(12)]
    with pytest.raises(PathomixError, match=r"share 0 of 24 genes"):
        acquired.build(root)


def test_genes_that_a_part_lacks_are_left_out_and_counted(root: Path, acquired: Acquired) -> None:
    acquired.expression["READ"] = acquired.expression["READ"].iloc[::-1].iloc[:-1].reset_index(drop=True)
    out = acquired.build(root)
    report = json.loads((out / "report.json").read_text())
    step = next(s for s in report["steps"] if s.get("kind") == "expression" and s["step"] == "molecular")
    assert step["genes_not_in_all_parts"] == 1 and any("1 of 12 genes" in text for text in report["warnings"])
    expression, raw = load_cases(out).expression, acquired.expression["READ"].set_index("sample")
    patient = patients("READ")[1]
    # matched by symbol although the part has another order
    assert expression.loc[patient, "VHL"] == pytest.approx(raw.loc["VHL", f"{patient}-01"], rel=1e-6)
    assert set(expression.columns) == set(APPROVED) - {"TP53"}


def test_the_descriptions_differ_only_where_the_sites_do(root: Path) -> None:
    """Seven files of one shape: what is corrected in one has to be corrected in all."""
    shapes = []
    for site, projects in SITES.items():
        content = yaml.safe_load((root / f"config/cohorts/tcga_{site}.yaml").read_text())
        tables, molecular = content["tables"], content["molecular"]
        places = [*tables.values(), *(b for k, b in molecular.items() if k != "symbols")]
        assert all(sorted(place.pop("parts")) == sorted(projects) for place in places)
        assert sorted(content["survival"]["recommended"].pop("projects")) == sorted(projects)
        assert content.pop("slides") == {"lock": f"tcga_{site}", "sample_types": ["01"]}
        label = content.pop("class_label", {"file": f"resources/classes/{site}.yaml"})
        assert label["file"] == f"resources/classes/{site}.yaml"
        content.pop("location")
        shapes.append(content)
    assert all(shape == shapes[0] for shape in shapes)
