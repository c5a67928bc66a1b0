from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.cohort.matrix_files import read_matrix
from pathomix.core.errors import PathomixError

TEXT = "sample\tS1\tS2\tS3\nNA\t1.5\t\t-3\nTP53\t2e1\tNA\t0\n\t4\t5\t6\n"


def written(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["HiSeqV2.gz", "HiSeqV2", "m.tsv", "m.txt.gz"])
def test_genes_in_rows(tmp_path: Path, name: str) -> None:
    kind = "tsv" if name.startswith("H") else None
    matrix = read_matrix(written(tmp_path / name, TEXT), name, lambda names: [2, 0], genes_in_rows=True, kind=kind)
    assert matrix.samples == ["S3", "S1"] and matrix.genes == ["NA", "TP53", ""] and matrix.found == 3
    np.testing.assert_array_equal(matrix.values, np.array([[-3, 0, 6], [1.5, 20, 4]], np.float32))
    assert matrix.values.dtype == np.float32


def test_samples_in_rows_and_missing_values(tmp_path: Path) -> None:
    turned = "\n".join(
        "\t".join(cells) for cells in zip(*(r.split("\t") for r in TEXT.strip("\n").split("\n")), strict=True)
    )
    path = written(tmp_path / "m.tsv", turned + "\n")
    matrix = read_matrix(path, "m", lambda names: [1], genes_in_rows=False)
    assert matrix.samples == ["S2"] and matrix.genes == ["NA", "TP53", ""]
    np.testing.assert_array_equal(matrix.values, [[np.nan, np.nan, 5]])


def test_other_formats_agree(tmp_path: Path) -> None:
    frame = pd.read_csv(io.StringIO(TEXT), sep="\t", keep_default_na=False, na_values=[""], dtype={"sample": str})
    frame = frame.assign(S2=[np.nan, np.nan, 5.0], sample=["NA", "TP53", "X"])
    frame.to_parquet(tmp_path / "m.parquet")
    frame.to_csv(tmp_path / "m.csv.zip", index=False, quoting=1, compression={"method": "zip", "archive_name": "m.csv"})
    read = [read_matrix(tmp_path / n, n, lambda names: [0, 1], genes_in_rows=True) for n in ("m.parquet", "m.csv.zip")]
    np.testing.assert_array_equal(read[0].values, read[1].values)
    assert read[0].genes == read[1].genes == ["NA", "TP53", "X"] and read[0].samples == read[1].samples


def test_more_genes_than_are_turned_at_once(tmp_path: Path) -> None:
    values = np.arange(1300 * 3).reshape(1300, 3)
    frame = pd.DataFrame(values, columns=["a", "b", "c"], index=[f"G{i}" for i in range(1300)])
    frame.to_csv(tmp_path / "m.tsv", sep="\t")
    matrix = read_matrix(tmp_path / "m.tsv", "m", lambda names: [2, 0], genes_in_rows=True)
    np.testing.assert_array_equal(matrix.values, values[:, [2, 0]].T)
    assert matrix.genes == list(frame.index)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT + "A\t1\t2\n", r"line 5 has 3 cells, the header has 4"),
        (TEXT + "A\t1\t2\t3\t4\n", r"line 5 has 5 cells, the header has 4"),
        (TEXT.replace("2e1", "high"), r"'high' in a molecular column.*'S1', data row 2"),
        (TEXT.replace("2e1", "1_0"), r"'1_0' in a molecular column"),
        (TEXT.replace("2e1", "nan()"), r"'nan\(\)' in a molecular column"),
        ("", r"the file is empty"),
    ],
)
def test_damaged_matrices(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PathomixError, match=message):
        read_matrix(written(tmp_path / "m.tsv", text), "m.tsv", lambda n: range(len(n)), genes_in_rows=True)


def test_text_of_a_sample_that_is_not_used_does_not_matter(tmp_path: Path) -> None:
    path = written(tmp_path / "m.tsv", TEXT.replace("2e1", "high"))
    assert read_matrix(path, "m", lambda n: [2], genes_in_rows=True).values.tolist() == [[-3, 0, 6]]


def test_a_spelled_out_nan_is_no_number_unless_it_is_named_missing(tmp_path: Path) -> None:
    path = written(tmp_path / "m.tsv", TEXT.replace("2e1", "nan"))
    assert np.isnan(read_matrix(path, "m", lambda n: [0], genes_in_rows=True).values[0, 1])
    with pytest.raises(PathomixError, match="'nan' in a molecular"):
        read_matrix(path, "m", lambda n: [0], genes_in_rows=True, missing=[""])


def test_cut_short_and_absent(tmp_path: Path) -> None:
    path = tmp_path / "m.tsv.gz"
    path.write_bytes(gzip.compress(TEXT.encode() * 100)[:60])
    with pytest.raises(PathomixError, match=r"m.tsv.gz: cannot be read.*fetch the file again"):
        read_matrix(path, "m.tsv.gz", lambda n: range(len(n)), genes_in_rows=True)
    with pytest.raises(PathomixError, match="no such file"):
        read_matrix(tmp_path / "x.tsv", "x.tsv", lambda n: [], genes_in_rows=True)
    with pytest.raises(PathomixError, match=r"by_genes are not known.*name the `format`"):
        read_matrix(written(tmp_path / "a.by_genes.gz", TEXT), "a", lambda n: [], genes_in_rows=True)


NUMBERS = st.one_of(st.none(), st.floats(-1e6, 1e6, width=32), st.integers(-5, 5))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(NUMBERS, min_size=n, max_size=n), min_size=1, max_size=6)))
def test_the_numbers_are_those_pandas_reads(tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]]) -> None:
    frame = pd.DataFrame(rows, dtype="float64").add_prefix("S")
    frame.index = [f"G{i}" for i in range(len(frame))]
    path = tmp_path_factory.mktemp("m") / "m.csv"
    frame.to_csv(path, index_label="g")
    matrix = read_matrix(path, "m", lambda n: range(len(n)), genes_in_rows=True)
    np.testing.assert_array_equal(matrix.values, frame.to_numpy(np.float32).T)
