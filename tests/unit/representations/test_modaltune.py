from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from pathomix.core.errors import PathomixError
from pathomix.representations.modaltune import ModalTuneRepresentation
from pathomix.training.checkpoint import Checkpoint
from pathomix.training.probes import subtype_score, survival_score


@pytest.fixture(scope="module")
def fit(planted, tmp_path_factory):
    """Fits with the small parameters, some of them changed."""

    def fitted(cases, *, seed=0, encoder=None, **changed):
        train, valid, _ = planted.parts(cases)
        representation = ModalTuneRepresentation(
            {**planted.SLIDE_ENCODER, **(encoder or {})}, **{**planted.PARAMETERS, **changed}
        )
        checkpoint = Checkpoint(tmp_path_factory.mktemp("fit") / "checkpoint.pt", {})
        return representation, representation.fit(train, valid, seed=seed, checkpoint=checkpoint, cohort=cases)

    return fitted


@pytest.fixture(scope="module")
def whole(planted, fit):
    """Planted cases, the representation and its fit."""
    cases = planted.planted()
    return cases, *fit(cases)


def scores(planted, cases, vectors):
    train, _, test = planted.parts(cases)
    fitted, scored = (part.subset(part.ids[part.ids.isin(vectors.index)]) for part in (train, test))
    codes = [(part.patients["class_label"] == "type1").astype(int) for part in (fitted, scored)]
    outcome = [part.patients[["time", "event"]].to_numpy(float).T for part in (fitted, scored)]
    rows = [vectors.loc[part.ids].to_numpy() for part in (fitted, scored)]
    return (
        subtype_score(rows[0], codes[0], rows[1], codes[1]),
        survival_score(rows[0], *outcome[0], rows[1], *outcome[1]),
    )


def digest(state):
    return {name: hashlib.sha256(np.ascontiguousarray(value)).hexdigest() for name, value in state.items()}


# planted truth


def test_class_of_the_tiles_and_hazard_of_the_genes_are_found(planted, whole):
    cases, _, fitted = whole
    accuracy, concordance = scores(planted, cases, fitted.embed(cases).vectors["general"])
    assert accuracy > 0.85
    assert concordance > 0.68


def test_permuted_outcomes_are_not_found(planted, fit):
    cases = planted.planted(permuted=True, seed=3)
    accuracy, concordance = scores(planted, cases, fit(cases)[1].embed(cases).vectors["general"])
    assert 0.2 < accuracy < 0.75
    assert 0.3 < concordance < 0.62


def test_each_modality_alone_finds_its_half(planted, fit, whole):
    cases, _, _ = whole
    _, image = fit(cases, modalities=["image"])
    _, genes = fit(cases, modalities=["genes"])
    image_scores = scores(planted, cases, image.embed(cases).vectors["general"])
    gene_scores = scores(planted, cases, genes.embed(cases).vectors["general"])
    assert image_scores[0] > 0.85 and image_scores[1] < 0.62
    assert gene_scores[1] > 0.68 and gene_scores[0] < 0.75
    assert not any("interactions" in name for name in genes.state())
    assert not any("gene_encoder" in name for name in image.state())


def test_history_has_losses_norms_and_scores_and_the_loss_falls(whole):
    history = whole[2].history()
    assert list(history["step"]) == list(range(8))
    parts = history[["loss_general", "loss_diagnosis", "loss_survival"]].sum(axis=1)
    np.testing.assert_allclose(history["loss"], parts, rtol=1e-6)
    assert history["loss"].iloc[-1] < 0.7 * history["loss"].iloc[0]
    assert {"norm_image", "norm_task", "norm_gene", "valid_balanced_accuracy", "valid_concordance"} <= set(history)
    assert np.isfinite(history.to_numpy()).all()


def test_vectors_hold_the_joint_one_and_each_modality_without_the_other(planted, whole):
    cases, _, fitted = whole
    assert fitted.views == ("joint", "image", "genes") and fitted.width == 3 * planted.PARAMETERS["output_dim"]
    joint, image, genes = np.split(fitted.embed(cases).vectors["general"].to_numpy(), 3, axis=1)
    alone = ModalTuneRepresentation(planted.SLIDE_ENCODER, **{**planted.PARAMETERS, "vectors": "joint"})
    assert np.array_equal(alone.load(fitted.state()).embed(cases).vectors["general"].to_numpy(), joint)
    other = cases.expression[::-1].set_axis(cases.expression.index)
    for changed, same, moved in (
        (replace(cases, expression=other), image, (joint, genes)),
        (replace(cases, tiles=planted.planted(seed=5).tiles), genes, (joint, image)),
    ):
        found = fitted.embed(changed).vectors["general"].to_numpy()
        again = np.split(found, 3, axis=1)
        assert any(np.allclose(part, same, atol=1e-5) for part in again)
        assert not any(np.allclose(part, old, atol=1e-3) for part in again for old in moved)


# state


def test_same_seed_same_bytes_other_seed_others(planted, fit):
    cases = planted.planted(60)
    before = torch.random.get_rng_state()
    first, again, other = (fit(cases, seed=seed, epochs=2)[1].state() for seed in (0, 0, 1))
    assert digest(first) == digest(again)
    assert digest(first) != digest(other)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not torch.are_deterministic_algorithms_enabled()


def test_round_trip_is_exact_and_leaves_the_backbone_out(whole):
    cases, representation, fitted = whole
    state = fitted.state()
    assert not any("backbone" in name for name in state)
    assert any(name.startswith("projector.") for name in state)
    anew = ModalTuneRepresentation(representation._slide_encoder, **vars(representation.settings))
    loaded = anew.load({name: np.array(value) for name, value in state.items()})
    for name, vectors in fitted.embed(cases).vectors.items():
        pd.testing.assert_frame_equal(vectors, loaded.embed(cases).vectors[name], check_exact=True)
    assert digest(loaded.state()) == digest(state)


def test_another_slide_encoder_is_refused_on_loading(planted, whole):
    _, representation, fitted = whole
    other = ModalTuneRepresentation({**planted.SLIDE_ENCODER, "seed": 5}, **vars(representation.settings))
    with pytest.raises(PathomixError, match="weights are not those the model was trained with"):
        other.load(fitted.state())


def test_other_parameters_are_refused_on_loading(planted, whole):
    other = ModalTuneRepresentation(planted.SLIDE_ENCODER, **{**planted.PARAMETERS, "output_dim": 5})
    with pytest.raises(PathomixError, match=r"other tensors .*: final_project\.bias, final_project\.weight"):
        other.load(whole[2].state())


def test_released_profile_does_not_save_the_projector_and_all_profiles_run(planted, fit):
    cases = planted.planted(60)
    cases = replace(cases, texts=planted.MemoryTexts(cases.texts.vectors, "released"))
    found = {}
    for profile in ("released", "paper", "recommended"):
        text = "any" if profile == "recommended" else "released"
        _, fitted = fit(cases, profile=profile, epochs=2, inner_folds=None, text_profile=text, max_tiles=5)
        found[profile] = fitted.embed(cases)
        assert len(found[profile].vectors["general"]) == 60
        assert any(n.startswith("projector") for n in fitted.state()) == (profile == "recommended")
    general = [embedding.vectors["general"].to_numpy() for embedding in found.values()]
    width = planted.PARAMETERS["output_dim"]
    assert [vectors.shape[1] for vectors in general] == [width, width, 3 * width]
    general[2] = general[2][:, :width]
    assert not np.allclose(general[0], general[1]) and not np.allclose(general[1], general[2])


def test_half_precision_on_a_cpu_only_where_asked_for(planted, fit):
    cases = planted.planted(60)
    plain, half, released = (
        fit(cases, epochs=1, gene_epochs=0, **given)[1].embed(cases).vectors["general"].to_numpy()
        for given in ({}, {"precision": "bf16"}, {"precision": "fp16"})
    )
    assert not np.array_equal(plain, half)
    assert np.abs(plain - half).max() < 0.2 * np.abs(plain).max()
    np.testing.assert_array_equal(plain, released)


# any size


def test_a_single_tile_and_many_tiles_embed(planted, whole):
    cases, _, fitted = whole
    one, many = np.ones((1, planted.DIM), np.float32), np.ones((500, planted.DIM), np.float32)
    changed = planted.with_tiles(cases, SIMU_AA_0000=one, SIMU_AA_0001=many)
    vectors = fitted.embed(changed).vectors["general"]
    assert len(vectors) == len(cases.ids)
    assert np.isfinite(vectors.to_numpy()).all()


def test_vectors_do_not_depend_on_who_else_is_embedded(whole):
    cases, _, fitted = whole
    together = fitted.embed(cases).vectors["general"]
    alone = fitted.embed(cases.subset(cases.ids[7:8])).vectors["general"]
    np.testing.assert_allclose(alone.to_numpy(), together.loc[alone.index].to_numpy(), atol=1e-5)


def test_texts_are_not_needed_to_embed(whole):
    cases, _, fitted = whole
    bare = fitted.embed(replace(cases, texts=None)).vectors["general"]
    pd.testing.assert_frame_equal(bare, fitted.embed(cases).vectors["general"])


def test_clinical_variant_uses_stage_and_age(planted, fit):
    cases = planted.planted(60)
    _, fitted = fit(cases, modalities=["image", "genes", "clinical"], epochs=2)
    older = replace(cases, patients=cases.patients.assign(age=cases.patients["age"] + 20))
    first, second = (fitted.embed(c).vectors["general"].to_numpy() for c in (cases, older))
    assert not np.allclose(first, second)
    missing = replace(cases, patients=cases.patients.assign(age=np.nan, stage=None))
    assert np.isfinite(fitted.embed(missing).vectors["general"].to_numpy()).all()


# patients that lack something


def test_patients_without_a_modality_are_left_out_with_the_reason(planted, whole):
    cases, _, fitted = whole
    bags = {patient: bag for patient, bag in cases.tiles.bags.items() if patient != "SIMU-AA-0002"}
    lacking = replace(cases, expression=cases.expression.drop("SIMU-AA-0001"), tiles=planted.MemoryTiles(bags))
    embedding = fitted.embed(lacking)
    assert embedding.missing == {"SIMU-AA-0001": "no expression", "SIMU-AA-0002": "no embedded slide"}
    assert set(embedding.vectors["survival"].index) == set(cases.ids) - set(embedding.missing)


def test_image_only_needs_no_expression(planted, fit):
    cases = replace(planted.planted(60), expression=None)
    assert len(fit(cases, modalities=["image"], epochs=1)[1].embed(cases).vectors["general"]) == 60


def test_tiles_that_are_not_finite_cost_only_their_patient(planted, fit, caplog):
    cases = planted.planted(60)
    broken = np.full((4, planted.DIM), np.nan, np.float32)
    changed = planted.with_tiles(cases, SIMU_AA_0003=broken)
    _, fitted = fit(changed, epochs=1)
    embedding = fitted.embed(changed)
    assert list(embedding.missing) == ["SIMU-AA-0003"]
    assert "tile features are not finite" in embedding.missing["SIMU-AA-0003"]
    assert "SIMU-AA-0003 is left out" in caplog.text


@pytest.mark.parametrize(
    ("change", "parameters", "fact"),
    [
        (lambda c, p: replace(c, texts=None), {}, "trained against label texts, and there are none"),
        (lambda c, p: replace(c, expression=None), {}, "no training patient has expression"),
        (lambda c, p: replace(c, tiles=None), {}, "no tile features"),
        (lambda c, p: c, {"text_profile": "released"}, "texts are of profile 'recommended', .* wants 'released'"),
        (lambda c, p: replace(c, tiles=p.MemoryTiles({"X": np.ones((1, 8), np.float32)})), {}, "only 0 of 36"),
        (lambda c, p: replace(c, pathways={"other": ("NONE",)}), {}, "none of 1 pathways has a measured gene: other"),
        (lambda c, p: c, {"stages": 5}, "5 stages over the 2 blocks"),
        (lambda c, p: c, {"learning_rate": 1e30}, r"epoch \d+, step \d+: the loss of general.* is not finite.*SIMU-AA"),
        (
            lambda c, p: replace(c, texts=p.MemoryTexts({**c.texts.vectors, "SIMU-AA-0001": np.ones((4, 3))})),
            {},
            r"text embeddings have not the shape \(4, 12\): SIMU-AA-0001",
        ),
        (
            lambda c, p: replace(c, patients=c.patients.assign(class_label=None, event=0)),
            {},
            "the valid part yields no score",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(planted, fit, change, parameters, fact):
    cases = change(planted.planted(60), planted)
    with pytest.raises(PathomixError, match=fact):
        fit(cases, **{"epochs": 3, **parameters})


def test_selection_needs_a_valid_part_and_last_does_not(planted, tmp_path):
    cases = planted.planted(60)
    train, valid, _ = planted.parts(cases)
    for number, selection in enumerate(("both_tasks", "last")):
        parameters = {**planted.PARAMETERS, "epochs": 1, "selection": selection}
        representation = ModalTuneRepresentation(planted.SLIDE_ENCODER, **parameters)
        checkpoint = Checkpoint(tmp_path / f"{number}.pt", {})
        if selection == "last":
            representation.fit(train, valid.subset([]), seed=0, checkpoint=checkpoint)
        else:
            with pytest.raises(PathomixError, match="no valid patient can be embedded"):
                representation.fit(train, valid.subset([]), seed=0, checkpoint=checkpoint)


# other cohorts


def test_foreign_genes_are_standardised_by_their_own_training_part(planted, whole):
    cases, _, fitted = whole
    shifted = replace(cases, expression=cases.expression * 3 + 7)
    same = fitted.embed(shifted, foreign=shifted).vectors["general"]
    reference = fitted.embed(cases, foreign=cases).vectors["general"]
    np.testing.assert_allclose(same.to_numpy(), reference.to_numpy(), atol=1e-4)
    unadapted = fitted.embed(shifted).vectors["general"]
    assert not np.allclose(unadapted.to_numpy(), reference.to_numpy(), atol=1e-2)


def test_coverage_of_the_genes_is_reported_or_refused(planted, whole, caplog):
    cases, _, fitted = whole
    few = replace(cases, expression=cases.expression.drop(columns=["G20"]))
    assert len(fitted.embed(few, foreign=few).vectors["general"]) == len(cases.ids)
    assert "1 of 21 genes are not measured and stand at the mean: G20" in caplog.text
    assert "1 pathways have no measured gene: single" in caplog.text
    other = replace(cases, expression=cases.expression[planted.GENES[:5]])
    with pytest.raises(PathomixError, match=r"measures 24% of the 21 genes .* less than the required 80%"):
        fitted.embed(other, foreign=other)


def test_tiles_of_another_width_are_refused(planted, whole):
    cases, _, fitted = whole
    wide = {patient: np.ones((3, 5), np.float32) for patient in cases.tiles.bags}
    with pytest.raises(PathomixError, match="width 5, the slide encoder reads 8"):
        fitted.embed(replace(cases, tiles=planted.MemoryTiles(wide)))


def test_statistics_of_training_patients_alone(planted, fit):
    """A test patient with absurd expression changes the released model, and not the recommended one."""
    cases = planted.planted(60)
    absurd = cases.expression.copy()
    absurd.loc[planted.parts(cases)[2].ids] = 1e4
    changed = replace(cases, expression=absurd)
    for standardise, same in (("train", True), ("all", False)):
        states = [digest(fit(c, epochs=1, standardise_on=standardise)[1].state()) for c in (cases, changed)]
        assert (states[0] == states[1]) is same
