"""Modality balance: the numbers against sums by hand, and histories as Path-GPTomic itself writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest, write_json
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import HISTORY, PREDICTIONS, RUN_INDEX
from pathomix.core.tables import write_table
from pathomix.methods.run import Cell, run_cell
from pathomix.report.balance import COLUMNS, Balance, balance_figure, describe, plot_balance, read_balances
from pathomix.report.layout import Layout
from pathomix.report.style import HIGH, LOW

Draw = Mapping[tuple[int, int], pd.DataFrame]
NO_LABELS = Layout.of(["north"], {})


def history(fold: int, seed: int, *, epochs: int = 3, modulated: bool = True, valid: bool = True) -> pd.DataFrame:
    """Numbers that differ between folds, seeds, epochs and steps; one batch of the second epoch is skipped."""
    generator = np.random.default_rng([fold, seed])
    rows: list[dict[str, Any]] = []
    for epoch in range(epochs):
        for _ in range(3 - (epoch == 1)):
            slowed = {"k_genomic": 1.0, "k_image": 1.0}
            if epoch:
                slowed["k_genomic" if generator.random() < 0.7 else "k_image"] = generator.uniform(0.1, 0.9)
            rows.append({"step": len(rows), "level": "step", "epoch": epoch, **(slowed if modulated else {})})
        c = {f"c_{s}_train": generator.uniform(0.5, 0.9) for s in ("genomic", "image", "log_hazard")}
        c |= {
            f"c_{s}_valid": generator.uniform(0.5, 0.9) if valid else np.nan for s in ("genomic", "image", "log_hazard")
        }
        rows.append({"step": len(rows), "level": "epoch", "epoch": epoch, "skipped": int(epoch == 1), **c})
    return pd.DataFrame(rows).assign(task="survival", row=lambda frame: np.arange(len(frame)))


def write_cell(
    results: Path, method: str, runs: Mapping[tuple[int, int], pd.DataFrame | str], cohort: str = "north", **more: Any
) -> Path:
    """Runs as `methods.run` leaves them: a history each, or the reason why it failed."""
    rows = []
    for (fold, seed), content in runs.items():
        row = {"study": "demo", "method": method, "cohort": cohort, "scheme": "mc", "fold": fold, "seed": seed, **more}
        row |= {"task": "survival", "status": "failed", "reason": content, "path": None, "sha256": None}
        if isinstance(content, pd.DataFrame):
            folder = results / f"runs/demo/{method}/{cohort}/mc-{fold}/seed{seed}"
            write_table(content, HISTORY, folder / "history.parquet", Provenance("run"))
            empty = pd.DataFrame(columns=list(PREDICTIONS.columns))
            write_table(empty, PREDICTIONS, folder / "predictions.parquet", Provenance("run"))
            files = {name: file_digest(folder / name) for name in ("history.parquet", "predictions.parquet")}
            write_json(folder / "run.json", {"key": "k", "files": files})
            path = (folder / "predictions.parquet").relative_to(results).as_posix()
            row |= {"status": "done", "reason": None, "path": path, "sha256": files["predictions.parquet"]}
        rows.append(row)
    index = results / f"runs/demo/{method}/{cohort}/mc.parquet"
    write_table(pd.DataFrame(rows), RUN_INDEX, index, Provenance("run_index"))
    return index


def one(results: Path, runs: Mapping[tuple[int, int], pd.DataFrame | str]) -> Balance:
    (found,) = read_balances([write_cell(results, "ours", runs)], results, "north", NO_LABELS)
    return found


def by_hand(runs: Draw, column: str, level: str, epoch: int) -> tuple[float, float]:
    """Mean and standard deviation over folds of means over seeds of a run's mean in an epoch."""
    folds: dict[int, list[float]] = {}
    for (fold, _), frame in runs.items():
        rows = frame[(frame["level"] == level) & (frame["epoch"] == epoch)]
        values = (rows[f"k_{column[7:]}"] < 1) if column.startswith("slowed") else rows[column]
        folds.setdefault(fold, []).append(sum(values) / len(values))
    means = [sum(values) / len(values) for values in folds.values()]
    centre = sum(means) / len(means)
    return centre, (sum((m - centre) ** 2 for m in means) / (len(means) - 1)) ** 0.5


def test_curves_are_means_over_folds_of_means_over_seeds(tmp_path: Path) -> None:
    # Fold 2 lost a seed: its one run must count as much as the two of another fold.
    runs = {(f, s): history(f, s) for f in range(3) for s in range(2) if (f, s) != (2, 1)}
    found = one(tmp_path, runs)
    for epoch in range(3):
        for column, level in [("c_genomic_train", "epoch"), ("c_image_valid", "epoch"), ("c_log_hazard_valid", "epoch"),
                              ("k_genomic", "step"), ("k_image", "step"), ("slowed_genomic", "step")]:  # fmt: skip
            mean, spread = by_hand(runs, column, level, epoch)
            assert found.means.loc[epoch, column] == pytest.approx(mean), (column, epoch)
            assert found.spreads.loc[epoch, column] == pytest.approx(spread), (column, epoch)
    facts = found.facts
    assert set(facts) == set(COLUMNS)
    assert (facts["c_image_train"], facts["c_image_train_sd_folds"]) == pytest.approx(
        by_hand(runs, "c_image_train", "epoch", 2)
    )
    k = [[frame["k_genomic"].dropna().mean() for (f, _), frame in runs.items() if f == fold] for fold in range(3)]
    assert facts["k_genomic"] == pytest.approx(np.mean([np.mean(values) for values in k]))
    assert facts["slowed_image"] < facts["slowed_genomic"] < 1
    assert [facts[name] for name in ("folds", "seeds", "runs", "runs_left_out")] == [3, 2, 5, 0]
    assert [facts[name] for name in ("steps", "skipped_steps")] == [5 * 8, 5]
    assert (found.part, found.modulated, found.drawn, facts["reason"]) == ("valid", True, True, "")


def test_what_is_not_there_is_missing_with_a_reason_and_never_0(tmp_path: Path) -> None:
    plain = one(tmp_path, {(0, 0): history(0, 0, modulated=False, valid=False)})
    missing = [name for name in COLUMNS if name.startswith(("k_", "slowed_")) or "_valid" in name or "_sd_" in name]
    assert all(pd.isna(plain.facts[name]) for name in missing)
    assert plain.facts["reason"] == (
        "no c on a valid part (none was held out, or its patients cannot be compared); "
        "no coefficients (steps are not modulated)"
    )
    assert (plain.part, plain.modulated, plain.drawn) == ("train", False, True)
    mixed = one(tmp_path, {(0, 0): history(0, 0), (1, 0): history(1, 0, valid=False)})
    assert "cannot be compared): 1 of 2 runs" in mixed.facts["reason"]
    assert mixed.facts["c_image_valid"] == history(0, 0)["c_image_valid"].iloc[-1]


def test_a_run_that_cannot_be_trusted_is_named_and_takes_no_other_with_it(tmp_path: Path) -> None:
    runs = {(f, 0): history(f, 0) for f in range(4)} | {(4, 0): "survival: training blew up"}
    index = write_cell(tmp_path, "ours", runs)
    folder = tmp_path / "runs/demo/ours/north"
    write_table(history(9, 9), HISTORY, folder / "mc-0/seed0/history.parquet", Provenance("run"))
    (folder / "mc-1/seed0/run.json").write_text("{")
    (folder / "mc-2/seed0/history.parquet").unlink()
    (found,) = read_balances([index], tmp_path, "north", NO_LABELS)
    assert (found.facts["runs"], found.facts["runs_left_out"]) == (1, 4)
    assert found.facts["c_image_valid"] == history(3, 0)["c_image_valid"].iloc[-1]
    reason = found.facts["reason"]
    assert "4 of 5 runs left out: fold 0 seed 0 (history.parquet is not the one its run index was written" in reason
    assert "fold 1 seed 0 (history.parquet or run.json cannot be read (JSONDecodeError))" in reason
    assert reason.endswith("(FileNotFoundError)) and 1 more")
    assert "ours: 4 of its runs left out." in describe([found], "north")


def test_rows_in_order_without_oracles_other_cohorts_and_other_methods(tmp_path: Path) -> None:
    runs = {(0, 0): history(0, 0)}
    other = runs[0, 0][["task", "row", "step"]].assign(loss=1.0)
    indices = [write_cell(tmp_path, name, runs) for name in ("a", "b", "oracle")]
    indices += [write_cell(tmp_path, "snn", {(0, 0): other}), write_cell(tmp_path, "a", runs, cohort="south")]
    indices += [write_cell(tmp_path, "broken", {(0, 0): "no patient", (1, 0): "no patient"})]
    layout = Layout.of(["north"], {"b": "Second", "a": "First", "snn": "SNN"})
    found = read_balances(indices, tmp_path, "north", layout)
    assert [(row.method, row.label) for row in found] == [("b", "Second"), ("a", "First"), ("broken", "broken")]
    assert not found[2].drawn and found[2].facts["reason"].startswith(
        "2 of 2 runs left out: fold 0 seed 0 (no patient)"
    )
    assert "Not drawn: broken, 2 of 2 runs left out" in describe(found, "north")


def test_indices_of_two_studies_or_twice_the_same_are_refused(tmp_path: Path) -> None:
    runs = {(0, 0): history(0, 0)}
    first, second = write_cell(tmp_path, "a", runs), write_cell(tmp_path, "b", runs, study="other")
    for indices, message in (([first, second], "one study"), ([first, first], "repeated"), ([], "no run index")):
        with pytest.raises(PathomixError, match=message):
            read_balances(indices, tmp_path, "north", NO_LABELS)


def test_the_figure_shows_these_numbers_side_by_side(tmp_path: Path) -> None:
    three = {(f, 0): history(f, 0) for f in range(3)}
    plain = {key: history(*key, modulated=False, valid=False) for key in three}
    indices = [write_cell(tmp_path, name, runs) for name, runs in (("with", three), ("without", plain))]
    rows = read_balances(indices, tmp_path, "north", NO_LABELS)
    axes = balance_figure(rows, "north").axes
    assert [panel.get_title(loc="left") for panel in axes[:2]] == ["with", "without"]
    assert axes[0].get_ylim() == axes[1].get_ylim() and axes[0].get_xlim() == axes[1].get_xlim()
    lines = {to_hex(line.get_color()): line for line in axes[0].lines if len(line.get_xdata()) == 3}
    for colour, score in ((LOW, "genomic"), (HIGH, "image")):
        line = lines[to_hex(colour)]
        assert list(line.get_xdata()) == [1, 2, 3]
        assert list(line.get_ydata()) == pytest.approx(list(rows[0].means[f"c_{score}_valid"]))
    assert [text.get_text() for text in axes[3].texts] == ["not modulated"] and not axes[2].texts
    words = [text.get_text() for panel in axes[:2] for text in panel.texts]
    assert words == ["held-out valid part", "training part"]
    text = describe(rows, "north")
    assert "Rows on different parts are not to be compared." in text and "c is in-sample" in text
    assert f"with (3 folds, 1 seed; held-out valid part): last epoch u^G {rows[0].facts['c_genomic_valid']:.3f}" in text


@pytest.mark.parametrize("count", [1, 4, 5, 9])
def test_more_rows_than_fit_go_on_below(tmp_path: Path, count: int) -> None:
    indices = [write_cell(tmp_path, f"m{i}", {(0, 0): history(i, 0)}) for i in range(count)]
    axes = balance_figure(read_balances(indices, tmp_path, "north", NO_LABELS), "north").axes
    titles = [panel.get_title(loc="left") for panel in axes if panel.get_title(loc="left")]
    assert titles == [f"m{i}" for i in range(count)]
    assert sum(panel.get_visible() for panel in axes) == 3 * count


def test_written_twice_the_files_are_equal_and_none_is_left_out(tmp_path: Path) -> None:
    indices = [write_cell(tmp_path, "ours", {(f, 0): history(f, 0) for f in range(2)})]
    for name in ("one", "two"):
        plot_balance(indices, tmp_path, "north", {"ours": "Ours"}, tmp_path / name, tmp_path / name)
    plot_balance(indices, tmp_path, "west", {}, tmp_path / "west", tmp_path / "west")
    for suffix in ("csv", "pdf", "png"):
        assert (tmp_path / f"one/balance_north.{suffix}").read_bytes() == (
            tmp_path / f"two/balance_north.{suffix}"
        ).read_bytes()
        assert (tmp_path / f"west/balance_west.{suffix}").is_file()
    table = pd.read_csv(tmp_path / "one/balance_north.csv")
    assert list(table.columns) == list(COLUMNS) and table["label"].tolist() == ["Ours"]
    assert table["c_image_valid"].item() == pytest.approx(
        np.mean([history(f, 0)["c_image_valid"].iloc[-1] for f in range(2)])
    )
    with Image.open(tmp_path / "one/balance_north.png") as image:
        assert image.info["Title"] == "Modality balance: north" and "Ours (2 folds" in image.info["Description"]
    with Image.open(tmp_path / "west/balance_west.png") as image:
        assert "No row has a history" in image.info["Description"]
    assert (tmp_path / "west/balance_west.csv").read_text() == ",".join(COLUMNS) + "\n"


# what Path-GPTomic writes


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small_cohort(patients: int = 60) -> Cases:
    generator = np.random.default_rng(0)
    ids = pd.Index([f"SIMU-AA-{i:04d}" for i in range(patients)], name="patient_id")
    table = pd.DataFrame({"time": generator.exponential(20, patients) + 0.1, "event": 1, "endpoint": "OS"}, index=ids)
    table = table.assign(class_label="a", tissue_source_site="AA", age=60.0, sex="female", stage=None, grade=None)

    def seen(width: int, prefix: str) -> pd.DataFrame:
        values = generator.normal(size=(patients, width)) - 0.5 * np.log(table["time"].to_numpy())[:, None]
        return pd.DataFrame(values.astype(np.float32), ids, [f"{prefix}{i}" for i in range(width)])

    return Cases(table, None, seen(4, "C"), seen(3, "M"), {}, None, None, seen(5, "V"), seen(6, "E"), None)


def run(results: Path, name: str, cases: Cases, **more: Any) -> Path:
    settings: dict[str, Any] = {
        "method": "path_gptomic", "image": "slide_vector", "hidden": [4], "mlp_b_hidden": 4, "genomic_width": 4,
        "image_width": 4, "fused_width": 4, "epochs": 3, "constant_epochs": 2, "batch_size": 16, "modulation_warmup": 1,
    }  # fmt: skip
    parts: Sequence[str] = ["test", "valid", "train", "train"]
    splits = pd.DataFrame({"patient_id": cases.ids, "part": [parts[i % 4] for i in range(len(cases.ids))], "fold": 0})
    index = results / f"runs/demo/{name}/north/mc.parquet"
    cell = Cell("demo", name, "north", "mc", {**settings, **more}, ("survival",), (0,), "", {})
    run_cell(cell, cases, splits, results, index)
    return index


def test_histories_of_path_gptomic_are_read_as_it_writes_them(tmp_path: Path, one_thread: None) -> None:
    cases = small_cohort()
    settings: dict[str, dict[str, Any]] = {
        "stable": {"selection": "valid", "patience": 3},
        "none": {"modulation": "none"},
        "kronecker": {"modulation": "none", "fusion": "kronecker"},
    }
    indices = [run(tmp_path, name, cases, **more) for name, more in settings.items()]
    rows = {row.method: row for row in read_balances(indices, tmp_path, "north", NO_LABELS)}
    assert [(row.drawn, row.modulated, row.part) for row in (rows[name] for name in settings)] == [
        (True, True, "valid"),
        (True, False, "train"),
        (False, False, "train"),
    ]
    for name, row in rows.items():
        written = pd.read_parquet(tmp_path / f"runs/demo/{name}/north/mc-0/seed0/history.parquet")
        last = written[written["level"] == "epoch"].iloc[-1]
        assert row.facts["c_log_hazard_train"] == last["c_log_hazard_train"]
        assert row.facts["steps"] == (written["level"] == "step").sum()
    means = rows["stable"].means
    assert (means.loc[0, ["k_genomic", "k_image"]] == 1).all() and means.loc[0, "slowed_genomic"] == 0
    assert means.loc[1:, ["slowed_genomic", "slowed_image"]].to_numpy().sum() > 0
    assert rows["kronecker"].facts["reason"].startswith("no separate scores of both modalities")
