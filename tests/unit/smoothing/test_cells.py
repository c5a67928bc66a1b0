from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from pathomix.core.errors import PathomixError
from pathomix.smoothing.cells import AtlasCells, read_atlas
from tests.unit.smoothing.conftest import CLASSES, GENES, planted_atlas


def test_reads_the_contract(atlas: AtlasCells, profiles: np.ndarray) -> None:
    made = planted_atlas(profiles)
    assert atlas.genes == GENES and atlas.classes == CLASSES and atlas.are_counts
    assert list(np.array(CLASSES)[atlas.labels]) == list(made.obs["class_label"])
    np.testing.assert_array_equal(atlas.counts.toarray(), made.X.toarray())
    held = made.obs["group"].iloc[atlas.rows("valid")].unique()
    assert atlas.donors_held_out == len(held) == 2
    assert not set(held) & set(made.obs["group"].iloc[atlas.rows("train")])


def refused(atlas: anndata.AnnData, path: Path, told: str) -> None:
    atlas.write_h5ad(path / "atlas.h5ad")
    with pytest.raises(PathomixError, match=told):
        read_atlas(path / "atlas.h5ad")


def test_a_donor_on_both_sides_is_named(profiles: np.ndarray, tmp_path: Path) -> None:
    made = planted_atlas(profiles)
    part = made.obs["part"].to_numpy(dtype=object)
    part[np.flatnonzero(made.obs["group"] == "donor 1")[0]] = "valid"
    refused(planted_atlas(profiles, part=part), tmp_path, "donor 1")


def test_unknown_donors_are_no_donors(profiles: np.ndarray, tmp_path: Path) -> None:
    planted_atlas(profiles, group="").write_h5ad(tmp_path / "atlas.h5ad")
    assert read_atlas(tmp_path / "atlas.h5ad").donors_held_out == 0


def test_what_is_no_atlas_is_refused(profiles: np.ndarray, tmp_path: Path) -> None:
    refused(planted_atlas(profiles, part="test"), tmp_path, "parts of its cells.*test")
    foreign = pd.Categorical(["Neuron"] * 360)
    refused(planted_atlas(profiles, class_label=foreign), tmp_path, "Neuron")
    without = planted_atlas(profiles)
    del without.obs["group"]
    refused(without, tmp_path, "not an atlas: group")
    negative = planted_atlas(profiles)
    negative.X[3, 4] = -2.0
    refused(negative, tmp_path, "cell3 G4")
    (tmp_path / "text.h5ad").write_text("no")
    with pytest.raises(PathomixError, match="cannot be read"):
        read_atlas(tmp_path / "text.h5ad")


def test_nothing_held_out_is_an_error(profiles: np.ndarray, tmp_path: Path) -> None:
    planted_atlas(profiles, part="train").write_h5ad(tmp_path / "atlas.h5ad")
    with pytest.raises(PathomixError, match="no cell in the part valid"):
        read_atlas(tmp_path / "atlas.h5ad").rows("valid")
