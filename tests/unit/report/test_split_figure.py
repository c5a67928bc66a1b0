from __future__ import annotations

import json

import matplotlib.image
import numpy as np
import pytest

from pathomix.core.errors import PathomixError
from pathomix.report.split_figure import describe, plot_splits, split_figure


def contents(patients, events, classes, sites, follow_up=20.0):
    return {
        "patients": patients, "events": events, "unknown_outcome": 0,
        "event_share": events / patients if patients else None, "classes": classes,
        "follow_up_quarters": [patients // 4] * 4, "median_follow_up_months": follow_up, "sites": sites,
        "without_site": 0,
    }  # fmt: skip


def audit(folds=3, two_sides=0, sites=30):
    table = {f"S{k:02d}": 40 - k for k in range(sites)}
    whole = contents(120, 40, {"a": 70, "b": 40, "unknown": 10}, table)
    parts = []
    for fold in range(folds):
        mine = {name: n for k, (name, n) in enumerate(table.items()) if k % folds == fold}
        test = contents(40, 10 + fold, {"a": 30, "b": 10}, mine, follow_up=None if fold == 1 else 15.0)
        parts.append({"fold": fold, "parts": {"train": whole, "test": test}})
    worst = {"event_share_points": -8.333, "largest_class_points": 16.7, "largest_follow_up_points": 1.0,
             "test_sites_on_two_sides": two_sides, "test_patients_on_two_sides": 3 * two_sides}  # fmt: skip
    return {"name": "toy", "scheme": {}, "cohort": whole, "folds": parts, "worst": worst, "relaxed": [],
            "unavoidable": [], "solver": [], "notes": []}  # fmt: skip


def panels(figure):
    return {key: axes for key, axes in zip(("events", "classes", "follow_up", "sites"), figure.axes, strict=True)}


def test_every_panel_shows_the_numbers_of_the_audit():
    drawn = panels(split_figure(audit(), "cv"))
    dots = [line.get_xydata()[0].tolist() for line in drawn["events"].lines if line.get_marker() == "o"]
    assert np.allclose(dots, [[0, 25.0], [1, 27.5], [2, 30.0]])
    assert {t.get_text() for t in drawn["events"].texts} == {"10", "11", "12", "40"}
    bars = [(round(b.get_x() + b.get_width() / 2), round(b.get_height(), 1)) for b in drawn["classes"].patches]
    assert bars[:4] == [(-1, 58.3), (0, 75.0), (1, 75.0), (2, 75.0)] and len(bars) == 12
    assert [t.get_text() for t in drawn["classes"].get_legend().get_texts()] == ["a", "b", "no class"]
    assert [t.get_text() for t in drawn["follow_up"].texts] == ["none"]


def test_sites_are_shown_largest_first_and_the_smallest_share_a_row():
    axes = panels(split_figure(audit(), "cv"))["sites"]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows[0] == "S00 (40)" and rows[-1] == "6 more (81)" and len(rows) == 25
    full = [p for p in axes.patches if p.get_facecolor()[:3] != (1.0, 1.0, 1.0)]
    # 24 rows of one site lie in one fold each, the shared row in all three.
    assert len(axes.patches) == 75 and len(full) == 24 + 3
    assert [t.get_text() for t in axes.get_xticklabels()] == ["all\n120", "0\n40", "1\n40", "2\n40"]


def test_the_only_fold_shows_all_its_parts():
    one = audit(folds=1)
    axes = panels(split_figure(one, "holdout"))["sites"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["all\n120", "train\n120", "test\n40"]


def test_cohorts_without_sites_outcomes_or_with_many_classes():
    bare = audit(sites=0)
    many = {f"class number {k}": 100 - k for k in range(9)}
    for part in (bare["cohort"], *(p for f in bare["folds"] for p in f["parts"].values())):
        part |= {"event_share": None, "median_follow_up_months": None, "classes": many}
    bare["worst"] |= {"event_share_points": None, "largest_class_points": None}
    drawn = panels(split_figure(bare, "cv"))
    assert drawn["sites"].texts[0].get_text() == "no patient has a site"
    assert len(drawn["classes"].get_legend().get_texts()) == 7
    assert "percentage points" not in describe(bare, "cv")


def test_the_words_say_what_was_given_up_and_which_sites_train_too():
    text = describe(audit() | {"relaxed": [{"rule": "sizes within 25 %", "why": "proved impossible"}]}, "site5")
    assert "No site of a test part also trains." in text and "off by 8.3 percentage points at most" in text
    assert text.endswith("Given up: sizes within 25 % (proved impossible).")
    assert "Up to 4 sites of a test part, with 12 of its patients, also train." in describe(audit(two_sides=4), "cv")


@pytest.mark.parametrize("folds", [3, 15])
def test_files_have_the_width_of_a_column_and_the_same_bytes_every_time(tmp_path, folds):
    (tmp_path / "a.json").write_text(json.dumps(audit(folds)))
    written = []
    for _ in range(2):
        plot_splits(tmp_path / "a.json", "cv", tmp_path)
        written.append([(tmp_path / f"splits_toy_cv.{kind}").read_bytes() for kind in ("png", "pdf")])
    assert written[0] == written[1]
    image = matplotlib.image.imread(tmp_path / "splits_toy_cv.png")
    assert image.shape[1] == 1050
    # Nothing runs into the edge: the outermost pixels are white.
    frame = np.concatenate([image[:3].ravel(), image[-3:].ravel(), image[:, :3].ravel(), image[:, -3:].ravel()])
    assert (frame == 1).all()


def test_another_file_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(PathomixError, match="is no audit of a split"):
        plot_splits(tmp_path / "a.json", "cv", tmp_path)
