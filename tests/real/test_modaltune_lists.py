"""The cohorts of ModalTune as its lists give them: patients, classes and the one split (spec modaltune 6.2)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from pathomix.cohort.given_splits import GIVEN_SPLITS
from pathomix.cohort.importer import build_cohort
from pathomix.core.schemas import PATIENTS
from pathomix.core.tables import read_table
from pathomix.genomics.gene_sets import read_measured

# Listed patients of train, valid and test; classes; the lists of NSCLC and COADREAD are not among the test tables.
SITES = {
    "brca": ((749, 113, 188), {"IDC": 746, "ILC": 191}),
    "gbmlgg": ((688, 71, 118), {"GBM": 389, "LGG": 488}),
    "rcc": ((621, 102, 170), {"KIRP": 272, "KIRC": 513, "KICH": 108}),
    "blca": ((263, 46, 76), {"TCC": 316, "papillary TCC": 67}),
}


@pytest.mark.parametrize("site", SITES)
def test_lists_become_a_cohort_with_its_split(site: str, shared_data: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "modaltune").symlink_to(shared_data / "modaltune_nolicence", target_is_directory=True)
    description = yaml.safe_load((root / f"config/cohorts/modaltune_{site}.yaml").read_text())
    # The expression tables come from Xena and are not here.
    del description["molecular"], description["pathways"]
    (tmp_path / "description.yaml").write_text(yaml.safe_dump(description))
    out = tmp_path / "out"
    build_cohort(site, tmp_path / "description.yaml", tmp_path, out, read_gene_sets=read_measured)
    parts, classes = SITES[site]
    given = read_table(out / "given_splits.parquet", GIVEN_SPLITS)
    assert tuple((given["part"] == part).sum() for part in ("train", "valid", "test")) == parts
    patients = read_table(out / "patients.parquet", PATIENTS)
    assert len(patients) == sum(parts) and patients["class_label"].value_counts().to_dict() == classes
    quarantined = pd.read_csv(out / "quarantine.tsv", sep="\t")
    unknown = patients.loc[patients["time"].isna(), "patient_id"]
    assert set(unknown) == set(quarantined["patient_id"]), "times of zero or less lose the outcome, not the patient"
