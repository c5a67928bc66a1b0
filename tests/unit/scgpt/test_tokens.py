"""Keyed draws, lengths, bins before or after the selection, padding."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from pathomix.scgpt.binning import binned
from pathomix.scgpt.parameters import EmbeddingSettings, embedding_settings
from pathomix.scgpt.tokens import KeyedDraws, Tokens, collate, profile_length, tokenise

GENES = np.arange(100, 400)
CLS = (7, -2.0)


@pytest.fixture
def expression() -> NDArray[np.float64]:
    return np.random.default_rng(0).permutation(np.arange(1, 301)).astype(float)


def settings(**given: object) -> EmbeddingSettings:
    return embedding_settings({"profile": "released", "ties": "mid", "max_length": 61} | given)


def tokens(expression: NDArray, given: EmbeddingSettings, name: str = "cell", view: int = 0) -> Tokens:
    return tokenise(GENES, expression, given, cls=CLS, draws=KeyedDraws(given.seed, name, view))


def as_pairs(profile: Tokens) -> set[tuple[int, float]]:
    return set(zip(profile.genes.tolist(), profile.values.tolist(), strict=True))


def test_draws_are_uniform_and_independent_of_each_other() -> None:
    genes = np.arange(60_000)
    one, two = KeyedDraws(0, "a", 0).ties(genes), KeyedDraws(0, "b", 0).ties(genes)
    assert ((one >= 0) & (one < 1)).all()
    assert stats.kstest(one, "uniform").pvalue > 0.001
    for other in (two, KeyedDraws(0, "a", 1).ties(genes), KeyedDraws(1, "a", 0).ties(genes), np.roll(one, 1)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.02
    across = np.array([KeyedDraws(0, f"cell {i}", 0).ties(genes[:3]) for i in range(3000)])
    assert stats.kstest(across[:, 1], "uniform").pvalue > 0.001


def test_every_gene_is_drawn_equally_often() -> None:
    genes = np.arange(50)
    drawn = np.concatenate([KeyedDraws(0, str(i), 0).subset(genes, 10) for i in range(5000)])
    # Fifty genes expected 1000 times: chi-squared of 49 degrees of freedom, scaled by the draw without repetition.
    assert ((np.bincount(drawn, minlength=50) - 1000.0) ** 2 / 800).sum() < 86
    assert len(set(KeyedDraws(0, "x", 0).subset(genes, 10).tolist())) == 10


def test_the_draw_knows_neither_order_nor_the_other_genes(expression: NDArray) -> None:
    given = settings(ties="random")
    order = np.random.default_rng(1).permutation(300)
    expected = as_pairs(tokens(expression, given))
    turned = tokenise(GENES[order], expression[order], given, cls=CLS, draws=KeyedDraws(0, "cell", 0))
    assert as_pairs(turned) == expected
    kept = set(GENES[KeyedDraws(0, "cell", 0).subset(GENES, 60)])
    fewer = set(GENES[1:][KeyedDraws(0, "cell", 0).subset(GENES[1:], 60)])
    assert len(kept & fewer) >= 59


def test_sampled_length(expression: NDArray) -> None:
    profile = tokens(expression, settings())
    assert len(profile.genes) == len(profile.values) == 61
    assert (profile.genes[0], profile.values[0]) == CLS
    whole = dict(zip(GENES, binned(expression, 51, "mid"), strict=True))
    # Bins are those among all genes, not among the sampled ones.
    assert all(whole[gene] == value for gene, value in as_pairs(profile) - {CLS})
    assert as_pairs(tokens(expression, settings(), view=1)) != as_pairs(profile)
    assert as_pairs(tokens(expression, settings(), name="other")) != as_pairs(profile)
    assert as_pairs(tokens(expression, settings(seed=1))) != as_pairs(profile)


def test_full_length_and_highest_expression(expression: NDArray) -> None:
    full = tokens(expression, settings(length="full"))
    assert full.genes[1:].tolist() == GENES.tolist()
    top = tokens(expression, settings(length="top_expression"))
    assert set(top.genes[1:]) == set(GENES[expression > 240])
    equal = tokens(np.ones(300), settings(length="top_expression"))
    assert equal.genes[1:].tolist() == GENES[:60].tolist()


def test_a_short_profile_is_read_whole(expression: NDArray) -> None:
    assert tokens(expression, settings(max_length=301)).genes[1:].tolist() == GENES.tolist()
    assert [profile_length(n, settings()) for n in (1, 59, 60, 61)] == [2, 60, 61, 61]
    assert profile_length(19_000, settings(length="full")) == 19_001


@pytest.mark.parametrize("scope", ["all_matched", "selected"])
def test_bins_over_all_genes_or_over_the_panel(expression: NDArray, scope: str) -> None:
    given = settings(bin_scope=scope, max_length=1000)
    panel = np.zeros(500, dtype=bool)
    panel[100:400:3] = True
    profile = tokenise(GENES, expression, given, cls=CLS, draws=KeyedDraws(0, "cell", 0), panel=panel)
    inside = panel[GENES]
    expected = (
        binned(expression, 51, "mid")[inside] if scope == "all_matched" else binned(expression[inside], 51, "mid")
    )
    assert profile.genes[1:].tolist() == GENES[inside].tolist()
    assert profile.values[1:].tolist() == expected.tolist()


def test_collate() -> None:
    long = Tokens(np.array([7, 1, 2]), np.array([-2, 5, 6], np.float32))
    short = Tokens(np.array([7, 3]), np.array([-2, 9], np.float32))
    genes, values, padding = collate([long, short], 8, -2.0)
    assert genes.tolist() == [[7, 1, 2], [7, 3, 8]]
    assert values.tolist() == [[-2, 5, 6], [-2, 9, -2]]
    assert padding is not None and padding.tolist() == [[False] * 3, [False, False, True]]
    assert collate([long, long], 8, -2.0)[2] is None
