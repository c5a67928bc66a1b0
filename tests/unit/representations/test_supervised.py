from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pathomix.core.errors import PathomixError
from pathomix.representations.supervised import Supervised
from pathomix.training.checkpoint import Checkpoint
from pathomix.training.probes import subtype_score, survival_score

PARAMETERS = {"blocks": ("expression",), "omic_hidden": 16, "epochs": 12, "learning_rate": 3e-3, "batch_size": 16}


@pytest.fixture(scope="module")
def fitted(planted, tmp_path_factory):
    cases = planted.planted(120)
    train, valid, test = planted.parts(cases)
    representation = Supervised(planted.SLIDE_ENCODER, **PARAMETERS, task="survival")
    checkpoint = Checkpoint(tmp_path_factory.mktemp("supervised") / "checkpoint.pt", {})
    return representation, representation.fit(train, valid, seed=0, checkpoint=checkpoint), (train, valid, test)


def test_the_vector_carries_the_task_it_was_trained_for(fitted):
    _, model, (train, _, test) = fitted
    vectors = {part: model.embed(cases).vectors["general"] for part, cases in (("train", train), ("test", test))}
    outcome = [(cases.patients["time"], cases.patients["event"]) for cases in (train, test)]
    c = survival_score(vectors["train"], *outcome[0], vectors["test"], *outcome[1])
    assert c > 0.7 and vectors["test"].shape == (len(test.ids), 16)


def test_state_rebuilds_it_to_the_bit(fitted):
    representation, model, (_, _, test) = fitted
    again = representation.load(model.state())
    first, second = (m.embed(test).vectors["general"] for m in (model, again))
    np.testing.assert_array_equal(first.to_numpy(), second.to_numpy())


def test_a_foreign_cohort_brings_its_own_statistics_and_may_lack_few_genes(fitted, planted, caplog):
    _, model, _ = fitted
    foreign = planted.planted(40, seed=1, prefix="SIMU-BB")
    moved = replace(foreign, expression=10 + 3 * foreign.expression)
    same = model.embed(foreign, foreign=foreign).vectors["general"]
    shifted = model.embed(moved, foreign=moved).vectors["general"]
    np.testing.assert_allclose(same.to_numpy(), shifted.to_numpy(), atol=1e-4)
    fewer = replace(foreign, expression=foreign.expression.drop(columns=["G23"]))
    assert np.isfinite(model.embed(fewer, foreign=fewer).vectors["general"].to_numpy()).all()
    assert "1 of 24 genes are not measured" in caplog.text
    few = replace(foreign, expression=foreign.expression[["G00", "G01"]])
    with pytest.raises(PathomixError, match=r"measures 8% of the 24 genes.*min_gene_coverage"):
        model.embed(few, foreign=few)


def test_patients_without_tiles_are_named_and_those_without_blocks_read_as_the_mean(fitted, planted):
    _, model, (_, _, test) = fitted
    unmeasured, gone = test.ids[:2]
    bags = {name: bag for name, bag in test.tiles.bags.items() if name != gone}
    expression = test.expression.drop(index=unmeasured)
    embedding = model.embed(replace(test, expression=expression, tiles=planted.MemoryTiles(bags)))
    assert embedding.missing == {gone: "no tile features"}
    vectors, whole = embedding.vectors["general"], model.embed(test).vectors["general"]
    assert gone not in vectors.index and np.isfinite(vectors.to_numpy()).all()
    assert not np.allclose(vectors.loc[unmeasured], whole.loc[unmeasured])


def test_images_alone_and_the_other_task(planted, tmp_path):
    cases = planted.planted(80)
    train, valid, test = planted.parts(cases)
    parameters = {**PARAMETERS, "blocks": (), "task": "subtype", "epochs": 6}
    representation = Supervised(planted.SLIDE_ENCODER, **parameters)
    model = representation.fit(train, valid, seed=0, checkpoint=Checkpoint(tmp_path / "c.pt", {}))
    a, b = (model.embed(part).vectors["general"] for part in (train, test))
    codes = [(part.patients["class_label"] == train.classes[0]).astype(int) for part in (train, test)]
    assert subtype_score(a, codes[0], b, codes[1]) > 0.8
    assert set(representation.load(model.state()).embed(test).vectors) == {"general"}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"task": "stage"}, "task"), ({"blocks": ("age",)}, "may hold expression alone"), ({"depth": 3}, "depth")],
)
def test_parameters_that_are_refused(planted, parameters, message):
    with pytest.raises(PathomixError, match=message):
        Supervised(planted.SLIDE_ENCODER, **parameters)
