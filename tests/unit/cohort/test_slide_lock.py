from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from pathomix.cohort.import_log import ImportLog
from pathomix.cohort.slide_lock import read_slide_lock
from pathomix.cohort.specs import IdSpec
from pathomix.core.errors import PathomixError
from pathomix.core.locks import LOCK_COLUMNS

MD5 = "0123456789abcdef" * 2


def lock() -> pd.DataFrame:
    slides = ["TCGA-02-0001-01Z-00-DX1", "TCGA-02-0001-01Z-00-DX2", "TCGA-05-4249-01Z-00-DX1"]
    return pd.DataFrame(
        [
            (f"f{i}", f"{s}.U{i}.svs", MD5, 10, "TCGA-GBM", s[:12], s, s[:15], "Primary Tumor")
            for i, s in enumerate(slides)
        ],
        columns=list(LOCK_COLUMNS),
    )


def read(frame: pd.DataFrame, folder: Path, note: str | None = None) -> tuple[pd.DataFrame, pd.Series, ImportLog]:
    frame.to_csv(folder / "a.slides.tsv", sep="\t", index=False)
    (folder / "a.slides.yaml").write_text(yaml.safe_dump({"source": "s", "note": note}))
    log = ImportLog()
    table, patients = read_slide_lock(folder / "a.slides.tsv", "a.slides.tsv", IdSpec(), log)
    return table.frame, patients, log


def test_rows_and_their_patients(tmp_path: Path) -> None:
    frame, patients, log = read(lock(), tmp_path)
    assert len(frame) == 3 and list(patients) == ["TCGA-02-0001", "TCGA-02-0001", "TCGA-05-4249"]
    assert not log.quarantined


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("file_id", "f1", "file_id is empty or there twice"),
        ("slide_id", "TCGA-02-0001-01Z-00-DX2", "slide_id is empty or there twice"),
        ("project", "", "project is empty"),
        ("md5", "xyz", r"md5 is no checksum: TCGA-02-0001-01Z-00-DX1"),
        ("md5", "", r"slides without md5, and a.slides.yaml has no `note`"),
        ("patient_id", "TCGA-05-4249", r"slides of other patients.*DX1 \(TCGA-05-4249\)"),
    ],
)
def test_what_a_lock_cannot_hold(tmp_path: Path, column: str, value: str, message: str) -> None:
    frame = lock()
    frame.loc[0, column] = value
    with pytest.raises(PathomixError, match=message):
        read(frame, tmp_path)


def test_no_checksum_with_a_note(tmp_path: Path) -> None:
    frame = lock().assign(md5="")
    assert len(read(frame, tmp_path, note="made from published lists")[0]) == 3


def test_other_columns(tmp_path: Path) -> None:
    with pytest.raises(PathomixError, match=r"header is not that of a slide lock.*its columns are file_id file_name"):
        read(lock().rename(columns={"md5": "md5sum"}), tmp_path)


@pytest.mark.parametrize("kind", ["Solid Tissue Normal", "11"])
def test_barcode_and_sample_type_that_disagree(tmp_path: Path, kind: str) -> None:
    frame = lock()
    frame.loc[2, "sample_type"] = kind
    table, patients, log = read(frame, tmp_path)
    assert len(table) == 2 and set(patients) == {"TCGA-02-0001"}
    assert log.quarantined[0][0] == "TCGA-05-4249" and "disagree" in log.quarantined[0][2]
