"""Explanations of small trained models, against what the model itself says and against planted truths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from pathomix.cohort.cases import Cases
from pathomix.core.bags import Bag
from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.core.schemas import MODEL_INDEX
from pathomix.core.tables import read_table
from pathomix.methods.build import build_method
from pathomix.representations.explain import Explainer, Scalar, probe_scalars, text_scalars
from pathomix.representations.explain_run import (
    EXPLAINED_CASES,
    EXPLAINED_SCALARS,
    PATHWAYS,
    ExplanationCell,
    explain_cell,
    read_probe,
)
from pathomix.representations.modaltune import FittedModalTune, ModalTuneRepresentation
from pathomix.representations.run import TrainingCell, train_cell
from pathomix.training.checkpoint import Checkpoint

GENES = [f"G{i:02d}" for i in range(18)]
PATHWAYS_OF = {"first": tuple(GENES[:7]), "planted": tuple(GENES[7:12]), "shared": tuple(GENES[3:9] + GENES[12:])}
ENCODER = {
    "architecture": "longnet", "width": 32, "depth": 2, "heads": 4, "mlp_ratio": 1.0, "grid": 100,
    "segments": [5, 16], "ratios": [1, 2],
}  # fmt: skip
SMALL = {
    "heads": 4, "gene_latent": 8, "gene_depth": 1, "gene_tokens": 4, "output_dim": 8, "stages": 2,
    "extra_extractors": 1, "epochs": 2, "warmup": 1, "learning_rate": 3e-3, "gamma": 0.3, "inner_folds": 0,
    "selection": "last", "device": "cpu",
}  # fmt: skip


class Tiles:
    """Two slides per patient, 8 tiles or more; patient P01 has none."""

    dim = 6

    def __init__(self, ids: pd.Index) -> None:
        self.patient_ids = frozenset(ids) - {"P01"}

    def bag(self, patient_id: str) -> Bag:
        number = int(patient_id[1:])
        generator = np.random.default_rng(number)
        count = 8 + number % 3
        cells = generator.permutation(40)[:count]
        coords = np.c_[cells % 5, cells // 5].astype(np.int32) * 512
        return Bag(
            generator.normal(size=(count, 6)).astype(np.float32), coords, (np.arange(count) % 2).astype(np.int32),
            ("A", "B"), np.full((2, 2), 512, np.float32),
        )  # fmt: skip


class Texts:
    """Survival texts in two directions, by the sign of the planted pathway; the others are the same for all."""

    dim, profile = 12, "recommended"

    def __init__(self, expression: pd.DataFrame) -> None:
        self.sign = np.sign(expression[list(PATHWAYS_OF["planted"][-3:])].sum(axis=1))
        self.patient_ids = frozenset(expression.index) - {"P02"}

    def embedding(self, patient_id: str) -> np.ndarray:
        directions = np.random.default_rng(7).normal(size=(4, 2, 12))
        chosen = directions[:, int(self.sign[patient_id] > 0)].astype(np.float32)
        return chosen / np.linalg.norm(chosen, axis=1, keepdims=True)


def cohort(patients: int = 14) -> Cases:
    generator = np.random.default_rng(0)
    ids = pd.Index([f"P{i:02d}" for i in range(patients)], name="patient_id")
    expression = pd.DataFrame(generator.normal(5, 2, (patients, 18)).astype(np.float32), ids, GENES)
    centred = expression - expression.mean()
    table = pd.DataFrame(
        {
            "time": generator.exponential(10, patients) + 0.1, "event": np.arange(patients) % 2, "endpoint": "OS",
            "class_label": np.where(np.arange(patients) % 3, "a", "b"), "tissue_source_site": "AA", "age": 60.0,
            "sex": "male", "stage": "I", "grade": None,
        },
        index=ids,
    )  # fmt: skip
    return Cases(table, expression, pathways=PATHWAYS_OF, tiles=Tiles(ids), texts=Texts(centred))


def fitted(cases: Cases, folder: Path, seed: int = 0, **parameters: object) -> FittedModalTune:
    torch.set_num_threads(1)
    representation = ModalTuneRepresentation(ENCODER, **{**SMALL, **parameters})
    checkpoint = Checkpoint(folder / f"checkpoint-{seed}.pt", {})
    return representation.fit(cases, cases.subset([]), seed=seed, checkpoint=checkpoint)


@pytest.fixture(scope="module")
def cases() -> Cases:
    return cohort()


@pytest.fixture(scope="module")
def model(cases: Cases, tmp_path_factory: pytest.TempPathFactory) -> FittedModalTune:
    return fitted(cases, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def explainer(model: FittedModalTune, cases: Cases) -> Explainer:
    return Explainer(model, cases, tolerance=0.005)


@pytest.fixture(autouse=True)
def random_stream() -> Iterator[None]:
    """Explaining draws nothing."""
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(before, torch.random.get_rng_state())


def test_attributions_add_up_to_the_change_the_model_itself_shows(
    model: FittedModalTune, cases: Cases, explainer: Explainer
) -> None:
    scalars = text_scalars(model, cases.texts, "P05")
    found = explainer.explain("P05", scalars)
    mean = cases.expression.copy()
    mean.loc["P05"] = cases.expression.mean()
    own, neutral = (
        model.embed(replace(cases.subset(["P05"]), expression=frame.loc[["P05"]])).vectors
        for frame in (cases.expression, mean)
    )
    assert [scalar.name for scalar in scalars] == ["cosine_general", "cosine_diagnosis", "cosine_survival"]
    for scalar in scalars:
        target = scalar.weight
        assert np.linalg.norm(target) == pytest.approx(1.0)

        def cosine(vectors: dict[str, pd.DataFrame], target: np.ndarray = target, task: str = scalar.task) -> float:
            vector = vectors[task].iloc[0].to_numpy(np.float64)[: len(target)]  # the joint one
            return float(vector @ target / np.linalg.norm(vector))

        attribution = found.attributions[scalar.name]
        assert attribution.checked.complete
        assert attribution.checked.end == pytest.approx(cosine(own), abs=1e-5)
        assert attribution.checked.start == pytest.approx(cosine(neutral), abs=1e-5)
        change = cosine(own) - cosine(neutral)
        allowed = attribution.checked.allowed
        assert attribution.values.sum() == pytest.approx(change, abs=allowed + 1e-5)
        assert allowed < 0.005 * max(abs(change), np.abs(attribution.values).sum()) + 1e-5
        assert np.abs(attribution.values).min() > 0


def test_attention_rows_add_up_to_one_and_tiles_keep_their_places(
    cases: Cases, explainer: Explainer, model: FittedModalTune
) -> None:
    attention = explainer.explain("P05", []).attention
    bag = cases.tiles.bag("P05")
    tasks, stages = model.owner.settings.tasks, (0, 1)
    names = {f"{t}/stage{s}/{m}" for t in tasks for s in stages for m in ("tiles_to_prompt", "effect")}
    names |= {f"{t}/stage{s}/prompt_to_tiles.0" for t in tasks for s in stages}
    assert set(attention.maps) == names | {f"{t}/stage1/prompt_to_tiles.1" for t in tasks}
    for name, values in attention.maps.items():
        if name.endswith("effect"):
            assert values.shape == (len(bag.coords),)
            assert (values > 0).all()
            continue
        assert values.shape == ((10, 5) if "tiles_to_prompt" in name else (5, 10))
        assert values.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
        assert values.min() > 0
    assert explainer.prompt == ("task", "gene_0", "gene_1", "gene_2", "gene_3")
    places = {tuple(row) for row in np.c_[attention.coords, attention.slide].tolist()}
    assert places == {tuple(row) for row in np.c_[bag.coords, bag.slide].tolist()}
    # Which tile a row is of: a tile that is made another one changes its own row of the first stage, and no other.
    moved = int(np.flatnonzero((bag.coords == attention.coords[3]).all(axis=1) & (bag.slide == attention.slide[3]))[0])

    class Changed(Tiles):
        def bag(self, patient_id: str) -> Bag:
            features = bag.features.copy()
            features[moved] += 3
            return replace(bag, features=features)

    other = Explainer(model, replace(cases, tiles=Changed(cases.ids))).explain("P05", []).attention
    name = "general/stage0/tiles_to_prompt"
    changed = np.abs(other.maps[name] - attention.maps[name]).max(axis=1) > 1e-6
    assert np.flatnonzero(changed).tolist() == [attention.token[3]]


def test_pathway_attention_shares_out_what_gene_tokens_get(explainer: Explainer, model: FittedModalTune) -> None:
    found = explainer.explain("P05", [])
    weight = model.network.gene_encoder.pathway_compression.weight.detach().numpy()
    shares = np.abs(weight) / np.abs(weight).sum(axis=1, keepdims=True)
    maps = [found.attention.maps[f"survival/stage{s}/tiles_to_prompt"][:, 1:].mean(axis=0) for s in (0, 1)]
    assert explainer.shares == pytest.approx(shares)
    assert found.pathway_attention["survival"] == pytest.approx(np.mean(maps, axis=0) @ shares)
    assert found.pathway_attention["survival"].sum() < 1  # the rest is on the task token


def test_a_closed_gate_shows_attention_without_effect(cases: Cases, tmp_path: Path) -> None:
    closed = fitted(cases, tmp_path, gamma=0.0, fusion="sum", epochs=1)
    with torch.no_grad():
        for stage in closed.network.interactions:
            stage.injector.gamma.zero_()
    found = Explainer(closed, cases).explain("P05", [])
    for name, values in found.attention.maps.items():
        if name.endswith("effect"):
            assert (values == 0).all()
        elif "tiles_to_prompt" in name:
            assert values.std() > 0
    assert found.pathway_attention["general"].min() > 0
    # The image vector cannot have seen a gene then.
    object.__setattr__(closed.network.settings, "fusion", "image")
    attribution = Explainer(closed, cases).explain("P05", [Scalar("sum", "general", np.ones(8))]).attributions["sum"]
    assert attribution.values.tolist() == [0.0, 0.0, 0.0]
    assert attribution.checked.complete


def test_the_effect_leaves_out_the_rescaling_of_the_second_residual(model: FittedModalTune, cases: Cases) -> None:
    found = Explainer(model, cases).explain("P05", []).attention.maps["general/stage0/effect"]
    injector = model.network.interactions[0].injector
    seen: list[tuple[torch.Tensor, ...]] = []
    handle = injector.register_forward_hook(lambda _, given, __: seen.append(given))
    try:
        for mode in ("released", "single"):
            seen.clear()
            injector.residual_mode = mode
            effect = Explainer(model, cases).explain("P05", []).attention.maps["general/stage0/effect"]
            tiles, prompt, position = seen[0]
            with torch.no_grad():
                added = injector.gamma * injector.attn.attend(tiles, prompt, None, position)
            assert effect == pytest.approx((added.norm(dim=-1) / tiles.norm(dim=-1))[0].numpy(), rel=1e-4)
            assert effect == pytest.approx(found, rel=1e-4)
    finally:
        handle.remove()
        injector.residual_mode = "single"


def test_a_planted_pathway_gets_the_largest_attribution(tmp_path: Path) -> None:
    """Texts follow genes that only the planted pathway holds; models trained on them must lean on it.

    Three models together: a single one may memorise some of its patients by other genes.
    """
    many = cohort(240)
    many = replace(many, pathways=PATHWAYS_OF | {"shared": tuple(GENES[3:7] + GENES[12:])})
    totals = np.zeros(3)
    for seed in range(3):
        genes_only = fitted(
            many, tmp_path, seed, modalities=["genes"], epochs=12, learning_rate=1e-2, batch_size=16, gene_dropout=0.0
        )
        explainer = Explainer(genes_only, many)
        for patient in many.ids[10:30]:
            scalar = next(s for s in text_scalars(genes_only, many.texts, patient) if s.task == "survival")
            found = explainer.explain(patient, [scalar])
            assert found.attention is None
            assert found.attributions["cosine_survival"].checked.complete
            totals += found.attributions["cosine_survival"].values
    assert explainer.pathways == ("first", "planted", "shared")
    # Towards the patient's own text, not merely in size.
    assert totals[1] > 3 * max(abs(totals[0]), abs(totals[2]))


def test_scalars_of_a_probe_are_its_predictions(model: FittedModalTune, cases: Cases) -> None:
    vectors = model.embed(cases).vectors["general"]
    embedded = replace(cases, vectors=vectors)
    probe = build_method({"method": "probe", "standardise": True})
    trained = probe.fit(embedded, embedded.subset([]), tasks=("survival", "subtype"), seed=0)
    predicted = trained.predict(embedded)
    assert model.width == 24, "three views of eight numbers"
    scalars = probe_scalars(trained.state(), ("a", "b"), "general", model.width)
    assert [scalar.name for scalar in scalars] == ["risk", "logit_b"]
    values = {s.name: s.of(torch.from_numpy(vectors.to_numpy())).numpy() for s in scalars}
    known = vectors.index
    assert values["risk"] == pytest.approx(predicted["survival"].loc[known, "risk"], abs=1e-6)
    probability = predicted["subtype"].loc[known, "probability_b"]
    assert 1 / (1 + np.exp(-values["logit_b"])) == pytest.approx(probability, abs=1e-6)
    found = Explainer(model, cases).explain("P05", scalars)
    assert found.attributions["risk"].checked.end == pytest.approx(predicted["survival"].loc["P05", "risk"], abs=1e-4)
    three = {**trained.state(), "subtype.coefficients": np.eye(3, 24), "subtype.intercepts": np.arange(3.0)}
    assert [s.name for s in probe_scalars(three, ("a", "b", "c"), "general", model.width)][1:] == [
        "logit_a",
        "logit_b",
        "logit_c",
    ]


def test_what_cannot_be_explained_is_said(model: FittedModalTune, cases: Cases, explainer: Explainer) -> None:
    assert explainer.explain("P01", []) is None
    assert explainer.missing["P01"] == "no embedded slide"
    with pytest.raises(PathomixError, match="not a patient of this cohort and fold: XX"):
        explainer.explain("XX", [])
    with pytest.raises(PathomixError, match="no such vectors: stage"):
        explainer.explain("P05", [Scalar("s", "stage", np.ones(8))])
    with pytest.raises(PathomixError, match="saved without its text projector"):
        text_scalars(replace(model, projection={}), cases.texts, "P05")
    coefficients = {"survival.coefficients": np.ones(5), "survival.mean": np.zeros(5)}
    with pytest.raises(PathomixError, match="not fitted on vectors of width 8: risk"):
        probe_scalars(coefficients, (), "general", 8)
    with pytest.raises(PathomixError, match="no probe in these arrays"):
        probe_scalars({}, (), "general", 8)


@pytest.fixture(scope="module")
def trained(cases: Cases, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    """Results folder with one trained fold, its splits and index."""
    root = tmp_path_factory.mktemp("results")
    part = np.where(np.arange(len(cases.ids)) < 7, "test", "train")
    splits = pd.DataFrame({"fold": 0, "patient_id": cases.ids, "part": part})
    cell = TrainingCell("small", "c", "s", 0, {"representation": "modaltune", **SMALL}, ENCODER, "", {})
    train_cell(cell, cases, splits, root, root / "index.parquet", lambda fold: cases.texts)
    return root, splits, read_table(root / "index.parquet", MODEL_INDEX)


def cell(**changed: object) -> ExplanationCell:
    given = {"fold": 0, "foreign": False, "inputs": {"patients": "1"}, **changed}
    return ExplanationCell({"representation": "modaltune", **SMALL}, ENCODER, "c", **given)


def by_texts(model: FittedModalTune, patient: str) -> list[Scalar]:
    texts = cohort().texts
    return text_scalars(model, texts, patient) if patient in texts.patient_ids else []


def test_files(cases: Cases, trained: tuple[Path, pd.DataFrame, pd.DataFrame], tmp_path: Path) -> None:
    root, splits, models = trained
    bare = replace(cases, texts=None)
    for folder in ("one", "two"):
        explain_cell(cell(tolerance=0.05), bare, splits, models, 2, by_texts, root, tmp_path / folder)
    table = read_table(tmp_path / "one/cases.parquet", EXPLAINED_CASES).set_index("patient_id")
    assert table["status"].to_dict() == {"P00": "done", "P01": "left_out", "P02": "left_out", "P03": "done"}
    assert table["reason"].fillna("").tolist() == ["", "no embedded slide", "no label texts", ""]
    assert set(table["part"]) == {"test"}
    numbers = read_table(tmp_path / "one/scalars.parquet", EXPLAINED_SCALARS)
    assert len(numbers) == 6
    assert numbers["complete"].all()
    assert (numbers["value"] - numbers["baseline"]).to_numpy() == pytest.approx(numbers["attributed"] + numbers["gap"])
    pathways = read_table(tmp_path / "one/pathways.parquet", PATHWAYS)
    sums = pathways.groupby(["patient_id", "scalar"])["attribution"].sum()
    assert sums.to_numpy() == pytest.approx(numbers.set_index(["patient_id", "scalar"]).loc[sums.index, "attributed"])
    assert pathways["attention"].between(0, 1).all()
    with h5py.File(tmp_path / "one" / table.loc["P03", "path"]) as file:
        assert file["general/stage1/tiles_to_prompt"][:].sum(axis=1) == pytest.approx(1.0, abs=1e-5)
        per_pathway = file["general/stage1/tiles_to_prompt"][:, 1:] @ file["shares"][:]
        assert per_pathway.shape == (len(file["coords"]), 3)
        assert file["pathways"].asstr()[:].tolist() == list(PATHWAYS_OF)
        assert file["prompt"].asstr()[0] == "task"
        assert "model" in file.attrs["pathomix"]
    first, second = (sorted((tmp_path / f).rglob("*.*")) for f in ("one", "two"))
    assert [file_digest(p) for p in first if p.is_file()] == [file_digest(p) for p in second if p.is_file()]


def test_named_patients_and_refusals(
    cases: Cases, trained: tuple[Path, pd.DataFrame, pd.DataFrame], tmp_path: Path
) -> None:
    root, splits, models = trained
    explain_cell(cell(evaluations=16), cases, splits, models, ["P09"], by_texts, root, tmp_path)
    table = read_table(tmp_path / "cases.parquet", EXPLAINED_CASES)
    assert table[["patient_id", "part", "status"]].to_numpy().tolist() == [["P09", "train", "done"]]
    with pytest.raises(PathomixError, match="not among the patients of c, fold 0: P99"):
        explain_cell(cell(), cases, splits, models, ["P09", "P99"], by_texts, root, tmp_path)
    with pytest.raises(PathomixError, match="no model of fold 3: 0;"):
        explain_cell(cell(fold=3), cases, splits.assign(fold=3), models, 1, by_texts, root, tmp_path)
    broken = models.assign(sha256="0")
    with pytest.raises(PathomixError, match="not the file that was indexed"):
        explain_cell(cell(), cases, splits, broken, 1, by_texts, root, tmp_path)
    with pytest.raises(PathomixError, match=r"model\.safetensors and|files are missing: model\.safetensors"):
        read_probe(tmp_path)
