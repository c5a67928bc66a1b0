from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pathomix.nn.backbone import Tokens
from pathomix.nn.modal_adapter import Extractor, Injector, Interaction

D, HEADS = 16, 2


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def drawn(module: nn.Module) -> Any:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.eval()


def inputs() -> tuple[Tokens, Tensor, Tensor]:
    tokens = Tokens(torch.randn(2, 1, D), torch.randn(2, 9, D), torch.zeros(2, 9, 2, dtype=torch.long))
    return tokens, torch.randn(2, 4, D), torch.randn(4, D)


def halved(tokens: Tokens) -> Tokens:
    return tokens._replace(cls=tokens.cls / 2, tiles=tokens.tiles / 2)


@pytest.mark.parametrize("mode", ["released", "single"])
def test_a_closed_gate_leaves_the_tiles_bit_for_bit(mode: Any) -> None:
    tokens, prompt, pe = inputs()
    layer = Injector(D, HEADS, residual_mode=mode).eval()
    assert torch.equal(layer(tokens.tiles, prompt, pe), tokens.tiles)


def test_residual_modes_of_the_injector() -> None:
    tokens, prompt, pe = inputs()
    released, single = drawn(Injector(D, HEADS)), Injector(D, HEADS, residual_mode="single").eval()
    single.load_state_dict(released.state_dict())
    x, gamma = tokens.tiles, released.gamma
    update = released.attn.attend(x, prompt, None, pe)
    assert torch.allclose(released(x, prompt, pe), (1 + gamma) * x + gamma * update, atol=1e-5)
    assert torch.allclose(single(x, prompt, pe), x + gamma * update, atol=1e-5)


@pytest.mark.parametrize("ffn", [0.5, None])
def test_residual_modes_of_the_extractor(ffn: float | None) -> None:
    tokens, prompt, pe = inputs()
    released = drawn(Extractor(D, HEADS, ffn_ratio=ffn))
    single = Extractor(D, HEADS, ffn_ratio=ffn, residual_mode="single").eval()
    single.load_state_dict(released.state_dict())
    update = released.attn.attend(prompt, tokens.tiles, pe, None)
    for layer, factor in ((released, 2), (single, 1)):
        token = factor * prompt + update
        expected = token if ffn is None else token + layer.ffn(token)
        assert torch.allclose(layer(prompt, tokens.tiles, pe), expected, atol=1e-4)


def test_stage_order_and_the_class_token() -> None:
    tokens, prompt, pe = inputs()
    stage = drawn(Interaction(D, HEADS, extra_extractors=1))
    seen: list[Tokens] = []

    def blocks(inner: Tokens) -> Tokens:
        seen.append(inner)
        return halved(inner)

    after, mixed = stage(tokens, prompt, pe, blocks)
    assert torch.equal(seen[0].cls, tokens.cls)
    assert torch.equal(seen[0].tiles, stage.injector(tokens.tiles, prompt, pe))
    first = stage.extractor(prompt, after.tiles, pe)
    assert torch.equal(mixed, stage.extra_extractors[0](first, after.tiles, pe))
    assert torch.equal(after.tiles, seen[0].tiles / 2)


def test_asking_for_attention_changes_nothing() -> None:
    tokens, prompt, pe = inputs()
    stage = drawn(Interaction(D, HEADS, extra_extractors=2))
    found: dict[str, Tensor] = {}
    plain, asked = stage(tokens, prompt, pe, halved), stage(tokens, prompt, pe, halved, found)
    assert torch.equal(plain[1], asked[1]) and torch.equal(plain[0].tiles, asked[0].tiles)
    assert found["tiles_to_prompt"].shape == (2, 9, 4)
    assert {name for name in found if name.startswith("prompt")} == {f"prompt_to_tiles.{k}" for k in range(3)}
    for weights in found.values():
        assert torch.allclose(weights.sum(dim=-1), torch.ones(()), atol=1e-6)


def test_checkpointing_gives_the_same_gradients() -> None:
    tokens, prompt, pe = inputs()
    plain = drawn(Interaction(D, HEADS, drop_path=0.0))
    thrifty = Interaction(D, HEADS, drop_path=0.0, checkpointing=True)
    thrifty.load_state_dict(plain.state_dict())
    for stage in (plain, thrifty):
        after, mixed = stage(tokens, prompt, pe, halved)
        (after.tiles.sum() + mixed.square().sum()).backward()
    for a, b in zip(plain.parameters(), thrifty.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_parameters_of_the_published_width() -> None:
    def count(*modules: nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    with torch.device("meta"):
        assert count(Injector(768, 12)) == 669_120
        assert count(Extractor(768, 12)) == 965_760
        assert count(*(Interaction(768, 12, extra) for extra in (0, 0, 2))) == 6_836_160
