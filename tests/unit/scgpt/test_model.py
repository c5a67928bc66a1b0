"""The encoder against torch's own transformer and against attention written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pathomix.scgpt.model import ScGPT, Sizes, random_model

SIZES = Sizes(vocabulary=43, width=32, heads=4, hidden=48, layers=3, dropout=0.2)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    genes = torch.randint(0, 43, (3, 11), generator=generator)
    values = torch.randint(0, 51, (3, 11), generator=generator).float()
    lengths = torch.tensor([11, 7, 1])
    return genes, values, torch.arange(11) >= lengths[:, None]


@pytest.fixture
def model() -> ScGPT:
    return random_model(SIZES, seed=1)


def torch_states(model: ScGPT, genes: Tensor, values: Tensor, padding: Tensor) -> Tensor:
    """The same weights in torch's own layers."""
    layer = nn.TransformerEncoderLayer(SIZES.width, SIZES.heads, SIZES.hidden, batch_first=True)
    encoder = nn.TransformerEncoder(layer, SIZES.layers, enable_nested_tensor=False).eval()
    names = {"Wqkv.weight": "in_proj_weight", "Wqkv.bias": "in_proj_bias"}
    state = {}
    for name, value in model.transformer_encoder.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        state[name] = value
    encoder.load_state_dict(state)
    x = model.encoder(genes) + model.value_encoder(values)
    return encoder(x, src_key_padding_mask=padding)


def test_equals_torchs_own_transformer(model: ScGPT, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    expected = torch_states(model, *batch)
    valid = ~batch[2]
    torch.testing.assert_close(model(*batch)[valid], expected[valid], atol=2e-6, rtol=0)


def test_equals_attention_written_out(model: ScGPT, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    genes, values, padding = batch
    x = model.encoder(genes) + model.value_encoder(values)
    for layer in model.transformer_encoder.layers:
        q, k, v = (part.view(3, 11, 4, 8).transpose(1, 2) for part in layer.self_attn.Wqkv(x).chunk(3, dim=-1))
        scores = (q @ k.transpose(2, 3) / 8**0.5).masked_fill(padding[:, None, None], float("-inf"))
        mixed = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(3, 11, 32)
        x = layer.norm1(x + layer.self_attn.out_proj(mixed))
        x = layer.norm2(x + layer.linear2(torch.relu(layer.linear1(x))))
    torch.testing.assert_close(model(*batch)[~padding], x[~padding], atol=1e-5, rtol=0)


def test_cells_are_the_first_states(model: ScGPT, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    torch.testing.assert_close(model.cells(*batch), model(*batch)[:, 0], atol=2e-6, rtol=0)


def test_padding_changes_nothing(model: ScGPT, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    genes, values, padding = batch
    alone = model(genes[1:2, :7], values[1:2, :7])
    torch.testing.assert_close(model(genes, values, padding)[1, :7], alone[0], atol=1e-6, rtol=0)


def test_order_of_genes_changes_nothing(model: ScGPT, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    genes, values, _ = batch
    order = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(10)])
    torch.testing.assert_close(model.cells(genes[:, order], values[:, order]), model.cells(genes, values), atol=1e-5,
                               rtol=0)  # fmt: skip


def test_values_are_clamped_from_above_only(model: ScGPT) -> None:
    genes = torch.tensor([[1, 2]])
    of = lambda value: model(genes, torch.tensor([[-2.0, value]]))  # noqa: E731
    assert torch.equal(of(512.0), of(9000.0))
    assert not torch.allclose(of(511.0), of(512.0), atol=1e-7)
    assert not torch.allclose(of(-3.0), of(-2.0), atol=1e-4)


def test_dropout_acts_in_training_only(model: ScGPT, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    assert torch.equal(model.cells(*batch), model.cells(*batch))
    model.train()
    assert not torch.allclose(model.cells(*batch), model.cells(*batch))


def test_released_sizes_have_the_released_parameters() -> None:
    with torch.device("meta"):
        model = ScGPT(Sizes(60_697, 512, 8, 512, 12))
    # What the released file holds beyond the encoder: flags, expression decoder, cell decoder (spec 3).
    rest = 2 * 512 + 2 * (512 * 512 + 512) + 512 + 1 + (512 * 512 + 512) + 512 * 512
    assert sum(p.numel() for p in model.parameters()) + rest == 51_330_049


def test_random_models_leave_the_stream_alone() -> None:
    before = torch.random.get_rng_state()
    one, two, other = random_model(SIZES, 5), random_model(SIZES, 5), random_model(SIZES, 6)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.encoder.embedding.weight, other.encoder.embedding.weight)
