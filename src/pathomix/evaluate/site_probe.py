"""How well features tell the tissue source site: what a model could learn of the hospital instead of the disease.

Sites differ in staining, scanners and in the classes they send, so the probe is run over all patients and again within
each class. A linear classifier on one vector per patient is cross-validated by patient; its balanced accuracy stands
beside what the same procedure reaches when sites are permuted.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from pathomix.core.bags import TileStore
from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.core.parameters import filled
from pathomix.core.provenance import Provenance
from pathomix.core.tables import write_table
from pathomix.evaluate.bootstrap import patient_counts, percentile_interval
from pathomix.evaluate.schemas import ALL_PATIENTS, SITE_PROBE, WITHIN_CLASSES

LOG = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_ITERATIONS = 500


@dataclass(frozen=True)
class Settings:
    """Parameters of the probe.

    Attributes:
        folds: Of the cross-validation by patient, stratified by site.
        min_patients: Sites with fewer patients are left out and counted.
        components: Principal components of the training patients that the classifier reads; all there are if fewer.
        inverse_regularisation: C of the logistic regression on z-scores of them.
        permutations: Of sites, within folds, each fitted anew.
        resamples: Of the patient bootstrap.
        seed: Of folds, permutations and resamples.
    """

    folds: int = 5
    min_patients: int = 10
    components: int = 32
    inverse_regularisation: float = 1.0
    permutations: int = 100
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 2 or self.min_patients < self.folds:
            raise PathomixError(
                f"site_probe: folds is {self.folds}, min_patients {self.min_patients}",
                remedy="use at least 2 folds and at least as many patients per site as folds",
            )
        if min(self.components, self.permutations, self.resamples) < 1 or self.inverse_regularisation <= 0:
            raise PathomixError(
                "site_probe: components, permutations and resamples are at least 1, inverse_regularisation above 0",
                remedy="correct these keys",
            )


def mean_features(tiles: TileStore, patients: Sequence[str]) -> pd.DataFrame:
    """Mean tile feature of each patient with tiles, float64 [patients, dim], index ``patient_id``."""
    known = [patient for patient in patients if patient in tiles.patient_ids]
    rows = [tiles.bag(patient).features.mean(axis=0, dtype=np.float64) for patient in known]
    index = pd.Index(known, name="patient_id", dtype=object)
    return pd.DataFrame(np.stack(rows) if rows else None, index=index)


def probe_sites(vectors: pd.DataFrame, patients: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Columns of SITE_PROBE but `encoder` and `cohort`: one row for all patients, one within classes, one per class.

    Within a class the same probe is run on its patients alone; the row `WITHIN_CLASSES` pools these probes: the mean
    recall over pairs of class and site. It is missing where a single class can be probed, whose own row says it all,
    or none.

    Args:
        vectors: One row per patient, index ``patient_id``.
        patients: PATIENTS columns, index ``patient_id``.
        settings: Parameters.

    Raises:
        PathomixError: A vector is not finite.
    """
    part = patients.loc[patients.index.isin(vectors.index), ["tissue_source_site", "class_label"]].sort_index()
    values = vectors.loc[part.index].to_numpy(np.float64)
    damaged = part.index[~np.isfinite(values).all(axis=1)]
    if len(damaged):
        raise PathomixError("vectors are not finite", offending=damaged, remedy="embed these patients again")
    groups = {ALL_PATIENTS: np.ones(len(part), dtype=bool)}
    labels = sorted(part["class_label"].dropna().unique())
    if len(labels) > 1:
        groups |= {f"class {label}": (part["class_label"] == label).to_numpy() for label in labels}
    probes = {
        name: _Probe.of(name, values[rows], part.loc[rows, "tissue_source_site"], settings)
        for name, rows in groups.items()
    }
    table = [probe.row(settings) for probe in probes.values()]
    within = [probe for name, probe in probes.items() if name != ALL_PATIENTS and probe.reason is None]
    if len(within) > 1:
        table.insert(1, _pooled(within, settings))
    return pd.DataFrame(table)


@dataclass(frozen=True)
class _Probe:
    """The cross-validated probe of one group of patients.

    Attributes:
        name: Of the group.
        site: Number of the site of each patient kept [n].
        right: Whether each patient's site was told [n].
        chance: The same with permuted sites [permutations, n], and
        permuted: the permuted site numbers [permutations, n].
        left_out: Patients and sites left out.
        reason: Why there is no probe; None where there is one.
    """

    name: str
    site: Integers
    right: NDArray[np.bool_]
    chance: NDArray[np.bool_]
    permuted: Integers
    left_out: tuple[int, int]
    reason: str | None

    @classmethod
    def of(cls, name: str, values: Floats, site: pd.Series, settings: Settings) -> _Probe:
        counts = site.value_counts()
        kept_sites = sorted(counts.index[counts >= settings.min_patients])
        kept = site.isin(kept_sites).to_numpy()
        left_out = (int((~kept).sum()), len(counts) - len(kept_sites))
        reason = None
        if len(kept_sites) < 2:
            reason = f"fewer than two sites have {settings.min_patients} patients"
        elif not (np.ptp(values[kept], axis=0) > 0).any():
            reason = "the vectors of all patients are equal"
        if reason is not None:
            none = np.zeros(0, dtype=np.int64)
            nobody = none.astype(bool)
            return cls(name, none, nobody, nobody[None], none[None], (len(site), len(counts)), reason)
        number = pd.Index(kept_sites).get_indexer(pd.Index(site[kept])).astype(np.int64)
        return cls(name, number, *_cross_validated(values[kept], number, settings), left_out, None)

    def accuracy(self, weights: NDArray[np.float32]) -> Floats:
        """Balanced accuracy of each row of patient counts [resamples, n]; NaN where a site is lost."""
        return np.asarray(_recalls(self.right, self.site, weights).mean(axis=1))

    def row(self, settings: Settings) -> dict[str, Any]:
        facts = {"group": self.name, "n_patients": len(self.site), "n_sites": len(np.unique(self.site))}
        left = {"left_out_patients": self.left_out[0], "left_out_sites": self.left_out[1]}
        if self.reason is not None:
            return {**facts, **left, **_described(None, None, None, settings), "reason": self.reason}
        one = np.ones((1, len(self.site)), np.float32)
        chance = np.array(
            [_recalls(r, s, one).mean() for r, s in zip(self.chance, self.permuted, strict=True)], dtype=np.float64
        )
        draws = self.accuracy(patient_counts(len(self.site), settings.resamples, settings.seed, "site", self.name))
        return {**facts, **left, **_described(float(self.accuracy(one)[0]), draws, chance, settings), "reason": None}


def _pooled(probes: Sequence[_Probe], settings: Settings) -> dict[str, Any]:
    """The row `WITHIN_CLASSES`."""
    recalls, draws, chance = [], [], []
    for probe in probes:
        one = np.ones((1, len(probe.site)), np.float32)
        counts = patient_counts(len(probe.site), settings.resamples, settings.seed, "site", probe.name)
        recalls.append(_recalls(probe.right, probe.site, one))
        draws.append(_recalls(probe.right, probe.site, counts))
        pairs = zip(probe.chance, probe.permuted, strict=True)
        chance.append(np.concatenate([_recalls(right, site, one) for right, site in pairs]))
    value, drawn, by_chance = (np.concatenate(parts, axis=1).mean(axis=1) for parts in (recalls, draws, chance))
    return {
        "group": WITHIN_CLASSES,
        "n_patients": sum(len(probe.site) for probe in probes),
        "n_sites": sum(len(np.unique(probe.site)) for probe in probes),
        "left_out_patients": sum(probe.left_out[0] for probe in probes),
        "left_out_sites": sum(probe.left_out[1] for probe in probes),
        **_described(float(value[0]), drawn, by_chance, settings),
        "reason": None,
    }


def _described(value: float | None, draws: Floats | None, chance: Floats | None, settings: Settings) -> dict[str, Any]:
    lower, upper = (np.nan, np.nan) if draws is None else percentile_interval(draws)
    low, high = (np.nan, np.nan) if chance is None else percentile_interval(chance)
    beaten = None if chance is None or value is None else (1 + int((chance >= value).sum())) / (1 + len(chance))
    return {
        "value": value,
        "lower": lower,
        "upper": upper,
        "chance": None if chance is None else float(chance.mean()),
        "chance_lower": low,
        "chance_upper": high,
        "p": beaten,
        "folds": settings.folds,
        "permutations": settings.permutations,
        "resamples": settings.resamples,
    }


def _recalls(right: NDArray[np.bool_], site: Integers, weights: NDArray[np.float32]) -> Floats:
    """Share of each site's patients that were told [resamples, sites]; NaN for a site that a resample lost."""
    member = (site[:, None] == np.unique(site)[None]).astype(np.float32)
    with np.errstate(invalid="ignore"):
        return np.asarray((weights @ (member * right[:, None])) / (weights @ member), dtype=np.float64)


def _cross_validated(
    values: Floats, site: Integers, settings: Settings
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Integers]:
    """Whether each patient's site is told by a model that has not seen the patient; the same for permuted sites.

    Sites are permuted within folds, so that every fold keeps its share of every site, as the true ones do.
    """
    generator = np.random.default_rng(settings.seed)
    splitter = StratifiedKFold(settings.folds, shuffle=True, random_state=settings.seed)
    folds = [held for _, held in splitter.split(site, site)]
    permuted = np.repeat(site[None], settings.permutations, axis=0)
    for row in permuted:
        for held in folds:
            row[held] = generator.permutation(row[held])
    right = np.zeros(len(site), dtype=bool)
    chance = np.zeros(permuted.shape, dtype=bool)
    for held in folds:
        fitted = np.setdiff1d(np.arange(len(site)), held)
        train, test = _components(values[fitted], values[held], settings.components)
        right[held] = _told(train, site[fitted], test, settings) == site[held]
        for row, found in zip(permuted, chance, strict=True):
            found[held] = _told(train, row[fitted], test, settings) == row[held]
    return right, chance, permuted


def _components(train: Floats, test: Floats, count: int) -> tuple[Floats, Floats]:
    """z-scores along the first principal components of the training patients' z-scores."""
    mean, sd = train.mean(axis=0), train.std(axis=0)
    varies = sd > 1e-9 * np.maximum(1.0, np.abs(mean))
    train, test = ((rows[:, varies] - mean[varies]) / sd[varies] for rows in (train, test))
    _, lengths, directions = np.linalg.svd(train, full_matrices=False)
    kept = directions[: min(count, int((lengths > 1e-9 * lengths[:1].max(initial=1.0)).sum()))].T
    first, second = train @ kept, test @ kept
    scale = first.std(axis=0)
    return first / scale, second / scale


def _told(train: Floats, site: Integers, test: Floats, settings: Settings) -> Integers:
    """Site of each test patient by multinomial regression in which every site has the same weight."""
    model = LogisticRegression(
        C=settings.inverse_regularisation, class_weight="balanced", max_iter=_ITERATIONS, tol=1e-3
    )
    return np.asarray(model.fit(train, site).predict(test), dtype=np.int64)


def write_site_probe(
    vectors: pd.DataFrame,
    patients: pd.DataFrame,
    names: Mapping[str, str],
    parameters: Mapping[str, Any],
    inputs: Mapping[str, str | os.PathLike[str]],
    output: str | os.PathLike[str],
) -> None:
    """Probe one encoder's vectors on one cohort and write SITE_PROBE.

    Args:
        vectors: See `probe_sites`.
        patients: PATIENTS table, index ``patient_id``.
        names: `encoder` and `cohort`.
        parameters: Fields of `Settings`.
        inputs: Name to file, for the lineage.
        output: Table to write.

    Raises:
        PathomixError: Parameters are refused, or a vector is not finite.
    """
    settings = filled(Settings, parameters, "site_probe")
    table = probe_sites(vectors, patients, settings).assign(**names)
    for row in table.itertuples():
        LOG.info(
            "%s on %s, %s: site told with balanced accuracy %.3f (chance %.3f), %d patients of %d sites left out",
            names["encoder"], names["cohort"], row.group, row.value, row.chance, row.left_out_patients,
            row.left_out_sites,
        )  # fmt: skip
    hashes = {name: file_digest(path) for name, path in inputs.items()}
    lineage = Provenance("site_probe", SITE_PROBE.version, hashes, {**names, **asdict(settings)})
    write_table(table, SITE_PROBE, output, lineage)
