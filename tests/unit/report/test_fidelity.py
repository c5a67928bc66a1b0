from __future__ import annotations

import json
import subprocess
import sys
from math import isnan, nan
from pathlib import Path

import pandas as pd
import pytest

from pathomix.methods import path_gptomic_switches
from pathomix.report.fidelity import (
    PROFILES,
    WORTH_COLUMNS,
    counterpart,
    profile_worth,
    read_profiles,
    row_profile,
    write_profiles,
    write_worth,
)
from pathomix.report.layout import Layout
from pathomix.report.tables import tidy, to_csv
from pathomix.representations import modaltune_settings


def test_every_switch_with_its_values_and_a_sentence(tmp_path: Path) -> None:
    write_profiles(tmp_path)
    rows = read_profiles(tmp_path / "profiles.csv")
    switches = {"ModalTune": modaltune_settings.SWITCHES, "Path-GPTomic": path_gptomic_switches.SWITCHES}
    assert [(row["method"], row["switch"]) for row in rows] == [
        (m, name) for m, table in switches.items() for name in table
    ]
    for row in rows:
        switch = switches[row["method"]][row["switch"]]
        expected = [str(getattr(switch, profile, "-")) for profile in PROFILES]
        assert [row[profile] for profile in PROFILES] == expected
        assert row["sentence"].endswith(".")
    lines = (tmp_path / "profiles.md").read_text().splitlines()
    assert len(lines) == len(rows) + 2 and all(line.count(" | ") >= 4 for line in lines[2:])


CONFIG = {
    "representations": {
        "mt": {"representation": "modaltune", "encoder": "demo"},
        "mt_released": {"representation": "modaltune", "encoder": "demo", "profile": "released", "text": "released"},
        "mt_genes": {"representation": "modaltune", "encoder": "demo", "modalities": ["genes"]},
        "slide": {"representation": "slide_vector"},
    },
    "methods": {
        "released": {"label": "As released", "method": "probe", "representation": "mt_released"},
        "genes": {"method": "probe", "representation": "mt_genes"},
        "cross": {"method": "probe", "representation": "mt", "standardise": True},
        "modaltune": {"method": "probe", "representation": "mt"},
        "elsewhere": {"method": "probe", "representation": "mt", "source": "pan"},
        "slide": {"method": "probe", "representation": "slide"},
        "pg": {"method": "path_gptomic", "rna": "vectors"},
        "pg_paper": {"method": "path_gptomic", "rna": "vectors", "profile": "paper", "modulation": "paper_softmax"},
        "ridge": {"method": "ridge"},
    },
    "studies": {
        "one": {"methods": ["released", "genes", "cross", "modaltune", "elsewhere", "slide", "pg", "pg_paper"]}
    },
}


def score(method: str, mean: float, **changes: object) -> dict[str, object]:
    row = {"method": method, "metric": "c_index", "cohort": "north", "scheme": "cv", "source": "run", "mean": mean}
    row |= {"lower": mean - 0.1, "upper": mean + 0.1, "reference": "modaltune", "difference": nan, "holm_p": nan}
    return row | {"difference_lower": nan, "difference_upper": nan, "resolvable": 0.03} | changes


def test_profiles_and_counterparts_follow_from_the_configuration() -> None:
    profiles = {row: row_profile(CONFIG, row) for row in (*CONFIG["methods"], "oracle")}
    assert profiles == {
        **dict.fromkeys(("genes", "cross", "modaltune", "elsewhere", "pg"), "recommended"),
        **{"released": "released", "pg_paper": "paper", "slide": "", "ridge": "", "oracle": ""},
    }
    # Not the row on genes alone or from another cohort, and of the others the one with fewest other differences.
    assert counterpart(CONFIG, "one", "released") == ("modaltune", ("representation.text",))
    assert counterpart(CONFIG, "one", "pg_paper") == ("pg", ("modulation",))
    alone = {**CONFIG, "studies": {"one": {"methods": ["released", "genes", "elsewhere"]}}}
    assert counterpart(alone, "one", "released") is None


def test_gains_are_recommended_less_profile_with_the_interval_turned_round(tmp_path: Path) -> None:
    compared = {"difference": -0.02, "difference_lower": -0.06, "difference_upper": 0.01, "holm_p": 0.4}
    rows = [score("released", 0.60, **compared), score("modaltune", 0.62), score("pg", 0.7), score("pg_paper", 0.66)]
    worth = profile_worth(CONFIG, {"one": pd.DataFrame(rows)})
    assert list(worth.columns) == list(WORTH_COLUMNS) and len(worth) == 2
    first, second = worth.to_dict("records")
    assert (first["method"], first["profile"], first["recommended_row"]) == ("ModalTune", "released", "modaltune")
    found = [first[name] for name in ("gain", "gain_lower", "gain_upper", "holm_p", "resolvable")]
    assert found == pytest.approx([0.02, -0.01, 0.06, 0.4, 0.03]) and first["reason"] is None
    assert second["gain"] == pytest.approx(0.04) and isnan(second["gain_lower"]) and "`reference`" in second["reason"]
    write_worth(worth, tmp_path)
    text = (tmp_path / "profile_worth.md").read_text()
    assert "| 0.600 [0.500, 0.700] | 0.620 [0.520, 0.720] | +0.020 [-0.010, +0.060] † | 0.400 |" in text
    assert "| +0.040 |" in text and "nan" not in text
    assert len(pd.read_csv(tmp_path / "profile_worth.csv")) == 2


def test_the_interval_is_taken_as_it_is_where_the_profile_is_the_reference() -> None:
    compared = {"difference": 0.02, "difference_lower": -0.01, "difference_upper": 0.06, "holm_p": 0.4}
    rows = [score("released", 0.60, reference="released"), score("modaltune", 0.62, reference="released", **compared)]
    (row,) = profile_worth(CONFIG, {"one": pd.DataFrame(rows)}).to_dict("records")
    assert (row["gain_lower"], row["gain_upper"], row["holm_p"]) == (-0.01, 0.06, 0.4)


def test_a_missing_value_and_an_empty_study_are_said(tmp_path: Path) -> None:
    rows = [score("released", nan), score("modaltune", 0.62)]
    (row,) = profile_worth(CONFIG, {"one": pd.DataFrame(rows)}).to_dict("records")
    assert isnan(row["gain"]) and row["reason"] == "one of the two rows has no value"
    write_worth(profile_worth(CONFIG, {}), tmp_path)
    assert (tmp_path / "profile_worth.md").read_text().startswith("No study of this run")


def test_the_script_writes_both_tables(tmp_path: Path, root: Path) -> None:
    folder = tmp_path / "tables/one"
    folder.mkdir(parents=True)
    for task in ("survival", "subtype"):
        empty = pd.DataFrame(columns=["method", "cohort", "scheme", "task", "metric", "mean"]).astype({"mean": float})
        table = tidy(empty, Layout())
        (folder / f"{task}.csv").write_text(to_csv(table))
    command = [sys.executable, str(root / "workflow_scripts/write_profiles.py"), "--output-dir", str(tmp_path)]
    command += ["--study", f"one={folder}", "--config", json.dumps(CONFIG)]
    subprocess.run(command, check=True, env={"PYTHONPATH": str(root / "src"), "PATH": ""}, capture_output=True)
    assert sorted(path.name for path in tmp_path.glob("profile*")) == [
        "profile_worth.csv",
        "profile_worth.md",
        "profiles.csv",
        "profiles.md",
    ]
