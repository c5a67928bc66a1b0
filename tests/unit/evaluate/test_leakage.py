"""Planted leaks are named, every one; clean fits of every method pass, and are seen to have been looked at."""

from __future__ import annotations

import ast
import importlib.util
import json
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.fitting import STEPS, Fit, FittingRecord
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import MODEL_INDEX, RUN_INDEX, SLIDE_INDEX, SLIDES
from pathomix.core.tables import read_table, write_table
from pathomix.evaluate import leakage
from pathomix.evaluate.leakage import (
    DUPLICATE,
    NORMAL,
    PATIENT,
    SLIDE,
    LeakageError,
    check_fitted,
    check_split,
    declared_leaks,
    guard,
)
from pathomix.genomics.expression import Standardiser
from pathomix.methods import run
from pathomix.methods.bags import Bags, thinned
from pathomix.methods.blocks import Layout
from pathomix.methods.build import build_method
from pathomix.methods.heads import ClassHead, DiscreteHead
from pathomix.methods.registry import METHODS
from pathomix.methods.run import Cell, run_cell
from pathomix.representations.modaltune import ModalTuneRepresentation
from pathomix.representations.registry import REPRESENTATIONS
from pathomix.representations.run import EmbeddingCell, TrainingCell, embed_cell, train_cell
from pathomix.representations.store import EmbeddingStore
from pathomix.text.bins import survival_bins
from pathomix.text.parameters import TextParameters
from pathomix.text.store import StoredTexts
from pathomix.text.write import write_cohort_texts

_TESTS = Path(__file__).resolve().parents[1]


def _module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


METHOD_TESTS = _module("leakage_methods", _TESTS / "methods" / "conftest.py")
MODALTUNE = _module("leakage_modaltune", _TESTS / "representations" / "planted.py")
TASKS = ("survival", "subtype")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cohort() -> Cases:
    """120 patients with every modality, vectors among them."""
    cases = METHOD_TESTS.planted(120, signal=2.0, seed=1)
    noise = np.random.default_rng(0).normal(size=(2, len(cases.ids), 12)).astype(np.float32)
    vectors, embedded = (pd.DataFrame(values, cases.ids) for values in noise)
    return replace(cases, vectors=vectors, expression_vectors=embedded)


@pytest.fixture(scope="module")
def split(cohort: Cases) -> pd.DataFrame:
    return METHOD_TESTS.one_fold(cohort)


def of(split: pd.DataFrame, part: str) -> list[str]:
    return sorted(split.loc[split["part"] == part, "patient_id"])


def slides_of(cases: Cases) -> pd.DataFrame:
    """One slide per patient, with the digests the guard compares."""
    ids = [f"{patient}-01Z-00-DX1.{number:04d}" for number, patient in enumerate(cases.ids)]
    frame = pd.DataFrame({"slide_id": ids, "patient_id": cases.ids})
    return frame.assign(**{name: [f"{name}{n}" for n in range(len(ids))] for name in ("md5", "key", "sha256")})


def findings(cases: Cases, split: pd.DataFrame, slides: pd.DataFrame | None = None) -> dict[str, str]:
    """Leak to what is said about it; empty where nothing is."""
    try:
        check_split(cases, split, slides=slides_of(cases) if slides is None else slides)
    except LeakageError as error:
        return {finding.leak: str(finding) for finding in error.findings}
    return {}


# --- planted in the split


def test_a_clean_split_passes(cohort: Cases, split: pd.DataFrame) -> None:
    assert findings(cohort, split) == {}
    check_split(cohort, split)


def test_patient_in_two_parts(cohort: Cases, split: pd.DataFrame) -> None:
    train = of(split, "train")[0]
    twice = pd.concat([split, pd.DataFrame({"fold": [0], "patient_id": [train], "part": ["test"]})])
    found = findings(cohort, twice)
    assert list(found) == [PATIENT]
    assert f"{train} in test and train of fold 0" in found[PATIENT]
    assert "split_cohort" in found[PATIENT]
    # in different folds a patient may change parts
    moved = split.assign(fold=1, part=split["part"].replace({"train": "test", "test": "train"}))
    assert findings(cohort, pd.concat([split, moved])) == {}


def test_patient_in_two_parts_under_two_ids(cohort: Cases, split: pd.DataFrame) -> None:
    train, test = of(split, "train")[0], of(split, "test")[0]
    names = {train: "TCGA-AA-0001-01A", test: "tcga-aa-0001-01B"}
    renamed = split.replace({"patient_id": names})
    found = findings(cohort, renamed)
    assert "TCGA-AA-0001-01A in train, tcga-aa-0001-01B in test" in found[PATIENT]


def test_slide_in_two_parts(cohort: Cases, split: pd.DataFrame) -> None:
    train, test = of(split, "train")[0], of(split, "test")[0]
    slides = slides_of(cohort)[["slide_id", "patient_id"]]
    shared = slides.loc[slides["patient_id"] == train, "slide_id"].iloc[0]
    found = findings(cohort, split, pd.concat([slides, pd.DataFrame({"slide_id": [shared], "patient_id": [test]})]))
    assert list(found) == [SLIDE]
    assert f"{shared} ({test} in test, {train} in train of fold 0)" in found[SLIDE]
    assert "build_cohort" in found[SLIDE]


@pytest.mark.parametrize("name", ["{train}-01Z-00-DX1.another", "{train}-01Z-00-DX7.new"])
def test_slide_of_a_training_patient_filed_under_a_test_patient(cohort: Cases, split: pd.DataFrame, name: str) -> None:
    train, test = of(split, "train")[0], of(split, "test")[0]
    slides = slides_of(cohort)[["slide_id", "patient_id"]]
    stray = pd.DataFrame({"slide_id": [name.format(train=train)], "patient_id": [test]})
    found = findings(cohort, split, pd.concat([slides, stray]))
    assert list(found) == [SLIDE]
    assert train in found[SLIDE] and test in found[SLIDE]
    same_side = stray.assign(patient_id=of(split, "train")[1])
    assert findings(cohort, split, pd.concat([slides, same_side])) == {}


@pytest.mark.parametrize(("column", "what"), [("md5", "md5"), ("key", "same slide"), ("sha256", "feature file")])
def test_duplicated_specimen_under_another_id_by_its_files(
    cohort: Cases, split: pd.DataFrame, column: str, what: str
) -> None:
    train, valid = of(split, "train"), of(split, "valid")[0]
    slides = slides_of(cohort).set_index("patient_id")
    slides.loc[valid, column] = slides.loc[train[0], column]
    found = findings(cohort, split, slides.reset_index())
    assert list(found) == [DUPLICATE]
    assert what in found[DUPLICATE] and train[0] in found[DUPLICATE] and valid in found[DUPLICATE]
    assert slides.loc[valid, "slide_id"] in found[DUPLICATE]
    apart = slides_of(cohort).set_index("patient_id")
    apart.loc[train[1], column] = apart.loc[train[0], column]
    assert findings(cohort, split, apart.reset_index()) == {}  # both in the training part
    assert findings(cohort, split, slides_of(cohort).assign(**{column: None})) == {}


def test_duplicated_specimen_under_another_id_by_its_expression(cohort: Cases, split: pd.DataFrame) -> None:
    train, test = of(split, "train")[0], of(split, "test")[0]
    assert cohort.expression is not None
    table = cohort.expression.copy()
    table.loc[test] = table.loc[train].to_numpy()
    found = findings(replace(cohort, expression=table), split)
    assert list(found) == [DUPLICATE]
    assert f"[{test} in test, {train} in train of fold 0]" in found[DUPLICATE]
    table.loc[test, table.columns[3]] += 1e-3
    assert findings(replace(cohort, expression=table), split) == {}
    flat = table.copy()
    flat.loc[[train, test]] = 0.0  # a profile of one value says nothing
    assert findings(replace(cohort, expression=flat), split) == {}
    embedded = cohort.expression_vectors.copy()
    embedded.loc[test] = embedded.loc[train].to_numpy()
    assert "expression vectors" in findings(replace(cohort, expression_vectors=embedded), split)[DUPLICATE]


@pytest.mark.parametrize("code", ["10", "11", "14"])
def test_normal_sample_standing_in_for_tumour(cohort: Cases, split: pd.DataFrame, code: str) -> None:
    slides = slides_of(cohort)
    slides.loc[5, "slide_id"] = f"{cohort.ids[5]}-{code}A-01-TS1.x"
    found = findings(cohort, split, slides)
    assert list(found) == [NORMAL]
    assert slides.loc[5, "slide_id"] in found[NORMAL] and "sample_types" in found[NORMAL]
    # of a patient who is in no part of the split
    assert findings(cohort, split[split["patient_id"] != cohort.ids[5]], slides) == {}


def test_normal_sample_among_the_measured(cohort: Cases, split: pd.DataFrame) -> None:
    old, new = cohort.ids[7], "TCGA-AA-0007-11A"
    assert cohort.expression is not None
    measured = replace(
        cohort, patients=cohort.patients.rename({old: new}), expression=cohort.expression.rename({old: new})
    )
    assert list(findings(measured, split.replace({"patient_id": {old: new}}))) == [NORMAL]


# --- planted in a fit: what leaks is the library's own code, handed the wrong patients


def everybody_scaled(cases: Cases) -> None:
    Bags(cases, thinned(10)).scaling()


def everybody_standardised(cases: Cases) -> None:
    assert cases.expression is not None
    Standardiser.fit(cases.expression)


PLANTED: dict[str, tuple[Callable[[Cases], object], set[str]]] = {
    "scaler fitted on all": (everybody_scaled, {"scaler"}),
    "bins fitted on all": (lambda cases: DiscreteHead(cases, 4, 0.0), {"survival_bins"}),
    "class statistics on all": (ClassHead, {"class_statistics"}),
    "gene filter and imputation on all": (everybody_standardised, {"gene_filter", "imputation", "scaler"}),
    "category levels of all": (lambda cases: Layout.of(cases, ["sex", "stage"]), {"vocabulary"}),
    "text bins of all": (
        lambda cases: survival_bins(cases.patients, cases.ids, 4, TextParameters(profile="released").rules, "x"),
        {"text_bins"},
    ),
}


class Leaking:
    """A method that does something with the patients `shown` before it is fitted as it should."""

    joint_tasks = False

    def __init__(self, configuration: dict[str, Any], planted: Callable[[Cases], object], shown: Cases) -> None:
        self.inner, self.planted, self.shown = build_method(configuration), planted, shown
        self.fitted_parts = self.inner.fitted_parts  # type: ignore[attr-defined]

    def fit(self, train: Cases, valid: Cases, *, tasks: Sequence[Any], seed: int) -> Any:
        self.planted(self.shown)
        return self.inner.fit(train, valid, tasks=tasks, seed=seed)


def cell_of(name: str, configuration: dict[str, Any], tasks: tuple[Any, ...] = TASKS) -> Cell:
    return Cell("s", name, "c", "one", configuration, tasks, (0,), "", {})


def run_with(
    method: object, cases: Cases, split: pd.DataFrame, root: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[set[str], LeakageError]:
    """Steps found in a run of one method, which has to be refused with nothing written."""
    monkeypatch.setattr(run, "build_method", lambda _: method)
    with pytest.raises(LeakageError) as error:
        run_cell(cell_of("row", {}), cases, split, root, root / "i.parquet", None, guard(cases, split, where="c"))
    assert not list(root.rglob("*.*"))
    return {finding.leak for finding in error.value.findings}, error.value


RIDGE = {"method": "ridge", "blocks": ["expression"], "penalties": [10], "inner_folds": 2}
SHORT = {"method": "s_mlp", "blocks": ["expression"], "epochs": 1, "hidden": [4]}


@pytest.mark.parametrize("leak", PLANTED)
def test_a_statistic_of_all_patients(
    leak: str, cohort: Cases, split: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted, expected = PLANTED[leak]
    found, error = run_with(Leaking(RIDGE, planted, cohort), cohort, split, tmp_path, monkeypatch)
    assert found == expected
    assert set(of(split, "test")[:3]) <= set(error.offending)
    assert "row on c, fold 0, seed 0" in str(error) and "run" in str(error)
    assert not set(of(split, "train")) & set(error.offending)


def test_early_stopping_on_test(
    cohort: Cases, split: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = build_method({**SHORT, "selection": "valid"})
    inner_fit = stopping.fit
    test = cohort.subset(of(split, "test"))
    monkeypatch.setattr(stopping, "fit", lambda train, valid, **more: inner_fit(train, test, **more))
    found, error = run_with(stopping, cohort, split, tmp_path, monkeypatch)
    assert found == {"selection"}
    assert set(error.offending) == set(of(split, "test"))
    assert "early stopping" in str(error) and "never the test part" in str(error)


def test_valid_patients_are_out_of_bounds_only_where_they_select(
    cohort: Cases, split: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = cohort.subset([*of(split, "train"), *of(split, "valid")])
    found, error = run_with(
        Leaking({**SHORT, "selection": "valid"}, everybody_scaled, seen), cohort, split, tmp_path, monkeypatch
    )
    assert found == {"scaler"}
    assert set(error.offending) == set(of(split, "valid"))
    monkeypatch.setattr(run, "build_method", lambda _: Leaking(SHORT, everybody_scaled, seen))  # joins the valid part
    run_cell(cell_of("row", {}), cohort, split, tmp_path, tmp_path / "i.parquet", None, check_fitted)


def test_all_ten_leaks_of_one_run_are_named_together(
    cohort: Cases, split: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = of(split, "train"), of(split, "test")
    slides = slides_of(cohort)
    slides.loc[slides["patient_id"] == test[1], "md5"] = slides.loc[slides["patient_id"] == train[1], "md5"].iloc[0]
    slides.loc[slides["patient_id"] == test[2], "slide_id"] = f"{test[2]}-11A-01-TS1.x"
    more = pd.DataFrame({"slide_id": slides["slide_id"][slides["patient_id"] == train[3]], "patient_id": test[3]})
    twice = pd.concat([split, pd.DataFrame({"fold": [0], "patient_id": [train[0]], "part": ["test"]})])
    in_split = set(findings(cohort, twice, pd.concat([slides, more])))
    stopping = {**SHORT, "selection": "valid"}

    def everything(cases: Cases) -> None:
        for planted, _ in PLANTED.values():
            planted(cases)

    leaking = Leaking(stopping, everything, cohort)
    inner_fit = leaking.inner.fit
    monkeypatch.setattr(leaking.inner, "fit", lambda a, b, **rest: inner_fit(a, cohort.subset(test), **rest))
    in_fit, _ = run_with(leaking, cohort, split, tmp_path, monkeypatch)
    assert in_split == {PATIENT, SLIDE, DUPLICATE, NORMAL}
    assert in_fit == {
        "scaler", "survival_bins", "class_statistics", "gene_filter", "imputation", "selection", "vocabulary",
        "text_bins",
    }  # fmt: skip


def test_vectors_of_a_model_that_trained_on_test_patients(cohort: Cases, split: pd.DataFrame, tmp_path: Path) -> None:
    other = METHOD_TESTS.one_fold(cohort, fold=2).assign(fold=0)
    store = stored_vectors(cohort, other, tmp_path / "other.h5ad", ["scaler", "training"])
    with pytest.raises(LeakageError) as error:
        run_cell(cell_of("p", {"method": "probe"}), cohort, split, tmp_path, tmp_path / "i", store, check_fitted)
    assert {finding.leak for finding in error.value.findings} == {"vectors"}
    assert set(error.value.offending) == set(of(split, "test")) - set(of(other, "test"))
    assert "embed_cohort" in str(error.value)
    frozen = stored_vectors(cohort, other, tmp_path / "frozen.h5ad", [])  # nothing was fitted
    run_cell(cell_of("p", {"method": "probe"}), cohort, split, tmp_path, tmp_path / "i", frozen, check_fitted)


def stored_vectors(cases: Cases, split: pd.DataFrame, path: Path, fitted: list[str]) -> EmbeddingStore:
    from pathomix.representations.store import write_embeddings

    obs = split.assign(reason="")
    values = np.random.default_rng(0).normal(size=(len(obs), 6)).astype(np.float32)
    write_embeddings(path, obs, {"general": values}, Provenance("embeddings", parameters={"fitted": fitted}))
    return EmbeddingStore({0: path})


# --- clean fits

_BLOCKS = {"imputation", "gene_filter", "scaler"}
_NETWORK = {"training", "sampler", "class_statistics"}
EXPECTED = {
    "probe": {"training", "scaler", "class_statistics"},
    "clinical": {"training", "vocabulary", *_BLOCKS},
    "ridge": {"training", "sampler", "selection", *_BLOCKS},
    "ridge_pathways": {"training", "sampler", "selection", *_BLOCKS},
    "s_mlp": {*_NETWORK, *_BLOCKS},
    "s_mlp_nll": {*_NETWORK, *_BLOCKS, "survival_bins"},
    "s_mlp_valid": {*_NETWORK, *_BLOCKS, "selection"},
    "snn": {*_NETWORK, *_BLOCKS},
    "abmil": {*_NETWORK, "scaler"},
    "abmil_valid": {*_NETWORK, "scaler", "survival_bins", "selection"},
    "mlp": {*_NETWORK, *_BLOCKS},
    "gene_mixer": {*_NETWORK, *_BLOCKS, "survival_bins"},
    "abmil_cat": {*_NETWORK, *_BLOCKS},
    "clam": {*_NETWORK, "scaler", "survival_bins"},
    "clam_mb": {*_NETWORK, "scaler", "selection"},
    "deep_sets": {*_NETWORK, "scaler", "survival_bins"},
    "deep_sets_cat": {*_NETWORK, *_BLOCKS, "survival_bins"},
    "pathomic_fusion": {*_NETWORK, *_BLOCKS},
    "deep_attn_misl": {*_NETWORK, "scaler", "survival_bins", "vocabulary"},
    "transmil": {*_NETWORK, "scaler", "survival_bins"},
    "transmil_cat": {*_NETWORK, *_BLOCKS},
    "mcat": {*_NETWORK, *_BLOCKS, "survival_bins"},
    "mcat_bilinear": {*_NETWORK, *_BLOCKS, "selection"},
    "survpath": {*_NETWORK, *_BLOCKS, "survival_bins"},
    "gigapath_tuned": {*_NETWORK, "survival_bins"},
    "gigapath_tuned_cat": {*_NETWORK, *_BLOCKS, "survival_bins"},
    "late_fusion": {*_NETWORK, *_BLOCKS, "selection", "risk_scale"},
}
SURVIVAL_ONLY: dict[str, tuple[dict[str, Any], set[str]]] = {
    "pathomic_fusion": (
        {"method": "pathomic_fusion", "blocks": ["expression"], "image": "slide_vector", "epochs": 1,
         "constant_epochs": 0, "frozen_epochs": 0, "omic_epochs": 1, "image_epochs": 1},
        {"training", "sampler", *_BLOCKS},
    ),
    "path_gptomic": (
        {"method": "path_gptomic", "image": "tiles", "hidden": [8, 4], "mlp_b_hidden": 4, "genomic_width": 4,
         "image_width": 4, "tile_width": 4, "attention": 2, "fused_width": 4, "epochs": 1, "constant_epochs": 0},
        {"training", "sampler", *_BLOCKS},
    ),
    "path_gptomic_valid": (
        {"method": "path_gptomic", "image": "slide_vector", "hidden": [8, 4], "mlp_b_hidden": 4, "genomic_width": 4,
         "image_width": 4, "fused_width": 4, "epochs": 1, "constant_epochs": 0, "selection": "valid"},
        {"training", "sampler", "selection", *_BLOCKS},
    ),
}  # fmt: skip


def shortened(configuration: dict[str, Any]) -> dict[str, Any]:
    """One epoch, two inner folds and one penalty where there are any."""
    once = {"epochs": 1, "constant_epochs": 0, "frozen_epochs": 0, "omic_epochs": 1, "image_epochs": 1}
    short = {**configuration, **{name: value for name, value in once.items() if name in configuration}}
    if configuration["method"] == "ridge":
        short |= {"penalties": [100], "inner_folds": 2}
    if "components" in configuration:
        short["components"] = [shortened(component) for component in configuration["components"]]
    return short


def recorded(
    configuration: dict[str, Any], tasks: tuple[Any, ...], cases: Cases, split: pd.DataFrame, root: Path
) -> Any:
    check = guard(cases, split, where="clean")
    run_cell(cell_of("row", configuration, tasks), cases, split, root, root / "i.parquet", None, check)
    index = read_table(root / "i.parquet", RUN_INDEX).iloc[0]
    assert (index["status"], index["reason"]) == ("done", None)
    return json.loads((root / index["path"]).with_name("run.json").read_text())


def clean(record: Any, split: pd.DataFrame, expected: set[str], joined: bool) -> None:
    """Nothing declared, the expected steps at the least, none of them on a test patient."""
    assert "leak_declared" not in record
    assert set(record["fitted_on"]) >= expected
    for step, facts in record["fitted_on"].items():
        allowed = {"train", "valid"} if joined or STEPS[step] else {"train"}
        assert set(facts["parts"]) <= allowed, step
        assert 0 < facts["patients"] <= len(of(split, "train")) + len(of(split, "valid"))
    training = record["fitted_on"]["training"]
    assert training["patients"] == len(of(split, "train")) + joined * len(of(split, "valid"))


@pytest.mark.parametrize("name", EXPECTED)
def test_clean_fits_of_every_method_pass(name: str, cohort: Cases, split: pd.DataFrame, tmp_path: Path) -> None:
    configuration = shortened(METHOD_TESTS.CONFIGURATIONS[name])
    record = recorded(configuration, TASKS, cohort, split, tmp_path)
    joined = "valid" in build_method(configuration).fitted_parts  # type: ignore[attr-defined]
    assert joined == (name != "probe" and not name.endswith(("_valid", "mcat_bilinear", "clam_mb")))
    clean(record, split, EXPECTED[name], joined)


@pytest.mark.parametrize("name", SURVIVAL_ONLY)
def test_clean_fits_of_survival_methods_pass(name: str, cohort: Cases, split: pd.DataFrame, tmp_path: Path) -> None:
    configuration, expected = SURVIVAL_ONLY[name]
    clean(recorded(configuration, ("survival",), cohort, split, tmp_path), split, expected, not name.endswith("_valid"))


def test_late_fusion_may_see_what_any_of_its_components_may(cohort: Cases, split: pd.DataFrame, tmp_path: Path) -> None:
    configuration = {"method": "late_fusion", "components": [{**SHORT, "selection": "valid"}, RIDGE]}
    clean(recorded(configuration, TASKS, cohort, split, tmp_path), split, {"risk_scale", "selection"}, True)
    selecting = {"method": "late_fusion", "components": [{**SHORT, "selection": "valid"}]}
    clean(recorded(selecting, TASKS, cohort, split, tmp_path), split, {"risk_scale", "selection"}, False)


def test_no_method_and_no_representation_is_left_out() -> None:
    tried = {c["method"] for c in (*METHOD_TESTS.CONFIGURATIONS.values(), *(c for c, _ in SURVIVAL_ONLY.values()))}
    assert tried == set(METHODS)
    assert set(EXPECTED) == set(METHOD_TESTS.CONFIGURATIONS) - {"path_gptomic"}  # it has no classes
    assert set(REPRESENTATIONS) == {name for name, _, _ in CLEAN}


# --- representations, texts and the probes that read their vectors


@pytest.fixture(scope="module")
def tuned() -> Cases:
    cases = MODALTUNE.planted(60)
    return replace(cases, patients=cases.patients.assign(clinical_location="breast", tissue_source_site="AA"))


@pytest.fixture(scope="module")
def tuned_split(tuned: Cases) -> pd.DataFrame:
    part = np.array(["train", "train", "train", "valid", "test"])[np.arange(len(tuned.ids)) % 5]
    return pd.DataFrame({"fold": 0, "patient_id": tuned.ids, "part": part})


class _Texts(MODALTUNE.MemoryTexts):  # type: ignore[misc, name-defined]
    def __init__(self, inner: Any, fitted: list[str], declared: dict[str, str]) -> None:
        super().__init__(inner.vectors)
        self.fitting, self.declared_leaks = FittingRecord(), declared
        self.fitting.note("text_bins", fitted)


TUNED = {**MODALTUNE.PARAMETERS, "epochs": 1, "warmup": 1, "device": "cpu"}
_MODALTUNE = {"training", "selection", "text_bins", *_BLOCKS}
CLEAN: list[tuple[str, dict[str, Any], set[str]]] = [
    ("modaltune", {**TUNED, "inner_folds": 2}, _MODALTUNE),
    ("modaltune", {**TUNED, "modalities": ["image", "genes", "clinical"]}, {*_MODALTUNE, "vocabulary"}),
    ("slide_vector", {"vector": "final_mean", "device": "cpu"}, set()),
    ("supervised", {"task": "subtype", "epochs": 1, "blocks": ["expression"], "device": "cpu"}, {*_NETWORK, *_BLOCKS}),
]


def trained(
    cases: Cases, split: pd.DataFrame, name: str, parameters: dict[str, Any], root: Path, texts: Any = None
) -> pd.DataFrame:
    cell = TrainingCell("rep", "c", "one", 0, {"representation": name, **parameters}, MODALTUNE.SLIDE_ENCODER, "", {})
    check = guard(cases, split, where="c")
    train_cell(cell, cases, split, root, root / "models.parquet", None if texts is None else lambda _: texts, check)
    return read_table(root / "models.parquet", MODEL_INDEX)


@pytest.mark.parametrize(("name", "parameters", "expected"), CLEAN)
def test_clean_fits_of_representations_pass(
    name: str, parameters: dict[str, Any], expected: set[str], tuned: Cases, tuned_split: pd.DataFrame, tmp_path: Path
) -> None:
    texts = _Texts(tuned.texts, of(tuned_split, "train"), {})
    index = trained(tuned, tuned_split, name, parameters, tmp_path, texts)
    assert len(index) == 1 + parameters.get("inner_folds", 0)
    assert (index["status"] == "done").all(), list(index["reason"])
    for row in index.itertuples():
        record = json.loads((tmp_path / row.path).with_name("run.json").read_text())
        assert set(record["fitted_on"]) >= expected
        assert "leak_declared" not in record
        parts = {step: set(facts["parts"]) for step, facts in record["fitted_on"].items()}
        joined = {"valid"} if name == "supervised" else set()
        for step, found in parts.items():
            assert found <= {"train"} | joined | ({"valid", "held_out"} if STEPS[step] else set()), step
        if row.inner:  # its intervals are the fold's, its statistics its own
            assert parts["text_bins"] == {"train", "held_out"} and parts["scaler"] == {"train"}


def study_of(tuned: Cases, split: pd.DataFrame, root: Path, parameters: dict[str, Any], texts: Any) -> pd.DataFrame:
    """Train, embed and probe; the declared leaks of the study."""
    models = trained(tuned, split, "modaltune", parameters, root, texts)
    assert (models["status"] == "done").all(), list(models["reason"])
    cell = EmbeddingCell({"representation": "modaltune", **parameters}, MODALTUNE.SLIDE_ENCODER, "c", False, {})
    embed_cell(cell, tuned, split, models, root, root / "e.h5ad", guard(tuned, split, where="c"))
    store = EmbeddingStore({0: root / "e.h5ad"})
    run_cell(cell_of("p", {"method": "probe"}), tuned, split, root, root / "i.parquet", store, check_fitted)
    return declared_leaks([root / "i.parquet"], root)


def test_declared_leaks_pass_and_are_told_of_every_row_that_rests_on_them(
    tuned: Cases, tuned_split: pd.DataFrame, tmp_path: Path
) -> None:
    released = {**TUNED, "standardise_on": "all", "clinical_coding": "labels", "modalities": ["genes", "clinical"]}
    texts = _Texts(tuned.texts, list(tuned.ids), {"text_bins": "bins_from: all"})
    found = study_of(tuned, tuned_split, tmp_path, released, texts)
    assert list(found["step"]) == [
        "vectors.gene_filter", "vectors.imputation", "vectors.scaler", "vectors.text_bins", "vectors.vocabulary",
    ]  # fmt: skip
    assert set(found["setting"]) == {"standardise_on: all", "bins_from: all"}
    assert set(found["parts"]) == {"valid, test"}
    assert set(found["patients"]) == {24}
    assert list(found.columns[:5]) == ["method", "cohort", "scheme", "fold", "seed"]
    record = json.loads((tmp_path / "representations/rep/c/one-0/seed0/run.json").read_text())
    assert set(record["leak_declared"]) == {"gene_filter", "imputation", "scaler", "text_bins", "vocabulary"}


def test_a_study_without_declared_leaks_has_an_empty_table(
    tuned: Cases, tuned_split: pd.DataFrame, tmp_path: Path
) -> None:
    texts = _Texts(tuned.texts, of(tuned_split, "train"), {})
    assert len(study_of(tuned, tuned_split, tmp_path, {**TUNED, "modalities": ["genes"]}, texts)) == 0


@pytest.mark.parametrize(
    ("parameters", "fitted", "steps"),
    [
        ({"standardise_on": "all"}, "train", {"scaler", "imputation", "gene_filter"}),
        ({}, "all", {"text_bins"}),
    ],
)
def test_the_same_leaks_without_a_declaration_are_refused(
    parameters: dict[str, Any], fitted: str, steps: set[str], tuned: Cases, tuned_split: pd.DataFrame, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(ModalTuneRepresentation, "declared_leaks", {})
    texts = _Texts(tuned.texts, of(tuned_split, "train") if fitted == "train" else list(tuned.ids), {})
    with pytest.raises(LeakageError) as error:
        trained(tuned, tuned_split, "modaltune", {**TUNED, "modalities": ["genes"], **parameters}, tmp_path, texts)
    assert {finding.leak for finding in error.value.findings} == steps
    assert not list(tmp_path.rglob("model.safetensors"))


def test_a_foreign_cohort_is_scaled_by_its_own_training_part(
    tuned: Cases, tuned_split: pd.DataFrame, tmp_path: Path
) -> None:
    parameters = {**TUNED, "modalities": ["genes"]}
    texts = _Texts(tuned.texts, of(tuned_split, "train"), {})
    models = trained(tuned, tuned_split, "modaltune", parameters, tmp_path, texts)
    foreign = MODALTUNE.planted(50, seed=7, prefix="SIMU-BB")
    split = pd.DataFrame({"fold": 0, "patient_id": foreign.ids, "part": ["train", "test"] * 25})
    cell = EmbeddingCell({"representation": "modaltune", **parameters}, MODALTUNE.SLIDE_ENCODER, "f", True, {})
    embed_cell(cell, foreign, split, models, tmp_path, tmp_path / "f.h5ad", guard(foreign, split))
    whole = split.assign(part="train")
    seen = []

    def check(fit: Fit) -> None:
        seen.append(fit.record.ids("scaler"))
        check_fitted(Fit(fit.where, fit.record, {p: of(split, p) for p in ("train", "test")}))

    with pytest.raises(LeakageError, match="scaler"):
        embed_cell(cell, foreign, whole, models, tmp_path, tmp_path / "w.h5ad", check)
    assert seen == [frozenset(foreign.ids)]
    assert not (tmp_path / "w.h5ad").exists()


def test_texts_carry_whom_their_intervals_were_made_of(
    tuned: Cases, tuned_split: pd.DataFrame, root: Path, tmp_path: Path
) -> None:
    from pathomix.core.schemas import PATIENTS, SPLITS

    patients, splits = tmp_path / "p.parquet", tmp_path / "s.parquet"
    write_table(tuned.patients.reset_index(), PATIENTS, patients, Provenance("patients"))
    write_table(pd.concat([tuned_split, tuned_split.assign(fold=1)]), SPLITS, splits, Provenance("splits"))
    for profile, parts in (("recommended", {"train"}), ("released", {"train", "valid", "test"})):
        table = tmp_path / f"{profile}.parquet"
        write_cohort_texts(
            "c", patients, splits, root / "resources" / "prompts.yaml", {"profile": profile, "width": 16}, table,
            table.with_suffix(".safetensors"), tmp_path / "cleaning.tsv",
        )  # fmt: skip
        texts = StoredTexts([table], 1)
        seen = texts.fitting.ids("text_bins")
        assert set(tuned_split.set_index("patient_id")["part"].loc[sorted(seen)]) == parts
        declared = {} if profile == "recommended" else {"text_bins": "bins_from: all"}
        assert texts.declared_leaks == declared
        if profile == "recommended":
            assert (tuned.patients.loc[sorted(seen), "event"] == 1).all()


# --- the function the rules call


def test_guard_reads_slide_tables_and_feature_indices(cohort: Cases, split: pd.DataFrame, tmp_path: Path) -> None:
    slides = slides_of(cohort)
    test, train = of(split, "test")[0], of(split, "train")[0]
    table = slides[["slide_id", "patient_id", "md5"]].assign(path="x.svs", size=1, mpp=0.5)
    index = slides.drop(columns="md5").assign(status="done", reason=None, path="p", tiles=1, mpp=0.5, mpp_source="x")
    index.loc[index["patient_id"] == test, "key"] = index.loc[index["patient_id"] == train, "key"].iloc[0]
    paths = tmp_path / "slides.parquet", tmp_path / "features.parquet"
    write_table(table, SLIDES, paths[0], Provenance("slides"))
    write_table(index, SLIDE_INDEX, paths[1], Provenance("features_index"))
    assert guard(cohort, split, slides=paths[0]) is check_fitted
    with pytest.raises(LeakageError, match=r"c, five: a leak: \(1\) slides of different patients are features of the"):
        guard(cohort, split, where="c, five", slides=paths[0], features=[paths[1]])
    quarantined = index.assign(status=np.where(index["patient_id"] == test, "quarantined", "done"))
    write_table(quarantined, SLIDE_INDEX, paths[1], Provenance("features_index"))
    guard(cohort, split, slides=paths[0], features=[paths[1]])
    with pytest.raises(PathomixError, match="no slide table; run the rule build_cohort"):
        guard(cohort, split, slides=tmp_path / "absent.parquet")


def test_errors_survive_a_process_and_shorten_long_lists(cohort: Cases, split: pd.DataFrame) -> None:
    record = FittingRecord()
    record.note("scaler", cohort.ids)
    parts = {part: of(split, part) for part in ("train", "valid", "test")}
    with pytest.raises(LeakageError) as error:
        check_fitted(Fit("row", record, parts))
    again = pickle.loads(pickle.dumps(error.value))
    assert str(again) == str(error.value)
    assert again.findings == error.value.findings
    assert "48 patients of other parts (valid, test)" in str(again)
    assert "and 40 more" in str(again)


def test_every_step_has_words() -> None:
    assert set(leakage._STEPS) == set(STEPS)


def test_a_run_without_its_record_is_named(tmp_path: Path) -> None:
    row = dict(study="s", method="m", cohort="c", scheme="x", fold=0, seed=0, task="survival", status="done",
               reason=None, path="runs/predictions.parquet", sha256="0")  # fmt: skip
    write_table(pd.DataFrame([row]), RUN_INDEX, tmp_path / "i.parquet", Provenance("run_index"))
    with pytest.raises(PathomixError, match=r"runs/run\.json: cannot be read"):
        declared_leaks([tmp_path / "i.parquet"], tmp_path)


@pytest.mark.parametrize("script", ["fit_method", "train_representation", "embed_cohort"])
def test_the_rules_that_fit_call_the_guard(script: str, root: Path) -> None:
    tree = ast.parse((root / "workflow_scripts" / f"{script}.py").read_text())
    calls = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert "guard" in calls
    last = {"fit_method": "run_cell", "train_representation": "train_cell", "embed_cohort": "embed_cell"}[script]
    call = next(n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == last)
    assert any(isinstance(argument, ast.Name) and argument.id == "check" for argument in call.args)
