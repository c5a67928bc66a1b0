"""What the networks on tiles and on pathways owe to the contract, on a planted cohort."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.methods.build import build_method
from pathomix.methods.molecular import PathwayVectors
from pathomix.methods.network import Batch, NetworkMethod, by_size
from pathomix.methods.per_task import balanced_accuracy
from pathomix.survival.concordance import harrell_c

PATHWAY = ["gene_mixer", "mcat", "mcat_bilinear", "survpath"]
SLIDE = [
    "clam",
    "clam_mb",
    "deep_sets",
    "deep_sets_cat",
    "deep_attn_misl",
    "pathomic_fusion",
    "abmil_cat",
    "transmil",
    "transmil_cat",
    "gigapath_tuned",
    "gigapath_tuned_cat",
]
NAMES = ["mlp", *PATHWAY, *SLIDE]
Parts = Callable[..., tuple[Cases, Cases, Cases]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small are slower with several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small(make_cohort: Callable[..., Cases]) -> Cases:
    """120 patients with a strong signal."""
    return make_cohort(120, signal=3.0, seed=1)


def scores(test: Cases, predicted: dict[str, pd.DataFrame]) -> tuple[float, float]:
    """Concordance and balanced accuracy."""
    patients = test.patients
    best = predicted["subtype"].to_numpy().argmax(axis=1)
    true = (patients["class_label"] == "type1").to_numpy().astype(int)
    return harrell_c(patients["time"], patients["event"], predicted["survival"]["risk"]), balanced_accuracy(true, best)


@pytest.mark.parametrize("name", NAMES)
def test_finds_the_signal(name: str, small: Cases, parts_of: Parts, configurations: dict) -> None:
    train, valid, test = parts_of(small)
    model = build_method(configurations[name]).fit(train, valid, tasks=("survival", "subtype"), seed=0)
    predicted = model.predict(test)
    concordance, accuracy = scores(test, predicted)
    assert concordance > 0.6
    assert accuracy > 0.65
    assert predicted["subtype"].sum(axis=1).to_numpy() == pytest.approx(1.0)
    assert predicted["survival"].index.equals(test.ids)
    assert all(np.isfinite(value).all() for value in model.state().values())
    assert set(model.history()["task"]) == {"survival", "subtype"}


@pytest.mark.parametrize("name", ["gene_mixer", "survpath", "transmil", "gigapath_tuned_cat"])
def test_finds_nothing_where_nothing_is(
    name: str, make_cohort: Callable[..., Cases], parts_of: Parts, configurations: dict
) -> None:
    train, valid, test = parts_of(make_cohort(250, signal=0.0, seed=5))
    short = {**configurations[name], "epochs": 2}
    model = build_method(short).fit(train, valid, tasks=("survival", "subtype"), seed=0)
    concordance, accuracy = scores(test, model.predict(test))
    assert 0.34 < concordance < 0.66
    assert 0.32 < accuracy < 0.68


@pytest.mark.parametrize(
    "name",
    [
        "mlp",
        "gene_mixer",
        "survpath",
        "mcat_bilinear",
        "transmil",
        "gigapath_tuned_cat",
        "clam",
        "deep_sets",
        "deep_attn_misl",
    ],
)
def test_same_seed_same_bytes(name: str, small: Cases, parts_of: Parts, configurations: dict) -> None:
    train, valid, _ = parts_of(small)
    stream = torch.random.get_rng_state()
    short = {**configurations[name], "epochs": 1}
    states = [build_method(short).fit(train, valid, tasks=("survival",), seed=seed).state() for seed in (3, 3, 4)]
    assert all(np.array_equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(np.array_equal(states[0][key], states[2][key]) for key in states[0])
    assert torch.equal(torch.random.get_rng_state(), stream)


def test_the_seed_sets_the_initial_weights(small: Cases, parts_of: Parts, configurations: dict) -> None:
    train, valid, _ = parts_of(small)
    method = build_method({**configurations["mlp"], "epochs": 1, "learning_rate": 0.0})
    first, again, other = (
        method.fit(train, valid, tasks=("survival",), seed=seed).state()["survival.network.head.weight"]
        for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def without(cases: Cases, expression: list[str], tiles: list[str]) -> Cases:
    assert cases.expression is not None
    assert cases.tiles is not None
    bags = {p: b for p, b in cases.tiles.bags.items() if p not in tiles}  # type: ignore[attr-defined]
    return replace(cases, expression=cases.expression.drop(index=expression), tiles=type(cases.tiles)(bags))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "lost"),
    [("mlp", "ab"), ("gene_mixer", "ab"), ("survpath", "abc"), ("mcat", "abc"), ("transmil", "ac"),
     ("abmil_cat", "ac"), ("gigapath_tuned_cat", "ac")],
)  # fmt: skip
def test_missing_modalities(name: str, lost: str, small: Cases, parts_of: Parts, configurations: dict) -> None:
    train, valid, test = parts_of(small)
    a, b, c = test.ids[:3]
    gone = [*train.ids[:5], *valid.ids[:2], a]
    train, valid, test = parts_of(without(small, expression=[*gone, b], tiles=[*gone, c]))
    short = {**configurations[name], "epochs": 1, "selection": "valid"}
    model = build_method(short).fit(train, valid, tasks=("survival", "subtype"), seed=0)
    names = {"a": a, "b": b, "c": c}
    for predicted in model.predict(test).values():
        assert predicted.index[predicted.isna().all(axis=1)].tolist() == [names[letter] for letter in lost]
        assert predicted.notna().all(axis=1).sum() == len(test.ids) - len(lost)


def test_a_patient_without_blocks_has_the_prediction_of_the_training_means(
    small: Cases, parts_of: Parts, configurations: dict
) -> None:
    train, valid, test = parts_of(small)
    gone, average = test.ids[0], test.ids[1]
    table = small.expression.copy()  # type: ignore[union-attr]
    known = pd.concat([train.expression, valid.expression])
    table.loc[average] = known.mean().astype(np.float32)
    bags = {**small.tiles.bags, gone: small.tiles.bags[average]}  # type: ignore[union-attr]
    test = parts_of(without(replace(small, expression=table, tiles=type(small.tiles)(bags)), [gone], []))[2]  # type: ignore[call-arg]
    model = build_method({**configurations["abmil_cat"], "epochs": 2}).fit(train, valid, tasks=("survival",), seed=0)
    risk = model.predict(test)["survival"]["risk"]
    assert risk[gone] == pytest.approx(risk[average], abs=1e-4)
    assert risk.nunique() > 5


@pytest.mark.parametrize("name", ["survpath", "transmil_cat", "gigapath_tuned_cat", "abmil_cat"])
def test_both_modalities_reach_the_prediction(name: str, small: Cases, parts_of: Parts, configurations: dict) -> None:
    train, valid, test = parts_of(small)
    model = build_method({**configurations[name], "epochs": 1}).fit(train, valid, tasks=("survival",), seed=0)
    few = test.subset(test.ids[:4])
    before = model.predict(few)["survival"]["risk"].to_numpy()
    assert model.predict(test)["survival"]["risk"].to_numpy()[:4] == pytest.approx(before, rel=1e-4, abs=1e-6)
    genes = replace(few, expression=few.expression + 1)
    shifted = {p: b + 1 for p, b in few.tiles.bags.items()}  # type: ignore[union-attr]
    tiles = replace(few, tiles=type(few.tiles)(shifted))  # type: ignore[call-arg, misc]
    for changed in (genes, tiles):
        assert not np.allclose(model.predict(changed)["survival"]["risk"].to_numpy(), before, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_cohort_without_what_the_method_needs(name: str, small: Cases, parts_of: Parts, configurations: dict) -> None:
    bare = replace(small, expression=None, mutation=None, tiles=None)
    with pytest.raises(PathomixError, match="no training patient has"):
        build_method(configurations[name]).fit(*parts_of(bare)[:2], tasks=("survival",), seed=0)


@pytest.mark.parametrize("name", ["abmil", "transmil", "survpath", "clam", "deep_attn_misl"])
def test_stretches_change_memory_not_results(
    name: str, small: Cases, parts_of: Parts, configurations: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, valid, _ = parts_of(small)
    still = {**configurations[name], "epochs": 1, "dropout": 0.0}
    if name == "transmil":
        still["attention_dropout"] = 0.0
    calls: list[int] = []
    read = NetworkMethod.training_outputs

    def counted(self: NetworkMethod, forward: Callable, inputs: object, rows: np.ndarray) -> torch.Tensor:
        return read(self, lambda batch: calls.append(len(batch.tiles)) or forward(batch), inputs, rows)  # type: ignore[arg-type, func-returns-value]

    monkeypatch.setattr(NetworkMethod, "training_outputs", counted)
    states = []
    for most in (10**9, 60):
        method = build_method(still)
        monkeypatch.setattr(type(method), "tiles_at_once", most)
        calls.clear()
        states.append(method.fit(train, valid, tasks=("survival",), seed=0).state())
    assert max(calls) < 32 and sum(calls) > len(train.ids) + len(
        valid.ids
    )  # once forward, once more in the backward pass
    for key, value in states[0].items():
        # The Cox loss does not see the last bias: its gradient is rounding, of which Adam makes whole steps.
        if not key.endswith(("classifier.bias", "head.bias")):
            assert value == pytest.approx(states[1][key], abs=2e-5), key


def test_patients_of_any_sizes_come_back_in_their_order() -> None:
    sizes = (3, 1, 3, 2, 1)
    tiles = tuple(torch.full((size, 2), float(place)) for place, size in enumerate(sizes))
    batch = Batch(torch.arange(5.0)[:, None], tiles, tuple(torch.zeros(size, 2) for size in sizes))
    seen = []

    def network(bags: torch.Tensor, coords: torch.Tensor, omic: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(bags.shape[:2]))
        assert coords.shape == (*bags.shape[:2], 2)
        return torch.cat([bags.mean(dim=(1, 2))[:, None], omic], dim=1)

    assert by_size(batch, network).tolist() == [[float(i)] * 2 for i in range(5)]
    assert seen == [(2, 1), (1, 2), (2, 3)]


def test_pathway_vectors_are_z_scores_of_the_training_part_pathway_by_pathway(cohort: Cases) -> None:
    expression = cohort.expression
    assert expression is not None
    pathways = {"first": ("G03", "absent", "G01"), "none": ("absent",), "flat": ("G07",), "second": ("G01",)}
    table = expression.assign(G07=1.0)
    table.loc[cohort.ids[3]] = np.nan
    cases = replace(cohort, pathways=pathways, expression=table)
    train, test = cases.subset(cases.ids[:100]), cases.subset(cases.ids[100:])
    vectors = PathwayVectors.fit(train, clip=2.0)
    assert vectors.names == ("first", "second")
    assert vectors.sizes == (2, 1)
    index, _ = vectors.rows(train)
    assert cases.ids[3] not in index
    known = expression.loc[index, ["G03", "G01", "G01"]].to_numpy(float)
    expected = (expression.loc[test.ids, ["G03", "G01", "G01"]].to_numpy(float) - known.mean(0)) / known.std(0)
    assert vectors.rows(test)[1].numpy() == pytest.approx(np.clip(expected, -2, 2), abs=1e-5)
    with pytest.raises(PathomixError, match="no pathway holds a measured gene"):
        PathwayVectors.fit(replace(train, pathways={"none": ("absent",)}), None)


def test_a_case_that_cannot_be_laid_out_is_left_out(
    small: Cases, parts_of: Parts, configurations: dict, caplog: pytest.LogCaptureFixture
) -> None:
    """Its two slides do not fit into the position grid side by side."""
    tiles = small.tiles
    test = parts_of(small)[2]
    far = test.ids[0]

    class WithFarTiles(type(tiles)):  # type: ignore[misc]
        def bag(self, patient_id: str) -> object:
            bag = super().bag(patient_id)
            shift = 64 * 2000 if patient_id == far else 0
            return replace(bag, coords=bag.coords + np.arange(len(bag.coords))[:, None].astype(np.int32) * shift)

    holed = replace(small, tiles=WithFarTiles(tiles.bags))  # type: ignore[union-attr]
    train, valid, test = parts_of(holed)
    short = {**configurations["gigapath_tuned"], "epochs": 1}
    predicted = build_method(short).fit(train, valid, tasks=("survival",), seed=0).predict(test)["survival"]
    assert predicted.index[predicted["risk"].isna()].tolist() == [far]
    assert far in caplog.text


@pytest.mark.parametrize(
    ("changed", "fact"),
    [
        ({"width": 12}, "width is 12"),
        ({"width": 0}, "width is 0"),
        ({"heads": 0}, "by 0 heads"),
        ({"max_tiles": 0}, "max_tiles is 0"),
        ({"kept": "middle"}, "kept is 'middle'"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"blocks": ["genes"]}, "blocks is 'genes'"),
        ({"batch_size": 1, "survival_loss": "pf"}, "batch_size is 1"),
        ({"constant_epochs": 30, "epochs": 4}, "constant_epochs is 30"),
        ({"optimiser": "sgd"}, "optimiser is 'sgd'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changed: dict, fact: str) -> None:
    with pytest.raises(PathomixError, match=fact):
        build_method({"method": "transmil", **changed})


def test_the_published_settings_have_a_constant_learning_rate() -> None:
    method = build_method({"method": "mcat", "epochs": 7})
    assert isinstance(method, NetworkMethod)
    assert [method.settings.recipe.factor(epoch) for epoch in range(7)] == [1.0] * 7
