"""Path-GPTomic on a planted cohort: one hazard visible in genomics, another one in images."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pathomix.cohort.cases import Cases
from pathomix.core.bags import Bag
from pathomix.core.errors import PathomixError
from pathomix.core.regions import Regions
from pathomix.core.schemas import HISTORY
from pathomix.methods.path_gptomic import PathGPTomic, PathGPTomicModel
from pathomix.methods.path_gptomic_training import parameter_groups
from pathomix.methods.run import run_fold
from pathomix.survival.concordance import harrell_c

SMALL: dict[str, Any] = {
    "image": "slide_vector", "hidden": [16, 8], "mlp_b_hidden": 16, "genomic_width": 8, "image_width": 8,
    "tile_width": 8, "attention": 4, "fused_width": 8, "dropout": 0.1, "epochs": 12, "constant_epochs": 6,
    "learning_rate": 5e-3, "modulation_warmup": 0,
}  # fmt: skip
ENCODER = {"image_size": 16, "embed_dim": 8, "depth": 1, "heads": 2, "mlp_ratio": 1.0}
REGIONS: dict[str, Any] = {
    "image": "regions", "image_encoder": ENCODER, "crop": 24, "stride": 8, "rna": "none", "epochs": 1,
    "constant_epochs": 0, "batch_size": 16,
}  # fmt: skip


class Tiles:
    def __init__(self, bags: dict[str, np.ndarray]) -> None:
        self.bags = bags
        self.dim = 5

    @property
    def patient_ids(self) -> frozenset[str]:
        return frozenset(self.bags)

    def bag(self, patient_id: str) -> Bag:
        features = self.bags[patient_id]
        count = len(features)
        return Bag(features, np.zeros((count, 2), np.int32), np.zeros(count, np.int32), ("S",), np.ones((1, 2)))


class MemoryRegions:
    size = 32

    def __init__(self, images: dict[str, np.ndarray]) -> None:
        self.images = images

    @property
    def patient_ids(self) -> frozenset[str]:
        return frozenset(self.images)

    def of(self, patient_id: str) -> Regions:
        images = self.images[patient_id]
        return Regions(images, tuple(f"{patient_id}-{i}" for i in range(len(images))))


def planted(patients: int = 200, seed: int = 0, regions: bool = False) -> Cases:
    """Log hazard 1.4 times a genomic and 1.0 times an image latent, both standard normal."""
    generator = np.random.default_rng(seed)
    ids = pd.Index([f"SIMU-AA-{i:04d}" for i in range(patients)], name="patient_id")
    genomic, image = generator.normal(size=(2, patients))
    death = generator.exponential(20 / np.exp(1.4 * genomic + 1.0 * image))
    censoring = generator.exponential(60, size=patients)
    table = pd.DataFrame(
        {"time": np.minimum(death, censoring) + 0.01, "event": (death <= censoring).astype(int), "endpoint": "OS",
         "class_label": "a", "tissue_source_site": "AA", "age": 60.0, "sex": "female", "stage": None, "grade": None},
        index=ids,
    )  # fmt: skip

    def seen(latent: np.ndarray, width: int, strength: float) -> np.ndarray:
        values = generator.normal(size=(patients, width))
        values[:, : width // 2] += strength * latent[:, None]
        return values.astype(np.float32)

    copies = pd.DataFrame(seen(genomic, 8, 0.6), ids, [f"C{i}" for i in range(8)])
    mutation = pd.DataFrame((seen(genomic, 6, 0.6) > 0.5).astype(np.float32), ids, [f"M{i}" for i in range(6)])
    embedded = pd.DataFrame(seen(genomic, 10, 0.8), ids)
    vectors = pd.DataFrame(seen(image, 8, 1.0), ids)
    bags = {p: (generator.normal(size=(6, 5)) + np.array([2 * image[i], 0, 0, 0, 0])).astype(np.float32)
            for i, p in enumerate(ids)}  # fmt: skip
    store = None
    if regions:
        brightness = np.clip(128 + 50 * image, 0, 255)[:, None, None, None, None]
        noise = generator.normal(0, 10, (patients, 2, 32, 32, 3))
        images = np.clip(brightness + noise, 0, 255).astype(np.uint8)
        store = MemoryRegions({p: images[i, : 1 + i % 2] for i, p in enumerate(ids)})
    return Cases(table, None, copies, mutation, {}, Tiles(bags), None, vectors, embedded, store)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cohort() -> Cases:
    return planted()


def parts(cases: Cases) -> tuple[Cases, Cases, Cases]:
    place = np.arange(len(cases.ids)) % 5
    return tuple(cases.subset(cases.ids[np.isin(place, which)]) for which in ((2, 3, 4), (1,), (0,)))


def fitted(cases: Cases, seed: int = 0, **more: Any) -> tuple[PathGPTomicModel, Cases]:
    train, valid, test = parts(cases)
    model = PathGPTomic(**{**SMALL, **more}).fit(train, valid, tasks=("survival",), seed=seed)
    return model.models["survival"], test  # type: ignore[attr-defined]


def concordance(model: PathGPTomicModel, test: Cases) -> float:
    risk = model.predict(test)["risk"].reindex(test.ids)
    return harrell_c(test.patients["time"], test.patients["event"], risk)


@pytest.mark.parametrize("image", ["tiles", "slide_vector"])
def test_the_fusion_is_above_each_modality(image: str, cohort: Cases) -> None:
    both = concordance(*fitted(cohort, image=image))
    alone = [
        concordance(*fitted(cohort, image="none", modulation="none")),
        concordance(*fitted(cohort, image=image, rna="none", blocks=[], modulation="none")),
    ]
    assert min(alone) > 0.55
    assert both > max(alone) + 0.01


@pytest.mark.parametrize(
    "more",
    [{"profile": "paper", "learning_rate": 2e-3}, {"modulation": "paper"}, {"modulation": "none"},
     {"fusion": "kronecker", "modulation": "none"}, {"rna": "none"}, {"blocks": []}, {"mlp_a": "trained"},
     {"head_bias": True, "optimiser": "adamw"}, {"head_output": "sigmoid6", "modulation": "none"},
     {"modulated_genomic": "mlp_b", "modulated_tensors": "matrices_only", "modulation_apply": "grad",
      "ge_noise": True}, {"optimiser": "sgd", "learning_rate": 0.02}, {"selection": "valid", "ties": "efron"}],
)  # fmt: skip
def test_every_arm_finds_the_signal(more: dict[str, Any], cohort: Cases) -> None:
    model, test = fitted(cohort, **more)
    assert concordance(model, test) > 0.6
    assert all(np.isfinite(value).all() for value in model.state().values())


def test_finds_nothing_where_nothing_is() -> None:
    cases = planted(300, seed=4)
    table = cases.patients.copy()
    order = np.random.default_rng(0).permutation(len(table))
    table[["time", "event"]] = table[["time", "event"]].to_numpy()[order]
    table = table.astype({"event": int})
    model, test = fitted(replace(cases, patients=table), epochs=2, constant_epochs=0)
    assert 0.34 < concordance(model, test) < 0.66


def test_same_seed_same_bytes_and_the_global_streams_are_left_alone(cohort: Cases) -> None:
    before, legacy = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    states = [fitted(cohort, seed, epochs=2, constant_epochs=0)[0].state() for seed in (3, 3, 4)]
    assert all(np.array_equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(np.array_equal(states[0][key], states[2][key]) for key in states[0])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], legacy)


@pytest.mark.parametrize("image", ["tiles", "slide_vector"])
def test_predictions_belong_to_their_patients(image: str, cohort: Cases) -> None:
    model, test = fitted(cohort, epochs=1, constant_epochs=0, image=image)
    risk = model.predict(test)["risk"]
    permuted = test.ids[np.random.default_rng(0).permutation(len(test.ids))]
    again = model.predict(test.subset(permuted))["risk"]
    assert again.index.equals(permuted)
    assert again[test.ids].to_numpy() == pytest.approx(risk.to_numpy(), rel=1e-5, abs=1e-6)
    few = model.predict(test.subset(test.ids[:3]))["risk"]
    assert few.to_numpy() == pytest.approx(risk.to_numpy()[:3], rel=1e-5, abs=1e-6)


def test_missing_modalities(cohort: Cases, caplog: pytest.LogCaptureFixture) -> None:
    train, valid, test = parts(cohort)
    a, b, c = test.ids[:3]
    gone = [*train.ids[:4], valid.ids[0]]
    assert cohort.vectors is not None
    assert cohort.expression_vectors is not None
    assert cohort.copy_number is not None
    assert cohort.mutation is not None
    less = replace(
        cohort,
        vectors=cohort.vectors.drop(index=[*gone, a]),
        expression_vectors=cohort.expression_vectors.drop(index=[b]),
        copy_number=cohort.copy_number.drop(index=[c]),
        mutation=cohort.mutation.drop(index=[c]),
    )
    method = PathGPTomic(**{**SMALL, "epochs": 1, "constant_epochs": 0})
    named = {"train": train, "valid": valid, "test": test}
    split = pd.concat([pd.DataFrame({"fold": 0, "patient_id": p.ids, "part": name}) for name, p in named.items()])
    with caplog.at_level("INFO"):
        result = run_fold(method, less, split, ("survival",), 0)
    lines = [record.getMessage() for record in caplog.records]
    assert "path_gptomic: 5 of 160 patients have not a slide vector" in lines
    assert "path_gptomic: 1 of 40 patients have not the feature blocks" in lines
    missing = result.predictions[result.predictions["risk"].isna()]
    assert set(missing["patient_id"]) == {*gone, a, b, c}
    assert not result.failures
    HISTORY.validate(result.history)


def test_both_modalities_reach_the_prediction(cohort: Cases) -> None:
    model, test = fitted(cohort, epochs=1, constant_epochs=0)
    before = model.predict(test)["risk"].to_numpy()
    assert test.vectors is not None
    assert test.expression_vectors is not None
    assert test.copy_number is not None
    for changed in (
        replace(test, vectors=test.vectors + 1),
        replace(test, expression_vectors=test.expression_vectors + 1),
        replace(test, copy_number=test.copy_number + 1),
    ):
        assert not np.allclose(model.predict(changed)["risk"].to_numpy(), before, rtol=1e-4)


def test_history_of_steps_and_epochs(cohort: Cases) -> None:
    model, _ = fitted(cohort, epochs=3, constant_epochs=0, selection="valid", modulation_warmup=1)
    record = model.history()
    steps, epochs = (record[record["level"] == level] for level in ("step", "epoch"))
    assert steps["step"].tolist() == list(range(len(steps)))
    assert epochs["epoch"].tolist() == [0, 1, 2]
    assert epochs["step"].tolist()[-1] == len(steps)
    warm = steps[steps["epoch"] == 0]
    assert (warm["status"] == "warm-up").all()
    assert (warm[["k_genomic", "k_image"]] == 1).all(axis=None)
    later = steps[steps["epoch"] > 0]
    assert (later["status"] == "").all()
    assert (later[["k_genomic", "k_image"]].max(axis=1) == 1).all()
    assert (later[["k_genomic", "k_image"]].min(axis=1) < 1).any()
    measured = ["ratio", "difference", "loss", "loss_genomic", "loss_image", "norm_genomic", "norm_image"]
    assert np.isfinite(steps[measured].to_numpy(float)).all()
    for score in ("log_hazard", "genomic", "image"):
        for part in ("train", "valid"):
            assert epochs[f"c_{score}_{part}"].between(0.3, 1).all()
    assert epochs["score"].to_numpy() == pytest.approx(epochs["c_log_hazard_valid"].to_numpy())


def test_modulation_slows_the_modality_that_is_ahead(cohort: Cases) -> None:
    model, _ = fitted(cohort)
    steps = model.history().query("level == 'step'")
    assert steps["k_genomic"].mean() < steps["k_image"].mean()
    assert (steps.loc[steps["ratio"] > 1, "k_genomic"] < 1).all()
    assert (steps.loc[steps["ratio"] > 1, "k_image"] == 1).all()


@pytest.mark.parametrize("apply", ["lr", "grad"])
def test_a_step_is_slowed_by_the_coefficients_of_its_own_batch(apply: str, cohort: Cases) -> None:
    one = {"epochs": 1, "constant_epochs": 1, "batch_size": 500, "optimiser": "sgd", "l2": 0.0, "learning_rate": 0.1,
           "modulation_alpha": 100.0}  # fmt: skip
    start, plain, slowed = (
        fitted(cohort, **{**one, **more})[0]
        for more in ({"learning_rate": 0.0}, {"modulation": "none"}, {"modulation_apply": apply})
    )
    (step,) = slowed.history().query("level == 'step'").to_dict("records")
    assert min(step["k_genomic"], step["k_image"]) < 0.9
    expected = {"genomic": step["k_genomic"], "image": step["k_image"], "head": 1.0}
    before, full, less = (model.network.state_dict() for model in (start, plain, slowed))
    for name, value in before.items():
        k = expected[name.split(".")[0]]
        assert torch.allclose(less[name] - value, k * (full[name] - value), atol=1e-6), name
        # The likelihood does not change with a constant, so neither does the last bias of MLP-B.
        assert name.endswith("bias") or not torch.allclose(full[name], value, atol=1e-5), name


def test_parameter_groups_follow_the_scope() -> None:
    method = PathGPTomic(**{**SMALL, "modulated_genomic": "mlp_b", "modulated_tensors": "matrices_only"})
    train, valid, _ = parts(planted(60))
    network = method.fit(train, valid, tasks=("survival",), seed=0).models["survival"].network  # type: ignore[attr-defined]
    groups = parameter_groups(network, method.settings)
    named = {group["modality"]: {id(p) for p in group["params"]} for group in groups}
    assert named["genomic"] == {id(p) for p in network.genomic.mlp_b.parameters() if p.ndim == 2}
    assert named["image"] == {id(p) for p in network.image.parameters() if p.ndim == 2}
    assert sum(len(members) for members in named.values()) == len(list(network.parameters()))
    whole = parameter_groups(network, PathGPTomic(**SMALL).settings)
    everything = {group["modality"]: {id(p) for p in group["params"]} for group in whole}
    assert everything["genomic"] == {id(p) for p in network.genomic.parameters()}
    assert everything[""] == {id(p) for p in network.head.parameters()}


@pytest.mark.parametrize("profile", ["paper", "recommended"])
def test_batches_without_an_event_are_skipped_and_counted(profile: str) -> None:
    cases = planted(120)
    table = cases.patients.copy()
    table["event"] = 0
    table.iloc[[2, 3, 4, 7], table.columns.get_loc("event")] = 1
    more = {"epochs": 3, "constant_epochs": 0, "batch_size": 8, "selection": "last"}
    model, _ = fitted(replace(cases, patients=table), **more, profile=profile)
    record = model.history()
    epochs, steps = (record[record["level"] == level] for level in ("epoch", "step"))
    assert (epochs["skipped"].sum() > 0) == (profile == "paper")  # `min_events` draws the few into every batch
    assert len(steps) + epochs["skipped"].sum() == 3 * 12
    assert np.isfinite(epochs["loss"]).all()


def test_refusals_of_the_configuration() -> None:
    for wrong, message in (
        ({"fusion": "kronecker"}, "does not split"),
        ({"image": "none"}, "single modality"),
        ({"rna": "none", "blocks": []}, "single modality"),
        ({"head_output": "sigmoid6"}, "squashed"),
        ({"fusion": "kronecker", "image": "none", "modulation": "none"}, "both modalities"),
        ({"image": "none", "rna": "none", "blocks": [], "modulation": "none"}, "nothing is read"),
        ({"mlp_a": "trained", "rna": "none"}, "MLP-A"),
        ({"modulated_genomic": "mlp_b", "rna": "none"}, "not there"),
        ({"unit": "region"}, "unit"),
        ({"ge_noise": True}, "ge_noise"),
        ({"constant_epochs": 40}, "constant_epochs"),
        ({"min_events": 40}, "min_events"),
        ({"modulation_clip": 0.5}, "modulation_clip"),
        ({"modulation": "some"}, "modulation"),
        ({"survival_loss": "nll"}, "survival_loss"),
        ({"batch_size": 1}, "batch_size"),
        ({"image": "regions", "image_encoder": {"heads": 5}}, "T2T-ViT"),
        ({"image": "regions", "image_encoder": {"size": 5}}, "unknown parameters"),
        ({"width": 3}, "unknown parameters"),
    ):
        with pytest.raises(PathomixError, match=message):
            PathGPTomic(**{**SMALL, **wrong})


def test_defaults_of_the_profiles() -> None:
    recommended, paper = PathGPTomic().settings, PathGPTomic(profile="paper", image="regions").settings
    assert recommended.switches == {
        "survival_loss": "event_mean", "unit": "patient", "min_events": 2, "modulation": "stable",
        "modulation_apply": "lr", "scale_vectors": True,
    }  # fmt: skip
    assert paper.switches == {
        "survival_loss": "paper", "unit": "region", "min_events": 0, "modulation": "paper_softmax",
        "modulation_apply": "grad", "scale_vectors": False,
    }  # fmt: skip
    assert (recommended.modulation_settings.k_min, recommended.modulation_settings.warmup_epochs) == (0.05, 1)
    assert (paper.modulation_settings.k_min, paper.modulation_settings.warmup_epochs) == (0.0, 0)
    assert PathGPTomic(profile="paper", unit="patient").settings.value("unit") == "patient"


def test_refusals_of_the_data(cohort: Cases) -> None:
    train, valid, _ = parts(cohort)
    with pytest.raises(PathomixError, match="no head for subtype"):
        PathGPTomic(**SMALL).fit(train, valid, tasks=("survival", "subtype"), seed=0)
    assert cohort.vectors is not None
    assert cohort.expression_vectors is not None
    dull = cohort.patients.assign(event=0)
    for changed, more, message in (
        ({"patients": dull}, {}, "no event"),
        ({"vectors": cohort.vectors * 0}, {}, "no feature varies"),
        ({"expression_vectors": cohort.expression_vectors * 0 + 1}, {"scale_vectors": False}, "no feature varies"),
        ({"tiles": Tiles({p: np.ones((3, 5), np.float32) for p in cohort.ids})}, {"image": "tiles"}, "varies"),
        ({"expression_vectors": None}, {}, "embedded expression"),
        ({"expression_vectors": cohort.expression_vectors.iloc[:0]}, {}, "no training patient has"),
        ({"expression_vectors": cohort.expression_vectors * np.nan}, {}, "not finite"),
        ({"vectors": None}, {}, "vectors"),
        ({"tiles": None}, {"image": "tiles"}, "no training patient has"),
    ):
        with pytest.raises(PathomixError, match=message):
            fitted(replace(cohort, **changed), **more)  # type: ignore[arg-type]


def test_only_patients_with_everything_count_for_events(cohort: Cases) -> None:
    assert cohort.vectors is not None
    table = cohort.patients.assign(event=0)
    table.iloc[2, table.columns.get_loc("event")] = 1
    less = replace(cohort, patients=table, vectors=cohort.vectors.drop(index=[cohort.ids[2]]))
    with pytest.raises(PathomixError, match="no event"):
        fitted(less)


def test_a_blow_up_is_named(cohort: Cases) -> None:
    with pytest.raises(PathomixError, match="blew up in epoch"):
        fitted(cohort, learning_rate=1e30, optimiser="sgd", l2=0.0)


# Regions -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictured() -> Cases:
    return planted(60, seed=2, regions=True)


@pytest.mark.parametrize("more", [{}, {"unit": "region"}, {"profile": "paper"}])
def test_regions(more: dict[str, Any], pictured: Cases) -> None:
    model, test = fitted(pictured, **REGIONS, **more)
    assert np.isfinite(model.predict(test)["risk"]).all()
    steps = model.history().query("level == 'step'")
    # 48 patients, half of them with two regions, in batches of 16; eight rows that are left make a batch.
    assert len(steps) == (5 if more else 3)
    again, _ = fitted(pictured, **REGIONS, **more)
    assert all(np.array_equal(value, again.state()[name]) for name, value in model.state().items())


def test_a_prediction_is_the_mean_over_crops_and_regions(pictured: Cases) -> None:
    from pathomix.slides.region_images import test_crops

    model, test = fitted(pictured, **REGIONS)
    patient = next(p for p in test.ids if len(pictured.regions.of(p).images) == 2)  # type: ignore[union-attr]
    genomic = model.reader.read(test.subset([patient])).genomic(torch.zeros(1, dtype=torch.long))
    means = []
    for image in pictured.regions.of(patient).images:  # type: ignore[union-attr]
        crops = test_crops(image, crop=24, stride=8, size=16)
        assert len(crops) == 4
        with torch.no_grad():
            theta = model.network(*(part.expand(len(crops), -1) for part in genomic), crops).log_hazard
        means.append(theta.mean().item())
    risk = model.predict(test)["risk"]
    assert risk[patient] == pytest.approx(np.mean(means), rel=1e-5, abs=1e-6)


def test_the_image_encoder_has_a_rate_of_its_own(pictured: Cases) -> None:
    model, _ = fitted(pictured, **REGIONS, encoder_learning_rate=0.0, l2=0.0)
    fresh, _ = fitted(pictured, **{**REGIONS, "learning_rate": 0.0}, l2=0.0)
    trained, start = model.network.state_dict(), fresh.network.state_dict()
    same = {name for name in trained if torch.equal(trained[name], start[name])}
    assert {name for name in trained if name.startswith("image.encoder")} <= same
    assert "image.projection.0.weight" not in same


def test_regions_that_say_nothing_are_refused(pictured: Cases) -> None:
    grey = MemoryRegions({p: np.full((1, 32, 32, 3), 7, np.uint8) for p in pictured.ids})
    with pytest.raises(PathomixError, match="the same image"):
        fitted(replace(pictured, regions=grey), **REGIONS)
    with pytest.raises(PathomixError, match="smaller `crop`"):
        fitted(pictured, **{**REGIONS, "crop": 64})
    with pytest.raises(PathomixError, match="no training patient has"):
        fitted(replace(pictured, regions=None), **REGIONS)


def test_a_patient_without_regions_has_no_prediction(pictured: Cases) -> None:
    _, _, test = parts(pictured)
    lost = test.ids[0]
    assert isinstance(pictured.regions, MemoryRegions)
    less = MemoryRegions({p: images for p, images in pictured.regions.images.items() if p != lost})
    model, test = fitted(replace(pictured, regions=less), **REGIONS)
    assert set(test.ids) - set(model.predict(test).index) == {lost}


def test_rows_without_the_vgg_do_not_import_torchvision() -> None:
    code = "import sys; import pathomix.methods.path_gptomic; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
