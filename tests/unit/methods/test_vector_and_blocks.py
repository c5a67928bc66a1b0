"""A vector and feature blocks of the same patient, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pathomix.cohort.cases import Cases
from pathomix.methods.vector_and_blocks import VectorAndBlocks


@pytest.fixture(scope="module")
def mixed(make_cohort: Callable[..., Cases]) -> Cases:
    """Vectors in another order than the patients; some patients lack one of the two."""
    cases = make_cohort(30, seed=2)
    assert cases.expression is not None
    generator = np.random.default_rng(0)
    order = generator.permutation(cases.ids[:25])
    vectors = pd.DataFrame(generator.normal(size=(25, 3)).astype(np.float32), order, ["a", "b", "c"])
    return replace(cases, expression=cases.expression.iloc[4:], vectors=vectors)


def z(frame: pd.DataFrame, training: pd.DataFrame) -> np.ndarray:
    values, known = frame.to_numpy(np.float64), training.to_numpy(np.float64)
    return (values - known.mean(axis=0)) / known.std(axis=0)


def test_rows_are_those_of_one_patient(mixed: Cases) -> None:
    assert mixed.expression is not None and mixed.vectors is not None
    train = mixed.subset(mixed.ids[:16])
    reader = VectorAndBlocks.fit(train, ["expression"], None, "slide_vector")
    index, rows = reader.rows(mixed)
    assert index.tolist() == mixed.ids[4:25].tolist()
    assert reader.sizes == (3, 30)
    vectors = z(mixed.vectors.loc[index], mixed.vectors.loc[mixed.ids[:16]])
    genes = z(mixed.expression.loc[index], mixed.expression.loc[mixed.ids[4:16]])
    assert rows.numpy() == pytest.approx(np.hstack([vectors, genes]), abs=1e-5)


def test_blocks_are_fitted_on_patients_with_a_vector(mixed: Cases) -> None:
    assert mixed.expression is not None
    with_vector = VectorAndBlocks.fit(mixed, ["expression"], None, "slide_vector").state()
    alone = VectorAndBlocks.fit(mixed, ["expression"], None, None)
    genes = mixed.expression.to_numpy(np.float64)
    assert with_vector["omic.mean"] == pytest.approx(genes[:21].mean(axis=0))
    assert alone.state()["omic.mean"] == pytest.approx(genes.mean(axis=0))
    assert alone.sizes == (0, 30)
    index, rows = alone.rows(mixed)
    assert index.tolist() == mixed.ids[4:].tolist() and rows.shape == (26, 30)
    assert not any(name.startswith("image.") for name in alone.state())
