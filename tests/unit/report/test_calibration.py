"""Calibration figure: points and intervals are the rows of the table, and every method is in some panel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from pathomix.core.provenance import Provenance
from pathomix.core.tables import write_table
from pathomix.evaluate.calibration import CALIBRATION, D_CALIBRATION
from pathomix.report.calibration import PER_PANEL, calibration_figure, describe, plot_calibration
from pathomix.report.layout import Layout
from pathomix.report.style import method_looks

METHODS = ("clinical", "late_fusion", "oracle")


def tables(methods: tuple[str, ...] = METHODS, cohorts: tuple[str, ...] = ("north", "south")) -> list[pd.DataFrame]:
    random = np.random.default_rng(3)
    groups, tests = [], []
    for cohort in cohorts:
        for method in methods:
            key = {"method": method, "cohort": cohort, "scheme": "cv"}
            predicted = np.sort(random.uniform(0.1, 0.95, 5))
            for group, value in enumerate(predicted):
                seen = float(np.clip(value + random.normal(0, 0.1), 0.05, 0.95))
                ends = {"observed_lower": seen - 0.05, "observed_upper": seen + 0.04}
                row = {**key, "group": group, "horizon": 36.4, "n_patients": 20, "n_events": 9, "predicted": value}
                groups.append({**row, "observed": seen, **ends, "reason": None})
            tests.append({**key, "statistic": 9.0, "degrees": 9, "p": 0.031, "n_patients": 100, "reason": None})
    return [pd.DataFrame(groups), pd.DataFrame(tests)]


def layout(**labels: str) -> Layout:
    return Layout.of(["south", "north"], labels)


def test_points_and_intervals_are_the_rows_of_the_table() -> None:
    groups, tests = tables()
    order = ["other", "late_fusion", "clinical"]
    figure = calibration_figure(groups, tests, layout(clinical="Clinical", late_fusion="Fusion"), order)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["south", "north"]
    looks = method_looks(METHODS, order)
    for axes, cohort in zip(figure.axes, ("south", "north"), strict=True):
        assert axes.get_xlabel() == "Predicted survival at 36 months"
        diagonal, *lines = axes.lines
        assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
        for method, line, bars in zip(METHODS[:2], lines, axes.collections, strict=True):
            mine = groups[(groups["cohort"] == cohort) & (groups["method"] == method)]
            assert list(line.get_xdata()) == pytest.approx(list(mine["predicted"]))
            assert list(line.get_ydata()) == pytest.approx(list(mine["observed"]))
            assert to_hex(line.get_color()) == to_hex(looks[method][0])
            ends = np.array([segment[:, 1] for segment in bars.get_segments()])
            assert ends == pytest.approx(mine[["observed_lower", "observed_upper"]].to_numpy())
        words = [text.get_text().replace("\xa0", " ") for text in axes.get_legend().get_texts()]
        assert words == ["Clinical (p = 0.031)", "Fusion (p = 0.031)"]


def test_many_methods_go_on_in_further_panels_and_nothing_overlaps() -> None:
    methods = tuple(f"method_{i}_with_a_rather_long_name_that_has_to_be_wrapped" for i in range(9))
    groups, tests = tables(methods, ("north",))
    figure = calibration_figure(groups, tests, layout())
    assert [axes.get_title(loc="left") for axes in figure.axes] == [f"north, {i} of 3" for i in (1, 2, 3)]
    assert all(len(axes.get_legend().get_texts()) <= PER_PANEL for axes in figure.axes)
    assert sum(len(axes.lines) - 1 for axes in figure.axes) == 9
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    assert not any(one.overlaps(two) for number, one in enumerate(boxes) for two in boxes[:number])
    assert all(figure.bbox.y0 - 1 <= box.y0 and box.x1 <= figure.bbox.x1 + 1 for box in boxes)


def test_what_is_missing_is_said_and_never_drawn_as_0() -> None:
    groups, tests = tables(("clinical", "late_fusion"), ("north",))
    lost = groups["method"] == "late_fusion"
    groups.loc[lost, ["predicted", "observed", "observed_lower", "observed_upper"]] = np.nan
    groups.loc[lost, "reason"] = "the risk is constant"
    groups.loc[0, ["observed", "observed_lower", "observed_upper"]] = np.nan
    tests.loc[tests["method"] == "clinical", ["p", "reason"]] = [np.nan, "fewer than 50 patients"]
    (axes,) = calibration_figure(groups, tests, layout()).axes
    assert [len(line.get_xdata()) for line in axes.lines] == [2, 4]
    assert [text.get_text().replace("\xa0", " ") for text in axes.get_legend().get_texts()] == ["clinical (not tested)"]
    text = describe(groups, tests, layout())
    assert "late fusion on north: the risk is constant." in text
    assert "D-calibration not tested, fewer than 50 patients." in text
    nothing = calibration_figure(groups[lost], tests, layout())
    assert not nothing.axes and "No row" in nothing.texts[0].get_text()


def test_written_twice_the_files_are_equal(tmp_path: Path) -> None:
    paths = []
    for schema, frame in zip((CALIBRATION, D_CALIBRATION), tables(), strict=True):
        paths.append(tmp_path / f"{schema.name}.parquet")
        write_table(frame, schema, paths[-1], Provenance(schema.name))
    for name in ("one", "two"):
        plot_calibration(*paths, ["north", "south"], {"clinical": "Clinical"}, tmp_path / name)
    for kind in ("pdf", "png"):
        assert (tmp_path / f"one/calibration.{kind}").read_bytes() == (
            tmp_path / f"two/calibration.{kind}"
        ).read_bytes()
    with Image.open(tmp_path / "one/calibration.png") as image:
        assert "north (cv): survival at 36 months. Clinical: D-calibration p = 0.031." in image.info["Description"]
        assert "racle" not in image.info["Description"]
