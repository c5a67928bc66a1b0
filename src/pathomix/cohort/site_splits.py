"""Site-preserving splits: no tissue source site is on two sides of a fold, nor, where possible, of train and valid.

The site of a TCGA patient is the one of his barcode; stain, scanner and tissue handling follow it, so that a model can
recognise the site and, where sites differ in outcome, score well without having learnt any biology.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd

from pathomix.cohort.site_solver import EVENT, Assignment, Problem, Quantity, assign_sites
from pathomix.cohort.split_parameters import Draft, SiteKFoldParameters, derived_seed, rows_of
from pathomix.cohort.strata import UNKNOWN, with_valid
from pathomix.core.errors import PathomixError

QUARTERS = 4
_VALID_OFF = Fraction(1, 2)


def follow_up_quarters(time: pd.Series) -> pd.Series:
    """Quarter (0 to 3) of each patient's time among all known times, missing where the time is.

    The edges are observed times, so that no rounding decides where a patient falls.
    """
    known = time.dropna().sort_values()
    edges = [known.iloc[len(known) * k // QUARTERS] for k in range(1, QUARTERS)] if len(known) >= QUARTERS else []
    quarter = pd.Series(np.searchsorted(edges, time.to_numpy(float), side="right"), index=time.index, dtype="Int64")
    return quarter.where(time.notna())


def site_kfold(patients: pd.DataFrame, parameters: SiteKFoldParameters, draft: Draft) -> list[pd.DataFrame]:
    """SPLITS rows of every fold.

    Args:
        patients: PATIENTS columns, index patient_id.
        parameters: Folds, weights, rules and effort.
        draft: Receives what the solver says, what was relaxed and what is unavoidable.

    Raises:
        PathomixError: A patient has no site, or there are fewer sites than folds.
    """
    site = _sites(patients)
    problem, names = site_problem(patients, parameters)
    found = assign_sites(problem, effort=parameters.effort, seed=derived_seed(parameters.seed, "site_kfold"))
    draft.solver.append({"problem": "folds", "fold": None, **found.report()})
    _explain(found, None, parameters, draft)
    _unavoidable(problem, names, draft)
    fold_of = dict(zip(names, found.groups, strict=True))
    result = []
    for fold in range(parameters.folds):
        test = site.map(fold_of) == fold
        parts = _with_valid(patients[~test], site[~test], parameters, fold, draft)
        result.append(rows_of(fold, parts | dict.fromkeys(patients.index[test], "test")))
    return result


def site_problem(patients: pd.DataFrame, parameters: SiteKFoldParameters) -> tuple[Problem, list[str]]:
    """What the solver is asked for the folds of a cohort, and the sites in its order.

    Args:
        patients: PATIENTS columns, index patient_id.
        parameters: Folds, weights and rules.

    Raises:
        PathomixError: A patient has no site, or there are fewer sites than folds.
    """
    site = _sites(patients)
    names = sorted(set(site))
    if len(names) < parameters.folds:
        raise PathomixError(
            f"{len(names)} tissue source sites cannot fill {parameters.folds} folds",
            offending=names,
            remedy=f"set folds: {len(names)}" if len(names) > 1 else "use scheme stratified_kfold",
        )
    shares = (Fraction(1, parameters.folds),) * parameters.folds
    return _problem(patients, site, names, shares, parameters), names


def _sites(patients: pd.DataFrame) -> pd.Series:
    if "tissue_source_site" not in patients:
        raise PathomixError(
            "the patients table has no column tissue_source_site",
            remedy="run build_cohort again: TCGA sites are read from the barcodes",
        )
    site = patients["tissue_source_site"]
    without = [str(i) for i in patients.index[site.isna() | (site.astype("string").str.strip() == "")]]
    if without:
        raise PathomixError(
            f"{len(without)} of {len(patients)} patients have no tissue source site",
            offending=without,
            remedy="name its column (`tissue_source_site`) in the cohort's description, or use scheme stratified_kfold",
        )
    return site.astype(str)


def _problem(
    patients: pd.DataFrame,
    site: pd.Series,
    names: list[str],
    shares: tuple[Fraction, ...],
    parameters: SiteKFoldParameters,
) -> Problem:
    weights, by = parameters.weights, parameters.stratify
    quantities = []

    def add(name: str, weight: int, members: pd.Series) -> None:
        counts = site[members.to_numpy(bool)].value_counts().reindex(names, fill_value=0)
        if weight and 0 < counts.sum() < len(patients):
            quantities.append(Quantity(name, weight, tuple(int(c) for c in counts)))

    if "event" in by:
        add(EVENT, weights.event, (patients["event"] == 1).fillna(False))
        add(f"event={UNKNOWN}", weights.event, patients["event"].isna())
    if "class_label" in by:
        label = patients["class_label"].where(patients["class_label"].notna(), UNKNOWN)
        counts = label.value_counts()
        # Of two classes the deviations are the same: one of them says it all.
        shown = sorted(counts.index) if len(counts) != 2 else [min(counts.index, key=lambda c: (counts[c], c))]
        for name in shown:
            add(f"class_label={name}", weights.class_label, label == name)
    quarter = follow_up_quarters(patients["time"])
    for number in range(QUARTERS):
        add(f"follow_up={number}", weights.follow_up, (quarter == number).fillna(False))
    sizes = site.value_counts().reindex(names)
    return Problem(
        tuple(int(n) for n in sizes), tuple(quantities), shares, weights.size,
        parameters.event_points, round(1000 * parameters.size_tolerance),
    )  # fmt: skip


def _explain(found: Assignment, fold: int | None, parameters: SiteKFoldParameters, draft: Draft) -> None:
    """Say which rules were given up and whether they had to be."""
    texts = {
        "events": f"events within {parameters.event_points} points of the cohort's share, and one in every part",
        "size": f"sizes within {100 * parameters.size_tolerance:g} % of the intended ones",
    }
    for rule, proved in found.given_up.items():
        why = "proved impossible" if proved else "no such assignment was found within the effort"
        if rule == "size" and "events" in found.kept:
            why += " together with the rule on events"
        draft.relax(texts[rule], fold, why, proved=proved)
    if found.status != "OPTIMAL" and fold is None:
        draft.note(
            f"the folds are not proved to be the best: objective {found.objective}, bound {found.bound};"
            " raise `effort` for a smaller gap"
        )


def _unavoidable(problem: Problem, names: list[str], draft: Draft) -> None:
    """What single sites make impossible, whatever the assignment."""
    patients, folds = problem.patients, len(problem.shares)
    for name, size in zip(names, problem.sizes, strict=True):
        if size * folds > patients:
            draft.unavoidable.append(
                f"site {name} has {size} of {patients} patients, more than a fold of {patients / folds:.1f}: its fold"
                f" has at least {size - patients / folds:.1f} patients too many"
            )
    if problem.events is not None:
        with_event = [name for name, count in zip(names, problem.events.counts, strict=True) if count]
        if len(with_event) < folds:
            draft.unavoidable.append(
                f"events at {len(with_event)} sites only ({', '.join(with_event)}): at least {folds - len(with_event)}"
                f" of {folds} test parts have none; set folds: {max(2, len(with_event))}"
            )


def _with_valid(
    train: pd.DataFrame, site: pd.Series, parameters: SiteKFoldParameters, fold: int, draft: Draft
) -> dict[str, str]:
    """Parts of the training patients: a valid part of whole sites, or of patients where sites make none."""
    if not parameters.valid_fraction:
        return dict.fromkeys(train.index, "train")
    share, names = Fraction(round(1000 * parameters.valid_fraction), 1000), sorted(set(site))
    rule = "a valid part of whole sites"
    if not 0 < share < 1 or round(parameters.valid_fraction * len(train)) < 1:
        return with_valid(train.index, train, parameters, fold, draft)
    if len(names) < 2:
        draft.relax(rule, fold, f"all training patients are of site {names[0]}", proved=True)
        return with_valid(train.index, train, parameters, fold, draft)
    problem = _problem(train, site, names, (share, 1 - share), parameters)
    found = assign_sites(
        problem, effort=parameters.effort / parameters.folds, seed=derived_seed(parameters.seed, "valid", fold)
    )
    draft.solver.append({"problem": "valid", "fold": fold, **found.report()})
    valid = site.map(dict(zip(names, found.groups, strict=True))) == 0
    size, events = int(valid.sum()), int((train.loc[valid, "event"] == 1).sum())
    if abs(size - share * len(train)) > _VALID_OFF * share * len(train):
        draft.relax(rule, fold, f"the best one found has {size} of {len(train)} training patients", proved=False)
    elif problem.events is not None and not events:
        draft.relax(rule, fold, "the best one found has no event", proved=False)
    else:
        _explain(found, fold, parameters, draft)
        return {str(i): "valid" if inside else "train" for i, inside in valid.items()}
    return with_valid(train.index, train, parameters, fold, draft)
