"""Attribution figure: bars and marks are the numbers of the tables, and a failed control cannot be overlooked."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pathomix.core.errors import PathomixError
from pathomix.report.attribution import FAILED, SHOWN, UNCONTROLLED, attribution_figure, describe, plot_attribution

PATHWAYS = [f"PATHWAY_{i:02d}" for i in range(14)]


def models(scalars: tuple[str, ...] = ("logit_Big cell carcinoma", "risk"), seeds: int = 3) -> pd.DataFrame:
    """Importances whose size differs from model to model, so that only shares can be compared."""
    random = np.random.default_rng(1)
    rows = []
    for scalar in scalars:
        for kind, count in (("trained", seeds), ("randomised", 4)):
            for seed in range(count):
                values = (10 ** random.uniform(-2, 2)) * random.gamma(1.0, size=len(PATHWAYS))
                frame = pd.DataFrame({"pathway": PATHWAYS, "importance": values, "attribution": -values})
                rows.append(frame.assign(scalar=scalar, task="general", kind=kind, seed=seed, gap=0.01, n_patients=5))
    return pd.concat(rows, ignore_index=True)


def controls(**verdicts: str) -> pd.DataFrame:
    rows = [
        {"scalar": scalar, "task": "general", "seeds": 3, "randomised": 4, "n_patients": 5, "pathways": 14, "top": 3,
         "seed_correlation": 0.61, "seed_overlap": 2 / 3, "randomised_correlation": 0.12, "randomised_overlap": 0.25,
         "p": 0.02 if verdict == "passes" else 0.4 if verdict == "fails" else np.nan, "verdict": verdict,
         "reason": "one seed alone" if verdict == "unknown" else None}
        for scalar, verdict in verdicts.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_bars_dots_and_lines_are_shares_of_the_tables() -> None:
    table = models(("risk",))
    (axes,) = attribution_figure(table, controls(risk="passes"), "north").axes
    share = {
        key: rows.set_index("pathway")["importance"] / rows["importance"].sum()
        for key, rows in table.groupby(["kind", "seed"])
    }
    mean = sum(share["trained", seed] for seed in range(3)) / 3
    largest = mean.sort_values(ascending=False).head(SHOWN)
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(list(100 * largest))
    names = [text.get_text().replace("\n", " ") for text in axes.get_yticklabels()]
    assert names == [name.replace("_", " ") for name in largest.index]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    for seed, line in enumerate(dots):
        assert list(line.get_xdata()) == pytest.approx(list(100 * share["trained", seed][largest.index]))
    assert len({tuple(line.get_ydata()) for line in dots}) == 3  # dots of equal seeds do not hide each other
    (ranges,) = axes.collections
    random = pd.DataFrame({seed: share["randomised", seed] for seed in range(4)}).loc[largest.index] * 100
    drawn = [sorted(segment[:, 0]) for segment in ranges.get_segments()]
    assert np.array(drawn) == pytest.approx(np.c_[random.min(axis=1), random.max(axis=1)])


@pytest.mark.parametrize(("verdict", "mark"), [("passes", None), ("fails", FAILED), ("unknown", UNCONTROLLED)])
def test_what_does_not_pass_is_marked(verdict: str, mark: str | None) -> None:
    table = controls(risk=verdict)
    (axes,) = attribution_figure(models(("risk",)), table, "north").axes
    words = [text.get_text() for text in axes.texts]
    assert [word for word in words if word in (FAILED, UNCONTROLLED)] == ([mark] if mark else [])
    assert "seeds: ρ = 0.61, 2.0 of 3 in common\nuntrained: ρ = 0.12, 0.8 of 3 in common" in words
    text = describe(models(("risk",)), table, "north")
    said = {"passes": "Seeds agree more", "fails": "fails its randomisation", "unknown": "one seed alone"}
    assert [key for key, part in said.items() if part in text] == [verdict]


def test_panels_stand_side_by_side_the_risk_first_and_no_label_touches_another() -> None:
    table = models(("logit_a", "logit_b", "risk"))
    figure = attribution_figure(table, controls(logit_a="passes", logit_b="fails", risk="passes"), "north")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Risk", "Logit: a", "Logit: b"]
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    pairs = [(one, two) for number, one in enumerate(boxes) for two in boxes[:number]]
    assert not any(one.overlaps(two) for one, two in pairs)
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    for axes in figure.axes:
        labels = [text.get_window_extent() for text in axes.get_yticklabels()]
        assert not any(one.overlaps(two) for one, two in pairwise(labels))


def test_written_twice_the_files_are_equal_and_an_empty_explanation_is_said(tmp_path: Path) -> None:
    models().to_parquet(tmp_path / "pathway_models.parquet")
    controls(risk="fails").to_parquet(tmp_path / "controls.parquet")
    for name in ("one", "two"):
        plot_attribution(tmp_path, "north", tmp_path / name / "attribution")
    for kind in ("pdf", "png"):
        assert (tmp_path / f"one/attribution.{kind}").read_bytes() == (
            tmp_path / f"two/attribution.{kind}"
        ).read_bytes()
    with Image.open(tmp_path / "one/attribution.png") as image:
        assert image.size[0] == 1050 and "fails its randomisation control" in image.info["Description"]
    controls(risk="fails").head(0).to_parquet(tmp_path / "controls.parquet")
    plot_attribution(tmp_path, "north", tmp_path / "none/attribution")
    with Image.open(tmp_path / "none/attribution.png") as image:
        assert "no patient could be explained by genes" in image.info["Description"]
    with pytest.raises(PathomixError, match=r"controls\.parquet.*; run explain_representation again"):
        (tmp_path / "controls.parquet").unlink()
        plot_attribution(tmp_path, "north", tmp_path / "none/attribution")
