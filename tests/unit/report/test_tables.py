"""Tables of a study small enough to be written out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pathomix.core.provenance import Provenance
from pathomix.core.tables import write_table
from pathomix.evaluate.resampled import NOT_OVERLAPPING
from pathomix.evaluate.schemas import SCORES
from pathomix.report.layout import Layout
from pathomix.report.render import render
from pathomix.report.tables import (
    difference_table,
    make_tables,
    read_csv,
    results_table,
    tables_of,
    tidy,
    to_csv,
)

LABELS = {
    "ridge": {"label": "Ridge_Cox", "group": "Genes"},
    "mlp": {"label": "S-MLP", "group": "Genes"},
    "abmil": "ABMIL",
}


def score(method, cohort, mean, **changes):
    missing = mean is None
    base = {
        "method": method,
        "cohort": cohort,
        "scheme": "kfold",
        "task": "survival",
        "metric": "c_index",
        "mean": np.nan if missing else mean,
        "sd_folds": np.nan if missing else 0.02,
        "half_width": np.nan if missing else 0.0248,
        "sd_seeds": np.nan,
        "lower": np.nan if missing else mean - 0.05,
        "upper": np.nan if missing else mean + 0.05,
        "reference": None,
        "difference": np.nan,
        "difference_lower": np.nan,
        "difference_upper": np.nan,
        "resampled_t": np.nan,
        "resampled_p": np.nan,
        "wilcoxon_p": np.nan,
        "bootstrap_p": np.nan,
        "holm_p": np.nan,
        "resolvable": np.nan,
        "resolvable_reason": None,
        "test_ratio": np.nan,
        "test_reason": None,
        "unit": "patient",
        "patients": "own",
        "n_patients": 100 if cohort == "north" else 60,
        "n_events": 40 if cohort == "north" else 30,
        "n_missing": 0,
        "folds_used": 0 if missing else 5,
        "folds_total": 5,
        "seeds": 1,
        "resamples": 1000,
        "reason": None,
    }
    return {**base, **changes}


@pytest.fixture
def scores() -> pd.DataFrame:
    return pd.DataFrame(
        [
            score("ridge", "north", 0.7004),
            score("mlp", "north", 0.6996, reason="1 patient without prediction: P<1>"),
            score("abmil", "north", 0.65),
            score("oracle", "north", 0.9),
            score("ridge", "south", 0.61, folds_used=4, reason="fold 2: no event among the test patients"),
            score("mlp", "south", None, reason="every fold: run failed: 50 % of x_1 & y"),
            score("oracle", "south", 0.8),
        ]
    )


def table(scores):
    return results_table(tidy(scores, Layout.of(["south", "north"], LABELS)), "c_index")


MARKDOWN = """\
**Survival: Harrell's concordance index.** Mean ± standard deviation over 5 folds, in parentheses the half-width of \
the 95 % t-interval over the folds, and in brackets the 95 % percentile interval of 1,000 bootstrap resamples of the \
patients. One prediction per patient and fold; higher is better. Bold: best of the column; underlined: second best. \
Oracle rows know the simulated truth; they bound what a method can reach and are not ranked. Letters refer to the \
notes.

| Method | south (n = 60, 30 events) | north (n = 100, 40 events) |
|:--|:-:|:-:|
| *Genes* | | |
| Ridge\\_Cox | 0.610 ± 0.020 (0.025) [0.560, 0.660]<sup>a</sup> | **0.700 ± 0.020 (0.025) [0.650, 0.750]** |
| S-MLP | –<sup>b</sup> | **0.700 ± 0.020 (0.025) [0.650, 0.750]**<sup>c</sup> |
| ABMIL | –<sup>d</sup> | 0.650 ± 0.020 (0.025) [0.600, 0.700] |
| Oracle (not ranked) | 0.800 ± 0.020 (0.025) [0.750, 0.850] | 0.900 ± 0.020 (0.025) [0.850, 0.950] |

<sup>a</sup> mean over 4 of 5 folds; fold 2: no event among the test patients

<sup>b</sup> every fold: run failed: 50 % of x\\_1 & y

<sup>c</sup> 1 patient without prediction: P&lt;1>

<sup>d</sup> not run on this cohort
"""

LATEX = r"""
\toprule
 & south & north \\
 & {\footnotesize n = 60, 30 events} & {\footnotesize n = 100, 40 events} \\
\midrule
\multicolumn{3}{l}{\emph{Genes}} \\
Ridge\_Cox & 0.610 SPREAD [0.560, 0.660]\textsuperscript{a} & \textbf{0.700 SPREAD [0.650, 0.750]} \\
S-MLP & --\textsuperscript{b} & \textbf{0.700 SPREAD [0.650, 0.750]}\textsuperscript{c} \\
ABMIL & --\textsuperscript{d} & 0.650 SPREAD [0.600, 0.700] \\
\midrule
Oracle & 0.800 SPREAD [0.750, 0.850] & 0.900 SPREAD [0.850, 0.950] \\
\bottomrule
\end{tabular}

{\footnotesize \textsuperscript{a}~mean over 4 of 5 folds; fold 2: no event among the test patients}

{\footnotesize \textsuperscript{b}~every fold: run failed: 50 \% of x\_1 \& y}

{\footnotesize \textsuperscript{c}~1 patient without prediction: P$<$1$>$}

{\footnotesize \textsuperscript{d}~not run on this cohort}
\end{table}
""".replace("SPREAD", r"$\pm$ 0.020 (0.025)")


def test_markdown_is_the_golden_text(scores):
    assert render([table(scores)], "md").strip() == MARKDOWN.strip()


def test_latex_is_the_golden_text(scores):
    text = render([table(scores)], "tex")
    assert LATEX.strip() in text
    assert r"\caption{\textbf{Survival: Harrell's concordance index.} Mean $\pm$ standard" in text
    assert text.count("{") == text.count("}")


def test_a_missing_cell_is_a_dash_with_its_reason_and_never_zero(scores):
    laid = table(scores)
    cell = laid.rows[1].cells[0]
    assert cell.mean is None and cell.text == "–" and dict(laid.notes)[cell.note].startswith("every fold: run failed")
    for kind in ("md", "tex"):
        assert "0.000" not in render([laid], kind) and "nan" not in render([laid], kind)
    line = next(line for line in to_csv(tidy(scores, Layout())).splitlines() if ",mlp,mlp,south," in line)
    assert line.split(",")[7:13] == [""] * 6


def test_ranks_follow_the_printed_digits_and_leave_oracles_out(scores):
    rows = tidy(scores, Layout()).set_index(["cohort", "method"])["rank"]
    assert rows["north"].to_dict() | {"oracle": None} == {"abmil": 3, "mlp": 1, "ridge": 1, "oracle": None}
    assert pd.isna(rows["north", "oracle"]) and pd.isna(rows["south", "mlp"])
    # One ranked method is not "best" of anything.
    assert {row.label: row.cells[0].mark for row in table(scores).rows}["Ridge_Cox"] == ""


def test_second_best_is_underlined_when_there_is_a_third(scores):
    scores.loc[1, "mean"] = 0.69
    marks = {row.label: row.cells[1].mark for row in table(scores).rows}
    assert marks == {"Ridge_Cox": "best", "S-MLP": "second", "ABMIL": "", "Oracle": ""}
    assert "<u>0.690 ± 0.020 (0.025) [0.650, 0.750]</u>" in render([table(scores)], "md")


def test_two_schemes_of_a_cohort_are_two_columns(scores):
    scores.loc[4:, ["cohort", "scheme"]] = ["north", "site"]
    assert [heading.label for heading in table(scores).headings] == ["north (kfold)", "north (site)"]


def test_csv_carries_full_precision_there_and_back(scores, tmp_path):
    scores["mean"] = scores["mean"] / 3
    scores["cohort"] = scores["cohort"].replace("north", "NA")  # a cohort, not a missing value
    rows = tidy(scores, Layout.of(["south"], LABELS))
    path = tmp_path / "survival.csv"
    path.write_text(to_csv(rows))
    back = read_csv(path)
    assert np.array_equal(back["mean"].to_numpy(), rows["mean"].to_numpy(), equal_nan=True)
    assert render([results_table(back, "c_index")], "md") == render([results_table(rows, "c_index")], "md")


def test_both_tasks_are_always_written_the_same_each_time(scores, tmp_path):
    path = tmp_path / "scores.parquet"
    write_table(scores, SCORES, path, Provenance("scores"))
    for name in ("one", "two"):
        make_tables(path, ["south"], LABELS, tmp_path / name)
    names = sorted(item.name for item in (tmp_path / "one").iterdir())
    assert names == [f"{task}.{kind}" for task in ("subtype", "survival") for kind in ("csv", "html", "md", "tex")]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert "No run of this study predicts this task" in (tmp_path / "one/subtype.md").read_text()


def test_many_footnotes_get_two_letters():
    rows = [score(f"m{i:02d}", "north", None, reason=f"reason {i}") for i in range(28)]
    laid = results_table(tidy(pd.DataFrame(rows), Layout()), "c_index")
    assert [letter for letter, _ in laid.notes][-3:] == ["z", "aa", "ab"]


def test_differences_to_the_reference_stand_in_a_table_of_their_own(scores):
    against = {"reference": "ridge", "difference_lower": -0.02, "difference_upper": 0.01}
    rows = [
        score("ridge", "north", 0.70, reference="ridge"),
        score("mlp", "north", 0.69, **against, difference=-0.01),
        score("abmil", "north", 0.60, **{**against, "difference_upper": -0.01}, difference=-0.1),
        score("oracle", "north", 0.9, reference="ridge"),
    ]
    tidied = tidy(pd.DataFrame(rows), Layout.of(["north"], LABELS))
    laid = difference_table(tidied, "c_index")
    assert laid is not None and laid.title == "Survival: Harrell's concordance index, difference to Ridge_Cox"
    texts = {row.label: (row.cells[0].text, row.cells[0].mark) for row in laid.rows}
    assert texts["S-MLP"] == ("-0.010 [-0.020, +0.010]", "")
    assert texts["ABMIL"] == ("-0.100 [-0.020, -0.010]", "best"), "an interval without 0 is bold"
    assert "Ridge_Cox" not in texts and texts["Oracle"][0] == "\N{EN DASH}"
    assert [table.title for table in tables_of(tidied, "survival")][1] == laid.title
    assert difference_table(tidy(scores, Layout()), "c_index") is None, "no reference, no table"


def test_tests_over_folds_stand_beside_the_difference_and_decide_what_is_bold():
    against = {"reference": "ridge", "difference_lower": -0.02, "difference_upper": -0.01, "difference": -0.01}
    rows = [
        score("ridge", "north", 0.70, reference="ridge"),
        score("mlp", "north", 0.69, **against, resampled_t=-1.0, resampled_p=0.0344, holm_p=0.0688, wilcoxon_p=0.0302),
        score(
            "abmil", "north", 0.60, **against, resampled_t=-4.0, resampled_p=0.0004, holm_p=0.0008, wilcoxon_p=0.0001
        ),
        score("snn", "north", 0.60, **against, wilcoxon_p=0.5, test_reason="no corrected t-test: no training part"),
        score("cox", "north", 0.60, **against, test_reason=NOT_OVERLAPPING),
    ]
    tidied = tidy(pd.DataFrame(rows), Layout.of(["north"], LABELS))
    laid = difference_table(tidied, "c_index")
    assert laid is not None
    cells = {row.label: row.cells[0] for row in laid.rows}
    assert cells["S-MLP"].text == "-0.010 [-0.020, -0.010], p = 0.034, Holm p = 0.069, Wilcoxon p = 0.030"
    assert cells["ABMIL"].test == "p < 0.001, Holm p < 0.001, Wilcoxon p < 0.001"
    assert {label: cell.mark for label, cell in cells.items()} == {
        **{"S-MLP": "", "ABMIL": "best"},
        **{"snn": "best", "cox": "best"},
    }
    assert cells["snn"].test == "Wilcoxon p = 0.50" and dict(laid.notes)[cells["snn"].note].startswith("no corrected")
    assert cells["cox"].test == "" and not cells["cox"].note, "without overlap there is nothing to explain"
    assert "corrected resampled t-test over folds, the same p adjusted by Holm over the rows, and" in laid.caption
    assert "Bold: adjusted p < 0.05" in laid.caption
    alone = difference_table(tidied[tidied["method"].isin(["ridge", "cox"])], "c_index")
    assert alone is not None and alone.caption.endswith(
        "Bold: the interval excludes 0; nothing is adjusted for the number of rows."
    )


def test_the_caption_says_which_unit_was_scored(scores):
    assert "One prediction per patient and fold" in table(scores).caption
    assert "Scored per region, of which a patient has several" in table(scores.assign(unit="region")).caption


def test_a_single_fold_has_neither_spread_nor_half_width(scores):
    one = scores.assign(sd_folds=np.nan, half_width=np.nan, folds_used=1, folds_total=1)
    assert table(one).rows[0].cells[1].text == "0.700 [0.650, 0.750]"
    assert table(one).caption.startswith("Value on 1 fold, and in brackets")


def resolved():
    """Three rows against the first: one difference above and one below what the cohort resolves."""
    against = {"reference": "ridge", "bootstrap_p": 0.01, "holm_p": 0.02}
    known = {"resolvable": 0.05}
    limits = [{"difference": d, "difference_lower": d - 0.03, "difference_upper": d + 0.03} for d in (-0.0501, 0.0499)]
    return pd.DataFrame(
        [
            score("ridge", "north", 0.70, reference="ridge", **known),
            score("mlp", "north", 0.65, **against, **known, **limits[0]),
            score("abmil", "north", 0.75, **against, **known, **limits[1]),
        ]
    )


def test_the_resolvable_difference_stands_over_each_table_and_greys_what_is_below_it():
    tidied = tidy(resolved(), Layout.of(["north"], LABELS))
    values, differences = results_table(tidied, "c_index"), difference_table(tidied, "c_index")
    assert differences is not None
    sentence = "Differences below 0.050 cannot be told from noise in this cohort."
    assert values.resolution == differences.resolution == sentence and not values.has_faint
    assert {row.label: row.cells[0].faint for row in differences.rows} == {"S-MLP": False, "ABMIL": True}
    assert differences.rows[0].cells[0].test == "p = 0.010, Holm p = 0.020"
    assert "p of that bootstrap, the same p adjusted by Holm over the rows." in differences.caption
    text = render([differences], "md")
    assert sentence in text and text.count("Holm p = 0.020** †") == 1 and "† below the difference" in text
    text = render([differences], "tex")
    assert (
        text.count(r"\textcolor{gray}{\textbf{+0.050") == 1 and "xcolor" in text and text.count("{") == text.count("}")
    )
    assert "xcolor" not in render([values], "tex") and "†" not in render([values], "md")
    text = render([differences], "html")
    assert text.count('<td class="best faint">') == 1 and sentence in text


def test_what_is_not_known_of_the_resolution_is_said(scores):
    assert table(scores).resolution == "" and table(scores.assign(resolvable=np.nan)).resolution == ""
    scores.loc[scores["cohort"] == "north", "resolvable"] = 0.04
    scores.loc[scores["cohort"] == "south", "resolvable_reason"] = "2 events"
    shown = (
        "Differences below these cannot be told from noise in the cohort: 0.040 (north). Not known for south: 2 events."
    )
    assert table(scores).resolution == shown


def test_where_lower_is_better_the_smallest_is_best(scores, monkeypatch):
    monkeypatch.setattr("pathomix.report.tables.lower_is_better", lambda name: True)
    monkeypatch.setattr("pathomix.report.captions.lower_is_better", lambda name: True)
    laid = table(scores)
    assert {row.label: row.cells[1].mark for row in laid.rows}["ABMIL"] == "best" and "lower is better" in laid.caption


def test_the_html_is_one_file_with_its_style_and_no_link_outside(scores):
    page = render([table(scores)], "html")
    assert page.startswith("<!DOCTYPE html>") and "<style>" in page and "P&lt;1&gt;" in page
    assert 'href="#table-c-index-a"' in page and 'id="table-c-index-a"' in page
    assert "http" not in page and "<script" not in page
    assert "No run of this study" in render([], "html")
