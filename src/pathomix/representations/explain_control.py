"""Whether an explanation is the model's: the same of other seeds, and of models whose weights are random.

Attribution maps can follow the input or the architecture and say nothing of what was learnt (Adebayo et al. 2018,
"Sanity checks for saliency maps"). So pathways are ranked by the mean absolute attribution over the explained patients,
in trained models of several seeds and in untrained ones: same architecture and frozen slide encoder, adapter, gene
encoder and head as they are before training. The explanation passes if seeds rank pathways more like each other than
like untrained models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.core.seeding import seeded
from pathomix.core.seeds import derived_seed
from pathomix.core.tables import Column, TableSchema
from pathomix.representations.explain import Explainer, Scalar
from pathomix.representations.modaltune import FittedModalTune

Floats = NDArray[np.float64]

RANDOMISED = 5
"""Untrained models. With two seeds 21 ways to deal the names out, with three 56: enough for 5 %."""
TOP = 10
LEVEL = 0.05
TRAINED, UNTRAINED = "trained", "randomised"
PASSES, FAILS, UNKNOWN = "passes", "fails", "unknown"

# importance: mean over patients of the absolute attribution; attribution: mean over patients with its sign.
# gap: mean over patients of what the attributions miss of the scalar's change, by the sum of their absolute values.
PATHWAY_MODELS = TableSchema(
    "pathway_models",
    ("scalar", "kind", "seed", "pathway"),
    {
        "scalar": Column("str"),
        "task": Column("str"),
        "kind": Column("str", allowed=(TRAINED, UNTRAINED)),
        "seed": Column("int64"),
        "pathway": Column("str"),
        "importance": Column("float64"),
        "attribution": Column("float64"),
        "gap": Column("float64"),
        "n_patients": Column("int64"),
    },
)

# seed_*: means over pairs of trained models; randomised_*: over pairs of a trained and an untrained one.
# correlation: Spearman's of the importances. overlap: share of the `top` pathways in common.
# p: of all ways to call so many of the models trained, the share in which they agree at least so much more with each
# other than with the rest; the explanation passes at 5 %.
CONTROLS = TableSchema(
    "explanation_controls",
    ("scalar",),
    {
        "scalar": Column("str"),
        "task": Column("str"),
        "seeds": Column("int64"),
        "randomised": Column("int64"),
        "n_patients": Column("int64"),
        "pathways": Column("int64"),
        "top": Column("int64"),
        "seed_correlation": Column("float64", nullable=True),
        "seed_overlap": Column("float64", nullable=True),
        "randomised_correlation": Column("float64", nullable=True),
        "randomised_overlap": Column("float64", nullable=True),
        "p": Column("float64", nullable=True),
        "verdict": Column("str", allowed=(PASSES, FAILS, UNKNOWN)),
        "reason": Column("object", nullable=True),
    },
)


@dataclass(frozen=True)
class Ranked:
    """Importances of one model: PATHWAY_MODELS rows."""

    kind: str
    seed: int
    rows: pd.DataFrame


def untrained(model: FittedModalTune, number: int) -> FittedModalTune:
    """The model as it would be before training, with the `number`-th of its initial weights."""
    with seeded(derived_seed(number, "explanation control")):
        network = model.owner._network(model.readers)
    return replace(model, network=network.eval())


def rank_approximately(
    explainer: Explainer, patients: Sequence[str], scalars: Callable[[str], Sequence[Scalar]], kind: str, seed: int
) -> Ranked:
    """Importances by `Explainer.approximate`, over the patients that the model reads genes of."""
    parts = []
    for patient in patients:
        wanted = list(scalars(patient))
        found = explainer.approximate(patient, wanted) if wanted else None
        task = {scalar.name: scalar.task for scalar in wanted}
        for name, (values, gap) in (found or {}).items():
            frame = pd.DataFrame({"pathway": list(explainer.pathways), "attribution": values})
            parts.append(frame.assign(patient_id=patient, scalar=name, task=task[name], gap=gap))
    columns = ["pathway", "attribution", "patient_id", "scalar", "task", "gap"]
    return ranked(pd.concat(parts) if parts else pd.DataFrame(columns=columns), kind, seed)


def ranked(attributions: pd.DataFrame, kind: str, seed: int) -> Ranked:
    """Importances of one model.

    Args:
        attributions: Columns `patient_id`, `scalar`, `task`, `pathway`, `attribution` and `gap` (of the patient and
            scalar).
        kind: ``trained`` or ``randomised``.
        seed: Of the training, or number of the untrained model.
    """
    frame = attributions.assign(size=attributions["attribution"].abs())
    by_patient = frame.groupby(["scalar", "patient_id"]).agg(total=("size", "sum"), gap=("gap", "first"))
    lost = by_patient["gap"].abs().div(by_patient["total"].where(by_patient["total"] > 0)).fillna(0.0)
    rows = frame.groupby(["scalar", "task", "pathway"], sort=False).agg(
        importance=("size", "mean"), attribution=("attribution", "mean"), n_patients=("patient_id", "nunique")
    )
    rows = rows.reset_index().merge(lost.groupby("scalar").mean().rename("gap"), on="scalar", how="left")
    return Ranked(kind, seed, rows.assign(kind=kind, seed=seed)[list(PATHWAY_MODELS.columns)])


def judged(models: Sequence[Ranked]) -> pd.DataFrame:
    """CONTROLS rows of the scalars of the first model; another that lacks one does not count for it."""
    rows = []
    for scalar, own in models[0].rows.groupby("scalar", sort=True):
        mine = [(model, model.rows[model.rows["scalar"] == scalar].set_index("pathway")) for model in models]
        trained = {model.seed: frame for model, frame in mine if model.kind == TRAINED and len(frame)}
        random = {model.seed: frame for model, frame in mine if model.kind == UNTRAINED and len(frame)}
        common = sorted(set.intersection(*(set(frame.index) for frame in [*trained.values(), *random.values()])))
        frames = [
            frame.loc[common, "importance"].to_numpy(np.float64) for frame in [*trained.values(), *random.values()]
        ]
        row = {"scalar": scalar, "task": own["task"].iloc[0], "n_patients": int(own["n_patients"].min())}
        row |= {"seeds": len(trained), "randomised": len(random), "pathways": len(common)}
        rows.append({**row, **_verdict(np.stack(frames), len(trained))})
    return pd.DataFrame(rows, columns=list(CONTROLS.columns))


def _verdict(importances: Floats, seeds: int) -> dict[str, object]:
    """Agreement of models [models, pathways], the first `seeds` of them trained, and what follows from it."""
    models, pathways = importances.shape
    top = min(TOP, max(1, pathways // 4))
    names = ("seed_correlation", "seed_overlap", "randomised_correlation", "randomised_overlap", "p")
    empty: dict[str, object] = {"top": top, **dict.fromkeys(names, np.nan), "verdict": UNKNOWN, "reason": None}
    flat = int((np.ptp(importances, axis=1) == 0).sum())
    if flat:
        return {**empty, "reason": f"{flat} of {models} models attribute the same to every pathway"}
    correlation, overlap = np.atleast_2d(_spearman(importances)), _overlap(importances, top)
    own, chosen = np.triu_indices(seeds, 1), np.s_[:seeds, seeds:]
    found: dict[str, object] = {}
    if models > seeds:
        found |= {"randomised_correlation": correlation[chosen].mean(), "randomised_overlap": overlap[chosen].mean()}
    if seeds > 1:
        found |= {"seed_correlation": correlation[own].mean(), "seed_overlap": overlap[own].mean()}
    if seeds < 2 or models == seeds:
        return {**empty, **found, "reason": "one seed alone: nothing to compare untrained models with"}
    p = _permuted(correlation, seeds)
    return {**empty, **found, "p": p, "verdict": PASSES if p <= LEVEL else FAILS}


def _spearman(values: Floats) -> Floats:
    """Rank correlations [models, models], ties at their mean rank."""
    result: Floats = np.corrcoef(pd.DataFrame(values.T).rank().to_numpy().T)
    return result


def _overlap(values: Floats, top: int) -> Floats:
    """Share of the `top` largest in common, [models, models]; of equal values the first counts as larger."""
    places = np.argsort(-values, axis=1, kind="stable")[:, :top]
    chosen = np.zeros(values.shape)
    np.put_along_axis(chosen, places, 1.0, axis=1)
    result: Floats = chosen @ chosen.T / top
    return result


def _permuted(correlation: Floats, seeds: int) -> float:
    """Exact p of the trained models' agreement, see CONTROLS."""
    everyone = np.arange(len(correlation))

    def excess(members: Sequence[int]) -> float:
        inside = np.array(members)
        outside = np.setdiff1d(everyone, inside)
        own = correlation[np.ix_(inside, inside)][np.triu_indices(len(inside), 1)]
        return float(own.mean() - correlation[np.ix_(inside, outside)].mean())

    observed = excess(range(seeds))
    found = [excess(members) for members in combinations(range(len(correlation)), seeds)]
    return float(np.mean([value >= observed - 1e-12 for value in found]))
