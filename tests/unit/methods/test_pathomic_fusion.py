"""Pathomic Fusion: what it finds on planted data, and the order of its training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.methods.network import NetworkModel
from pathomix.methods.pathomic_fusion import PathomicFusionMethod, PathomicFusionNetwork, Settings
from pathomix.methods.per_task import PerTaskModel
from pathomix.methods.snn import Settings as SNNSettings
from pathomix.survival.concordance import harrell_c

Parts = Callable[..., tuple[Cases, Cases, Cases]]
BASE = {"blocks": ["expression"], "image": "slide_vector"}
SHORT = {**BASE, "epochs": 2, "constant_epochs": 1, "frozen_epochs": 1, "omic_epochs": 2, "image_epochs": 1}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small are slower with several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def with_vectors(cases: Cases, hazard: np.ndarray, seed: int = 1) -> Cases:
    """Slide vectors of which one dimension shows `hazard`."""
    noise = np.random.default_rng(seed).normal(size=(len(cases.ids), 7))
    noise[:, 3] = hazard + 0.3 * noise[:, 3]
    return replace(cases, vectors=pd.DataFrame(noise.astype(np.float32), cases.ids))


@pytest.fixture(scope="module")
def halves(make_cohort: Callable[..., Cases]) -> Cases:
    """Genes show one half of the hazard, vectors and tiles the other half, independent of it."""
    cases = make_cohort(300, signal=0.0, seed=3)
    generator = np.random.default_rng(4)
    assert cases.expression is not None and cases.tiles is not None
    genes = cases.expression[[f"G{i:02d}" for i in range(10)]].mean(axis=1).to_numpy()
    genes = (genes - genes.mean()) / genes.std()
    image = generator.normal(size=len(genes))
    death = generator.exponential(20 / np.exp(1.5 * (genes + image)))
    censoring = generator.exponential(60, size=len(genes))
    table = cases.patients.assign(time=np.minimum(death, censoring) + 0.01, event=(death <= censoring).astype(int))
    bags = {p: generator.normal(size=(6, 12)).astype(np.float32) for p in cases.ids}
    for patient, value in zip(cases.ids, image, strict=True):
        bags[patient][:3, 0] += 2 * value
    tiles = type(cases.tiles)(bags)  # type: ignore[call-arg]
    return with_vectors(replace(cases, patients=table, tiles=tiles), image)


def fitted(train: Cases, valid: Cases, seed: int = 0, **parameters: object) -> PerTaskModel:
    model = PathomicFusionMethod(**parameters).fit(train, valid, tasks=("survival",), seed=seed)
    assert isinstance(model, PerTaskModel)
    return model


def weights(model: PerTaskModel, part: str) -> dict[str, np.ndarray]:
    return {name: value for name, value in model.state().items() if f"network.{part}" in name}


def equal(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    assert first and first.keys() == second.keys()
    return all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("image", ["slide_vector", "tiles"])
def test_fusion_finds_more_than_either_part(halves: Cases, parts_of: Parts, image: str) -> None:
    train, valid, test = parts_of(halves)
    shorter = {"image_epochs": 15, "omic_epochs": 30, "epochs": 15, "learning_rate": 1e-3, "gate_image": False}
    model = fitted(train, valid, **{**BASE, **shorter, "image": image})
    single = model.models["survival"]
    assert isinstance(single, NetworkModel)
    network, inputs = single.network, single.reader.read(test)
    assert isinstance(network, PathomicFusionNetwork)
    batch = inputs.batch(np.arange(len(inputs.index)))
    outcome = test.patients["time"], test.patients["event"]
    with torch.no_grad():
        omic = harrell_c(*outcome, network.pathomic.omic_net(network.omic_rows(batch))[1][:, 0].numpy())
        picture = harrell_c(*outcome, network.image_head(network.image_vectors(batch))[1][:, 0].numpy())
    both = harrell_c(*outcome, model.predict(test)["survival"]["risk"])
    assert min(omic, picture) > 0.6
    assert both > max(omic, picture) + 0.03


def test_finds_nothing_where_nothing_is(null_cohort: Cases, parts_of: Parts) -> None:
    null = with_vectors(null_cohort, np.random.default_rng(9).normal(size=len(null_cohort.ids)))
    train, valid, test = parts_of(null)
    risk = fitted(train, valid, **SHORT).predict(test)["survival"]["risk"]
    assert 0.36 < harrell_c(test.patients["time"], test.patients["event"], risk) < 0.64
    assert risk.abs().max() <= 3


def test_defaults_are_the_published_recipe() -> None:
    own, alone = Settings(blocks=("mutation",)), SNNSettings(blocks=("mutation",))
    factors = [own.recipe.factor(epoch) for epoch in range(30)]
    assert factors[:10] == [1.0] * 10
    assert factors[10:] == pytest.approx([1 - n / 21 for n in range(1, 21)])
    assert own.omic_recipe == alone.recipe
    assert (own.omic_hidden, own.survival_loss, own.dropout) == (alone.hidden, alone.survival_loss, alone.dropout)
    assert (own.recipe.learning_rate, own.recipe.l2, own.recipe.batch_size, own.beta1) == (1e-4, 4e-4, 32, 0.5)


def test_the_genomic_network_is_trained_then_frozen_then_trained_on(halves: Cases, parts_of: Parts) -> None:
    train, valid, _ = parts_of(halves)
    omic, image, fusion = "pathomic.omic_net.encoder", "image.", "pathomic.fusion"
    first = fitted(train, valid, **{**SHORT, "epochs": 1})
    frozen = fitted(train, valid, **{**SHORT, "epochs": 2, "frozen_epochs": 2})
    thawed = fitted(train, valid, **{**SHORT, "epochs": 2, "frozen_epochs": 1})
    never = fitted(train, valid, **{**SHORT, "epochs": 1, "frozen_epochs": 0})
    longer = fitted(train, valid, **{**SHORT, "epochs": 1, "omic_epochs": 3})
    assert equal(weights(first, omic), weights(frozen, omic))
    assert not equal(weights(first, fusion), weights(frozen, fusion))
    assert not equal(weights(frozen, omic), weights(thawed, omic))
    assert not equal(weights(first, omic), weights(never, omic))
    assert not equal(weights(first, omic), weights(longer, omic))
    for model in (frozen, thawed, never):
        assert equal(weights(first, image), weights(model, image))


def test_momentum_and_l1_of_the_fusion(halves: Cases, parts_of: Parts) -> None:
    train, valid, _ = parts_of(halves)
    omic, fusion = "pathomic.omic_net.encoder", "pathomic.fusion"

    def run(**changed: object) -> PerTaskModel:
        # With plain Adam steps of this size the pull of L1 is visible in few epochs.
        return fitted(train, valid, **{**SHORT, "learning_rate": 1e-2, **changed})

    def size(model: PerTaskModel) -> float:
        return float(sum(np.abs(value).sum() for value in weights(model, omic).values()))

    assert not equal(weights(run(), fusion), weights(run(beta1=0.9), fusion))
    assert size(run(l1=1.0)) < 0.9 * size(run(l1=0.0))
    still = {"frozen_epochs": 2}
    assert equal(weights(run(l1=1.0, **still), fusion), weights(run(l1=0.0, **still), fusion))
    assert equal(weights(run(l1=1.0, **still), omic), weights(run(l1=0.0, **still), omic))


def test_history_names_the_stages(halves: Cases, parts_of: Parts) -> None:
    train, valid, _ = parts_of(halves)
    history = fitted(train, valid, **SHORT).history()
    assert history["stage"].tolist() == ["omic", "omic", "image", "fusion", "fusion"]
    assert history["step"].tolist() == [0, 1, 0, 0, 1]
    assert history["loss"].notna().all()


@pytest.mark.parametrize("image", ["slide_vector", "tiles"])
def test_same_seed_same_bytes(halves: Cases, parts_of: Parts, image: str) -> None:
    train, valid, _ = parts_of(halves)
    stream = torch.random.get_rng_state()
    states = [fitted(train, valid, seed, **{**SHORT, "image": image}).state() for seed in (3, 3, 4)]
    assert equal(states[0], states[1])
    assert not equal(states[0], states[2])
    assert torch.equal(torch.random.get_rng_state(), stream)


def test_expression_can_stand_in_for_the_image(halves: Cases, parts_of: Parts) -> None:
    train, valid, test = parts_of(halves)
    half = list(halves.expression.columns)[:15]
    altered = {part: replace(cases, copy_number=cases.expression[half]) for part, cases in
               (("train", train), ("valid", valid), ("test", test))}  # fmt: skip
    parameters = {**SHORT, "image": "expression", "blocks": ["copy_number"]}
    model = fitted(altered["train"], altered["valid"], **parameters)
    risk = model.predict(replace(altered["test"], vectors=None, tiles=None))["survival"]["risk"]
    assert risk.notna().all() and risk.std() > 0
    with pytest.raises(PathomixError, match="expression stands on both sides"):
        fitted(train, valid, **{**SHORT, "image": "expression", "blocks": ["expression"]})


def test_state_holds_the_statistics_of_both_modalities(halves: Cases, parts_of: Parts) -> None:
    train, valid, _ = parts_of(halves)
    joined = train.concat(valid)
    assert joined.expression is not None and joined.vectors is not None
    state = fitted(train, valid, **SHORT).state()
    assert state["survival.omic.mean"] == pytest.approx(joined.expression.to_numpy(np.float64).mean(axis=0))
    assert state["survival.image.mean"] == pytest.approx(joined.vectors.to_numpy(np.float64).mean(axis=0))
    tiles = fitted(train, valid, **{**SHORT, "image": "tiles"}).state()
    assert tiles["survival.omic.mean"].shape == (30,) and tiles["survival.tile_mean"].shape == (12,)


@pytest.mark.parametrize("image", ["slide_vector", "tiles"])
def test_missing_modalities(halves: Cases, parts_of: Parts, image: str) -> None:
    _, _, test = parts_of(halves)
    train, _, _ = parts_of(halves)
    gone, a, b, c = list(train.ids[:4]), *test.ids[:3]
    assert halves.expression is not None and halves.vectors is not None and halves.tiles is not None
    bags = {p: bag for p, bag in halves.tiles.bags.items() if p not in (*gone, a, c)}  # type: ignore[attr-defined]
    holed = replace(
        halves,
        expression=halves.expression.drop(index=[*gone, a, b]),
        vectors=halves.vectors.drop(index=[*gone, a, c]),
        tiles=type(halves.tiles)(bags),  # type: ignore[call-arg]
    )
    train, valid, test = parts_of(holed)
    risk = fitted(train, valid, **{**SHORT, "image": image}).predict(test)["survival"]["risk"]
    assert risk.index.equals(test.ids)
    assert risk.index[risk.isna()].tolist() == [a, b, c]


@pytest.mark.parametrize("image", ["slide_vector", "tiles"])
def test_both_modalities_reach_the_prediction_and_company_does_not(halves: Cases, parts_of: Parts, image: str) -> None:
    train, valid, test = parts_of(halves)
    model = fitted(train, valid, **{**SHORT, "image": image})
    few = test.subset(test.ids[:5])
    assert few.expression is not None and few.vectors is not None and few.tiles is not None
    before = model.predict(few)["survival"]["risk"].to_numpy()
    assert model.predict(test)["survival"]["risk"].to_numpy()[:5] == pytest.approx(before, abs=1e-5)
    shifted = {p: bag + 1 for p, bag in few.tiles.bags.items()}  # type: ignore[attr-defined]
    pictures = replace(few, vectors=few.vectors + 1, tiles=type(few.tiles)(shifted))  # type: ignore[call-arg]
    for changed in (replace(few, expression=few.expression + 1), pictures):
        assert np.abs(model.predict(changed)["survival"]["risk"].to_numpy() - before).max() > 1e-3


def test_discrete_hazards(halves: Cases, parts_of: Parts) -> None:
    train, valid, test = parts_of(halves)
    risk = fitted(train, valid, **{**SHORT, "survival_loss": "nll", "bins": 3}).predict(test)["survival"]["risk"]
    assert risk.between(-3, 0).all() and risk.nunique() > 10


def test_what_the_cohort_lacks(halves: Cases, parts_of: Parts) -> None:
    def fails(cases: Cases, fact: str, **changed: object) -> None:
        with pytest.raises(PathomixError, match=fact):
            fitted(*parts_of(cases)[:2], **{**SHORT, **changed})

    assert halves.vectors is not None
    fails(replace(halves, vectors=None), "the row reads vectors, and the run was given none")
    fails(replace(halves, vectors=halves.vectors.iloc[:0]), "no training patient has a vector")
    fails(replace(halves, tiles=None), "no training patient has tile features", image="tiles")
    fails(replace(halves, expression=None), "no training patient has the feature blocks: expression")
    patient = parts_of(halves)[0].ids[2]
    broken = halves.vectors.copy()
    broken.loc[patient, 3] = np.nan
    fails(replace(halves, vectors=broken), f"vectors are not finite: {patient};")


def test_classes_have_logits_that_are_not_squashed(halves: Cases, parts_of: Parts) -> None:
    train, valid, test = parts_of(halves)
    model = PathomicFusionMethod(**SHORT).fit(train, valid, tasks=("survival", "subtype"), seed=0)
    assert isinstance(model, PerTaskModel)
    acts = {task: single.network.pathomic.act for task, single in model.models.items()}  # type: ignore[attr-defined]
    assert acts == {"survival": "Sigmoid", "subtype": "none"}
    assert model.predict(test)["subtype"].sum(axis=1).to_numpy() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changed", "fact"),
    [
        ({"image": "none"}, "use the method `snn`"),
        ({"image": "regions"}, "image is 'regions'"),
        ({"selection": "valid"}, "keeps the last epoch"),
        ({"blocks": ["genes"]}, "blocks is 'genes'"),
        ({"frozen_epochs": 31}, "frozen_epochs is not between 0 and epochs"),
        ({"beta1": 1.0}, "beta1"),
        ({"omic_hidden": []}, "omic_hidden needs widths"),
        ({"image_width": 0}, "image_width is below 1"),
        ({"image_batch_size": 1}, "image_batch_size is below 2"),
        ({"gates": True}, "unknown parameters: gates"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changed: dict, fact: str) -> None:
    with pytest.raises(PathomixError, match=fact):
        PathomicFusionMethod(**{**BASE, **changed})
