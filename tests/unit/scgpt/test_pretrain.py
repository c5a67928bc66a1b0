"""Pretraining learns what is planted: hidden bins from seen ones, and two cell types from their genes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pathomix.core.errors import PathomixError
from pathomix.core.weights import state_digest
from pathomix.scgpt.binning import binned
from pathomix.scgpt.heads import Heads
from pathomix.scgpt.model import ScGPT, Sizes, random_model
from pathomix.scgpt.pretrain import (
    MASK_VALUE,
    EpochLoss,
    PretrainingSettings,
    hidden_bins,
    masked,
    pretrain,
    pretraining_heads,
    spread_over_bins,
)
from pathomix.scgpt.tokens import Tokens

GENES, CLS = 40, 40
SIZES = Sizes(GENES + 3, 16, 2, 16, 1)
SETTINGS = PretrainingSettings(epochs=30, genes_per_cell=24, learning_rate=3e-2, batch_size=12)
KIND = np.arange(240) % 2
TRAIN = 180


def tokens(genes: np.ndarray, bins: np.ndarray) -> Tokens:
    return Tokens(np.concatenate([[CLS], genes]).astype(np.int64), np.concatenate([[-2.0], bins]).astype(np.float32))


@pytest.fixture(scope="module")
def cells() -> dict[str, Tokens]:
    """Two cell types: ten marker genes each, thirtyfold; a fifth of the genes of a cell is not expressed."""
    generator = np.random.default_rng(0)
    base = generator.lognormal(0, 0.5, GENES)
    found = {}
    for number, kind in enumerate(KIND):
        expression = base * np.exp(generator.normal(0, 0.2, GENES))
        expression[10 * kind : 10 * kind + 10] *= 30
        genes = np.sort(generator.permutation(GENES)[: GENES - generator.integers(6, 11)])
        found[f"cell{number}"] = tokens(genes, binned(expression[genes], 51, "mid"))
    return found


def part(cells: dict[str, Tokens], rows: slice) -> dict[str, Tokens]:
    return dict(list(cells.items())[rows])


def trained(cells: dict[str, Tokens], settings: PretrainingSettings = SETTINGS) -> tuple[ScGPT, Heads, list[EpochLoss]]:
    model, heads = random_model(SIZES, settings.seed), pretraining_heads(SIZES.width, settings.seed)
    spread_over_bins(model, settings.n_bins, settings.seed)
    return model, heads, pretrain(model, heads, part(cells, slice(TRAIN)), settings)


@pytest.fixture(scope="module")
def ready(cells: dict[str, Tokens]) -> tuple[ScGPT, Heads, list[EpochLoss]]:
    return trained(cells)


def held_out(cells: dict[str, Tokens]) -> dict[str, Tokens]:
    return part(cells, slice(TRAIN, None))


def test_both_losses_go_down(ready: tuple[ScGPT, Heads, list[EpochLoss]]) -> None:
    model, _, history = ready
    assert len(history) == SETTINGS.epochs and not model.training
    for first, last in zip(history[0], history[-1], strict=True):
        assert last < 0.5 * first


def test_hidden_bins_of_held_out_cells_are_told_better_than_by_each_genes_mean(
    cells: dict[str, Tokens], ready: tuple[ScGPT, Heads, list[EpochLoss]]
) -> None:
    model, heads, _ = ready
    sums, counts = np.zeros(GENES), np.zeros(GENES)
    for cell in part(cells, slice(TRAIN)).values():
        sums[cell.genes[1:]] += cell.values[1:]
        counts[cell.genes[1:]] += 1
    batch = masked(held_out(cells), 24, 0.25, 9, 0)
    truth = batch.hidden.numpy()
    mean = (sums / counts)[batch.genes[:, 1 : 1 + truth.shape[1]].numpy()]
    with torch.inference_mode():
        by_gene, by_cell = (found.numpy() for found in hidden_bins(model, heads, batch, 51))
    constant = ((truth - sums.sum() / counts.sum()) ** 2).mean()
    by_mean = ((truth - mean) ** 2).mean()
    assert by_mean < constant
    for found in (by_gene, by_cell):
        assert ((truth - found) ** 2).mean() < 0.8 * by_mean


def separation(model: ScGPT, cells: dict[str, Tokens]) -> float:
    """Share of the variance of cell embeddings that lies between the two types."""
    with torch.inference_mode():
        vectors = torch.cat([
            model.cells(torch.from_numpy(cell.genes)[None], torch.from_numpy(cell.values)[None])
            for cell in cells.values()
        ])  # fmt: skip
    kind = KIND[TRAIN:]
    centres = torch.stack([vectors[kind == label].mean(dim=0) for label in (0, 1)])[kind]
    return 1 - float(((vectors - centres) ** 2).sum() / ((vectors - vectors.mean(dim=0)) ** 2).sum())


def test_cell_embeddings_separate_types_better_than_random_weights(
    cells: dict[str, Tokens], ready: tuple[ScGPT, Heads, list[EpochLoss]]
) -> None:
    held = held_out(cells)
    random = separation(random_model(SIZES, 0), held)
    assert separation(ready[0], held) > max(0.7, random + 0.2)


def test_equal_seeds_give_equal_bits_and_leave_the_global_stream(cells: dict[str, Tokens]) -> None:
    short = replace(SETTINGS, epochs=2)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, heads, history = trained(cells, short)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    again, again_heads, again_history = trained(cells, short)
    assert state_digest(first.state_dict()) == state_digest(again.state_dict()) and history == again_history
    assert state_digest(heads.state_dict()) == state_digest(again_heads.state_dict())
    other = trained(cells, replace(short, seed=1))[0]
    assert state_digest(first.state_dict()) != state_digest(other.state_dict())


def test_a_hidden_bin_reaches_no_input(cells: dict[str, Tokens]) -> None:
    some = part(cells, slice(8))
    batch = masked(some, 20, 0.5, 3, 1)
    assert batch.hidden.shape == (8, 10) and (batch.values[:, 1:11] == MASK_VALUE).all()
    changed = {}
    for row, (name, cell) in enumerate(some.items()):
        values = cell.values.copy()
        values[np.isin(cell.genes, batch.genes[row, 1:11].numpy())] += 7
        changed[name] = Tokens(cell.genes, values)
    other = masked(changed, 20, 0.5, 3, 1)
    assert torch.equal(other.genes, batch.genes) and torch.equal(other.values, batch.values)
    assert torch.equal(other.hidden, batch.hidden + 7)


@pytest.mark.parametrize(("ratio", "hidden"), [(0.0, 1), (0.25, 3), (0.5, 6), (1.0, 11)])
def test_masked_cells_hold_their_own_genes_once(cells: dict[str, Tokens], ratio: float, hidden: int) -> None:
    some = part(cells, slice(6))
    batch = masked(some, 12, ratio, 0, 0)
    assert batch.genes.shape == batch.values.shape == (6, 13) and batch.hidden.shape == (6, hidden)
    assert (batch.genes[:, 0] == CLS).all() and (batch.values[:, 0] == -2).all()
    for row, cell in enumerate(some.values()):
        truth = dict(zip(cell.genes.tolist(), cell.values.tolist(), strict=True))
        told = torch.cat([batch.hidden[row], batch.values[row, 1 + hidden :]]).tolist()
        read = batch.genes[row, 1:].tolist()
        assert len(set(read)) == 12 and [truth[gene] for gene in read] == told


def test_draws_depend_on_cell_seed_and_pass_not_on_company(cells: dict[str, Tokens]) -> None:
    whole = masked(part(cells, slice(5)), 12, 0.5, 0, 0)
    alone = masked(part(cells, slice(3, 4)), 12, 0.5, 0, 0)
    assert torch.equal(whole.genes[3], alone.genes[0]) and torch.equal(whole.values[3], alone.values[0])
    for seed, epoch in ((1, 0), (0, 1)):
        assert not torch.equal(masked(part(cells, slice(5)), 12, 0.5, seed, epoch).genes, whole.genes)


def test_a_value_layer_spread_over_the_bins_tells_bins_apart() -> None:
    def spread(model: ScGPT) -> float:
        with torch.inference_mode():
            terms = model.value_encoder(torch.tensor([[10.0, 30.0, 50.0]]))[0]
        return float((terms[:-1] - terms[1:]).norm(dim=1).min() / terms[0].norm())

    plain, moved = random_model(SIZES, 0), random_model(SIZES, 0)
    spread_over_bins(moved, 51, 0)
    assert spread(moved) > 3 * spread(plain)
    different = {name for name, value in plain.state_dict().items() if not torch.equal(value, moved.state_dict()[name])}
    assert different == {"value_encoder.linear1.weight", "value_encoder.linear1.bias"}


def test_short_cells_are_cut_to_one_length_and_single_genes_left_out(cells: dict[str, Tokens]) -> None:
    some = {name: Tokens(cell.genes[: 3 + row], cell.values[: 3 + row]) for row, (name, cell) in
            enumerate(part(cells, slice(20)).items())}  # fmt: skip
    single = {"one": tokens(np.array([3]), np.array([5.0])), "none": tokens(np.array([]), np.array([]))}
    settings = replace(SETTINGS, epochs=2, batch_size=8)
    models = [random_model(SIZES, 0) for _ in range(2)]
    for model, given in zip(models, (some, some | single), strict=True):
        assert all(np.isfinite(pretrain(model, pretraining_heads(16, 0), given, settings)).ravel())
    assert state_digest(models[0].state_dict()) == state_digest(models[1].state_dict())
    with pytest.raises(PathomixError, match="no cell has two genes"):
        pretrain(models[0], pretraining_heads(16, 0), single, settings)


def test_a_loss_that_is_not_finite_names_its_step(cells: dict[str, Tokens]) -> None:
    model = random_model(SIZES, 0)
    with torch.no_grad():
        model.encoder.embedding.weight[5] = torch.nan
    with pytest.raises(PathomixError, match=r"not finite in step 0 of epoch 0; lower the learning rate"):
        pretrain(model, pretraining_heads(16, 0), part(cells, slice(40)), replace(SETTINGS, genes_per_cell=40))


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"genes_per_cell": 1}, {"learning_rate": 0.0}, {"batch_size": 0}, {"seed": -1}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(PathomixError, match=next(iter(wrong))):
        PretrainingSettings(**{"epochs": 1, **wrong})  # type: ignore[arg-type]
