"""The four label texts of every patient in every fold (spec modaltune 4.1)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pandas as pd

from pathomix.core.errors import PathomixError
from pathomix.core.texts import TEXT_TASKS
from pathomix.text.bins import SurvivalBins, survival_bins, survival_sentence
from pathomix.text.parameters import TextParameters
from pathomix.text.wording import FIELDS, VOCABULARY, Wording

log = logging.getLogger(__name__)

TEXT_FIELDS: dict[str, tuple[str, ...]] = {
    "general": FIELDS,
    "diagnosis": ("location", "diagnosis"),
    "stage": ("location", "stage", "t", "n", "m"),
    "survival": ("location", "stage", "t", "n", "m", "survival"),
}
"""Fields of each text, in order."""


def prompt(values: Mapping[str, str | None], task: str, wording: Wording, rules: Mapping[str, str]) -> str | None:
    """One text, or None when not one of its fields is known.

    Args:
        values: Field to its words, None where not known.
        task: One of TEXT_TASKS.
        wording: Labels.
        rules: Switch `gaps` of `TextParameters`.
    """
    segments = []
    for field in TEXT_FIELDS[task]:
        value = values[field]
        end = "" if field == "survival" else ";"
        segments.append("" if value is None else f"{wording.labels[field]}: {value}{end}")
    if not any(segments):
        return None
    return " ".join(segments if rules["gaps"] == "kept" else [segment for segment in segments if segment])


def make_prompts(
    fields: pd.DataFrame,
    splits: pd.DataFrame,
    endpoint: str,
    parameters: TextParameters,
    wording: Wording,
    name: str = "cohort",
) -> tuple[pd.DataFrame, dict[int, SurvivalBins | None]]:
    """Texts of all folds.

    Args:
        fields: Of `clean_fields`, indexed by patient.
        splits: SPLITS columns.
        endpoint: Of the cohort; chooses the words of the survival field.
        parameters: Profile, switches and number of intervals.
        wording: Words.
        name: Cohort, for messages.

    Returns:
        Columns fold, patient_id, text_task, prompt (None where no field is known) and the words of the fields, and
        the intervals of each fold.

    Raises:
        PathomixError: A split names an unknown patient, an endpoint has no words, a text cannot be written for anyone.
    """
    unknown = sorted(set(splits["patient_id"]) - set(fields.index))
    if unknown:
        raise PathomixError(
            f"{name}: the splits name patients that the patient table lacks",
            offending=unknown,
            remedy="run split_cohort again",
        )
    rules = parameters.rules
    words = _in_words(fields, wording, rules)
    rows: list[tuple[object, ...]] = []
    bins: dict[int, SurvivalBins | None] = {}
    for fold, split in splits.groupby("fold", sort=True):
        number = int(str(fold))
        ids = pd.Index(sorted(split["patient_id"]))
        train = pd.Index(split.loc[split["part"] == "train", "patient_id"])
        outcome = fields.loc[ids, ["time", "event"]]
        bins[number] = survival_bins(outcome, train, parameters.bins, rules, f"{name}, fold {number}")
        survival = _survival(outcome, bins[number], endpoint, wording, rules)
        for patient in ids:
            values = {**words[str(patient)], "survival": survival.get(str(patient))}
            shown = [values[field] for field in FIELDS]
            rows += [(number, patient, task, prompt(values, task, wording, rules), *shown) for task in TEXT_TASKS]
    result = pd.DataFrame(rows, columns=["fold", "patient_id", "text_task", "prompt", *FIELDS]).astype(
        {"fold": "int64", **dict.fromkeys(("prompt", *FIELDS), object)}
    )
    _report_missing(result, name)
    return result, bins


def _in_words(fields: pd.DataFrame, wording: Wording, rules: Mapping[str, str]) -> dict[str, dict[str, str | None]]:
    """Words of the fields that are the same in every fold."""
    vocabulary = {field: dict(wording.values[field]) for field in VOCABULARY}
    if rules["in_situ"] == "absent":
        vocabulary["t"]["Tis"] = vocabulary["t"]["T0"]
    return {
        str(patient): {
            field: None if pd.isna(row[field]) else vocabulary.get(field, {}).get(row[field], row[field])
            for field in FIELDS
            if field != "survival"
        }
        for patient, row in fields.to_dict("index").items()
    }


def _survival(
    outcome: pd.DataFrame, bins: SurvivalBins | None, endpoint: str, wording: Wording, rules: Mapping[str, str]
) -> dict[str, str]:
    if bins is None:
        return {}
    known = outcome.dropna()
    words = wording.endpoint(endpoint)
    return {
        str(patient): survival_sentence(time, event, bins, words, wording.survival, rules["censored"])
        for patient, time, event in zip(known.index, known["time"], known["event"], strict=True)
    }


def _report_missing(prompts: pd.DataFrame, name: str) -> None:
    remedy = "give `location` in the description of the cohort: it is part of every text"
    for (fold, task), group in prompts.groupby(["fold", "text_task"]):
        missing = group.loc[group["prompt"].isna(), "patient_id"]
        if len(missing) == len(group):
            raise PathomixError(f"{name}, fold {fold}: nothing is known for the text {task!r}", remedy=remedy)
        if len(missing):
            ids = ", ".join(missing.astype(str))
            log.warning("%s, fold %s: no field of the text %r is known for %s; %s", name, fold, task, ids, remedy)
