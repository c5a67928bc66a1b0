"""Real cells: scanpy's bundled part of the 68k blood cells, scaled in X, log-normalised to three decimals in .raw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

from pathomix.atlas.prepare import prepare_atlas
from pathomix.core.errors import PathomixError


@pytest.fixture(scope="module")
def path() -> Path:
    datasets = pytest.importorskip("scanpy.datasets", reason="scanpy bundles the cells")
    return Path(datasets.__file__).parent / "10x_pbmc68k_reduced.h5ad"


@pytest.fixture(scope="module")
def original(path: Path) -> anndata.AnnData:
    return anndata.read_h5ad(path)


def prepared(path: Path, folder: Path, **given: Any) -> tuple[anndata.AnnData, dict[str, Any]]:
    settings = {"label_key": "bulk_labels", "min_cells_per_class": 8, **given}
    prepare_atlas("pbmc68k", path, settings, folder / "a.h5ad", folder / "a.json")
    return anndata.read_h5ad(folder / "a.h5ad"), json.loads((folder / "a.json").read_text())


@pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")
def test_counts_are_recovered_from_raw(path: Path, original: anndata.AnnData, tmp_path: Path) -> None:
    found, report = prepared(path, tmp_path)
    assert report["expression"] == {
        "source": "raw",
        "form": "log1p of normalised counts",
        "scale": "counts",
        "genes": 765,
    }
    assert len(found) == 700 and len(found.uns["classes"]) == 10
    logarithms = original.raw[found.obs_names].X.toarray()
    counts = found.X.toarray()
    # The file says each cell's total before genes were chosen: cells had been scaled to 10,000.
    total = original.obs.loc[found.obs_names, "n_counts"].to_numpy()
    np.testing.assert_allclose(np.log1p(counts / total[:, None] * 1e4), logarithms, atol=0.002)
    assert (counts.sum(axis=1) < total).all()


def test_labels_are_the_ten_of_the_file(path: Path, original: anndata.AnnData, tmp_path: Path) -> None:
    found, report = prepared(path, tmp_path)
    assert (found.obs["label"].astype(str) == original.obs.loc[found.obs_names, "bulk_labels"].astype(str)).all()
    table = original.obs["bulk_labels"].value_counts()
    assert {row["label"]: row["cells"] for row in report["labels"]} == table.to_dict()
    assert report["weakness"] and report["split_by"] == "cell"
    _, report = prepared(path, tmp_path, min_cells_per_class=20)
    assert set(report["classes_with_too_few_cells"]) == set(table.index[table < 20])


def test_declared_logarithms_become_linear(path: Path, original: anndata.AnnData, tmp_path: Path) -> None:
    found, report = prepared(path, tmp_path, scale="log_normalised")
    assert found.uns["scale"] == report["expression"]["scale"] == "linear"
    expected = np.expm1(original.raw[found.obs_names].X.toarray().astype(np.float64))
    np.testing.assert_allclose(found.X.toarray(), expected, rtol=1e-6)


def test_scaled_values_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(PathomixError, match=r"X: negative values.*counts: raw"):
        prepared(path, tmp_path, counts="X")
