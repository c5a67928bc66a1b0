from __future__ import annotations

from collections.abc import Callable

import anndata
import numpy as np
import pytest

from pathomix.atlas.parameters import AtlasParameters
from pathomix.atlas.quality import cell_metrics, failures, mitochondrial
from pathomix.core.errors import PathomixError

Make = Callable[..., anndata.AnnData]


def empty(data: anndata.AnnData, cell: int) -> None:
    data.X.data[data.X.indptr[cell] : data.X.indptr[cell + 1]] = 0
    data.X.eliminate_zeros()


def test_metrics_are_those_counted_by_hand(planted: Make) -> None:
    data = planted(30)
    empty(data, 4)
    truth = data.X.toarray().astype(np.float64)
    genes = data.var_names.to_numpy(object)
    found = cell_metrics([data.X[:11], data.X[11:]], genes, "MT-")
    assert mitochondrial(genes, "MT-").sum() == 2, "case does not matter"
    np.testing.assert_array_equal(found["genes"], (truth > 0).sum(axis=1))
    np.testing.assert_array_equal(found["total"], truth.sum(axis=1))
    share = truth[:, -2:].sum(axis=1) / np.maximum(truth.sum(axis=1), 1)
    np.testing.assert_allclose(found["mitochondrial"], share)
    assert found["mitochondrial"][4] == 0


def test_the_first_rule_that_fails_is_the_reason(planted: Make) -> None:
    data = planted(30)
    empty(data, 4)
    genes = data.var_names.to_numpy(object)
    metrics = cell_metrics([data.X], genes, "MT-")
    genes_limit, counts_limit = int(metrics["genes"].quantile(0.3)), float(metrics["total"].quantile(0.5))
    parameters = AtlasParameters("a", min_genes=genes_limit, min_counts=counts_limit, max_mitochondrial_share=0.05)
    reasons = failures(metrics, parameters)
    for cell, reason in enumerate(reasons):
        number, total, share = metrics.loc[cell, ["genes", "total", "mitochondrial"]]
        expected = (
            "all zero"
            if number == 0
            else f"fewer than {genes_limit} genes"
            if number < genes_limit
            else f"fewer than {counts_limit:g} counts"
            if total < counts_limit
            else "mitochondrial share above 0.05"
            if share > 0.05
            else ""
        )
        assert reason == expected
    assert len(set(reasons)) == 5, "every rule is met"


def test_no_limit_keeps_every_cell_but_empty_ones(planted: Make) -> None:
    data = planted(30)
    empty(data, 4)
    reasons = failures(cell_metrics([data.X], data.var_names.to_numpy(object), "MT-"), AtlasParameters("a"))
    assert reasons[4] == "all zero" and (np.delete(reasons, 4) == "").all()


def test_a_mitochondrial_limit_needs_mitochondrial_genes(planted: Make) -> None:
    data = planted(30)
    metrics = cell_metrics([data.X], data.var_names.to_numpy(object), "MTX")
    with pytest.raises(PathomixError, match="MTX"):
        failures(metrics, AtlasParameters("a", max_mitochondrial_share=0.1, mitochondrial_prefix="MTX"))
