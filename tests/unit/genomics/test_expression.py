from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from pathomix.core.errors import PathomixError
from pathomix.genomics.expression import Standardiser, pathway_means


def frame(values):
    values = np.asarray(values, float)
    return pd.DataFrame(values, columns=[f"g{j}" for j in range(values.shape[1])])


def test_pathway_means_against_a_loop():
    random = np.random.default_rng(0)
    expression = frame(random.normal(size=(7, 20)))
    expression.iloc[0, 3] = np.nan
    pathways = {f"p{k}": [f"g{j}" for j in random.choice(30, 6, replace=False)] for k in range(9)}
    pathways |= {"single": ["g3"], "absent": ["g25"]}
    means = pathway_means(expression, pathways)
    assert "absent" not in means and list(means)[-1] == "single"
    for name in means:
        genes = [g for g in pathways[name] if g in expression]
        for row in range(7):
            known = [v for v in expression.loc[row, genes] if v == v]
            expected = sum(known) / len(known) if known else np.nan
            np.testing.assert_allclose(means.loc[row, name], expected, rtol=1e-12)


def test_pathways_without_measured_genes():
    with pytest.raises(PathomixError, match="no pathway holds a measured gene"):
        pathway_means(frame([[1.0]]), {"p": ["x"]})


def test_standardiser_is_sklearn_on_the_training_part():
    random = np.random.default_rng(1)
    train, test = frame(random.normal(3, 2, (30, 8))), frame(random.normal(0, 9, (11, 8)))
    train.iloc[::4, 2] = np.nan
    test.iloc[0] = np.nan
    train["g5"] = 0.1
    model = Standardiser.fit(train)
    kept = [c for c in train if c != "g5"]
    assert list(model.columns) == kept
    imputer = SimpleImputer(strategy="median").fit(train[kept].to_numpy())
    scaler = StandardScaler().fit(imputer.transform(train[kept].to_numpy()))
    expected = scaler.transform(imputer.transform(test[kept].to_numpy()))
    np.testing.assert_allclose(model.transform(test).to_numpy(), expected, rtol=1e-10, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(arrays(float, (9, 4), elements=st.floats(-100, 100)), st.integers(-1000, 1000))
def test_test_rows_never_move_the_statistics(values, shift):
    values[:, 0] = np.arange(9)
    model = Standardiser.fit(frame(values))
    inside = model.transform(frame(values)).to_numpy()
    np.testing.assert_allclose(inside.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(inside.std(axis=0), 1, rtol=1e-6)
    moved = np.vstack([values, values[:1] + shift])
    np.testing.assert_array_equal(model.transform(frame(moved)).to_numpy()[:9], inside)


def test_columns_without_values_are_dropped():
    train = frame([[1.0, np.nan], [2.0, np.nan]])
    assert list(Standardiser.fit(train).columns) == ["g0"]
    with pytest.raises(PathomixError, match="no feature varies among 1 training patients"):
        Standardiser.fit(train.iloc[:1])


def test_state_rebuilds_it():
    train = frame(np.random.default_rng(2).normal(size=(6, 3)))
    model = Standardiser.fit(train)
    again = Standardiser.from_state(model.state())
    pd.testing.assert_frame_equal(again.transform(train), model.transform(train))
    with pytest.raises(PathomixError, match="features seen in training are absent: g1"):
        again.transform(train.drop(columns="g1"))
