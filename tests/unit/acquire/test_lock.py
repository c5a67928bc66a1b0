from __future__ import annotations

import dataclasses
import logging
import random
from pathlib import Path

import pytest
import yaml

from pathomix.acquire.lock import (
    HEADER_KEYS,
    Lock,
    LockedSlide,
    compare,
    header_path,
    read_lock,
    report_changes,
    write_lock,
)
from pathomix.core.errors import PathomixError
from pathomix.core.locks import LOCK_COLUMNS

HEADER = {**dict.fromkeys(HEADER_KEYS, ""), "projects": ["TCGA-AAA"], "filters": {"op": "and"}}


def slide(number: int, **changes: object) -> LockedSlide:
    patient = f"TCGA-AA-{number:04d}"
    made = LockedSlide(
        f"id{number}", f"{patient}-01Z-00-DX1.svs", f"{number:032x}", 100 + number, "TCGA-AAA", patient,
        f"{patient}-01Z-00-DX1", f"{patient}-01Z", 'Primary "Tumor"',
    )  # fmt: skip
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def lock(*slides: LockedSlide) -> Lock:
    return Lock(slides, HEADER)


def test_round_trip_in_order(tmp_path: Path) -> None:
    slides = [slide(number) for number in range(50)]
    shuffled = random.Random(0).sample(slides, 50)
    path = tmp_path / "locks" / "x.slides.tsv"
    write_lock(lock(*shuffled), path)
    first = path.read_bytes(), header_path(path).read_bytes()
    assert read_lock(path) == lock(*slides)
    assert path.read_text().splitlines()[0] == (
        "file_id\tfile_name\tmd5\tsize\tproject\tpatient_id\tslide_id\tsample_id\tsample_type"
    )
    assert header_path(path).name == "x.slides.yaml"
    assert list(yaml.safe_load(header_path(path).read_text())) == list(HEADER_KEYS)
    write_lock(lock(*slides), path)
    assert (path.read_bytes(), header_path(path).read_bytes()) == first


BAD = {
    "slide is listed twice": [slide(1), slide(1, file_id="other", file_name="other.svs")],
    "file is listed twice": [slide(1), slide(2, file_id="id1")],
    "file name is listed twice": [slide(1), slide(2, file_name=slide(1).file_name)],
    "md5 is not 32": [slide(1, md5="abc")],
    "md5 is not 32 ": [slide(1, md5="G" * 32)],
    "size is not a positive": [slide(1, size=0)],
    "no file id": [slide(1, file_id="")],
    "no slide, patient or project": [slide(1, patient_id="")],
    "no slides": [],
    "name cannot be": [slide(1, file_name="../x.svs")],
    "name cannot be that": [slide(1, file_name=".hidden")],
    "name cannot be that of": [slide(1, project="../TCGA")],
    "name cannot be that of a file": [slide(1, file_name="a\tb")],
}


@pytest.mark.parametrize("fact", BAD)
def test_malformed_slides_are_neither_written_nor_read(tmp_path: Path, fact: str) -> None:
    path = tmp_path / "x.slides.tsv"
    with pytest.raises(PathomixError, match=f"{path}: .*{fact.strip()}.*lock_slides.py"):
        write_lock(lock(*BAD[fact]), path)
    assert not path.exists()
    if "\t" not in "".join(s.file_name for s in BAD[fact]):
        rows = ["\t".join(map(str, dataclasses.astuple(s))) for s in BAD[fact]]
        path.write_text("\n".join(["\t".join(LOCK_COLUMNS), *rows]) + "\n")
        with pytest.raises(PathomixError, match=fact.strip()):
            read_lock(path)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("", "header is not"),
        ("file_id\tmd5\n", "header is not"),
        ("\t".join(LOCK_COLUMNS) + "\na\tb\n", "line 2 has 2 cells"),
        ("\t".join(LOCK_COLUMNS) + "\na\tb\tc\t1.5\tp\tq\tr\ts\tt\n", "line 2: size is '1.5'"),
    ],
)
def test_malformed_files(tmp_path: Path, text: str, fact: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(text)
    with pytest.raises(PathomixError, match=fact):
        read_lock(path)


def test_header_keys_are_fixed(tmp_path: Path) -> None:
    with pytest.raises(PathomixError, match="unknown or missing: extra, note"):
        write_lock(
            Lock((slide(1),), {**{k: v for k, v in HEADER.items() if k != "note"}, "extra": 1}), tmp_path / "x.tsv"
        )


def test_missing_lock(tmp_path: Path) -> None:
    with pytest.raises(PathomixError, match="cannot be read"):
        read_lock(tmp_path / "none.tsv")


def test_compare() -> None:
    old = lock(slide(1), slide(2), slide(3), slide(4))
    new = lock(slide(2), slide(3, file_id="new3", md5="f" * 32), slide(4, size=7), slide(5))
    diff = compare(old, new)
    assert diff.added == (slide(5).slide_id,) and diff.removed == (slide(1).slide_id,)
    assert diff.superseded == ((slide(3).slide_id, "id3", "new3"),)
    assert diff.changed == ((slide(4).slide_id, "size 104", "size 7"),)
    assert len(diff.lines()) == 4 and compare(old, old).lines() == []


def test_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "x.tsv"
    report_changes(path, lock(slide(1)))
    assert not caplog.text
    write_lock(lock(slide(1)), path)
    report_changes(path, lock(slide(1)))
    assert "nothing has changed" in caplog.text
    report_changes(path, lock(slide(1, file_id="z")))
    assert f"superseded {slide(1).slide_id}: file id1 by z" in caplog.text
    path.write_text("rubbish")
    assert report_changes(path, lock(slide(1))).added == (slide(1).slide_id,)
