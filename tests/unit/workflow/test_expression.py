from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pathomix.core.errors import PathomixError
from pathomix.workflow.cohorts import CohortPlan
from pathomix.workflow.expression import ExpressionPlan

SECTIONS: dict[str, Any] = {
    "atlases": {"cells": {"path": "{data}/cells.h5ad", "label_key": "type", "label_map": "maps/classes.yaml"}},
    "expression_encoders": {
        "scgpt": {"encoder": "scgpt", "atlas": "cells", "cohorts": ["a"], "weights": "{data}/scgpt", "optional": True},
        "pca": {"encoder": "pca", "atlas": "cells", "cohorts": ["a"], "dimensions": 8},
    },
    "smoothing": {"smooth": {"expression_encoder": "scgpt", "pairs": 9, "epochs": 3, "seed": 1}},
}


def plan_of(root: Path, **changes: Any) -> ExpressionPlan:
    config = {
        "results": "results/x", "data": "tables", "simulation": {}, "slides": {"shards": 1},
        "acquire": {"folder": "{data}", "locks": "locks"},
        "cohorts": {"a": {"description": "config/cohorts/simulated.yaml"}}, **SECTIONS, **changes,
    }  # fmt: skip
    return ExpressionPlan(config, root, CohortPlan(config, root))


def test_what_each_job_is_given(root: Path) -> None:
    plan = plan_of(root)
    assert plan.atlas_file("cells") == "tables/cells.h5ad"
    assert plan.label_map("cells") == ["maps/classes.yaml"]
    assert "path" not in plan.atlas_parameters("cells")
    assert plan.encoder_parameters("scgpt") == {"encoder": "scgpt", "weights": "tables/scgpt"}
    assert plan.weights("scgpt") == ["tables/scgpt"] and plan.weights("pca") == []
    assert plan.tables("pca") == ["results/x/cohort/a/expression.h5ad"]
    assert plan.mixing("smooth") == {"pairs": 9, "seed": 1}
    assert plan.training("smooth") == {"epochs": 3, "seed": 1}
    assert plan.raw_vectors("smooth", "a") == "results/x/expression_vectors/scgpt/a.h5ad"
    assert plan.encoder_file("smooth") == "results/x/expression_encoders/scgpt.safetensors"
    assert plan.smoothing_atlas("smooth") == "results/x/atlas/cells.h5ad"


def test_the_digest_is_of_the_one_encoder_that_is_loaded(root: Path) -> None:
    plan = plan_of(root)
    assert plan.code("embed_expression", "scgpt") != plan.code("embed_expression", "pca")


def test_rows_of_an_optional_encoder_without_a_copy_are_left_out(root: Path) -> None:
    plan = plan_of(root)
    for name in ("scgpt", "smooth"):
        assert plan.absent({"expression_vectors": name}) == "expression encoder scgpt has no copy at tables/scgpt"
    assert plan.absent({"expression_vectors": "pca"}) is None
    assert plan.absent({}) is None


@pytest.mark.parametrize(
    ("section", "name", "change", "message"),
    [
        ("atlases", "cells", {"label_kye": 1}, "atlases.cells: unknown parameters: label_kye"),
        ("expression_encoders", "pca", {"encoder": "ica"}, "expression_encoders.pca.encoder names .*ica"),
        ("expression_encoders", "pca", {"atlas": "none"}, "expression_encoders.pca.atlas names .*none"),
        ("expression_encoders", "pca", {"cohorts": ["z"]}, "expression_encoders.pca.cohorts names .*z"),
        ("expression_encoders", "pca", {"widht": 1}, "expression_encoders.pca: unknown parameters: widht"),
        ("smoothing", "smooth", {"pears": 1}, "smoothing.smooth: unknown parameters: pears"),
        ("smoothing", "smooth", {"expression_encoder": "z"}, "smoothing.smooth names .*z"),
    ],
)
def test_names_and_parameters_that_are_not_known(
    root: Path, section: str, name: str, change: dict[str, Any], message: str
) -> None:
    entries = {**SECTIONS[section], name: {**SECTIONS[section][name], **change}}
    with pytest.raises(PathomixError, match=message):
        plan_of(root, **{section: entries})


def test_one_name_for_two_kinds_of_vectors_is_refused(root: Path) -> None:
    with pytest.raises(PathomixError, match="both expression_encoders and smoothing: pca"):
        plan_of(root, smoothing={"pca": {"expression_encoder": "scgpt"}})
