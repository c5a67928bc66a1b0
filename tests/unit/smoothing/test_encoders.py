"""Both encoders keep the contract: state to the bit, company changes nothing, panels are the same on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from pathomix.core.errors import PathomixError
from pathomix.scgpt.checkpoint import write_random_checkpoint
from pathomix.scgpt.model import Sizes, random_model
from pathomix.scgpt.protocol import require_same_protocol
from pathomix.smoothing.cells import AtlasCells
from pathomix.smoothing.encoders import FittedEncoder, build_encoder, read_encoder, write_encoder
from pathomix.smoothing.registry import EXPRESSION_ENCODERS
from tests.unit.smoothing.conftest import GENES

TINY = {"encoder": "scgpt", "width": 16, "depth": 2, "heads": 2, "hidden": 16}
PRETRAINED = {**TINY, "pretrain_epochs": 2, "pretrain_genes": 16}
PCA = {"encoder": "pca", "dimensions": 8}
BULK = [*GENES[:100], "OTHER1", "OTHER2"]
IDS = [f"P{i}" for i in range(9)]


@pytest.fixture
def bulk() -> np.ndarray:
    """Expression of nine samples, genes in the order of `BULK`."""
    return np.random.default_rng(1).lognormal(2, 1, (9, len(BULK)))


def fitted(atlas: AtlasCells, conf: dict, tables: Sequence[Sequence[str]] = (BULK,)) -> FittedEncoder:
    return build_encoder(conf).fit(atlas, tables)


def vectors(encoder: FittedEncoder, matrix: object, ids: list[str] = IDS, genes: list[str] = BULK) -> np.ndarray:
    return encoder.embed(matrix, ids, genes).vectors


@pytest.mark.parametrize("conf", [TINY, PRETRAINED, PCA], ids=["scgpt", "pretrained", "pca"])
class TestContract:
    def test_state_rebuilds_it_to_the_bit(
        self, atlas: AtlasCells, bulk: np.ndarray, conf: dict, tmp_path: Path
    ) -> None:
        first = fitted(atlas, conf)
        for name in ("a", "b"):
            write_encoder(tmp_path / f"{name}.safetensors", first, {"atlas": "digest"})
        assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
        again = read_encoder(tmp_path / "a.safetensors", conf)
        assert again.protocol == first.protocol and again.dim == first.dim
        np.testing.assert_array_equal(vectors(again, bulk), vectors(first, bulk))
        np.testing.assert_array_equal(vectors(fitted(atlas, conf), bulk), vectors(first, bulk))
        with pytest.raises(PathomixError, match="seed: 0 then, 4 now"):
            read_encoder(tmp_path / "a.safetensors", {**conf, "seed": 4})
        (tmp_path / "a.safetensors").write_bytes(b"none")
        with pytest.raises(PathomixError, match="not a fitted expression encoder"):
            read_encoder(tmp_path / "a.safetensors", conf)

    def test_company_order_and_form_change_nothing(self, atlas: AtlasCells, bulk: np.ndarray, conf: dict) -> None:
        encoder = fitted(atlas, conf)
        whole = vectors(encoder, bulk)
        assert whole.shape == (9, encoder.dim) and np.isfinite(whole).all()
        order = np.random.default_rng(2).permutation(9)
        np.testing.assert_allclose(vectors(encoder, bulk[order], [IDS[i] for i in order]), whole[order], atol=1e-5)
        np.testing.assert_allclose(vectors(encoder, scipy.sparse.csc_matrix(bulk)), whole, atol=1e-5)
        np.testing.assert_allclose(vectors(encoder, bulk[4:5], IDS[4:5]), whole[4:5], atol=1e-5)
        genes = np.random.default_rng(3).permutation(len(BULK))
        moved = vectors(encoder, bulk[:, genes], genes=[BULK[g] for g in genes])
        np.testing.assert_allclose(moved, whole, atol=1e-5)

    def test_only_the_panel_is_read_whatever_the_scale(self, atlas: AtlasCells, bulk: np.ndarray, conf: dict) -> None:
        encoder = fitted(atlas, conf)
        whole = vectors(encoder, bulk)
        outside = bulk.copy()
        outside[:, 100:] *= 50
        np.testing.assert_allclose(vectors(encoder, outside), whole, atol=1e-5)
        np.testing.assert_allclose(vectors(encoder, bulk * 7.0), whole, atol=1e-5)
        assert encoder.readable(BULK).tolist() == [True] * 100 + [False] * 2
        # A cell with the genes the bulk lacks is read on the panel, too.
        cell = np.zeros((1, 120))
        cell[0, :100] = bulk[0, :100]
        cell[0, 100:] = 1e4
        np.testing.assert_allclose(vectors(encoder, cell, ["P0"], list(GENES)), whole[:1], atol=1e-5)

    def test_a_table_without_the_panel_is_refused(self, atlas: AtlasCells, bulk: np.ndarray, conf: dict) -> None:
        encoder = fitted(atlas, conf)
        with pytest.raises(PathomixError, match=r"1 genes of the encoder's panel are not in this table: G99"):
            vectors(encoder, bulk[:, :99], genes=BULK[:99])
        with pytest.raises(PathomixError, match="no gene"):
            fitted(atlas, conf, [BULK, [*BULK[100:], "G110"], BULK[:9]])

    def test_negative_expression_is_refused_with_its_reason(
        self, atlas: AtlasCells, bulk: np.ndarray, conf: dict
    ) -> None:
        z = (bulk - bulk.mean(axis=0)) / bulk.std(axis=0)
        with pytest.raises(PathomixError, match="z-scores per gene"):
            vectors(fitted(atlas, conf), z)

    def test_an_empty_profile_costs_no_other(self, atlas: AtlasCells, bulk: np.ndarray, conf: dict) -> None:
        encoder = fitted(atlas, conf)
        changed = bulk.copy()
        changed[3, :100] = 0
        found = encoder.embed(changed, IDS, BULK)
        assert [i for i, problem in enumerate(found.problems) if problem] == [3]
        assert np.isnan(found.vectors[3]).all()
        rest = [i for i in range(9) if i != 3]
        np.testing.assert_allclose(found.vectors[rest], vectors(encoder, bulk)[rest], atol=1e-5)

    def test_only_the_training_part_is_fitted_on(self, atlas: AtlasCells, bulk: np.ndarray, conf: dict) -> None:
        counts = atlas.counts.copy().tolil()
        counts[atlas.rows("valid")] = 1.0
        other = AtlasCells(
            scipy.sparse.csr_matrix(counts), atlas.genes, atlas.ids, atlas.classes, atlas.labels, atlas.part, 2
        )
        assert fitted(other, conf).protocol == fitted(atlas, conf).protocol

    def test_other_panels_and_settings_are_not_the_same_protocol(self, atlas: AtlasCells, conf: dict) -> None:
        first = fitted(atlas, conf).protocol
        require_same_protocol(first, fitted(atlas, conf).protocol)
        for other, told in (
            (fitted(atlas, conf, [BULK[:50]]), "panel"),
            (fitted(atlas, {**conf, "seed": 3}), "seed: 0 and 3"),
            (fitted(atlas, TINY if conf is PCA else PCA), "encoder"),
        ):
            with pytest.raises(PathomixError, match=told):
                require_same_protocol(first, other.protocol)


def test_pca_against_a_dense_decomposition(atlas: AtlasCells, bulk: np.ndarray) -> None:
    def log(values: np.ndarray) -> np.ndarray:
        return np.log1p(1e4 * values / values.sum(axis=1, keepdims=True))

    order = np.argsort(GENES[:100])
    train = log(atlas.counts.toarray()[atlas.rows("train")][:, :100][:, order])
    _, _, axes = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)
    expected = (log(bulk[:, :100][:, order]) - train.mean(axis=0)) @ axes[:8].T
    ours = vectors(fitted(atlas, PCA), bulk)
    signs = np.sign((ours * expected).sum(axis=0))
    np.testing.assert_allclose(ours, expected * signs, atol=1e-4)


def test_too_many_components_are_refused(atlas: AtlasCells) -> None:
    with pytest.raises(PathomixError, match="below 100"):
        fitted(atlas, {"encoder": "pca", "dimensions": 100})


def test_official_weights_are_read_and_bound_to_the_file(atlas: AtlasCells, bulk: np.ndarray, tmp_path: Path) -> None:
    def weights(seed: int) -> dict:
        folder = tmp_path / str(seed)
        write_random_checkpoint(folder, [*GENES[:80], "MORE"], Sizes(84, 24, 4, 32, 2), seed=seed)
        return {"encoder": "scgpt", "weights": str(folder)}

    first = fitted(atlas, weights(1))
    assert first.dim == 24 and vectors(first, bulk).shape == (9, 24)
    assert first.readable(BULK).sum() == 80
    write_encoder(tmp_path / "fitted.safetensors", first, {"atlas": "digest"})
    again = read_encoder(tmp_path / "fitted.safetensors", weights(1))
    np.testing.assert_array_equal(vectors(again, bulk), vectors(first, bulk))
    with pytest.raises(PathomixError, match="other parameters: weights"):
        read_encoder(tmp_path / "fitted.safetensors", weights(2))


def test_the_stand_in_keeps_its_weights_not_only_their_seed(atlas: AtlasCells) -> None:
    first = fitted(atlas, TINY)
    arrays, facts = first.state()
    name = "model/value_encoder.linear2.weight"
    other = build_encoder(TINY).rebuilt({**arrays, name: arrays[name] + 1}, facts)
    with pytest.raises(PathomixError, match="weights"):
        require_same_protocol(first.protocol, other.protocol)


def test_without_pretraining_the_weights_are_as_drawn(atlas: AtlasCells) -> None:
    arrays, _ = fitted(atlas, {**TINY, "pretrain_epochs": 0}).state()
    drawn = random_model(Sizes(len(GENES) + 3, 16, 2, 16, 2), 0).state_dict()
    assert {name.removeprefix("model/") for name in arrays if name.startswith("model/")} == set(drawn)
    for name, value in drawn.items():
        np.testing.assert_array_equal(arrays[f"model/{name}"], value.numpy())


def test_pretraining_changes_every_tensor_and_the_protocol(atlas: AtlasCells) -> None:
    plain, trained = fitted(atlas, TINY), fitted(atlas, PRETRAINED)
    before, after = plain.state()[0], trained.state()[0]
    assert before.keys() == after.keys()
    same = [name for name in before if name.startswith("model/") and np.array_equal(before[name], after[name])]
    assert same == []
    for other in (plain, fitted(atlas, {**PRETRAINED, "pretrain_epochs": 1})):
        with pytest.raises(PathomixError, match="weights"):
            require_same_protocol(trained.protocol, other.protocol)


@pytest.mark.parametrize("panel", [{}, {"bin_scope": "all_matched"}, {"panel": "own"}, {"min_expression": 9000}])
def test_it_is_pretrained_on_the_tokens_it_embeds(atlas: AtlasCells, panel: dict) -> None:
    genes = [*GENES[:118], "G0", "OTHER"]  # One gene in two columns, another unknown.
    encoder = fitted(atlas, {**TINY, **panel})
    ids, counts = list(atlas.ids[:20]), atlas.counts[:20]
    if "panel" not in panel:
        assert encoder.readable(genes).sum() == 101
    tokens = encoder.tokens(counts, ids, genes)  # type: ignore[attr-defined]
    model = random_model(Sizes(len(GENES) + 3, 16, 2, 16, 2), 0)
    with torch.inference_mode():
        ours = torch.cat([
            model.cells(torch.from_numpy(tokens[name].genes)[None], torch.from_numpy(tokens[name].values)[None])
            for name in ids
        ])  # fmt: skip
    ours = ours / ours.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(ours.numpy(), vectors(encoder, counts, ids, genes), atol=1e-5)


def test_a_cell_with_nothing_to_read_is_not_pretrained_on(atlas: AtlasCells) -> None:
    counts = atlas.counts[:3].tolil()
    counts[1, :100] = 0
    tokens = fitted(atlas, TINY).tokens(counts.tocsr(), ["a", "b", "c"], GENES)  # type: ignore[attr-defined]
    assert list(tokens) == ["a", "c"]


def test_aliases_reach_the_panel(atlas: AtlasCells, bulk: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "aliases.csv").write_text("Symbol,Approved.Symbol\nOLD,G0\n")
    conf = {**TINY, "aliases": str(tmp_path / "aliases.csv")}
    renamed = ["OLD", *BULK[1:]]
    ours = fitted(atlas, conf, [renamed])
    assert ours.readable(renamed).sum() == 100
    plain = fitted(atlas, TINY)
    np.testing.assert_allclose(vectors(ours, bulk, genes=renamed), vectors(plain, bulk), atol=1e-6)
    with pytest.raises(PathomixError, match="aliases"):
        require_same_protocol(ours.protocol, plain.protocol)


def test_own_genes_are_read_on_demand(atlas: AtlasCells, bulk: np.ndarray) -> None:
    own = fitted(atlas, {**TINY, "panel": "own"})
    assert own.readable(GENES).all() and own.protocol["panel"] is None
    assert vectors(own, bulk[:, :60], genes=BULK[:60]).shape == (9, 16)


def test_profile_sets_the_switches(atlas: AtlasCells) -> None:
    paper = fitted(atlas, {**TINY, "profile": "paper"}).protocol
    recommended = fitted(atlas, TINY).protocol
    assert (paper["ties"], paper["draws"], paper["min_expression"]) == ("random", 1, 0.0)
    assert (recommended["ties"], recommended["draws"], recommended["min_expression"]) == ("mid", 8, 1.0)


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({"encoder": "geneformer"}, "pca"),
        ({}, "pca"),
        ({**TINY, "dims": 3}, "dims"),
        ({**PCA, "dims": 3}, "dims"),
        ({**TINY, "width": 15}, "multiple of heads"),
        ({**TINY, "panel": "all"}, "common"),
        ({**TINY, "pretrain_epochs": -1}, "pretrain_epochs: 0"),
        ({**TINY, "pretrain_epochs": 2, "weights": "folder"}, "no weights"),
        ({**TINY, "pretrain_epochs": 2, "pretrain_learning_rate": 0}, "learning_rate"),
        ({**TINY, "device": "gpu"}, "cuda"),
        ({**PCA, "dimensions": 0}, "below 1"),
        ({**TINY, "profile": "best"}, "recommended"),
    ],
)
def test_what_cannot_be_built_is_refused(conf: dict, told: str) -> None:
    with pytest.raises(PathomixError, match=told):
        build_encoder(conf)


def test_registry_names_exist() -> None:
    for name in EXPRESSION_ENCODERS:
        build_encoder({"encoder": name})
