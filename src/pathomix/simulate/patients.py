"""Patients of one simulated cohort: latent factors, log-hazard, outcome and clinical table.

The hazard of a patient is ``h(t) = h0(t) * exp(image + expression + alterations + clinical + site)`` with a Weibull
``h0`` (median and shape in the parameters). The contributions are independent of each other, so that modalities
complement one another, and each is standardised within the cohort before it is multiplied by its effect:

* image: extent of the planted morphology (share of the tissue area);
* expression: activity of the prognostic pathway programme;
* alterations: weighted driver mutations and segments;
* clinical: age and pathological stage;
* site: one constant per tissue source site.

The class is readable from the growth patterns on the slide and, with independent noise, from pathway activity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.simulate.alterations import Alterations, draw_alterations
from pathomix.simulate.parameters import Outcome, Parameters

Floats = NDArray[np.float64]

CONTRIBUTIONS = ("image", "expression", "alterations", "clinical", "site")
UNCLASSIFIABLE = "Carcinoma, NOS"
STAGES = ("Stage I", "Stage II", "Stage III", "Stage IV")
GRADES = ("G1", "G2", "G3", "G4")

# Cuts of a standard normal variable into four stages or grades: 38, 28, 20 and 14 % of the patients.
_CUTS = (-0.3, 0.4, 1.1)
# A pathologist's grade sees the planted morphology, with much noise.
_GRADE_CORRELATION = 0.3
_PATTERN_SHARPNESS = 1.3


@dataclass(frozen=True)
class Patients:
    """Everything drawn for one cohort before it is written as tables.

    Attributes:
        clinical: Clinical columns, index patient id.
        truth: Truth columns (contributions, extent, pattern shares, class, mechanism), same index.
        site: int64 [patients], position of the patient's site.
        site_names: Two-character tissue source sites.
        programme: float64 [patients], activity of the prognostic programme.
        pattern_activity: float64 [patients, classes], activity of the pathways of each growth pattern.
        alterations: Mutation and copy number.
    """

    clinical: pd.DataFrame
    truth: pd.DataFrame
    site: NDArray[np.int64]
    site_names: tuple[str, ...]
    programme: Floats
    pattern_activity: Floats
    alterations: Alterations


def standardise(values: Floats) -> Floats:
    """Zero mean and unit standard deviation over the cohort."""
    result: Floats = (values - values.mean()) / values.std()
    return result


def site_names(parameters: Parameters, cohort: str) -> tuple[str, ...]:
    """Six to eight tissue source sites; the letter is the cohort's, so that patient ids never clash."""
    position = list(parameters.cohorts).index(cohort)
    return tuple(f"{chr(ord('A') + position)}{k + 1}" for k in range(6 + (position + 1) % 3))


def draw_patients(parameters: Parameters, cohort: str) -> Patients:
    """Draw one cohort."""
    settings, effects = parameters.cohort(cohort), parameters.effects
    n, classes = settings.patients, len(settings.classes)
    random = parameters.random("patients", cohort)
    names = site_names(parameters, cohort)
    site, label = _sites_and_classes(random, n, len(names), classes)

    low, high = parameters.slides.extent
    extent = low + (high - low) * random.beta(1.2, 1.6, size=n)
    programme = standardise(random.standard_normal(n))
    is_class = np.eye(classes)[label]
    pattern_latent = effects.class_separation * is_class + random.standard_normal((n, classes))
    pattern_activity = effects.class_separation * is_class + random.standard_normal((n, classes))
    shares = np.exp(_PATTERN_SHARPNESS * pattern_latent)
    alterations = draw_alterations(random, parameters.random("genome"), n)
    age = np.clip(np.round(random.normal(63.0, 11.0, n), 1), 25.0, 89.9)
    stage = np.digitize(random.standard_normal(n), _CUTS)
    noise = random.standard_normal(n)
    grade = np.digitize(_GRADE_CORRELATION * standardise(extent) + np.sqrt(1 - _GRADE_CORRELATION**2) * noise, _CUTS)
    site_hazard = effects.site * standardise(random.standard_normal(len(names)))[site]
    hazard = {
        "image": effects.image * standardise(extent),
        "expression": effects.expression * programme,
        "alterations": effects.alterations * standardise(alterations.score),
        "clinical": effects.age * standardise(age) + effects.stage * standardise(stage.astype(float)),
        "site": site_hazard - site_hazard.mean(),
    }
    total = sum(hazard.values(), np.zeros(n))
    outcome = _outcomes(random, parameters.outcome, total, standardise(age), site, len(names))
    ids = pd.Index([f"SIMU-{names[s]}-{i + 1:04d}" for i, s in enumerate(site)], name="patient_id")
    clinical = _clinical(random, parameters, settings.classes, label, age, stage, grade, ids)
    clinical = pd.concat([clinical, outcome.set_axis(ids)], axis=1)
    if parameters.permute_outcomes:
        clinical = _permuted(parameters.random("permutation", cohort), clinical)
    truth = pd.DataFrame({**hazard, "total": total, "extent": extent}, index=ids)
    for k, share in enumerate((shares / shares.sum(axis=1, keepdims=True)).T):
        truth[f"pattern_{k}"] = share
    truth["class"] = clinical["primary_diagnosis"].where(clinical["primary_diagnosis"] != UNCLASSIFIABLE)
    truth["time"] = clinical["days"] / 30.4375
    truth["event"] = (clinical["mechanism"] == "event").astype("int8")
    truth["mechanism"] = clinical["mechanism"]
    return Patients(clinical, truth, site, names, programme, pattern_activity, alterations)


def _sites_and_classes(
    random: np.random.Generator, patients: int, sites: int, classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Uneven sites whose class prevalence differs, as in cohorts collected by referral centres."""
    weight = random.permutation(0.75 ** np.arange(sites))
    site = random.choice(sites, size=patients, p=weight / weight.sum())
    prevalence = np.exp(0.5 * random.standard_normal((sites, classes)))
    prevalence /= prevalence.sum(axis=1, keepdims=True)
    label = (random.random((patients, 1)) > np.cumsum(prevalence, axis=1)[site]).sum(axis=1)
    return site.astype(np.int64), np.minimum(label, classes - 1).astype(np.int64)


def _outcomes(
    random: np.random.Generator, outcome: Outcome, log_hazard: Floats, age: Floats, site: NDArray[np.int64], sites: int
) -> pd.DataFrame:
    """Days and what ended the observation: the event, or the earliest of four mechanisms of censoring."""
    n = len(log_hazard)
    closing = random.permutation(sites)[: round(outcome.closing_sites * sites)]
    exponential = random.exponential(size=(3, n)) / np.log(2)
    ends = {
        "event": outcome.median_days * (exponential[0] * np.exp(-log_hazard)) ** (1 / outcome.shape),
        "study end": outcome.minimum_follow_up_days + random.uniform(0, outcome.accrual_days, n),
        "lost at random": outcome.loss_median_days * exponential[1],
        "lost with age": outcome.age_loss_median_days * exponential[2] / 2.0**age,
        "site closed": np.where(np.isin(site, closing), outcome.closing_days * random.uniform(0.9, 1.1, n), np.inf),
    }
    table = np.stack(list(ends.values()))
    first = table.argmin(axis=0)
    days = np.maximum(np.ceil(table.min(axis=0)), 1).astype(np.int64)
    return pd.DataFrame({"days": days, "mechanism": np.array(list(ends), dtype=object)[first]})


def _clinical(
    random: np.random.Generator,
    parameters: Parameters,
    classes: tuple[str, ...],
    label: NDArray[np.int64],
    age: Floats,
    stage: NDArray[np.int64],
    grade: NDArray[np.int64],
    ids: pd.Index,
) -> pd.DataFrame:
    n, missing = len(ids), parameters.missing

    def with_gaps(values: NDArray[Any], share: float, other: object = None) -> NDArray[np.object_]:
        result = values.astype(object)
        result[random.random(n) < share] = other
        return result

    diagnosis = with_gaps(np.array(classes)[label], missing.unclassifiable, UNCLASSIFIABLE)
    columns = {
        "age_at_diagnosis_years": with_gaps(age, missing.age, np.nan).astype(float),
        "gender": np.where(random.random(n) < 0.5, "male", "female"),
        "ajcc_pathologic_stage": with_gaps(np.array(STAGES)[stage], missing.stage),
        "neoplasm_histologic_grade": with_gaps(np.array(GRADES)[grade], missing.grade),
        "primary_diagnosis": diagnosis,
    }
    return pd.DataFrame(columns, index=ids)


def _permuted(random: np.random.Generator, clinical: pd.DataFrame) -> pd.DataFrame:
    """Outcome, class, and stage with grade, each dealt out anew over the patients."""
    result = clinical.copy()
    for columns in (
        ["days", "mechanism"],
        ["primary_diagnosis"],
        ["ajcc_pathologic_stage", "neoplasm_histologic_grade"],
    ):
        result[columns] = clinical[columns].to_numpy()[random.permutation(len(clinical))]
    result["days"] = result["days"].astype("int64")
    return result
