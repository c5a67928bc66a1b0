"""Figures: what they show, and the same bytes every time."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.tables import read_table, write_table
from pathomix.evaluate.predictions import read_runs
from pathomix.evaluate.risk_groups import risk_groups
from pathomix.evaluate.schemas import SCORES
from pathomix.evaluate.study import evaluate_study
from pathomix.report.figures import plot_kaplan_meier
from pathomix.report.forest import plot_forests
from pathomix.report.kaplan_meier import describe, kaplan_meier_figure
from pathomix.report.layout import p_text
from pathomix.report.style import HIGH, LOW, MUTED, method_looks


@pytest.fixture(scope="module")
def study(hand_made, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("results")
    cohorts = {"north": hand_made.cohort_table("north", 45, 1), "south": hand_made.cohort_table("south", 45, 2)}
    failed = {("weak", "south", fold): "no patient has tiles" for fold in range(3)}
    methods = {"strong": 0.9, "weak": 0.2, "oracle": 1.0}
    indices = hand_made.write_study(tmp_path, methods, cohorts, failed=failed)
    scores = tmp_path / "scores.parquet"
    evaluate_study(indices, tmp_path, {"bootstrap": 100}, tmp_path)
    return tmp_path, indices, scores


def draw_curves(study, cohort, name, method):
    results, indices, scores = study
    mine = [path for path in indices if f"/{cohort}/" in str(path)]
    plot_kaplan_meier(mine, scores, results, cohort, method, {"strong": "Strong"}, results / name)


def test_every_promised_figure_is_written_with_its_words_and_with_equal_bytes(study):
    results, _, scores = study
    for name in ("one", "two"):
        draw_curves(study, "north", name, None)
        plot_forests(scores, ["south", "north"], {"strong": "Strong"}, results / name)
    stems = ["forest_subtype", "forest_survival", "kaplan_meier_north"]
    files = [f"{stem}.{kind}" for stem in stems for kind in ("pdf", "png")]
    assert sorted(path.name for path in (results / "one").iterdir()) == files
    for name in files:
        content = (results / "one" / name).read_bytes()
        assert content == (results / "two" / name).read_bytes()
        assert b"CreationDate" not in content and b"Matplotlib" not in content
    with Image.open(results / "one/kaplan_meier_north.png") as image:
        assert image.info["Title"] == "Kaplan-Meier: north"
        assert "Strong predicts. Low risk:" in image.info["Description"] and "best row" in image.info["Description"]
        assert image.size == (1050, 900)
        assert np.asarray(image.convert("L")).std() > 5


def test_the_chosen_method_is_drawn_and_an_unknown_one_refused(study):
    results, indices, scores = study
    for cohort in ("north", "south"):
        draw_curves(study, cohort, "weak", "weak")
    with Image.open(results / "weak/kaplan_meier_north.png") as image:
        assert "weak predicts" in image.info["Description"] and "best row" not in image.info["Description"]
    with Image.open(results / "weak/kaplan_meier_south.png") as image:
        assert "no test, no patient has a usable prediction" in image.info["Description"]
        assert "no patient has tiles" in image.info["Description"]
    with pytest.raises(PathomixError, match=r"'snn', which this study does not run; use one of oracle, strong, weak"):
        plot_kaplan_meier(indices, scores, results, "north", "snn", {}, results / "x")


def test_a_task_without_runs_and_a_cohort_without_scores_still_give_figures_that_say_so(study):
    results, indices, scores = study
    rows = read_table(scores, SCORES)
    few = results / "few.parquet"
    write_table(rows[rows["task"] == "survival"], SCORES, few, Provenance("scores"))
    plot_forests(few, ["north"], {}, results / "few")
    with Image.open(results / "few/forest_subtype.png") as image:
        assert np.asarray(image.convert("L")).std() > 1
    plot_kaplan_meier(indices, scores, results, "west", None, {}, results / "few")
    with Image.open(results / "few/kaplan_meier_west.png") as image:
        assert "no method has a survival score on this cohort" in image.info["Description"]


def test_curves_and_numbers_at_risk_are_those_of_the_groups(study):
    results, indices, _ = study
    groups = risk_groups(read_runs(indices, results), "strong", "north", "kfold")
    figure = kaplan_meier_figure(groups, "north", "Strong")
    axes, table = figure.axes
    low, high = groups.patients[~groups.patients["high"]], groups.patients[groups.patients["high"]]
    for part, colour in ((low, LOW), (high, HIGH)):
        curve = next(line for line in axes.lines if line.get_color() == colour and line.get_drawstyle() == "steps-post")
        survival, alive = 1.0, {0.0: 1.0}
        for moment in np.sort(part["time"].unique()):
            died = ((part["time"] == moment) & (part["event"] == 1)).sum()
            survival *= 1 - died / (part["time"] >= moment).sum()
            alive[float(moment)] = survival
        assert dict(zip(curve.get_xdata(), curve.get_ydata(), strict=True)) == pytest.approx(alive)
    written = [text.get_text() for text in table.texts]
    ticks = [tick for tick in axes.get_xticks() if 0 <= tick <= groups.patients["time"].max()]
    for part in (low, high):
        for tick in ticks:
            assert str(int((part["time"] >= tick).sum())) in written
    assert any(p_text(groups.p_value) in text.get_text() for text in axes.texts)


def test_p_values_are_written_so_that_they_can_be_read():
    assert [p_text(p) for p in (1e-9, 0.0124, 0.34)] == ["p < 0.001", "p = 0.012", "p = 0.34"]


def test_looks_tell_methods_apart_and_stay_when_one_is_added():
    methods = [f"m{i}" for i in range(30)]
    looks = method_looks([*methods, "oracle"])
    assert len(set(looks.values())) == 31 and looks["oracle"][0] == MUTED
    assert method_looks(methods[:5]) == {name: looks[name] for name in methods[:5]}
    assert all(len(to_rgb(colour)) == 3 for colour, _ in looks.values())


def test_the_caption_names_the_rule_and_gives_the_pooled_test_beside_it(hand_made, tmp_path):
    table = hand_made.cohort_table("north", 60, 1)

    def repeated(row, frame):
        tested = np.random.default_rng([3, row["fold"]]).permutation(sorted(set(frame["patient_id"])))[:20]
        return frame.assign(part=np.where(frame["patient_id"].isin(tested), "test", "train"))

    indices = hand_made.write_study(tmp_path, {"a": 0.9}, {"north": table}, folds=5, change=repeated)
    runs = read_runs(indices, tmp_path)
    groups = risk_groups(runs, "a", "north", "kfold")
    text = describe(groups, "north", "A")
    assert "z-scored inside each fold" in text and f"(100 test rows of {len(groups.patients)} patients" in text
    assert f"Log-rank: {p_text(groups.p_value)}." in text and text.endswith(f"{p_text(groups.pooled.p_value)}.")
    pooled = risk_groups(runs, "a", "north", "kfold", "pooled")
    assert "test rows" in describe(pooled, "north", "A") and "p-value too small" in describe(pooled, "north", "A")
    legend = kaplan_meier_figure(pooled, "north", "A").axes[0].get_legend()
    assert all("test rows" in entry.get_text() for entry in legend.get_texts())
