"""Forest plot: what is drawn are the rows of the table, and labels of any length leave room for it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from pathomix.report.forest import describe, forest_figure
from pathomix.report.layout import Layout
from pathomix.report.style import COLUMN, method_looks


def rows(cohorts=("north",), methods=("ridge", "fusion", "oracle"), reference="ridge", resolvable=0.06):
    random = np.random.default_rng(5)
    found = []
    for cohort in cohorts:
        for method in methods:
            mean = random.uniform(0.55, 0.8)
            found.append({
                "metric": "c_index", "cohort": cohort, "scheme": "cv", "method": method, "mean": mean,
                "lower": mean - 0.05, "upper": mean + 0.04, "half_width": 0.07, "resolvable": resolvable,
                "reference": None if method == reference else reference,
            })  # fmt: skip
    return pd.DataFrame(found)


def test_points_lines_and_bracket_are_the_rows():
    table = rows()
    order = ["a", "fusion", "ridge"]
    (axes,) = forest_figure(table, "c_index", Layout.of(["north"], {"fusion": "Fusion"}), order).axes
    known = table.set_index("method")
    places = {text.get_text(): place for place, text in enumerate(axes.get_yticklabels())}
    assert list(places) == ["Fusion", "ridge", "Oracle"]
    looks = method_looks(["fusion", "ridge"], order)
    for method, label in (("fusion", "Fusion"), ("ridge", "ridge")):
        mine = [line for line in axes.lines if to_hex(line.get_color()) == to_hex(looks[method][0])]
        ends = sorted(tuple(np.round(line.get_xdata(), 6)) for line in mine)
        row = known.loc[method]
        expected = [(row["mean"],), (row["lower"], row["upper"]), (row["mean"] - 0.07, row["mean"] + 0.07)]
        assert ends == sorted(tuple(np.round(values, 6)) for values in expected)
        assert {place for line in mine for place in line.get_ydata()} == {places[label]}
    bracket = next(line for line in axes.lines if list(line.get_ydata()) == [1.0, 1.0] and not line.get_clip_on())
    centre = known.loc["ridge", "mean"]
    assert list(bracket.get_xdata()) == pytest.approx([centre - 0.06, centre + 0.06])
    assert "north resolves differences of 0.060 or more." in describe(table, "c_index")


@pytest.mark.parametrize("table", [rows(resolvable=np.nan), rows(reference=None)])
def test_without_a_reference_or_a_resolvable_difference_there_is_no_bracket(table):
    (axes,) = forest_figure(table, "c_index", Layout.of(["north"], {})).axes
    assert all(line.get_clip_on() for line in axes.lines)
    assert "bracket" not in describe(table, "c_index")


def test_long_labels_are_wrapped_and_stay_apart_at_column_width():
    long = {"ridge": "Ridge over all molecular blocks, the age and whatever else there is", "fusion": "Late fusion"}
    figure = forest_figure(rows(), "c_index", Layout.of(["north"], long))
    (axes,) = figure.axes
    assert figure.get_figwidth() == COLUMN and axes.get_position().width * COLUMN > 1.5
    figure.draw_without_rendering()
    labels = [text.get_window_extent() for text in axes.get_yticklabels()]
    assert min(box.x0 for box in labels) >= 0
    assert not any(one.overlaps(two) for one, two in pairwise(labels))
