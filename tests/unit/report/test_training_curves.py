"""Training curves: what is drawn are the means of the histories, whatever method wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from PIL import Image

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest, write_json
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import MODEL_INDEX, RUN_INDEX
from pathomix.core.tables import write_table
from pathomix.report.layout import Layout
from pathomix.report.style import method_looks
from pathomix.report.training_curves import Drawn, describe, plot_training, read_curves, training_figure

LAYOUT = Layout.of(["north"], {"net": "Network", "ridge": "Ridge"})


def network(seed: int, epochs: int = 6, scored: bool = True, task: str = "survival") -> pd.DataFrame:
    random = np.random.default_rng(seed)
    score = random.uniform(0.5, 0.8, epochs) if scored else np.full(epochs, np.nan)
    frame = pd.DataFrame({"step": range(epochs), "loss": random.uniform(1, 3, epochs), "score": score, "skipped": 0})
    return frame.assign(task=task, row=range(epochs))


def ridge() -> pd.DataFrame:
    return pd.DataFrame({"task": "survival", "row": [0, 1], "step": [0, 1], "penalty": [1.0, 10.0], "score": 0.5})


def unit(folder: Path, name: str, history: pd.DataFrame) -> dict[str, Any]:
    folder.mkdir(parents=True)
    history.to_parquet(folder / "history.parquet")
    (folder / name).write_bytes(str(folder).encode())
    files = {path.name: file_digest(path) for path in folder.iterdir()}
    write_json(folder / "run.json", {"files": files})
    return {"status": "done", "reason": None, "sha256": files[name]}


def cell(root: Path, method: str, runs: Mapping[tuple[int, int], pd.DataFrame | str], cohort: str = "north") -> Path:
    rows = []
    for (fold, seed), history in runs.items():
        row = {"study": "demo", "method": method, "cohort": cohort, "scheme": "cv", "fold": fold, "seed": seed}
        place = f"runs/demo/{method}/{cohort}/cv-{fold}/seed{seed}"
        row |= {"task": "survival", "status": "failed", "reason": history, "path": None, "sha256": None}
        if isinstance(history, pd.DataFrame):
            row |= unit(root / place, "predictions.parquet", history) | {"path": f"{place}/predictions.parquet"}
        rows.append(row)
    index = root / f"{method}-{cohort}.parquet"
    write_table(pd.DataFrame(rows), RUN_INDEX, index, Provenance("run_index"))
    return index


def drawn(root: Path, **methods: Mapping[tuple[int, int], pd.DataFrame | str]) -> Drawn:
    return read_curves([cell(root, name, runs) for name, runs in methods.items()], root, "north", LAYOUT, {})


def test_lines_are_means_over_runs_and_the_kept_epochs_are_marked(tmp_path: Path) -> None:
    # One run stopped early: later epochs are means over the others.
    runs = {(0, 0): network(1), (0, 1): network(2), (1, 0): network(3, epochs=4)}
    found = drawn(tmp_path, net=runs)
    (item,) = found.curves
    loss, score = training_figure(found, "north", ["a", "net"]).axes
    colour = method_looks(["net"], ["a", "net"])["net"][0]
    lines = {line.get_linestyle(): line for line in (loss.lines[0], score.lines[0])}
    for line, column in ((lines["-"], "loss"), (lines["--"], "score")):
        expected = [
            np.mean([run[column].iloc[epoch] for run in runs.values() if epoch < len(run)]) for epoch in range(6)
        ]
        assert list(line.get_ydata()) == pytest.approx(expected) and list(line.get_xdata()) == [1, 2, 3, 4, 5, 6]
        assert to_hex(line.get_color()) == to_hex(colour)
    best = [int(np.argmax(run["score"])) + 1 for run in runs.values()]
    assert list(item.kept) == best and item.by_score
    for axes in (loss, score):
        ticks = next(line for line in axes.lines if line.get_marker() == "|")
        assert list(ticks.get_xdata()) == best
        assert any(set(line.get_xdata()) == {float(np.median(best))} for line in axes.lines)
    assert f"Network, survival: 3 runs, kept {min(best)} to {max(best)} (the best score" in describe(found, "north")


def test_a_row_without_epochs_is_a_sentence_and_one_without_scores_has_no_second_panel(tmp_path: Path) -> None:
    found = drawn(tmp_path, net={(0, 0): network(1, scored=False)}, ridge={(0, 0): ridge()}, oracle={(0, 0): ridge()})
    figure = training_figure(found, "north")
    assert len(figure.axes) == 1 and found.curves[0].kept == (6,) and not found.curves[0].by_score
    text = describe(found, "north")
    assert "Fitted without epochs, so without curves: Ridge." in text and "kept 6 (the last epoch)" in text
    empty = Drawn((), found.without, {})
    assert not training_figure(empty, "north").axes


def test_stages_components_tasks_and_measured_scores_are_told_apart(tmp_path: Path) -> None:
    staged = network(1, scored=False).assign(stage=["omic"] * 2 + ["fusion"] * 4)
    late = pd.concat([network(2, scored=False).assign(component=0), ridge().assign(component=1)])
    both = pd.concat([network(3, task="subtype"), network(4)])
    steps = network(5, scored=False).assign(level="step", epoch=0)
    epochs = network(6, scored=False).assign(level="epoch", c_log_hazard_train=[np.nan, 0.6] * 3)
    runs = {"a": staged, "b": late, "c": both, "d": pd.concat([steps, epochs])}
    found = drawn(
        tmp_path, **{name: {(0, 0): history.assign(row=range(len(history)))} for name, history in runs.items()}
    )
    what = [(item.label, item.task) for item in found.curves]
    assert what == [
        *(("a", "survival"), ("b", "survival, component 1"), ("c", "subtype"), ("c", "survival"), ("d", "survival"))
    ]
    assert found.curves[0].breaks == (2,) and found.curves[1].breaks == ()
    last = found.curves[-1]
    assert list(last.mean["loss"]) == pytest.approx(list(epochs["loss"])) and last.mean["valid"].isna().all()
    axes = training_figure(found, "north").axes
    words = [text.get_text() for panel in axes for text in panel.texts]
    assert words.count("no score measured") == 2
    measured = [line for panel in axes for line in panel.lines if list(line.get_ydata()) == [0.6] * 3]
    assert [list(line.get_xdata()) for line in measured] == [[2, 4, 6]]
    assert any(list(line.get_xdata()) == [2.5, 2.5] for line in axes[0].lines)


def test_the_history_of_a_representation_stands_for_the_probe_that_reads_it(tmp_path: Path) -> None:
    probe = cell(tmp_path, "net", {(0, 0): ridge()})
    rows = []
    for inner in (0, 1):
        history = network(inner).drop(columns=["task", "row", "skipped"])
        place = f"representations/m/cv-0-{inner}/seed0"
        row = {"representation": "m", "source": "north", "scheme": "cv", "fold": 0, "seed": 0, "inner": inner}
        rows.append(row | unit(tmp_path / place, "model.safetensors", history) | {"path": f"{place}/model.safetensors"})
    index = tmp_path / "models.parquet"
    write_table(pd.DataFrame(rows), MODEL_INDEX, index, Provenance("model_index"))
    found = read_curves([probe], tmp_path, "north", LAYOUT, {"net": [str(index)]})
    (item,) = found.curves
    assert item.task == "label texts" and list(item.mean["loss"]) == pytest.approx(list(network(0)["loss"]))
    with pytest.raises(PathomixError, match="not rows of this study and cohort: other"):
        read_curves([probe], tmp_path, "north", LAYOUT, {"other": [str(index)]})


def test_a_run_that_cannot_be_read_is_named_and_takes_no_other_with_it(tmp_path: Path) -> None:
    indices = [cell(tmp_path, "net", {(0, 0): network(1), (1, 0): "no tiles", (2, 0): network(2)})]
    indices += [cell(tmp_path, "ridge", {(0, 0): "no event"}), cell(tmp_path, "net", {(0, 0): network(3)}, "south")]
    (tmp_path / "runs/demo/net/north/cv-2/seed0/run.json").write_text("{")
    found = read_curves(indices, tmp_path, "north", LAYOUT, {})
    assert list(found.curves[0].mean["loss"]) == pytest.approx(list(network(1)["loss"]))
    text = describe(found, "north")
    assert "2 runs left out: fold 1 seed 0 (no tiles), fold 2 seed 0 (history.parquet or run.json" in text
    assert found.unreadable == {"Ridge": "no event"} and "Not drawn: Ridge, no event." in text


def test_written_twice_the_files_are_equal(tmp_path: Path) -> None:
    index = cell(tmp_path, "net", {(0, seed): network(seed) for seed in range(2)})
    for name in ("one", "two"):
        plot_training([index], tmp_path, "north", {"net": "Network"}, {}, tmp_path / name)
    for kind in ("pdf", "png"):
        first, second = ((tmp_path / name / f"training_north.{kind}").read_bytes() for name in ("one", "two"))
        assert first == second
    with Image.open(tmp_path / "one/training_north.png") as image:
        assert "Network, survival: 2 runs" in image.info["Description"] and image.size[0] == 1050


def test_no_words_lie_on_others(tmp_path: Path) -> None:
    indices = [cell(tmp_path, name, {(0, 0): network(1)}) for name in "abcde"]
    labels = {name: f"A label of the row {name} that is long enough to be wrapped" for name in "abcde"}
    figure = training_figure(read_curves(indices, tmp_path, "north", Layout.of(["north"], labels), {}), "north")
    figure.draw_without_rendering()
    boxes = []
    for axes in figure.axes:
        if axes.get_visible():
            texts = [*axes.texts, axes.xaxis.label, axes.yaxis.label]
            texts += [text for text in axes.findobj(Text) if text.get_text() == axes.get_title("left")]
            low, high = axes.get_ylim()
            texts += [text for text in axes.get_yticklabels() if low <= text.get_position()[1] <= high]
            boxes += [text.get_window_extent() for text in texts if text.get_text()]
    assert len(boxes) > 30 and all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not any(one.overlaps(two) for number, one in enumerate(boxes) for two in boxes[:number])
