"""Locks in the format of the acquisition, made from real slide lists, are understood by the builder for all cohorts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from pathomix.cohort.clinical import Keyed
from pathomix.cohort.description import input_paths, lock_files, read_description
from pathomix.cohort.import_log import ImportLog
from pathomix.cohort.slide_lock import lock_spec, read_slide_lock
from pathomix.cohort.slide_table import slides_table
from pathomix.cohort.specs import IdSpec
from pathomix.core.barcodes import sample_type
from pathomix.core.errors import PathomixError
from tests.real.locks import PROJECTS, write_locks


@pytest.fixture(scope="module")
def locks(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("locks")
    counts = write_locks(shared_data, folder)
    assert set(counts) == set(PROJECTS) and min(counts.values()) > 200 and counts["tcga_rcc"] > counts["tcga_kirc"]
    return folder


@pytest.mark.parametrize("cohort", PROJECTS)
def test_a_lock_becomes_the_slide_list_of_its_cohort(cohort: str, locks: Path, root: Path) -> None:
    description = read_description(root / f"config/cohorts/{cohort}.yaml")
    tsv, beside = lock_files(description, cohort)
    paths = input_paths(description, cohort, "data", repository=root, locks=locks)
    assert paths[f"locks/{tsv}"] == locks / tsv and (locks / beside).is_file()
    log = ImportLog()
    table, patients = read_slide_lock(locks / tsv, tsv, IdSpec(), log)
    assert description.slides is not None and not log.quarantined
    slides = slides_table(
        lock_spec(description.slides), Keyed(table, patients), pd.Index(patients.unique()), cohort, log
    )
    assert {text.split("/")[2] for text in slides["path"]} == {f"TCGA-{p}" for p in PROJECTS[cohort]}
    assert slides["path"].str.endswith(".svs").all() and set(slides["slide_id"].map(sample_type)) == {"01"}
    assert slides["md5"].isna().all() and len(slides) > 200


def test_the_published_list_of_kidney_cancer_holds_normal_tissue(locks: Path) -> None:
    """ModalTune's RCC list has slides of normal kidney; the chosen sample type keeps them out."""
    frame = pd.read_csv(locks / "tcga_rcc.slides.tsv", sep="\t", dtype=str)
    assert (frame["sample_type"] == "Solid Tissue Normal").sum() == 11


def test_locks_are_the_same_every_time(locks: Path, shared_data: Path, tmp_path: Path) -> None:
    write_locks(shared_data, tmp_path)
    for path in locks.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_without_its_note_such_a_lock_is_refused(locks: Path, tmp_path: Path) -> None:
    for path in locks.glob("tcga_blca.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    beside = tmp_path / "tcga_blca.slides.yaml"
    beside.write_text(yaml.safe_dump(yaml.safe_load(beside.read_text()) | {"note": None}))
    with pytest.raises(PathomixError, match=r"slides without md5, and tcga_blca.slides.yaml has no `note`"):
        read_slide_lock(tmp_path / "tcga_blca.slides.tsv", "x", IdSpec(), ImportLog())
