"""The validation of a smoothing as `smoothing.validation` writes it, drawn and in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image

from pathomix.core.errors import PathomixError
from pathomix.core.files import write_json
from pathomix.core.provenance import Provenance
from pathomix.core.tables import write_table
from pathomix.nn.smoother import Smoother
from pathomix.report.smoothing import describe_validation, plot_validation, read_validation, validation_figure
from pathomix.smoothing.files import VALIDATION
from pathomix.smoothing.mixing import Mixtures
from pathomix.smoothing.pool import Rows
from pathomix.smoothing.validation import Held, validate

CLASSES = ("B", "T", "endothelial", "never seen")
CELLS, MIXTURES, DIM = 40, 500, 6


@dataclass(frozen=True)
class Written:
    report: Path
    table: Path


def rows(generator: np.random.Generator, cells: np.ndarray, weights: np.ndarray) -> Rows:
    """Mixtures of cells whose profile is their class's, with noise; the last class has no cell."""
    labels = np.arange(CELLS)[cells] % 3
    targets = np.zeros((len(cells), len(CLASSES)), np.float32)
    np.add.at(targets, (np.arange(len(cells))[:, None], labels), weights)
    profiles = np.eye(len(CLASSES), DIM) * 3
    embeddings = (targets @ profiles + generator.normal(0, 0.3, (len(cells), DIM))).astype(np.float32)
    return Rows(embeddings, Mixtures(np.arange(len(cells)), cells, weights), labels, targets)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """What training writes, from an untrained smoother: what it predicts does not matter here."""
    generator = np.random.default_rng(0)
    weights = generator.random(MIXTURES).astype(np.float32)[:, None]
    pairs = generator.integers(CELLS, size=(MIXTURES, 2))
    mixtures = rows(generator, pairs, np.hstack([weights, 1 - weights]))
    single = rows(generator, np.arange(CELLS)[:, None], np.ones((CELLS, 1), np.float32))
    torch.manual_seed(0)
    model = Smoother(DIM, len(CLASSES), 5, 3).eval()
    report, table = validate(model, Held(mixtures, single, mixtures), CLASSES, "mse")
    folder = tmp_path_factory.mktemp("smoothing")
    write_json(folder / "validation.json", report | {"donors_held_out": 4})
    write_table(table, VALIDATION, folder / "validation.parquet", Provenance("smoothing"))
    return Written(folder / "validation.json", folder / "validation.parquet")


def changed(written: Written, path: Path, **more: Any) -> Path:
    """The report with some of its measures `after` replaced."""
    report = json.loads(written.report.read_text())
    report["after"] |= more
    report["reasons"]["after"] |= {name: "not known" for name, value in more.items() if value is None}
    write_json(path, report)
    return path


def test_bars_and_points_are_the_numbers_of_report_and_table(written: Written) -> None:
    report, table = read_validation(written.report), pd.read_parquet(written.table)
    mixtures = table[table["kind"] == "mixture"]
    figure = validation_figure("ours", report, mixtures)
    bars, panels = figure.axes[:3], figure.axes[3:]
    for axes, measure in zip(bars, ("composition_r2", "weight_spearman", "linearity_gap"), strict=True):
        heights = [patch.get_height() for patch in axes.patches]
        assert heights == [report["before"][measure], report["after"][measure]]
        assert [text.get_text() for text in axes.texts] == [f"{height:.3f}" for height in heights]
        assert axes.get_ylim()[0] <= min(heights) and axes.get_ylim()[1] >= max(heights)
    assert [axes.get_title(loc="left") for axes in panels] == list(CLASSES)
    for axes, name in zip(panels[:3], CLASSES, strict=False):
        before, after = (line for line in axes.lines if line.get_marker() == "o")
        assert to_hex(before.get_color()) != to_hex(after.get_color()) and before.get_zorder() <= after.get_zorder()
        holding = mixtures[mixtures[f"target_{name}"] > 0]
        assert list(after.get_xdata())[: len(holding)] == list(holding[f"target_{name}"])[:300]
        drawn = mixtures.set_index(f"target_{name}")
        for line, prefix in ((before, "raw_"), (after, "predicted_")):
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True):
                assert np.isclose(drawn.loc[[x], f"{prefix}{name}"], y).any()
        assert len(after.get_xdata()) == min(len(holding), 300) + min(MIXTURES - len(holding), 60)
        each = [report[when]["composition_r2_by_class"][name] for when in ("before", "after")]
        assert axes.texts[0].get_text() == f"$R^2$ {each[0]:.2f} \N{RIGHTWARDS ARROW} {each[1]:.2f}"
    assert "missing" in panels[3].texts[0].get_text()


def test_every_smoothed_prediction_is_inside_its_panel(written: Written) -> None:
    report, table = read_validation(written.report), pd.read_parquet(written.table)
    mixtures = table[table["kind"] == "mixture"].copy()
    mixtures.loc[mixtures.index[0], "predicted_T"] = 1.9
    panel = validation_figure("ours", report, mixtures).axes[4]
    assert panel.get_ylim()[1] > 1.89


def test_a_missing_measure_is_written_as_missing_with_its_reason(written: Written, tmp_path: Path) -> None:
    path = changed(written, tmp_path / "v.json", linearity_gap=None, weight_spearman=-0.5)
    report = read_validation(path)
    table = pd.read_parquet(written.table)
    figure = validation_figure("ours", report, table[table["kind"] == "mixture"])
    gap, spearman = figure.axes[2], figure.axes[1]
    assert [text.get_text() for text in gap.texts] == [f"{report['before']['linearity_gap']:.3f}", "missing"]
    assert len(gap.patches) == 1 and spearman.get_ylim()[0] < -0.5
    words = describe_validation("ours", report)
    assert f"{report['before']['linearity_gap']:.3f} to missing" in words
    assert "Missing: composition_r2_by_class: not in any held-out mixture, or not varying: never seen; " in words
    assert "linearity_gap: not known." in words and "of 4 held-out donors" in words
    assert "donors not being known" in describe_validation("ours", report | {"donors_held_out": 0})


def test_written_twice_the_files_are_equal(written: Written, tmp_path: Path) -> None:
    for name in ("one", "two"):
        plot_validation("ours", written.report, written.table, tmp_path / name)
    for suffix in (".pdf", ".png"):
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
    with Image.open(tmp_path / "one.png") as image:
        assert image.info["Title"] == "Smoothing: ours"
        assert image.info["Description"] == describe_validation("ours", read_validation(written.report))
        assert image.size[0] == 2160


def test_a_report_of_something_else_and_the_table_of_another_smoothing_are_refused(
    written: Written, tmp_path: Path
) -> None:
    (tmp_path / "v.json").write_text("{}")
    with pytest.raises(PathomixError, match=r"not a validation report .* run train_smoother again"):
        plot_validation("ours", tmp_path / "v.json", written.table, tmp_path / "x")
    table = pd.read_parquet(written.table)
    for other, message in (
        (table.drop(columns="raw_T"), "raw_T"),
        (table.iloc[1:], "39 cells, not 40"),
        (table.iloc[:-1], "499"),
    ):
        write_table(other, VALIDATION, tmp_path / "v.parquet", Provenance("smoothing"))
        with pytest.raises(PathomixError, match=message):
            plot_validation("ours", written.report, tmp_path / "v.parquet", tmp_path / "x")
