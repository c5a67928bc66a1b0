from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.cohort.site_splits import follow_up_quarters
from pathomix.cohort.splits import make_splits
from pathomix.core.errors import PathomixError
from pathomix.core.schemas import SPLITS

SITES = {"scheme": "site_kfold", "folds": 3, "effort": 0.5}


def cohort(site, event, label=None, time=None):
    n = len(site)
    return pd.DataFrame(
        {
            "patient_id": [f"P{i:04d}" for i in range(n)],
            "time": np.arange(1.0, n + 1) if time is None else time,
            "event": pd.array(event, dtype="Int8"),
            "endpoint": "OS",
            "class_label": pd.Series(["a"] * n if label is None else label, dtype=object),
            "tissue_source_site": pd.Series(site, dtype=object), "age": np.nan, "sex": None, "stage": None,
            "grade": None,
        }
    )  # fmt: skip


def drawn_cohort(seed, patients, sites):
    random = np.random.default_rng(seed)
    weight = random.lognormal(0, 1, sites)
    site = random.choice([f"{s:02d}" for s in range(sites)], patients, p=weight / weight.sum())
    site[:sites] = [f"{s:02d}" for s in range(sites)]
    event = [0, 1, *random.choice([0, 1, None], patients - 2, p=[0.6, 0.3, 0.1])]
    label = random.choice(["a", "b", "c", None], patients, p=[0.5, 0.3, 0.1, 0.1])
    return cohort(site, event, label, random.exponential(30, patients) + 0.1)


def sides(splits, patients):
    """Sites of every fold and part."""
    site = patients.set_index("patient_id")["tissue_source_site"]
    named = splits.assign(site=site[splits["patient_id"]].to_numpy())
    return {key: set(group) for key, group in named.groupby(["fold", "part"])["site"]}


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.integers(30, 90), st.integers(6, 12), st.integers(2, 4))
def test_no_site_is_on_two_sides_and_everybody_is_tested_once(seed, patients, sites, folds):
    table = drawn_cohort(seed, patients, sites)
    splits, summary = make_splits(table, {**SITES, "folds": folds, "valid_fraction": 0.25})
    SPLITS.validate(splits)
    tested = splits.query("part == 'test'")
    assert sorted(tested["patient_id"]) == sorted(table["patient_id"]) and set(tested["fold"]) == set(range(folds))
    assert len(splits) == folds * patients
    held = sides(splits, table)
    by_patient = {r["fold"] for r in summary["relaxed"] if r["rule"] == "a valid part of whole sites"}
    for fold in range(folds):
        train, valid, test = (held.get((fold, part), set()) for part in ("train", "valid", "test"))
        assert not test & (train | valid) and train and valid
        assert fold in by_patient or not train & valid


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 3))
def test_neither_rows_nor_names_of_patients_matter(seed, shuffle):
    table = drawn_cohort(seed, 50, 8)
    splits, summary = make_splits(table, SITES)
    again, other = make_splits(table.sample(frac=1, random_state=shuffle), SITES)
    pd.testing.assert_frame_equal(splits, again)
    assert summary == other


def test_shares_are_kept_where_sites_allow():
    # Twelve sites of ten patients, four each with 4, 2 and 0 events: 20 % in every fold is possible.
    site = [f"S{s:02d}" for s in range(12) for _ in range(10)]
    event = [int(p < 4 - 2 * (s // 4)) for s in range(12) for p in range(10)]
    label = [("b" if s % 2 else "a") for s in range(12) for _ in range(10)]
    time = [1.0 + p for _ in range(12) for p in range(10)]
    splits, summary = make_splits(cohort(site, event, label, time), {**SITES, "folds": 2, "effort": 2})
    assert summary["solver"][0]["status"] == "OPTIMAL" and summary["solver"][0]["objective"] == 0
    assert [(r["patients"], r["events"]) for r in summary["sizes"] if r["part"] == "test"] == [(60, 12)] * 2
    assert summary["relaxed"] == [] and len(splits) == 240


def test_weights_decide_what_is_balanced():
    # Either both folds have 10 patients, or both have the same share of events.
    site = ["A"] * 10 + ["B"] * 6 + ["C"] * 4
    event = [1] * 5 + [0] * 5 + [1] * 6 + [0] * 4
    parameters = {**SITES, "folds": 2, "event_points": 100, "size_tolerance": 1.0, "effort": 2}

    def sizes(weights):
        rows = make_splits(cohort(site, event), {**parameters, "weights": weights})[1]["sizes"]
        return sorted((r["patients"], r["events"]) for r in rows if r["part"] == "test")

    assert sizes({"size": 10, "event": 1, "follow_up": 0}) == [(10, 5), (10, 6)]
    assert sizes({"size": 1, "event": 0, "follow_up": 0}) == [(10, 5), (10, 6)]


def test_a_site_larger_than_a_fold_is_split_all_the_same_and_named():
    site = ["big"] * 60 + [f"s{k}" for k in range(8) for _ in range(5)]
    splits, summary = make_splits(cohort(site, [0, 1] * 50), {**SITES, "folds": 5, "effort": 2})
    assert len(splits) == 500
    text = "site big has 60 of 100 patients, more than a fold of 20.0: its fold has at least 40.0 patients too many"
    assert summary["unavoidable"] == [text]
    (relaxed,) = summary["relaxed"]
    assert relaxed["rule"].startswith("sizes within 25 %") and relaxed["proved"] and relaxed["fold"] is None
    assert relaxed["why"] == "proved impossible together with the rule on events"


def test_a_fold_without_event_is_named_with_the_proof():
    site = [f"s{k}" for k in range(6) for _ in range(5)]
    splits, summary = make_splits(cohort(site, [1] * 10 + [0] * 20), {**SITES, "effort": 2})
    assert (
        "events at 2 sites only (s0, s1): at least 1 of 3 test parts have none; set folds: 2" in summary["unavoidable"]
    )
    assert summary["test_without_event"] and len(splits) == 90
    assert [r["proved"] for r in summary["relaxed"]] == [True]
    assert "and one in every part is given up: proved impossible" in " ".join(summary["notes"])


def test_small_class_is_named_as_in_every_scheme():
    label = ["a"] * 28 + ["rare"] * 2
    site = [f"s{k}" for k in range(6) for _ in range(5)]
    _, summary = make_splits(cohort(site, [0, 1] * 15, label), SITES)
    assert any("class rare has 2 patients (P0028, P0029), fewer than the 3 folds" in u for u in summary["unavoidable"])


def test_cohorts_that_cannot_be_split_by_site():
    table = cohort(["A", "B", "B", "A"] * 5, [0, 1] * 10)
    with pytest.raises(PathomixError, match="2 tissue source sites cannot fill 3 folds: A, B; set folds: 2"):
        make_splits(table, SITES)
    with pytest.raises(PathomixError, match="1 tissue source sites cannot fill 3 folds: A; use scheme stratified"):
        make_splits(cohort(["A"] * 20, [0, 1] * 10), SITES)
    with pytest.raises(PathomixError, match="no column tissue_source_site; run build_cohort again"):
        make_splits(table.drop(columns="tissue_source_site"), SITES)
    missing = table.assign(tissue_source_site=["A", None, " "] + ["B"] * 17)
    with pytest.raises(PathomixError, match=r"2 of 20 patients have no tissue source site: P0001, P0002; name its col"):
        make_splits(missing, SITES)
    with pytest.raises(PathomixError, match=r"weights\.size"):
        make_splits(table, {**SITES, "weights": {"size": -1}})


def test_a_valid_part_of_whole_sites_is_near_its_share():
    table = drawn_cohort(3, 200, 20)
    splits, summary = make_splits(table, {**SITES, "valid_fraction": 0.2, "effort": 2})
    counts = splits.groupby(["fold", "part"]).size()
    for fold in range(3):
        share = counts[fold, "valid"] / (counts[fold, "valid"] + counts[fold, "train"])
        assert 0.15 <= share <= 0.25
    assert [e["problem"] for e in summary["solver"]] == ["folds", "valid", "valid", "valid"]


@pytest.mark.parametrize(
    ("site", "event", "why"),
    [
        (["A"] * 10 + ["B"] * 10, [0, 1] * 10, "all training patients are of site B"),
        (["A"] * 12 + ["B"] * 8 + ["C"] * 8, [0, 1] * 14, "the best one found has 8 of"),
    ],
)
def test_a_valid_part_is_drawn_by_patient_where_sites_make_none(site, event, why):
    splits, summary = make_splits(
        cohort(site, event), {**SITES, "folds": 2, "valid_fraction": 0.2, "size_tolerance": 1.0, "event_points": 100}
    )
    assert set(splits.query("fold == 0")["part"]) == {"train", "valid", "test"}
    assert any(r["rule"] == "a valid part of whole sites" and why in r["why"] for r in summary["relaxed"])


def test_quarters_are_cut_at_observed_times():
    time = pd.Series([5.0, 1.0, 2.0, 3.0, 4.0, np.nan, 6.0, 7.0, 8.0])
    assert follow_up_quarters(time).tolist() == [2, 0, 0, 1, 1, pd.NA, 2, 3, 3]
    assert follow_up_quarters(pd.Series([1.0] * 8)).nunique() == 1
    assert follow_up_quarters(pd.Series([1.0, 2.0])).tolist() == [0, 0]
