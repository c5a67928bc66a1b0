"""Mixtures against the equation, a brute-force sum, and the law of their draws."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from pathomix.scgpt.binning import binned
from pathomix.smoothing.cells import AtlasCells
from pathomix.smoothing.mixing import Mixtures, compositions, draw, in_space, mix, unmixed
from pathomix.smoothing.parameters import SPACES, MixingSettings

ROWS = np.array([2, 3, 5, 7, 11, 13])
LABELS = np.array([0, 0, 0, 1, 0, 2, 0, 1, 0, 0, 0, 2, 0, 1])


def drawn(count: int, part: str = "train", rows: np.ndarray = ROWS, **given: object) -> Mixtures:
    return draw(np.arange(count), rows, LABELS, MixingSettings(**given), part)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{}, {"n_mix": 4}, {"sampling": "class_balanced"}])
def test_a_mixture_depends_on_its_number_alone(given: dict) -> None:
    whole = drawn(50, **given)
    numbers = np.array([49, 3, 3, 20])
    some = draw(numbers, ROWS, LABELS, MixingSettings(pairs=7, block_size=2, **given), "train")
    for ours, theirs in zip(some, whole.take(numbers), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for other in (drawn(50, "valid", **given), drawn(50, seed=1, **given)):
        assert (other.cells != whole.cells).any() and not np.isclose(other.weights, whole.weights).any(axis=1).all()


def test_other_random_streams_are_left_alone() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    drawn(5)
    assert np.array_equal(before, np.random.get_state()[1])


def test_pairs_are_uniform_and_so_is_their_weight() -> None:
    found = drawn(20_000)
    assert kstest(found.weights[:, 0], "uniform").pvalue > 0.01
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, atol=1e-12)
    joint = np.zeros((14, 14))
    np.add.at(joint, (found.cells[:, 0], found.cells[:, 1]), 1 / 20_000)
    # i and j are independent, the same cell included
    np.testing.assert_allclose(joint[np.ix_(ROWS, ROWS)], 1 / 36, atol=5 * np.sqrt(1 / 36 / 20_000))
    assert joint.sum() == pytest.approx(joint[np.ix_(ROWS, ROWS)].sum())
    assert abs(np.corrcoef(found.weights[:, 0], found.cells[:, 0])[0, 1]) < 0.03


def test_more_cells_have_dirichlet_weights() -> None:
    weights = drawn(20_000, n_mix=5).weights
    for column in weights.T:
        assert kstest(column, "beta", args=(1, 4)).pvalue > 0.001
    assert np.corrcoef(weights[:, 0], weights[:, 1])[0, 1] == pytest.approx(-1 / 4, abs=0.03)


def test_balanced_sampling_meets_classes_equally() -> None:
    rows = np.array([0, 1, 2, 4, 6, 8, 9, 10, 3, 5])  # eight of class 0, one each of the others
    share = np.bincount(LABELS[drawn(6000, rows=rows, sampling="class_balanced").cells].ravel(), minlength=3) / 12_000
    np.testing.assert_allclose(share, 1 / 3, atol=0.03)
    share = np.bincount(LABELS[drawn(6000, rows=rows).cells].ravel(), minlength=3) / 12_000
    np.testing.assert_allclose(share, [0.8, 0.1, 0.1], atol=0.03)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_mixing_against_loops(data: st.DataObject) -> None:
    cells, genes, size = (data.draw(st.integers(*bounds)) for bounds in ((2, 6), (1, 7), (2, 4)))
    generator = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    counts = generator.poisson(0.8, (cells, genes)) * generator.integers(1, 9, (cells, genes))
    labels = generator.integers(3, size=cells)
    mixtures = Mixtures(np.arange(5), generator.integers(cells, size=(5, size)), generator.dirichlet(np.ones(size), 5))
    space = data.draw(st.sampled_from(SPACES))
    expected, shares = np.zeros((5, genes)), np.zeros((5, 3))
    for row in range(5):
        for cell, weight in zip(mixtures.cells[row], mixtures.weights[row], strict=True):
            x = counts[cell].astype(float)
            if space in ("cp10k", "log1p") and x.sum():
                x = 1e4 * x / x.sum()
            if space == "log1p":
                x = np.log(1 + x)
            if space == "binned" and (x > 0).any():
                x[x > 0] = binned(x[x > 0], 51, "mid")
            expected[row] += weight * x
            shares[row, labels[cell]] += weight
    if space == "log1p":
        expected = np.exp(expected) - 1
    found = mix(in_space(scipy.sparse.csr_matrix(counts), space), mixtures, space)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(compositions(mixtures, labels[mixtures.cells], 3), shares, atol=1e-6)


@pytest.mark.parametrize("space", SPACES)
def test_endpoints_are_pure_cells_and_zeros_are_dropped(atlas: AtlasCells, space: str) -> None:
    values = in_space(atlas.counts, space)
    pure = mix(values, unmixed(np.array([4, 9])), space)
    ends = Mixtures(np.arange(2), np.array([[4, 9], [4, 9]]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    mixed = mix(values, ends, space)
    assert (pure != mixed).nnz == 0
    for row, cell in enumerate((4, 9)):
        assert set(mixed[row].indices) == set(atlas.counts[cell].indices)
    assert (mixed.data > 0).all()
    both = mix(values, ends._replace(weights=np.full((2, 2), 0.5)), space)
    assert set(both[0].indices) == set(atlas.counts[4].indices) | set(atlas.counts[9].indices)


def test_depth_bends_the_weight_of_counts_alone(atlas: AtlasCells) -> None:
    """Spec 2.2: of counts the effective weight is lambda D_i / (lambda D_i + (1 - lambda) D_j)."""
    depth = np.asarray(atlas.counts.sum(axis=1)).ravel()
    small, large = int(depth.argmin()), int(depth.argmax())
    pair = Mixtures(np.arange(1), np.array([[small, large]]), np.array([[0.6, 0.4]]))
    shares = atlas.counts.toarray()[[small, large]] / depth[[small, large], None]

    def weight(space: str) -> float:
        x = mix(in_space(atlas.counts, space), pair, space).toarray()[0]
        x = x / x.sum()
        return float(np.linalg.lstsq(shares.T, x, rcond=None)[0][0])

    assert weight("cp10k") == pytest.approx(0.6)
    expected = 0.6 * depth[small] / (0.6 * depth[small] + 0.4 * depth[large])
    assert weight("counts") == pytest.approx(expected) and expected < 0.5


def test_a_cell_without_counts_stays_empty() -> None:
    counts = scipy.sparse.csr_matrix(np.array([[0.0, 0.0], [3.0, 1.0]]))
    for space in SPACES:
        assert in_space(counts, space)[0].nnz == 0
