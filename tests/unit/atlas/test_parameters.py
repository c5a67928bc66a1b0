from __future__ import annotations

from typing import Any

import pytest

from pathomix.atlas.parameters import AtlasParameters
from pathomix.core.errors import PathomixError


def test_defaults_are_those_of_the_spec() -> None:
    found = AtlasParameters.of({"label_key": "cell_type", "classes": ["a", "b"]}, "x")
    assert (found.min_cells_per_class, found.max_cells_per_class, found.unmapped) == (500, 20000, "drop")
    assert found.classes == ("a", "b")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "label_key"),
        ({"label_keys": "a"}, "label_keys"),
        ({"unmapped": "keep"}, "unmapped"),
        ({"counts": "obsm/counts"}, "counts"),
        ({"scale": "log2"}, "scale"),
        ({"valid_fraction": 1.0}, "valid_fraction"),
        ({"min_cells_per_class": 1}, "min_cells_per_class"),
        ({"min_cells_per_class": 10, "max_cells_per_class": 9}, "max_cells_per_class"),
        ({"max_mitochondrial_share": 20.0}, "max_mitochondrial_share"),
        ({"min_genes": -1}, "min_genes"),
        ({"min_counts": -1.0}, "min_counts"),
        ({"scale": "linear", "min_counts": 5.0}, "min_counts needs counts"),
        ({"mitochondrial_prefix": ""}, "mitochondrial_prefix"),
        ({"classes": ["a", "a"]}, "classes"),
        ({"classes": ["a"]}, "classes"),
    ],
)
def test_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(PathomixError, match=words):
        AtlasParameters.of({"label_key": "a", **given} if given else given, "x")


def test_a_layer_may_hold_the_counts() -> None:
    assert AtlasParameters.of({"label_key": "a", "counts": "layers/umi"}, "x").counts == "layers/umi"
