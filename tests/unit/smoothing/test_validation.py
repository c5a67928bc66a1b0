"""Every measure of the report against a hand-made case or another implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from pathomix.nn.smoother import Smoother
from pathomix.smoothing.files import VALIDATION
from pathomix.smoothing.mixing import Mixtures, unmixed
from pathomix.smoothing.pool import Rows
from pathomix.smoothing.train import smooth
from pathomix.smoothing.validation import Held, LinearReadout, composition_r2, linearity_gaps, validate

CLASSES = ("A", "B", "C")


def rows_of(mixtures: Mixtures, labels: np.ndarray, vectors: np.ndarray, bend: float) -> Rows:
    """Embeddings that are linear in the mixture where `bend` is 0."""
    own = labels[mixtures.cells]
    targets = np.zeros((len(own), 3), np.float32)
    np.add.at(targets, (np.arange(len(own))[:, None], own), mixtures.weights)
    embeddings = np.einsum("nk,nkd->nd", mixtures.weights, vectors[mixtures.cells])
    return Rows((embeddings + bend * embeddings**2).astype(np.float32), mixtures, own, targets)


@pytest.fixture
def made() -> tuple[Held, Smoother]:
    """Forty cells of three classes, a bent embedding, and a smoother that knows nothing."""
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 3
    vectors = np.eye(3)[labels] @ generator.standard_normal((3, 6)) + 0.1 * generator.standard_normal((40, 6))

    def mixtures(count: int) -> Mixtures:
        return Mixtures(np.arange(count), generator.integers(40, size=(count, 2)), generator.dirichlet([1, 1], count))

    held = Held(
        rows_of(mixtures(60), labels, vectors, 0.3),
        rows_of(unmixed(np.arange(40)), labels, vectors, 0.3),
        rows_of(mixtures(200), labels, vectors, 0.3),
    )
    torch.manual_seed(0)
    return held, Smoother(6, 3, hidden=8, out_dim=5).eval()


def test_r2_is_that_of_others() -> None:
    generator = np.random.default_rng(1)
    truth = generator.dirichlet(np.ones(4), 50)
    guess = truth + 0.1 * generator.standard_normal(truth.shape)
    total, each = composition_r2(truth, guess)
    np.testing.assert_allclose(each, r2_score(truth, guess, multioutput="raw_values"))
    assert total == pytest.approx(r2_score(truth, guess, multioutput="variance_weighted"))
    assert composition_r2(truth, truth)[0] == 1
    assert composition_r2(truth, np.tile(truth.mean(axis=0), (50, 1)))[0] == pytest.approx(0)
    truth[:, 2] = 0
    assert math.isnan(composition_r2(truth, guess)[1][2]), "a class that is not there has no R2"
    assert math.isnan(composition_r2(np.full((5, 2), 0.5), np.zeros((5, 2)))[0])


def test_readout_is_least_squares(made: tuple[Held, Smoother]) -> None:
    held, _ = made
    train = held.train
    readout = LinearReadout.fit(train.embeddings, train.targets)
    expected = LinearRegression().fit(train.embeddings.astype(float), train.targets).predict(held.mixtures.embeddings)
    np.testing.assert_allclose(readout.predict(held.mixtures.embeddings), expected, atol=1e-4)
    doubled = np.concatenate([train.embeddings, train.embeddings, np.ones((200, 1))], axis=1)
    assert np.isfinite(LinearReadout.fit(doubled, train.targets).weights).all()


def test_linearity_gap_by_hand(made: tuple[Held, Smoother]) -> None:
    held, _ = made
    mixed, single = held.mixtures.embeddings, held.cells.embeddings
    gaps = linearity_gaps(mixed, single, held)
    (i, j), (a, b) = held.mixtures.mixtures.cells[7], held.mixtures.mixtures.weights[7]
    variance = single.astype(float).var(axis=0).sum()
    assert gaps[7] == pytest.approx(((mixed[7] - a * single[i] - b * single[j]) ** 2).sum() / variance, rel=1e-4)
    np.testing.assert_allclose(linearity_gaps(3 * mixed + 1, 3 * single + 1, held), gaps, rtol=1e-3)
    straight = np.einsum("nk,nkd->nd", held.mixtures.mixtures.weights, single[held.mixtures.mixtures.cells])
    np.testing.assert_allclose(linearity_gaps(straight, single, held), 0, atol=1e-12)
    assert np.isnan(linearity_gaps(mixed, np.ones_like(single), held)).all()


def test_a_mixture_whose_cell_has_no_vector_has_no_gap(made: tuple[Held, Smoother]) -> None:
    held, _ = made
    cells = held.cells
    kept = np.arange(1, 40)
    fewer = Rows(cells.embeddings[kept], cells.mixtures.take(kept), cells.labels[kept], cells.targets[kept])
    gaps = linearity_gaps(held.mixtures.embeddings, fewer.embeddings, held._replace(cells=fewer))
    np.testing.assert_array_equal(np.isnan(gaps), (held.mixtures.mixtures.cells == 0).any(axis=1))


def test_report_and_table_say_the_same(made: tuple[Held, Smoother]) -> None:
    held, model = made
    report, table = validate(model, held, CLASSES, "mse")
    table = VALIDATION.validate(table)
    mixtures, cells = (table[table["kind"] == kind] for kind in ("mixture", "cell"))
    target = mixtures[[f"target_{name}" for name in CLASSES]].to_numpy()
    for when, prefix, suffix in (("before", "raw", "_raw"), ("after", "predicted", "")):
        scores = report[when]
        predicted = mixtures[[f"{prefix}_{name}" for name in CLASSES]].to_numpy()
        assert scores["mse"] == pytest.approx(((predicted - target) ** 2).mean(), rel=1e-4)
        expected = r2_score(target, predicted, multioutput="variance_weighted")
        assert scores["composition_r2"] == pytest.approx(expected, rel=1e-4)
        single = cells[[f"{prefix}_{name}" for name in CLASSES]].to_numpy().argmax(axis=1)
        assert scores["top1_accuracy"] == pytest.approx((np.array(CLASSES)[single] == cells["first_class"]).mean())
        known = mixtures.dropna(subset="weight")
        rank = spearmanr(known["weight"], known[f"predicted_weight{suffix}"]).statistic
        assert scores["weight_spearman"] == pytest.approx(rank)
        assert scores["linearity_gap"] == pytest.approx(mixtures[f"gap{suffix}"].mean())
    np.testing.assert_allclose(mixtures["predicted_A"], smooth(model, held.mixtures.embeddings)[1][:, 0], atol=1e-6)
    assert report["reasons"] == {"before": {}, "after": {}}
    assert cells["gap"].isna().all() and cells["weight"].isna().all() and cells["second_class"].isna().all()


def test_weight_is_what_was_drawn(made: tuple[Held, Smoother]) -> None:
    held, model = made
    _, table = validate(model, held, CLASSES, "soft_ce")
    mixtures = table[table["kind"] == "mixture"]
    same = (mixtures["first_class"] == mixtures["second_class"]).to_numpy()
    np.testing.assert_array_equal(mixtures["weight"].isna(), same)
    drawn = held.mixtures.mixtures.weights[:, 0]
    np.testing.assert_allclose(mixtures["weight"][~same], drawn[~same], atol=1e-6)
    np.testing.assert_allclose(mixtures[[f"predicted_{name}" for name in CLASSES]].sum(axis=1), 1, atol=1e-5)


def test_what_cannot_be_measured_has_a_reason(made: tuple[Held, Smoother]) -> None:
    held, model = made
    one = held.mixtures.mixtures.take(np.arange(2))
    alike = Rows(held.mixtures.embeddings[:2], one, np.zeros((2, 2), int), np.tile(np.float32([1, 0, 0]), (2, 1)))
    report, _ = validate(model, held._replace(mixtures=alike), CLASSES, "mse")
    for when in ("before", "after"):
        assert report[when]["composition_r2"] is None and report[when]["weight_spearman"] is None
        assert set(report["reasons"][when]) == {"composition_r2", "weight_spearman", "composition_r2_by_class"}
        assert report[when]["composition_r2_by_class"]["B"] is None
