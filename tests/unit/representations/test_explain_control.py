"""The control of explanations: against scipy and enumeration, and on a simulated cohort whose pathways are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.core.schemas import MODEL_INDEX
from pathomix.core.tables import read_table
from pathomix.representations.explain import Explainer, Scalar, text_scalars
from pathomix.representations.explain_control import (
    CONTROLS,
    PATHWAY_MODELS,
    RANDOMISED,
    TRAINED,
    UNTRAINED,
    Ranked,
    judged,
    rank_approximately,
    ranked,
    untrained,
)
from pathomix.representations.explain_run import PATHWAYS as ATTRIBUTIONS
from pathomix.representations.explain_run import ExplanationCell, OtherSeed, explain_cell
from pathomix.representations.modaltune import FittedModalTune, ModalTuneRepresentation
from pathomix.representations.run import TrainingCell, train_cell
from pathomix.simulate import expression
from pathomix.simulate.genes import GENES, PATHWAYS, PROGNOSTIC
from pathomix.simulate.parameters import Parameters
from pathomix.simulate.patients import Patients, draw_patients
from pathomix.training.checkpoint import Checkpoint

ENCODER = {
    "architecture": "longnet", "width": 32, "depth": 2, "heads": 4, "mlp_ratio": 1.0, "grid": 100,
    "segments": [5, 16], "ratios": [1, 2],
}  # fmt: skip
GENES_ONLY = {
    "heads": 4, "gene_latent": 16, "gene_depth": 1, "gene_tokens": 8, "output_dim": 8, "stages": 2,
    "modalities": ["genes"], "epochs": 8, "warmup": 1, "learning_rate": 1e-2, "batch_size": 16, "gene_dropout": 0.0,
    "gamma": 0.3, "inner_folds": 0, "selection": "last", "device": "cpu",
}  # fmt: skip


# agreement and verdict


def made(values: dict[tuple[str, int], np.ndarray], patients: int = 2) -> list[Ranked]:
    """Models with these importances, every patient's attribution the same but for its sign."""
    models = []
    for (kind, seed), sizes in values.items():
        rows = [
            pd.DataFrame({"pathway": [f"P{i:02d}" for i in range(len(sizes))], "attribution": sign * sizes}).assign(
                patient_id=f"A{number}", scalar="risk", task="general", gap=0.1
            )
            for number, sign in enumerate([1, -1][:patients])
        ]
        models.append(ranked(pd.concat(rows), kind, seed))
    return models


def drawn(seeds: int, noise: float, random: int = RANDOMISED, pathways: int = 40) -> dict[tuple[str, int], np.ndarray]:
    generator = np.random.default_rng(11)
    truth = generator.gamma(1.0, size=pathways)
    values = {(TRAINED, s): truth + noise * generator.gamma(1.0, size=pathways) for s in range(seeds)}
    return values | {(UNTRAINED, k): generator.gamma(1.0, size=pathways) for k in range(random)}


def test_importances_are_means_of_sizes_and_attributions_keep_their_sign() -> None:
    (model,) = made({(TRAINED, 4): np.array([3.0, 1.0])})
    assert list(model.rows["importance"]) == [3.0, 1.0] and list(model.rows["attribution"]) == [0.0, 0.0]
    assert list(model.rows["n_patients"]) == [2, 2] and list(model.rows["seed"]) == [4, 4]
    assert list(model.rows["gap"]) == pytest.approx([0.1 / 4] * 2)
    PATHWAY_MODELS.validate(model.rows)


@pytest.mark.parametrize(("seeds", "noise"), [(2, 0.3), (3, 0.3), (3, 30.0), (2, 30.0), (2, 100.0)])
def test_agreement_and_p_are_those_of_scipy_and_of_enumeration(seeds: int, noise: float) -> None:
    values = drawn(seeds, noise)
    (row,) = judged(made(values)).to_dict("records")
    sizes = np.stack(list(values.values()))
    rho = spearmanr(sizes.T).statistic
    tops = [set(np.argsort(-size)[:10]) for size in sizes]
    pairs = {"seed": list(combinations(range(seeds), 2)),
             "randomised": [(i, j) for i in range(seeds) for j in range(seeds, len(sizes))]}  # fmt: skip
    for kind, chosen in pairs.items():
        assert row[f"{kind}_correlation"] == pytest.approx(np.mean([rho[i, j] for i, j in chosen]))
        assert row[f"{kind}_overlap"] == pytest.approx(np.mean([len(tops[i] & tops[j]) / 10 for i, j in chosen]))

    def excess(chosen: tuple[int, ...]) -> float:
        inside = [rho[i, j] for i, j in combinations(chosen, 2)]
        across = [rho[i, j] for i in chosen for j in range(len(sizes)) if j not in chosen]
        return float(np.mean(inside) - np.mean(across))

    every = [excess(chosen) for chosen in combinations(range(len(sizes)), seeds)]
    p = np.mean(np.array(every) >= every[0] - 1e-9)
    assert row["p"] == pytest.approx(p)
    assert row["verdict"] == ("passes" if p <= 0.05 else "fails") == ("passes" if noise < 1 else "fails")
    assert (row["seeds"], row["randomised"], row["pathways"], row["top"]) == (seeds, RANDOMISED, 40, 10)


def test_seeds_that_agree_because_the_input_says_so_fail() -> None:
    """Untrained models agree with the seeds as the seeds with each other: the ranking is not the model's."""
    values = drawn(3 + RANDOMISED, 0.3, random=0)
    names = [(TRAINED, s) for s in range(3)] + [(UNTRAINED, k) for k in range(RANDOMISED)]
    (row,) = judged(made(dict(zip(names, values.values(), strict=True)))).to_dict("records")
    assert row["seed_correlation"] > 0.7 and row["randomised_correlation"] > 0.7 and row["verdict"] == "fails"


def test_what_cannot_be_judged_is_unknown_with_its_reason() -> None:
    (one,) = judged(made(drawn(1, 0.1))).to_dict("records")
    assert one["verdict"] == "unknown" and one["reason"].startswith("one seed alone") and pd.isna(one["p"])
    assert pd.isna(one["seed_correlation"]) and -1 < one["randomised_correlation"] < 1
    values = drawn(3, 0.1)
    values[UNTRAINED, 0] = np.zeros(40)
    (flat,) = judged(made(values)).to_dict("records")
    assert flat["verdict"] == "unknown" and flat["reason"] == "1 of 8 models attribute the same to every pathway"
    CONTROLS.validate(pd.DataFrame([one]))


# models


@dataclass
class Texts:
    """Survival texts in two directions, by the sign of the prognostic programme."""

    sign: pd.Series
    dim: int = 12
    profile: str = "recommended"

    @property
    def patient_ids(self) -> frozenset[str]:
        return frozenset(self.sign.index)

    def embedding(self, patient_id: str) -> np.ndarray:
        directions = np.random.default_rng(7).normal(size=(4, 2, 12))
        chosen = directions[:, int(self.sign[patient_id] > 0)].astype(np.float32)
        return chosen / np.linalg.norm(chosen, axis=1, keepdims=True)


def simulated(patients: int) -> Cases:
    """A simulated cohort with its own expression, outcome and pathways; texts that know the programme."""
    given = {"seed": 0, "cohorts": {"sim_a": {"patients": patients, "classes": ["one", "two"]}}}
    parameters = Parameters.from_dict(given)
    drawn: Patients = draw_patients(parameters, "sim_a")
    ids = pd.Index(drawn.clinical.index, name="patient_id")
    tpm = expression.tumour_samples(parameters, "sim_a", drawn).tpm
    truth = drawn.truth
    table = pd.DataFrame(
        {"time": truth["time"] + 0.1, "event": truth["event"], "endpoint": "OS", "class_label": truth["class"],
         "tissue_source_site": "AA", "age": 60.0, "sex": "male", "stage": "I", "grade": None},
        index=ids,
    )  # fmt: skip
    log_tpm = pd.DataFrame(expression.log_tpm(tpm), ids, list(GENES))
    return Cases(table, log_tpm, pathways=PATHWAYS, texts=Texts(pd.Series(np.sign(drawn.programme), ids)))


def fitted(cases: Cases, folder: Path, seed: int, **parameters: Any) -> FittedModalTune:
    torch.set_num_threads(1)
    representation = ModalTuneRepresentation(ENCODER, **{**GENES_ONLY, **parameters})
    checkpoint = Checkpoint(folder / f"checkpoint-{seed}.pt", {})
    return representation.fit(cases, cases.subset([]), seed=seed, checkpoint=checkpoint)


def survival_text(model: FittedModalTune, cases: Cases, patient: str) -> list[Scalar]:
    return [scalar for scalar in text_scalars(model, cases.texts, patient) if scalar.task == "survival"]


@pytest.fixture(scope="module")
def cases() -> Cases:
    return simulated(270)


@pytest.fixture(scope="module")
def models(cases: Cases, tmp_path_factory: pytest.TempPathFactory) -> list[FittedModalTune]:
    folder = tmp_path_factory.mktemp("models")
    return [fitted(cases.subset(cases.ids[:-30]), folder, seed) for seed in range(3)]


@pytest.fixture(autouse=True)
def random_stream() -> Iterator[None]:
    """Explaining draws nothing from the common stream."""
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_simulated_pathways_lead_in_trained_models_and_not_in_untrained_ones(
    cases: Cases, models: list[FittedModalTune]
) -> None:
    held_out = [str(patient) for patient in cases.ids[-30:]]
    found = []
    for kind, given in ((TRAINED, models), (UNTRAINED, [untrained(models[0], k) for k in range(RANDOMISED)])):
        for number, model in enumerate(given):
            asked = model if kind == TRAINED else models[0]
            explainer = Explainer(model, cases.subset(held_out))
            found.append(
                rank_approximately(explainer, held_out, lambda p, m=asked: survival_text(m, cases, p), kind, number)
            )
    rank = {
        (model.kind, model.seed): roc_auc_score(model.rows["pathway"].isin(PROGNOSTIC), model.rows["importance"])
        for model in found
    }
    trained = [value for (kind, _), value in rank.items() if kind == TRAINED]
    random = [value for (kind, _), value in rank.items() if kind == UNTRAINED]
    assert min(trained) > 0.7 and np.mean(trained) > 0.8
    assert np.mean(random) < 0.7 and np.mean(trained) - np.mean(random) > 0.15
    (row,) = judged(found).to_dict("records")
    assert row["verdict"] == "passes" and row["seed_correlation"] > row["randomised_correlation"] + 0.1
    # Permuted labels of models: what was trained is called untrained and the other way round.
    swapped = [Ranked(UNTRAINED if m.kind == TRAINED else TRAINED, m.seed, m.rows) for m in found[::-1]]
    assert judged(swapped)["verdict"].tolist() == ["fails"]


def test_the_approximation_is_the_checked_integral_but_for_its_gap(cases: Cases, models: list[FittedModalTune]) -> None:
    explainer = Explainer(models[0], cases, tolerance=0.002, evaluations=1024)
    agreement, slopes = [], []
    for patient in cases.ids[-4:]:
        scalars = text_scalars(models[0], cases.texts, patient)
        exact = explainer.explain(patient, scalars).attributions
        quick = explainer.approximate(patient, scalars)
        assert list(quick) == list(exact) == ["cosine_general", "cosine_diagnosis", "cosine_survival"]
        for name, found in exact.items():
            change = found.checked.end - found.checked.start
            assert quick[name].gap == pytest.approx(change - quick[name].values.sum(), abs=1e-5)
            agreement.append(spearmanr(quick[name].values, found.values).statistic)
            slopes.append(quick[name].values @ found.values / (found.values @ found.values))
    assert np.median(agreement) > 0.95 and min(agreement) > 0.8
    assert np.median(slopes) == pytest.approx(1.0, abs=0.1)


def test_an_untrained_model_is_the_same_architecture_with_other_weights(
    cases: Cases, models: list[FittedModalTune]
) -> None:
    before = {name: value.clone() for name, value in models[0].network.state_dict().items()}
    first, again, second = (untrained(models[0], number) for number in (0, 0, 1))
    assert first.network.state_dict().keys() == before.keys() and not first.network.training
    pairs = [
        (a, b) for a, b in zip(first.network.state_dict().values(), again.network.state_dict().values(), strict=True)
    ]
    assert all(torch.equal(a, b) for a, b in pairs)
    weight = "gene_encoder.pathway_compression.weight"
    assert not torch.equal(first.network.state_dict()[weight], before[weight])
    assert not torch.equal(first.network.state_dict()[weight], second.network.state_dict()[weight])
    assert all(torch.equal(value, before[name]) for name, value in models[0].network.state_dict().items())


# files


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Cases, pd.DataFrame, list[pd.DataFrame]]:
    """Results folder with two seeds of a small representation."""
    root, small = tmp_path_factory.mktemp("results"), simulated(24)
    splits = pd.DataFrame({"fold": 0, "patient_id": small.ids, "part": np.where(np.arange(24) < 6, "test", "train")})
    indices = []
    for seed in (0, 1):
        given = {"representation": "modaltune", **GENES_ONLY, "epochs": 1}
        cell = TrainingCell("small", "c", "s", seed, given, ENCODER, "", {})
        train_cell(cell, small, splits, root, root / f"{seed}.parquet", lambda fold: small.texts)
        indices.append(read_table(root / f"{seed}.parquet", MODEL_INDEX))
    return root, small, splits, indices


def test_the_explanation_writes_its_control(
    trained: tuple[Path, Cases, pd.DataFrame, list[pd.DataFrame]], tmp_path: Path
) -> None:
    root, small, splits, (first, second) = trained
    cell = ExplanationCell({"representation": "modaltune", **GENES_ONLY, "epochs": 1}, ENCODER, "c", False, 0, {})

    def every(model: FittedModalTune, patient: str) -> list[Scalar]:
        return text_scalars(model, small.texts, patient)

    def one(model: FittedModalTune, patient: str) -> list[Scalar]:
        return survival_text(model, small, patient)

    for name in ("one", "two"):
        explain_cell(cell, small, splits, first, 2, every, root, tmp_path / name, [OtherSeed(second, one)])
    models = read_table(tmp_path / "one/pathway_models.parquet", PATHWAY_MODELS)
    assert set(models["scalar"]) == {"cosine_survival"}  # what other seeds are not asked for is not compared
    kinds = [(TRAINED, 0), (TRAINED, 1), *((UNTRAINED, k) for k in range(RANDOMISED))]
    assert set(zip(models["kind"], models["seed"], strict=True)) == set(kinds)
    full = read_table(tmp_path / "one/pathways.parquet", ATTRIBUTIONS)
    own = full[full["scalar"] == "cosine_survival"].groupby("pathway")["attribution"].agg(lambda v: v.abs().mean())
    mine = models[(models["kind"] == TRAINED) & (models["seed"] == 0)].set_index("pathway")
    assert list(mine["importance"]) == pytest.approx(list(own[mine.index])) and set(mine["n_patients"]) == {2}
    (row,) = read_table(tmp_path / "one/controls.parquet", CONTROLS).to_dict("records")
    assert (row["seeds"], row["randomised"], row["pathways"]) == (2, RANDOMISED, len(PATHWAYS))
    assert row["verdict"] in ("passes", "fails")
    files = [sorted((tmp_path / name).rglob("*.parquet")) for name in ("one", "two")]
    assert len(files[0]) == 5 and [file_digest(f) for f in files[0]] == [file_digest(f) for f in files[1]]
    explain_cell(cell, small, splits, first, 1, every, root, tmp_path / "alone")
    alone = read_table(tmp_path / "alone/controls.parquet", CONTROLS)
    assert alone["verdict"].tolist() == ["unknown"] * 3 and alone["randomised_correlation"].notna().all()
    with pytest.raises(PathomixError, match="a seed is given twice: 0, 0"):
        explain_cell(cell, small, splits, first, 1, every, root, tmp_path / "alone", [OtherSeed(first, one)])
