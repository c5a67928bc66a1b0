from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pathomix.atlas.labels import assign_classes, read_label_map
from pathomix.core.errors import PathomixError

VALUES = pd.Series(pd.Categorical(["naive T", "B", None, "T", "blob"]))
MAP = {"T cell": ("T", "naive T", "never seen"), "B cell": ("B",)}


def test_many_labels_to_one_class() -> None:
    found = assign_classes(VALUES, MAP, None)
    assert found.classes == ("T cell", "B cell")
    assert found.codes.tolist() == [0, 1, -1, 0, -1]
    assert found.given.tolist() == ["naive T", "B", "", "T", "blob"]
    assert found.unseen == ("never seen",)


def test_without_a_map_labels_are_classes() -> None:
    found = assign_classes(VALUES, None, None)
    assert found.classes == ("B", "T", "blob", "naive T") and found.codes.tolist() == [3, 0, -1, 1, 2]
    assert assign_classes(pd.Series([10, 2, 10]), None, None).classes == ("10", "2")


def test_configured_classes_give_the_order_and_the_choice() -> None:
    assert assign_classes(VALUES, MAP, ["B cell", "T cell"]).codes.tolist() == [1, 0, -1, 1, -1]
    assert assign_classes(VALUES, None, ["T", "B"]).codes.tolist() == [-1, 1, -1, 0, -1]
    with pytest.raises(PathomixError, match="neuron"):
        assign_classes(VALUES, MAP, ["T cell", "neuron"])


def test_table_lists_every_label_with_its_cells() -> None:
    found = assign_classes(VALUES, MAP, None)
    table = found.table(np.array([True] * 4 + [False]), np.array([True, False, False, False, False]))
    assert table == [
        {"label": "", "class": None, "cells": 1, "kept": 0},
        {"label": "B", "class": "B cell", "cells": 1, "kept": 0},
        {"label": "T", "class": "T cell", "cells": 1, "kept": 0},
        {"label": "naive T", "class": "T cell", "cells": 1, "kept": 1},
    ]


def test_a_file_reads_like_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(yaml.safe_dump({"classes": {k: list(v) for k, v in MAP.items()}}))
    assert read_label_map(tmp_path / "map.yaml") == read_label_map(MAP) == MAP


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("classes: {T cell: [T], B cell: [B, T]}", "more than once: T;"),
        ("classes: {T cell: [T, T]}", "more than once: T;"),
        ("classes: {T: T cell}", "not a list of labels: T;"),
        ("classes: []", "no mapping"),
        ("T cell: [T]", "no mapping"),
        ("classes: {", "cannot be read"),
    ],
)
def test_maps_that_cannot_be_used(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "map.yaml").write_text(content)
    with pytest.raises(PathomixError, match=words):
        read_label_map(tmp_path / "map.yaml")
    with pytest.raises(PathomixError, match="cannot be read"):
        read_label_map(tmp_path / "none.yaml")


def test_the_suggested_map_has_the_seventeen_classes(root: Path) -> None:
    found = read_label_map(root / "resources" / "atlas_classes.yaml")
    assert len(found) == 17 and all(found.values())
    for label, name in {
        "CD8-positive, alpha-beta T cell": "T cell",
        "microglial cell": "macrophage or microglia",
        "platelet": "erythroid cell or megakaryocyte",
        "epithelial cell of proximal tubule": "epithelial cell",
        "oligodendrocyte precursor cell": "oligodendrocyte lineage",
    }.items():
        assert label in found[name]
    assert not {"cell", "leukocyte", "lymphocyte", "malignant cell"} & {x for v in found.values() for x in v}
