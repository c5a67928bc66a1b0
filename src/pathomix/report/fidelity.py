"""The fidelity profiles: where released code, paper and good practice part (design section 6), and their worth."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pathomix.core.files import write_text
from pathomix.evaluate.metrics import METRICS
from pathomix.methods import path_gptomic_switches
from pathomix.representations import modaltune_settings

PROFILES = modaltune_settings.PROFILES
RECOMMENDED = "recommended"
_MODALTUNE, _PATH_GPTOMIC = "ModalTune", "Path-GPTomic"
_TABLES = {_MODALTUNE: modaltune_settings.profile_table, _PATH_GPTOMIC: path_gptomic_switches.profile_table}
# Nobody released code of Path-GPTomic.
_NOTHING = "-"
# Keys of a row that say nothing about how it is fitted, and keys in which two rows must agree to be one row twice.
_LOOKS = frozenset({"label", "group", "seeds", "representation", "profile", "tuning"})
_SAME = ("method", "source", "encoder", "blocks", "rna", "image", "token", "representation.modalities")
WORTH_COLUMNS = (
    *("method", "study", "metric", "cohort", "scheme", "profile", "row", "mean", "lower", "upper"),
    *("recommended_row", "recommended_mean", "recommended_lower", "recommended_upper"),
    *("gain", "gain_lower", "gain_upper", "holm_p", "resolvable", "also_differs", "reason"),
)


def write_profiles(output_dir: str | os.PathLike[str]) -> None:
    """Write ``profiles.csv`` and ``profiles.md``: per switch its value in each profile, and what it is about."""
    parts = [table().reset_index().assign(method=method) for method, table in _TABLES.items()]
    table = pd.concat(parts)[["method", "switch", *PROFILES, "sentence"]].astype(object)
    table = table.where(table.notna(), _NOTHING)
    folder = Path(output_dir)
    write_text(folder / "profiles.csv", table.to_csv(index=False, lineterminator="\n"))
    lines = ["| method | switch | " + " | ".join(PROFILES) + " | |", "|:--|:--|" + ":-:|" * len(PROFILES) + ":--|"]
    for row in table.astype(str).to_dict("records"):
        cells = [row["method"], f"`{row['switch']}`", *(row[p] for p in PROFILES), row["sentence"]]
        lines.append("| " + " | ".join(cells) + " |")
    write_text(folder / "profiles.md", "\n".join(lines) + "\n")


def read_profiles(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Rows of ``profiles.csv`` as text."""
    rows = pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")
    return [{str(name): str(value) for name, value in row.items()} for row in rows]


def profiled_method(config: Mapping[str, Any], row: str) -> str:
    """The paper whose profiles a row of the configuration has, empty where it has none."""
    entry = (config.get("methods") or {}).get(row) or {}
    if entry.get("method") == "path_gptomic":
        return _PATH_GPTOMIC
    return _MODALTUNE if _representation(config, entry).get("representation") == "modaltune" else ""


def row_profile(config: Mapping[str, Any], row: str) -> str:
    """Fidelity profile of a row of the configuration, empty where its method has none."""
    entry = (config.get("methods") or {}).get(row) or {}
    match profiled_method(config, row):
        case "Path-GPTomic":
            return str(entry.get("profile", RECOMMENDED))
        case "ModalTune":
            return str(_representation(config, entry).get("profile", RECOMMENDED))
    return ""


def _representation(config: Mapping[str, Any], entry: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (config.get("representations") or {}).get(entry.get("representation"), {})
    return found


def _fitted(config: Mapping[str, Any], row: str) -> dict[str, Any]:
    """Every key that decides how a row is fitted, its representation's keys among them."""
    entry = config["methods"][row]
    below = {f"representation.{k}": v for k, v in _representation(config, entry).items() if k != "profile"}
    return {**{k: v for k, v in entry.items() if k not in _LOOKS}, **below}


def counterpart(config: Mapping[str, Any], study: str, row: str) -> tuple[str, tuple[str, ...]] | None:
    """The study's recommended row that is most like a row of another profile, and the keys they differ in besides.

    Both stand for one method on the same modalities, source and encoder; None where the study has no such row.
    """
    mine = _fitted(config, row)
    found: list[tuple[int, str, tuple[str, ...]]] = []
    for other in config["studies"][study]["methods"]:
        same_method = profiled_method(config, other) == profiled_method(config, row)
        if other == row or not same_method or row_profile(config, other) != RECOMMENDED:
            continue
        theirs = _fitted(config, other)
        if any(mine.get(key) != theirs.get(key) for key in _SAME):
            continue
        differing = tuple(sorted(key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key)))
        found.append((len(differing), other, differing))
    return min(found, key=lambda item: item[0])[1:] if found else None


def profile_worth(config: Mapping[str, Any], rows: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What recommended gains over the other profiles, per study, metric and cohort.

    ``gain`` is the mean of the recommended row less the mean of the row of the profile (of a metric where lower is
    better, a negative gain is the improvement); its interval and Holm's p are those of the paired bootstrap, which the
    study makes against its reference row: where that is another row they are missing and `reason` says so.

    Args:
        config: Configuration of the run.
        rows: Study to its rows in long form (`tables.read_csv`, both tasks).

    Returns:
        Columns `WORTH_COLUMNS`.
    """
    records = []
    for study, table in rows.items():
        run = table[table["source"] == "run"]
        for row in dict.fromkeys(run["method"]):
            profile = row_profile(config, row)
            found = counterpart(config, study, row) if profile not in ("", RECOMMENDED) else None
            if found is None:
                continue
            other, differing = found
            place = ("metric", "cohort", "scheme")
            base = {tuple(score[name] for name in place): score for score in _records(run, other)}
            for score in _records(run, row):
                key = tuple(score[name] for name in place)
                if key in base:
                    same = {"method": profiled_method(config, row), "study": study, "profile": profile, "row": row}
                    same |= dict(zip(place, key, strict=True), recommended_row=other)
                    same |= {"also_differs": ", ".join(differing) or None}
                    records.append({**same, **_gain(score, base[key])})
    return pd.DataFrame(records, columns=list(WORTH_COLUMNS))


def _records(run: pd.DataFrame, row: str) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in score.items()} for score in run[run["method"] == row].to_dict("records")]


def _gain(score: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {name: score[name] for name in ("mean", "lower", "upper", "resolvable")}
    result |= {f"recommended_{name}": base[name] for name in ("mean", "lower", "upper")}
    result |= {"gain": base["mean"] - score["mean"], "reason": None}
    if pd.isna(result["gain"]):
        result["reason"] = "one of the two rows has no value"
    elif score["reference"] != base["method"] and base["reference"] != score["method"]:
        result["reason"] = "compare the study with the recommended row (`reference`) for an interval"
    elif score["reference"] == base["method"]:
        result |= {"gain_lower": -score["difference_upper"], "gain_upper": -score["difference_lower"]}
        result["holm_p"] = score["holm_p"]
    else:
        result |= {"gain_lower": base["difference_lower"], "gain_upper": base["difference_upper"]}
        result["holm_p"] = base["holm_p"]
    return result


def write_worth(worth: pd.DataFrame, output_dir: str | os.PathLike[str]) -> None:
    """Write ``profile_worth.csv`` (full precision) and ``profile_worth.md``."""
    folder = Path(output_dir)
    write_text(folder / "profile_worth.csv", str(worth.to_csv(index=False, lineterminator="\n")))
    head = ["method", "study", "metric", "cohort", "profile", "as in the profile", "recommended", "gain", "Holm p"]
    lines = ["| " + " | ".join(head) + " |", "|:--|:--|:--|:--|:--|:-:|:-:|:-:|:-:|"]
    for row in worth.to_dict("records"):
        values = [_with_interval(row, name) for name in ("mean", "recommended_mean", "gain")]
        faint = " †" if abs(row["gain"]) < row["resolvable"] else ""
        p = "" if pd.isna(row["holm_p"]) else f"{row['holm_p']:.3f}"
        named = [row["method"], row["study"], METRICS[row["metric"]].label, row["cohort"], row["profile"]]
        lines.append("| " + " | ".join([*map(str, named), *values[:2], values[2] + faint, p]) + " |")
    notes = ["", "Gain: recommended less profile; † below the difference that the cohort can resolve."]
    empty = ["", "No study of this run has rows of one method with several profiles."]
    write_text(folder / "profile_worth.md", "\n".join([*lines, *notes] if len(worth) else empty[1:]) + "\n")


def _with_interval(row: Mapping[Any, Any], name: str) -> str:
    stem = name.removesuffix("mean")
    lower, upper = (row[f"{stem}{'' if stem.endswith('_') or not stem else '_'}{end}"] for end in ("lower", "upper"))
    sign = "+" if name == "gain" else ""
    value = "" if pd.isna(row[name]) else f"{row[name]:{sign}.3f}"
    return value if pd.isna(lower) else f"{value} [{lower:{sign}.3f}, {upper:{sign}.3f}]"
