from __future__ import annotations

import gzip
import json
import zipfile

import pandas as pd
import pytest

from pathomix.cohort.raw import read_raw
from pathomix.core.errors import PathomixError

TEXT = "id,site,x\nP1,02,1\nNA,05,\n"


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.zip", "t.tsv", "t.parquet", "t.json", "t.json.gz"])
def test_all_formats_read_alike(tmp_path, name):
    path = tmp_path / name
    frame = pd.DataFrame({"id": ["P1", "NA"], "site": ["02", "05"], "x": ["1", ""]})
    if name.endswith("csv"):
        path.write_text(TEXT)
    elif name.endswith("csv.gz"):
        path.write_bytes(gzip.compress(TEXT.encode()))
    elif name.endswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inside.csv", TEXT)
            archive.writestr("__MACOSX/._inside.csv", "junk")
    elif name.endswith("tsv"):
        path.write_text(TEXT.replace(",", "\t"))
    elif name.endswith("parquet"):
        frame.to_parquet(path)
    else:
        content = json.dumps({"data": frame.to_dict("records")}).encode()
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    table = read_raw(path, name, records="data")
    assert table.verbatim("id").tolist() == ["P1", "NA"]  # the parser must not guess a missing value
    assert table.text("id").tolist() == ["P1", None]
    assert table.text("site").tolist() == ["02", "05"]  # nor a number
    assert table.text("x").tolist() == ["1", None]
    assert table.numbers("x", table.verbatim("id")).tolist()[0] == 1.0


def test_parquet_index_is_kept(tmp_path):
    pd.DataFrame({"x": [1, 2]}, index=pd.Index(["a", "b"], name="id")).to_parquet(tmp_path / "t.parquet")
    assert read_raw(tmp_path / "t.parquet", "t").verbatim("id").tolist() == ["a", "b"]


def test_unknown_column_suggests_near_ones(tmp_path):
    (tmp_path / "t.csv").write_text("case_id,slide\n1,2\n")
    with pytest.raises(PathomixError, match=r"no column 'caseid'.*near: case_id"):
        read_raw(tmp_path / "t.csv", "t.csv").text("caseid")


def test_repeated_column_is_not_chosen_silently(tmp_path):
    (tmp_path / "t.csv").write_text("id,x,x\n1,2,3\n")
    with pytest.raises(PathomixError, match=r"'x' appears 2 times"):
        read_raw(tmp_path / "t.csv", "t.csv").text("x")


@pytest.mark.parametrize("text", ["a,b\n1,2,3\n4,5,6\n", "a,b\n1,2\n4\n", "a,b\n1,2\n4,5,6\n"])
def test_ragged_lines(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(PathomixError, match=r"line [23] has [13] cells, the header has 2"):
        read_raw(tmp_path / "t.csv", "t.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv.gz", gzip.compress(TEXT.encode() * 500)[:60]),
        ("t.csv.zip", b"PK not a zip"),
        ("t.csv", b"id\n\xff\xfe\n"),
        ("t.csv", b""),
        ("t.json", b"{"),
        ("t.parquet", b"x"),
        ("t.xlsx", b"x"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PathomixError, match=name):
        read_raw(tmp_path / name, name)


def test_json_without_records(tmp_path):
    (tmp_path / "t.json").write_text('{"meta": 1, "data": [{"a": 1}]}')
    with pytest.raises(PathomixError, match=r"\['data', 'meta'\].*`records`"):
        read_raw(tmp_path / "t.json", "t.json")


def test_byte_order_mark(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfid\n1\n")
    assert read_raw(tmp_path / "t.csv", "t.csv").columns == ("id",)
