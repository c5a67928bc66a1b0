"""Embeddings do not depend on company, order or form; what cannot be embedded is named."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.scgpt.checkpoint import Checkpoint
from pathomix.scgpt.embed import TOLERANCE, Embedder
from pathomix.scgpt.parameters import embedding_settings
from pathomix.scgpt.protocol import require_same_protocol
from pathomix.scgpt.symbols import Names
from pathomix.scgpt.tokens import KeyedDraws, collate, tokenise

NAMES = [f"G{i}" for i in range(0, 300, 2)] + [f"OUTSIDE{i}" for i in range(20)]
IDS = [f"P{i}" for i in range(23)]
REFERENCE = {"profile": "released", "max_length": 40}


@pytest.fixture(scope="module")
def table() -> NDArray[np.float64]:
    """Counts with many ties, of profiles from 1 to about 130 expressed genes."""
    generator = np.random.default_rng(0)
    rate = np.linspace(0.02, 1.5, 23)[:, None] * generator.lognormal(0, 1, 170)
    counts = generator.poisson(rate).astype(float)
    counts[:, 0] += 1
    return counts


def embedded(checkpoint: Checkpoint, table: NDArray, ids: list[str] = IDS, names: list[str] = NAMES,
             **given: object) -> pd.DataFrame:  # fmt: skip
    found = Embedder(checkpoint, embedding_settings(REFERENCE | given)).embed(table, ids, names)
    return pd.DataFrame(found.vectors, index=ids)


def assert_same(one: pd.DataFrame, two: pd.DataFrame) -> None:
    np.testing.assert_allclose(one.to_numpy(), two.loc[one.index].to_numpy(), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("given", [{}, {"draws": 3}, {"length": "full", "ties": "mid"}, {"length": "top_expression"}])
def test_company_order_and_batches_change_nothing(checkpoint: Checkpoint, table: NDArray, given: dict) -> None:
    whole = embedded(checkpoint, table, **given)
    for tokens in (90, 10**6):
        assert_same(whole, embedded(checkpoint, table, tokens_per_batch=tokens, **given))
    order = np.random.default_rng(1).permutation(23)
    assert_same(whole, embedded(checkpoint, table[order], [IDS[i] for i in order], **given))
    parts = [embedded(checkpoint, table[rows], [IDS[i] for i in rows], **given)
             for rows in np.array_split(np.arange(23), 4)]  # fmt: skip
    assert_same(whole, pd.concat(parts))
    genes = np.random.default_rng(2).permutation(170)
    assert_same(whole, embedded(checkpoint, table[:, genes], names=[NAMES[j] for j in genes], **given))


def test_forms_of_the_table_change_nothing(checkpoint: Checkpoint, table: NDArray) -> None:
    whole = embedded(checkpoint, table)
    for form in (scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_matrix):
        assert_same(whole, embedded(checkpoint, form(table)))
    for kind in (np.float32, np.uint8, np.int64, np.float16):
        assert_same(whole, embedded(checkpoint, table.astype(kind)))
    assert_same(whole, embedded(checkpoint, np.log1p(table)))


def test_other_random_streams_are_neither_read_nor_moved(checkpoint: Checkpoint, table: NDArray) -> None:
    np.random.seed(1)
    torch.manual_seed(1)
    one = embedded(checkpoint, table)
    state = np.random.get_state()[1].copy(), torch.random.get_rng_state()
    two = embedded(checkpoint, table)
    assert np.array_equal(one, two)
    assert np.array_equal(np.random.get_state()[1], state[0]) and torch.equal(torch.random.get_rng_state(), state[1])


@pytest.mark.parametrize("unit", [True, False])
def test_one_profile_by_hand(checkpoint: Checkpoint, table: NDArray, unit: bool) -> None:
    settings = embedding_settings(REFERENCE | {"draws": 3, "min_expression": 2.0, "l2_normalise": unit})
    row = table[20]
    expressed = np.flatnonzero(row[:150] >= 2)
    tokens = checkpoint.vocabulary.gene_ids([NAMES[j] for j in expressed])
    draws = [KeyedDraws(0, "P20", view) for view in range(3)]
    views = [tokenise(tokens, row[expressed], settings, cls=(301, -2.0), draws=view) for view in draws]
    cells = [checkpoint.model.cells(*collate([view], 300, -2.0))[0] for view in views]
    mean = torch.stack(cells).mean(dim=0)
    ours = Embedder(checkpoint, settings).embed(table[20:21], ["P20"], NAMES)
    np.testing.assert_allclose(ours.vectors[0], mean / mean.norm() if unit else mean, atol=2e-6)
    assert ours.profiles.loc["P20"].tolist() == [len(expressed), min(len(expressed) + 1, 40), 3, ""]


def test_switches_reach_the_result(checkpoint: Checkpoint, table: NDArray) -> None:
    base = embedded(checkpoint, table, ties="mid")
    np.testing.assert_allclose(np.linalg.norm(base, axis=1), 1, atol=1e-6)
    for change in ({"seed": 1}, {"ties": "low"}, {"ties": "upper"}, {"ties": "random"}, {"cls_value": 0.0},
                   {"n_bins": 11}, {"draws": 4}, {"length": "full"}, {"min_expression": 2.0}, {"max_length": 20},
                   {"length": "top_expression"}, {"l2_normalise": False}):  # fmt: skip
        other = embedded(checkpoint, table, **({"ties": "mid"} | change))
        assert np.nanmax(np.abs(other - base)) > 1e-3, change


def test_means_of_draws_approach_each_other(checkpoint: Checkpoint, table: NDArray) -> None:
    spread = [
        float(np.linalg.norm(embedded(checkpoint, table[15:], IDS[15:], draws=draws, seed=0)
                             - embedded(checkpoint, table[15:], IDS[15:], draws=draws, seed=1), axis=1).mean())
        for draws in (1, 16)
    ]  # fmt: skip
    assert spread[1] < spread[0] / 2


def test_short_profiles_are_computed_once(checkpoint: Checkpoint, table: NDArray) -> None:
    settings = embedding_settings({"max_length": 40, "draws": 4, "min_expression": 0.0})
    profiles = Embedder(checkpoint, settings).embed(table, IDS, NAMES).profiles
    assert set(profiles["views"][profiles["expressed"] < 40]) == {1}
    assert set(profiles["views"][profiles["expressed"] > 39]) == {4}


def test_an_empty_profile_is_named_and_costs_no_other(
    checkpoint: Checkpoint, table: NDArray, caplog: pytest.LogCaptureFixture
) -> None:
    changed = table.copy()
    changed[3] = 0
    changed[5, :150] = 0  # genes outside the vocabulary alone
    with caplog.at_level(logging.WARNING):
        found = Embedder(checkpoint, embedding_settings(REFERENCE)).embed(changed, IDS, NAMES)
    problems = found.profiles["problem"]
    assert list(problems[problems != ""].index) == ["P3", "P5"]
    assert np.isnan(found.vectors[[3, 5]]).all()
    assert "2 of 23 profiles: no gene of the vocabulary is expressed, no embedding: P3, P5" in caplog.text
    assert "21 of 23 profiles: fewer than 200 genes are read" in caplog.text
    rest = [i for i in range(23) if i not in (3, 5)]
    assert_same(pd.DataFrame(found.vectors, index=IDS).iloc[rest], embedded(checkpoint, table))
    with pytest.raises(PathomixError, match="in any of 2 profiles: P1, P2"):
        embedded(checkpoint, changed[[3, 5]], ["P1", "P2"])


def test_bad_tables_are_refused(checkpoint: Checkpoint, table: NDArray) -> None:
    scaled = (table - table.mean(axis=0)) / (table.std(axis=0) + 1e-9)
    with pytest.raises(PathomixError, match=r"z-scores per gene, which leaves no ranks"):
        embedded(checkpoint, scaled)
    with pytest.raises(PathomixError, match=r"0\.0% of the gene names"):
        embedded(checkpoint, table, names=[f"g{i}" for i in range(170)])
    with pytest.raises(PathomixError, match=r"5\.9% of the gene names"):
        embedded(checkpoint, table, names=NAMES[:10] + [f"g{i}" for i in range(160)])
    assert embedded(checkpoint, table, names=NAMES[:20] + [f"g{i}" for i in range(150)]).shape == (23, 16)


def test_columns_of_one_gene_are_summed(checkpoint: Checkpoint, table: NDArray) -> None:
    names = list(NAMES)
    names[140] = "G2|12"
    merged = table.copy()
    merged[:, 1] += merged[:, 140]
    merged[:, 140] = 0
    expected = embedded(checkpoint, merged, ties="mid")
    assert_same(expected, embedded(checkpoint, table, names=names, ties="mid"))
    assert_same(expected, embedded(checkpoint, scipy.sparse.csr_matrix(table), names=names, ties="mid"))


def test_aliases_are_read(checkpoint: Checkpoint, table: NDArray) -> None:
    names = ["NA", *NAMES[1:]]
    aliased = Embedder(checkpoint, embedding_settings(REFERENCE)).embed(
        table, IDS, names, aliases=Names([("NA", "G0")])
    )
    assert_same(pd.DataFrame(aliased.vectors, index=IDS), embedded(checkpoint, table))
    assert aliased.genes.report.loc[0, ["gene", "status"]].tolist() == ["G0", "alias"]


def test_a_panel_limits_the_genes(checkpoint: Checkpoint, table: NDArray) -> None:
    settings = embedding_settings(REFERENCE | {"bin_scope": "selected", "ties": "mid"})
    panel = NAMES[:60]
    ours = Embedder(checkpoint, settings).embed(table, IDS, NAMES, panel=panel)
    assert_same(pd.DataFrame(ours.vectors, index=IDS), embedded(checkpoint, table[:, :60], names=panel, ties="mid"))
    for bad, told in (([*panel, "OUTSIDE1"], "OUTSIDE1"), ([], "empty")):
        with pytest.raises(PathomixError, match=told):
            Embedder(checkpoint, settings).embed(table, IDS, NAMES, panel=bad)


def test_protocols_that_differ_are_refused(checkpoint: Checkpoint, table: NDArray) -> None:
    def protocol(panel: list[str] | None = None, **given: object) -> dict:
        return dict(Embedder(checkpoint, embedding_settings(REFERENCE | given)).embed(
            table[:2], IDS[:2], NAMES, panel=panel).protocol)  # fmt: skip

    base = protocol()
    require_same_protocol(base, protocol(tokens_per_batch=3, precision="bf16"))
    require_same_protocol(base, base | {"measured": "other genes"})
    for changed, told in (
        (protocol(draws=2), "draws: 1 and 2"),
        (protocol(seed=1), "seed: 0 and 1"),
        (protocol(panel=NAMES[:9]), "panel: None and"),
        (base | {"weights": "x"}, "weights:"),
    ):
        with pytest.raises(PathomixError, match=told):
            require_same_protocol(base, changed)


def test_bf16_is_close(checkpoint: Checkpoint, table: NDArray) -> None:
    exact, fast = embedded(checkpoint, table), embedded(checkpoint, table, precision="bf16")
    cosine = (exact.to_numpy() * fast.to_numpy()).sum(axis=1)
    assert cosine.min() > 0.999 and np.abs(exact - fast).to_numpy().max() > 1e-5


def test_other_bins_than_trained_with_are_told(checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Embedder(checkpoint, embedding_settings({"n_bins": 11}))
    assert "trained with 51 bins, 11 are used" in caplog.text
