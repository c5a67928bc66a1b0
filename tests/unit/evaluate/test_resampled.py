"""Tests over folds against hand calculation, enumeration and another implementation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pathomix.evaluate.predictions import read_runs
from pathomix.evaluate.resampled import NOT_OVERLAPPING, corrected_t, resampled_tests, signed_rank
from pathomix.evaluate.schemas import SCORES
from pathomix.evaluate.scores import Parameters, evaluate

DIFFERENCES = st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=20).filter(lambda d: np.ptp(d) > 1e-3)


def test_the_corrected_t_is_the_hand_calculation():
    # mean 0.02, var = (0.0001 + 0.0001 + 0) / 2 = 0.0001, k = 3, ratio 1/4: t = 0.02 / sqrt(7/12 * 0.0001).
    t, p = corrected_t([0.01, 0.03, 0.02], 0.25)
    assert t == pytest.approx(0.02 / (0.01 * np.sqrt(7 / 12)), rel=1e-12) == pytest.approx(2.618614682831909)
    # Two degrees of freedom: p = 1 - t / sqrt(2 + t^2), in closed form.
    assert p == pytest.approx(1 - t / np.sqrt(2 + t**2), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(DIFFERENCES, st.floats(0.01, 2))
def test_without_overlap_it_is_the_paired_t_test_and_with_it_the_interval_is_wider(differences, ratio):
    expected = stats.ttest_1samp(differences, 0)
    t, p = corrected_t(differences, 0.0)
    assert (t, p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-6, abs=1e-12)
    corrected, larger = corrected_t(differences, ratio)
    assert corrected == pytest.approx(t / np.sqrt(1 + ratio * len(differences)), rel=1e-9)
    assert larger >= p


def enumerated(differences) -> float:
    """Two-sided signed-rank p by all sign patterns of the ranks."""
    d = np.asarray(differences)
    ranks = stats.rankdata(np.abs(d))
    observed = abs(ranks[d > 0].sum() - ranks.sum() / 2)
    sums = [abs(ranks[np.array(signs)].sum() - ranks.sum() / 2) for signs in product([True, False], repeat=len(d))]
    return float(np.mean(np.array(sums) >= observed - 1e-9))


def test_the_signed_rank_p_is_the_share_of_sign_patterns_at_least_as_extreme():
    for seed in range(5):
        d = np.random.default_rng(seed).normal(0.3, 1, 9)
        assert signed_rank(d) == pytest.approx(enumerated(d), rel=1e-9)
    tied = [0.0, 0.1, 0.1, -0.2, 0.3, 0.4, 0.5]
    w, n = 3.0, 6  # ranks of the non-zero sizes 1.5 1.5 3 4 5 6, one tie of two
    z = (w - n * (n + 1) / 4) / np.sqrt(n * (n + 1) * (2 * n + 1) / 24 - (2**3 - 2) / 48)
    assert signed_rank(tied) == pytest.approx(2 * stats.norm.cdf(z), rel=1e-9)


@pytest.mark.parametrize(
    ("differences", "n_train", "overlapping", "reason", "rank_test"),
    [
        ([0.1, 0.2, 0.3], 80, False, NOT_OVERLAPPING, False),
        ([0.1, 0.2], 80, True, "2 folds are too few for a test over folds", False),
        ([0.1, 0.1, 0.1 + 1e-16], 80, True, "the difference is the same in every fold", False),
        ([0.1, 0.2, 0.4], 0, True, "no corrected t-test: without predictions of the training part", True),
    ],
)
def test_what_cannot_be_tested_is_missing_with_its_reason(differences, n_train, overlapping, reason, rank_test):
    found = resampled_tests(differences, 20, n_train, overlapping)
    assert np.isnan([found.t, found.t_p, found.ratio]).all() and found.reason.startswith(reason)
    assert np.isfinite(found.wilcoxon_p) == rank_test


def test_under_no_difference_the_correction_keeps_its_level_where_the_plain_test_does_not():
    # Two rows of equal truth scored on 15 random fifths of 100 patients: a fixed pool plays the training overlap.
    generator = np.random.default_rng(0)
    plain, corrected = 0, 0
    for _ in range(300):
        pool = generator.normal(size=100)
        d = [pool[generator.permutation(100)[:20]].mean() for _ in range(15)]
        plain += stats.ttest_1samp(d, 0).pvalue < 0.05
        corrected += corrected_t(d, 0.25)[1] < 0.05
    assert plain / 300 > 0.15 and corrected / 300 < 0.09


def monte_carlo(row, frame):
    """Redraw the parts of a fold: a quarter is tested, patients come back."""
    ids = sorted(frame["patient_id"].unique())
    tested = np.random.default_rng([3, row["fold"]]).permutation(ids)[: len(ids) // 4]
    return frame.assign(part=np.where(frame["patient_id"].isin(tested), "test", "train"))


def test_rows_of_repeated_splits_are_compared_over_folds(hand_made, tmp_path):
    cohorts = {"north": hand_made.cohort_table("north", 60, 1)}

    def change(row, frame):
        # `a` cannot predict ten patients: they count neither as test nor as training patients of the pair.
        lost = frame["patient_id"].isin(sorted(frame["patient_id"].unique())[:10]) & (row["method"] == "a")
        return monte_carlo(row, frame.assign(risk=frame["risk"].mask(lost)))

    indices = hand_made.write_study(tmp_path, {"a": 0.5, "b": 0.7}, cohorts, folds=8, seeds=2, change=change)
    folds, scores = evaluate(read_runs(indices, tmp_path), Parameters(bootstrap=100, reference="b"))
    SCORES.validate(scores)
    grid = folds.query("metric == 'c_index'").groupby(["method", "fold"])["value"].mean()
    d = (grid["a"] - grid["b"]).to_numpy()
    ids = sorted(cohorts["north"]["patient_id"])
    sizes = [set(np.random.default_rng([3, fold]).permutation(ids)[:15]) - set(ids[:10]) for fold in range(8)]
    n_test = np.mean([len(tested) for tested in sizes])
    ratio = n_test / (50 - n_test)
    row = scores.query("metric == 'c_index' and method == 'a'").iloc[0]
    assert row["test_ratio"] == pytest.approx(ratio)
    expected = d.mean() / np.sqrt((1 / 8 + ratio) * d.var(ddof=1))
    assert row["resampled_t"] == pytest.approx(expected)
    assert row["resampled_p"] == pytest.approx(2 * stats.t.sf(abs(expected), 7))
    assert row["wilcoxon_p"] == pytest.approx(enumerated(d)) and row["test_reason"] is None
    base = scores.query("metric == 'c_index' and method == 'b'").iloc[0]
    assert base[["resampled_t", "resampled_p", "wilcoxon_p", "test_ratio"]].isna().all()


def test_a_patient_that_one_seed_predicts_counts(hand_made, tmp_path):
    cohorts = {"north": hand_made.cohort_table("north", 60, 1)}

    def change(row, frame):
        frame = monte_carlo(row, frame)
        few = frame["patient_id"].isin(sorted(frame["patient_id"].unique())[:20])
        return frame.assign(risk=frame["risk"].mask(few & (frame["part"] == "train") & (row["seed"] == 0)))

    indices = hand_made.write_study(tmp_path, {"a": 0.5, "b": 0.7}, cohorts, folds=4, seeds=2, change=change)
    _, scores = evaluate(read_runs(indices, tmp_path), Parameters(bootstrap=100, reference="b"))
    assert scores.query("metric == 'c_index' and method == 'a'")["test_ratio"].item() == pytest.approx(15 / 45)


def test_folds_that_share_no_patient_are_not_tested(hand_made, tmp_path):
    cohorts = {"north": hand_made.cohort_table("north", 48, 1)}
    indices = hand_made.write_study(tmp_path, {"a": 0.5, "b": 0.9}, cohorts, folds=4)
    _, scores = evaluate(read_runs(indices, tmp_path), Parameters(bootstrap=100, reference="b"))
    rows = scores[scores["method"] == "a"]
    assert (rows["test_reason"] == NOT_OVERLAPPING).all() and rows["resampled_p"].isna().all()
    assert rows["difference"].notna().all()
