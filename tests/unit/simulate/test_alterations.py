from __future__ import annotations

import numpy as np

from pathomix.simulate.alterations import PANEL, draw_alterations
from pathomix.simulate.genes import GENES, MUTATED, SEGMENTS


def draw(n: int = 4000, seed: int = 0):
    return draw_alterations(np.random.default_rng(seed), np.random.default_rng(1), n)


def test_mutation_frequencies_are_the_stated_ones() -> None:
    drawn = draw()
    stated = np.array([frequency for frequency, _ in MUTATED.values()])
    error = np.sqrt(stated * (1 - stated) / len(drawn.score))
    assert (np.abs(drawn.mutation.mean(axis=0) - stated) < 4 * error).all()
    assert set(np.unique(drawn.mutation)) == {0, 1}


def test_copy_number_is_a_gistic_call_correlated_along_a_segment() -> None:
    calls = draw().copy_number
    assert set(np.unique(calls)) == {-2, -1, 0, 1, 2}
    where = {gene: calls[:, GENES.index(gene)].astype(float) for gene in ("CDKN2A", "CDKN2B", "MYC")}
    assert np.corrcoef(where["CDKN2A"], where["CDKN2B"])[0, 1] > 0.9
    assert abs(np.corrcoef(where["CDKN2A"], where["MYC"])[0, 1]) < 0.08
    assert (where["CDKN2A"] < 0).mean() > 10 * (where["CDKN2A"] > 0).mean()


def test_score_is_the_weighted_sum_of_drivers() -> None:
    drawn = draw()
    columns = [drawn.mutation[:, PANEL.index(g)] for g, (_, weight) in MUTATED.items() if weight]
    columns += [
        drawn.copy_number[:, GENES.index(g[0])] * sign > 0 for g, sign, _, weight in SEGMENTS.values() if weight
    ]
    weights = [w for _, w in MUTATED.values() if w] + [w for *_, w in SEGMENTS.values() if w]
    fitted, *_ = np.linalg.lstsq(np.stack([*columns, np.ones(len(drawn.score))], 1).astype(float), drawn.score)
    # Focal events blur single genes of a segment a little.
    np.testing.assert_allclose(fitted[:-1], weights, atol=0.05)


def test_genome_is_the_same_in_every_cohort() -> None:
    first, second = (np.corrcoef(draw(seed=s).copy_number.T.astype(float)) > 0.5 for s in (0, 1))
    assert (first == second).mean() > 0.999
