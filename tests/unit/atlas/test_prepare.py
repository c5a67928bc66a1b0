from __future__ import annotations

import json
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pathomix.atlas.prepare import prepare_atlas
from pathomix.atlas.reader import AtlasFile
from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.simulate.expression import TYPES
from pathomix.simulate.parameters import Parameters
from pathomix.simulate.tables import write_simulation

Make = Callable[..., anndata.AnnData]
Store = Callable[..., Path]
SETTINGS = {"label_key": "cell_type", "group_key": "donor", "min_cells_per_class": 5}


def prepared(path: Path, **given: Any) -> tuple[anndata.AnnData, dict[str, Any]]:
    output, report = path.with_name("out.h5ad"), path.with_name("out.json")
    prepare_atlas("demo", path, {**SETTINGS, **given}, output, report)
    return anndata.read_h5ad(output), json.loads(report.read_text())


def same(left: anndata.AnnData, right: anndata.AnnData) -> None:
    pd.testing.assert_frame_equal(left.obs, right.obs)
    np.testing.assert_array_equal(left.X.toarray(), right.X.toarray())
    assert list(left.var_names) == list(right.var_names)


def test_the_contract(planted: Make, stored: Store) -> None:
    data = planted()
    path = stored(data)
    found, report = prepared(path)
    assert found.X.dtype == np.float32 and found.X.format == "csr"
    assert found.uns["scale"] == "counts" and list(found.uns["classes"]) == ["B cell", "T cell", "neuron"]
    assert list(found.obs.columns) == ["class_label", "label", "group", "part"]
    assert found.obs["class_label"].cat.ordered
    assert list(found.obs["class_label"].cat.categories) == list(found.uns["classes"])
    ordered = data[found.obs_names]
    assert list(found.obs_names) == sorted(data.obs_names)
    np.testing.assert_array_equal(found.X.toarray(), ordered.X.toarray())
    assert (found.obs["label"].astype(str) == ordered.obs["cell_type"].astype(str)).all()
    assert (found.obs["group"].astype(str) == ordered.obs["donor"].astype(str)).all()
    assert (found.obs.groupby("group", observed=True)["part"].nunique() == 1).all(), "whole donors"
    table = pd.crosstab(found.obs["class_label"], found.obs["part"])
    assert (table > 0).all(axis=None)
    provenance = json.loads(found.uns["pathomix"])
    assert provenance["inputs"] == {"atlas": file_digest(path)} and provenance["parameters"]["label_key"] == "cell_type"
    assert report["cells"] == {
        "in": 150,
        "dropped": {},
        "out": 150,
        "train": int(table["train"].sum()),
        "valid": int(table["valid"].sum()),
    }
    for name, entry in report["classes"].items():
        assert (entry["train"], entry["valid"]) == (table.loc[name, "train"], table.loc[name, "valid"])
        assert sum(entry["groups"].values()) == entry["train"] + entry["valid"]
    assert {g: e["part"] for g, e in report["groups"].items()} == found.obs.groupby("group", observed=True)[
        "part"
    ].first().to_dict()
    assert report["split_by"] == "group" and report["weakness"] is None


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from(["csr", "csc"]), st.sampled_from([900, 1 << 20]))
def test_neither_order_nor_storage_nor_chunks_change_anything(
    planted: Make, stored: Store, seed: int, grouped: bool, form: str, values: int
) -> None:
    data = planted()
    changes = {"max_cells_per_class": 30, "group_key": "donor" if grouped else None, "min_genes": 30}
    expected = prepared(stored(data), **changes)
    shuffled = data[np.random.default_rng(seed).permutation(len(data))].copy()
    shuffled.X = shuffled.X.asformat(form)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AtlasFile, "chunks", partialmethod(AtlasFile.chunks, values=values))
        found = prepared(stored(shuffled), **changes)
    same(found[0], expected[0])
    assert found[1] == expected[1]
    assert expected[1]["cells"]["dropped"].keys() >= {"above max_cells_per_class", "fewer than 30 genes"}


def test_every_dropped_cell_has_its_reason(planted: Make, stored: Store) -> None:
    data = planted()
    data.obs["keep"] = [False] * 10 + [True] * 140
    data.obs["cell_type"] = data.obs["cell_type"].cat.add_categories(["blob", "rare"])
    data.obs.iloc[10:14, 0] = "blob"
    data.obs.iloc[14:16, 0] = "rare"
    data.obs.iloc[16:19, 0] = None
    data.obs.iloc[19:24, 1] = None
    data.X.data[data.X.indptr[24] : data.X.indptr[26]] = 0
    label_map = {"lymphocyte": ["T cell", "B cell", "NK"], "neuron": ["neuron"], "scarce": ["rare"]}
    path = stored(data)
    found, report = prepared(path, label_map=label_map, only={"keep": True})
    assert report["cells"]["dropped"] == {
        "keep is none of True": 10,
        "label of no class": 4,
        "class with too few cells": 2,
        "no cell_type": 3,
        "no donor": 5,
        "all zero": 2,
    }
    assert report["cells"]["in"] == 150 and report["cells"]["out"] == len(found) == 124
    assert set(found.obs_names) == set(data.obs_names[26:])
    assert report["classes_with_too_few_cells"] == {"scarce": 2}
    assert list(found.uns["classes"]) == ["lymphocyte", "neuron"]
    labels = {row["label"]: (row["class"], row["cells"]) for row in report["labels"]}
    assert labels["blob"] == (None, 4) and labels["rare"] == ("scarce", 2) and labels[""] == (None, 3)
    assert labels["T cell"][0] == labels["B cell"][0] == "lymphocyte"
    assert sum(row["cells"] for row in report["labels"]) == 140
    assert sum(row["kept"] for row in report["labels"]) == 124
    assert report["labels_of_the_map_not_seen"] == ["NK"]
    with pytest.raises(PathomixError, match=r"labels of no class: \(empty\) \(3 cells\), blob \(4 cells\);"):
        prepared(path, label_map=label_map, only={"keep": True}, unmapped="refuse")
    with pytest.raises(PathomixError, match="no cell has these values in keep: maybe;"):
        prepared(path, only={"keep": ["maybe", True]})


def test_a_map_in_a_file_is_an_input_and_leaves_no_path(planted: Make, stored: Store, tmp_path: Path) -> None:
    label_map = {"neuron": ["neuron"], "lymphocyte": ["T cell", "B cell"]}
    (tmp_path / "map.yaml").write_text(yaml.safe_dump({"classes": label_map}, sort_keys=False))
    path = stored(planted())
    found, _ = prepared(path, label_map=str(tmp_path / "map.yaml"))
    same(found, prepared(path, label_map=label_map)[0])
    assert list(found.uns["classes"]) == ["neuron", "lymphocyte"]
    assert "label_map" in json.loads(found.uns["pathomix"])["inputs"] and str(tmp_path) not in found.uns["pathomix"]


def test_too_few_classes(planted: Make, stored: Store) -> None:
    path = stored(planted())
    with pytest.raises(PathomixError, match=r"fewer than two classes have 5 cells: all \(150\);"):
        prepared(path, label_map={"all": ["T cell", "B cell", "neuron"]})
    with pytest.raises(PathomixError, match=r"fewer than two classes have 500 cells"):
        prepared(path, min_cells_per_class=500)
    with pytest.raises(PathomixError, match=r"no cell is left: label of no class \(150\);"):
        prepared(path, label_map={"a": ["x"], "b": ["y"]})


def test_a_class_of_one_donor_is_trained_and_named(planted: Make, stored: Store) -> None:
    data = planted()
    mine = (data.obs["cell_type"] != "neuron") | (data.obs["donor"] == "d3")
    found, report = prepared(stored(data[mine].copy()))
    assert report["classes_without_valid_cells"] == ["neuron"]
    assert report["groups"]["d3"]["part"] == "train" and set(found.obs["part"]) == {"train", "valid"}


def test_nobody_to_hold_out(planted: Make, stored: Store) -> None:
    data = planted()
    data.obs["donor"] = data.obs["cell_type"].astype(str)
    with pytest.raises(PathomixError, match=r"no donor can be held out .* B cell, T cell, neuron;"):
        prepared(stored(data))


def test_without_donors_the_report_says_what_that_costs(planted: Make, stored: Store) -> None:
    found, report = prepared(stored(planted()), group_key=None)
    assert report["split_by"] == "cell" and "one donor" in report["weakness"] and report["groups"] == {}
    shares = found.obs["part"].eq("valid").groupby(found.obs["class_label"], observed=True).mean()
    assert shares.between(0.17, 0.23).all()


def test_sampling_takes_other_cells_with_another_seed(planted: Make, stored: Store) -> None:
    path = stored(planted())
    first, second = (prepared(path, max_cells_per_class=20, seed=seed)[0] for seed in (0, 1))
    assert (first.obs["class_label"].value_counts() == 20).all()
    assert set(first.obs_names) != set(second.obs_names)


def test_missing_columns_are_named(planted: Make, stored: Store) -> None:
    path = stored(planted())
    for change in ({"label_key": "kind"}, {"group_key": "kind"}, {"only": {"kind": 1}}, {"gene_key": "kind"}):
        with pytest.raises(PathomixError, match="no column 'kind'"):
            prepared(path, **change)
    assert next(iter(prepared(path, gene_key="feature_name")[0].var_names)) == "S_G0"


def test_the_simulated_atlas(tmp_path: Path) -> None:
    simulation = {"atlas": {"cells": 400}, "cohorts": {"sim_a": {"patients": 20, "classes": ["a", "b"]}}}
    write_simulation(Parameters.from_dict(simulation), tmp_path)
    found, report = prepared(tmp_path / "atlas.h5ad", classes=list(TYPES))
    assert list(found.uns["classes"]) == list(TYPES) and found.uns["scale"] == "counts"
    assert report["cells"]["out"] == 400 and not report["classes_without_valid_cells"]
    assert report["cells"]["valid"] == pytest.approx(80, abs=20)
