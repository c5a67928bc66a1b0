from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pathomix.core.errors import PathomixError
from pathomix.losses.text_alignment import text_alignment_loss, unit_targets
from pathomix.nn.backbone import Tokens
from pathomix.nn.gene_mixer import GeneMixer
from pathomix.nn.longnet import LongNet
from pathomix.nn.modaltune import ModalTune, ModalTuneSettings, backward_by_task
from pathomix.nn.text_projector import TextProjector

D, SIZES = 16, (3, 1, 6, 2)
SETTINGS = ModalTuneSettings(stages=((0, 1), (2, 3)), heads=2, output_dim=8, drop_path=0.0)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def longnet(**options: Any) -> LongNet:
    return LongNet(
        6, D, 4, 2, slide_ngrids=20, segment_length=(4, 8), dilated_ratio=(1, 2), dropout=0.0, drop_path=0.0, **options
    )


def mixer() -> GeneMixer:
    return GeneMixer(SIZES, D, 8, 1, tokens=3, dropout=0.0)


def drawn(model: nn.Module) -> Any:
    """All parameters redrawn, so that gates are open and biases count."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def batch(cases: int = 2, tiles: int = 9, clinical: int = 0) -> dict[str, Tensor]:
    given = {
        "features": torch.randn(cases, tiles, 6),
        "coords": torch.randint(0, 20 * 256, (cases, tiles, 2)),
        "genes": torch.randn(cases, sum(SIZES)),
    }
    return given | ({"clinical": torch.randn(cases, clinical)} if clinical else {})


def without(given: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: value for name, value in given.items() if name not in names}


class Recorder(nn.Module):
    """A backbone that notes which blocks ran, and adds one per block."""

    width, depth = D, 6

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[tuple[int, int, int]] = []

    def prepare(self, features: Tensor, coords: Tensor) -> Tokens:
        self.ran.append((-1, -1, len(features)))
        return Tokens(
            features.mean(dim=(1, 2), keepdim=True).repeat(1, 1, D), features[..., :1].repeat(1, 1, D), coords
        )

    def run_blocks(self, tokens: Tokens, first: int, last: int) -> Tokens:
        self.ran.append((first, last, len(tokens.cls)))
        return tokens._replace(cls=tokens.cls + last - first + 1, tiles=tokens.tiles + last - first + 1)

    def image_vector(self, tokens: Tokens, pooling: str) -> Tensor:
        return {"cls": tokens.cls[:, 0], "mean": tokens.tiles.mean(dim=1), "model": 2 * tokens.cls[:, 0]}[pooling]


def test_closed_gates_leave_the_frozen_model_bit_for_bit() -> None:
    """Spec 9.6, test 1."""
    backbone = longnet()
    model, given = ModalTune(backbone, mixer(), SETTINGS).eval(), batch()
    kept = model(**given, keep=("states",)).kept
    tokens = backbone.prepare(given["features"], given["coords"])
    alone = Tokens(*(part.repeat_interleave(3, dim=0) for part in tokens))
    for stage, (first, last) in enumerate(SETTINGS.stages):
        alone = backbone.run_blocks(alone, first, last)
        assert torch.equal(kept[f"stage{stage}.tiles"].flatten(0, 1), alone.tiles)
        assert torch.equal(kept[f"stage{stage}.cls"].flatten(0, 1), alone.cls)


@pytest.mark.parametrize(
    ("options", "total"),
    [
        ({}, 33_524_890),
        ({"fusion": "cat", "stages": ((0, 1), (2, 3), (4, 5))}, 33_921_178),
        ({"clinical_dim": 5}, 33_524_890 + 300_288),
    ],
)
def test_parameter_totals(options: dict[str, Any], total: int) -> None:
    """Spec 9.6, test 2; of the pathways only the number and the sum of sizes count."""
    with torch.device("meta"):
        backbone = Recorder()
        backbone.width, backbone.depth = 768, 12
        model = ModalTune(backbone, GeneMixer([161] + [29] * 330), ModalTuneSettings(**options))
    assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) == total


def test_gradients_at_the_first_step() -> None:
    """Spec 9.6, test 5: none to backbone and projector; gates and genes get theirs although the gates are closed."""
    model, projector = ModalTune(longnet(), mixer(), SETTINGS).train(), TextProjector(5, 8)
    targets = unit_targets(projector(torch.randn(2, 3, 5)))
    text_alignment_loss(model(**batch()).embeddings, targets).total.backward()
    assert all(parameter.grad is None for parameter in (*model.backbone.parameters(), *projector.parameters()))
    for interaction in model.interactions:
        assert float(interaction.injector.gamma.grad.abs().max()) > 0
    for name in ("weight_in", "bias_in", "weight_out", "bias_out"):
        assert float(getattr(model.gene_encoder.gene_networks, name).grad.abs().max()) > 0, name
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == trained


def test_token_order() -> None:
    """Spec 9.6, test 6."""
    settings = replace(SETTINGS, clinical_dim=4, gene_pooling="cls")
    model, given = drawn(ModalTune(longnet(), mixer(), settings)), batch(clinical=4)
    assert model.prompt_names == ("clinical", "task", "gene_cls", "gene_0", "gene_1", "gene_2")
    front = model.front(**given)
    assert front.prompt.shape == (2, 3, 6, D)
    for task in range(3):
        one_hot = torch.eye(3)[task]
        assert torch.allclose(front.prompt[:, task, 0], model.clinical_mlp(given["clinical"]))
        assert torch.allclose(front.prompt[:, task, 1], model.task_weight(one_hot).expand(2, -1))
        assert torch.equal(front.prompt[:, task, 2], model.gene_cls[0].expand(2, -1))
        assert torch.equal(front.prompt[:, task, 3:], model.gene_encoder(given["genes"]))


@pytest.mark.parametrize("options", [{}, {"clinical_dim": 4, "fusion": "cat", "gene_pooling": "cls"}])
def test_tasks_and_cases_do_not_see_each_other(options: dict[str, Any]) -> None:
    settings = replace(SETTINGS, **options)
    model, given = drawn(ModalTune(longnet(), mixer(), settings)), batch(3, clinical=settings.clinical_dim)
    whole = model(**given, keep=("states", "attention"))
    for size in (1, 2):
        parts = model(**given, task_batch=size, keep=("states", "attention"))
        assert torch.allclose(whole.embeddings, parts.embeddings, **CLOSE)
        assert whole.kept.keys() == parts.kept.keys()
        assert all(torch.allclose(value, parts.kept[name], **CLOSE) for name, value in whole.kept.items())
    for case in range(3):
        alone = model(**{name: value[case : case + 1] for name, value in given.items()})
        assert torch.allclose(whole.embeddings[case], alone.embeddings[0], **CLOSE)
    assert not torch.allclose(whole.embeddings[:, 0], whole.embeddings[:, 1], atol=1e-2)


@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize("size", [1, 2, None])
def test_backward_by_task_gives_the_gradients_of_the_whole(size: int | None, freeze: bool) -> None:
    settings = replace(SETTINGS, freeze_backbone=freeze, stages=((1, 1), (2, 3)))
    model, given = drawn(ModalTune(longnet(), mixer(), settings)), batch()
    targets = unit_targets(torch.randn(2, 3, 8))
    embeddings = model(**given).embeddings
    text_alignment_loss(embeddings, targets).total.backward()
    whole = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    found = backward_by_task(
        model,
        model.front(**given),
        lambda z, tasks: text_alignment_loss(z, targets[:, tasks]).total,
        size,
    )
    assert torch.allclose(found, embeddings, **CLOSE) and not found.requires_grad
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (whole[name] is None), name
        if parameter.grad is not None:
            assert torch.allclose(parameter.grad, whole[name], rtol=1e-3, atol=1e-6), name


def test_backward_by_task_runs_its_forward_passes_in_the_context_given() -> None:
    model, given = drawn(ModalTune(longnet(), mixer(), SETTINGS)), batch()
    seen: list[bool] = []

    def loss(z: Tensor, tasks: list[int]) -> Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        assert z.dtype is torch.bfloat16
        return z.float().square().sum()

    backward_by_task(model, model.front(**given), loss, 1, lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    assert seen == [False, False, False]


def test_the_front_runs_once_and_late_start_runs_the_first_blocks_alone() -> None:
    backbone = Recorder()
    model = ModalTune(backbone, mixer(), replace(SETTINGS, stages=((2, 2), (3, 5)))).eval()
    model(**batch(), task_batch=2)
    assert backbone.ran == [(-1, -1, 2), (0, 1, 2), (2, 2, 4), (3, 5, 4), (2, 2, 2), (3, 5, 2)]


@pytest.mark.parametrize("pooling", ["cls", "mean", "model"])
@pytest.mark.parametrize("fusion", ["sum", "cat", "image"])
@pytest.mark.parametrize("genes", ["avg", "cls"])
def test_fusion(fusion: str, genes: str, pooling: str) -> None:
    settings = replace(SETTINGS, fusion=fusion, gene_pooling=genes, image_pooling=pooling, clinical_dim=4)
    model, given = drawn(ModalTune(Recorder(), mixer(), settings)), batch(clinical=4)
    output = model(**given, keep=("states", "parts"))
    prompt = output.kept["stage1.prompt"]
    tiles, cls = output.kept["stage1.tiles"], output.kept["stage1.cls"][:, :, 0]
    image = {"cls": cls, "mean": tiles.mean(dim=2), "model": 2 * cls}[pooling]
    pooled = prompt[:, :, 2] if genes == "cls" else prompt[:, :, -3:].mean(dim=2)
    parts = [image, prompt[:, :, 1], pooled, prompt[:, :, 0]]
    expected = {"sum": sum(parts), "cat": torch.cat(parts, dim=-1), "image": image}[fusion]
    names = ("image", "task", "gene", "clinical")[: 1 if fusion == "image" else 4]
    assert {name for name in output.kept if name.startswith("part.")} == {f"part.{name}" for name in names}
    for name, part in zip(names, parts, strict=False):
        assert torch.allclose(output.kept[f"part.{name}"], part, **CLOSE)
    assert torch.allclose(output.kept["fused"], expected, **CLOSE)
    assert torch.allclose(output.embeddings, model.final_project(model.final_norm(expected)), **CLOSE)


def test_prompt_self_attention_comes_before_every_stage_but_the_first() -> None:
    model, given = drawn(ModalTune(Recorder(), mixer(), SETTINGS)), batch()
    plain = ModalTune(Recorder(), mixer(), replace(SETTINGS, prompt_self_attention=False)).eval()
    state = model.state_dict()
    plain.load_state_dict({name: value for name, value in state.items() if "prompt_selfattention" not in name})
    assert {name.split(".")[1] for name in state if name.startswith("prompt_selfattention")} == {"1"}
    with_, without_ = (m(**given, keep=("states",)).kept for m in (model, plain))
    assert torch.equal(with_["stage0.prompt"], without_["stage0.prompt"])
    between = model.prompt_selfattention[1](with_["stage0.prompt"][:, 0], model.gene_pe)
    tokens = Tokens(with_["stage0.cls"][:, 0], with_["stage0.tiles"][:, 0], given["coords"])
    _, expected = model.interactions[1](tokens, between, model.gene_pe, lambda t: model.backbone.run_blocks(t, 2, 3))
    assert torch.allclose(with_["stage1.prompt"][:, 0], expected, **CLOSE)


def test_single_task_model_has_no_task_token() -> None:
    model = drawn(ModalTune(longnet(), mixer(), replace(SETTINGS, tasks=1, fusion="cat")))
    assert model.prompt_names == ("gene_0", "gene_1", "gene_2") and not hasattr(model, "task_weight")
    assert model(**batch()).embeddings.shape == (2, 1, 8) and model.final_norm.normalized_shape == (2 * D,)


def test_gene_only_model_runs_no_block_and_its_tasks_differ() -> None:
    model = drawn(ModalTune(None, mixer(), SETTINGS))
    given = without(batch(), "features", "coords")
    output = model(**given, keep=("states",))
    assert output.embeddings.shape == (2, 3, 8) and not hasattr(model, "interactions")
    prompt = model.front(**given).prompt[:, 1]
    mixed = model.prompt_selfattention[1](prompt, model.gene_pe)
    assert torch.allclose(output.kept["fused"][:, 1], mixed[:, 0] + mixed[:, 1:].mean(dim=1), **CLOSE)


def test_image_only_model_still_adapts() -> None:
    model, given = drawn(ModalTune(longnet(), None, SETTINGS)), without(batch(), "genes")
    assert model.prompt_names == ("task",)
    shifted = given | {"features": given["features"] + 1}
    assert not torch.allclose(model(**given).embeddings, model(**shifted).embeddings, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"fusion": "cat", "gene_pooling": "cls", "clinical_dim": 5}])
def test_views_are_the_model_without_a_modality(options: dict[str, Any]) -> None:
    model = drawn(ModalTune(longnet(), mixer(), replace(SETTINGS, **options)))
    given = batch(clinical=options.get("clinical_dim", 0))
    assert model.views == ("joint", "image", "genes")
    joint, image, genes = model.vectors(model.front(**given), [0, 2], model.views).split(8, dim=-1)
    assert torch.equal(joint, model.embed(model.front(**given), [0, 2])[0])
    tiles = ("features", "coords")
    for found, view, left_out in ((image, "image", ("genes",)), (genes, "genes", tiles)):
        front = model.front(**without(given, *left_out), view=view)
        assert torch.allclose(model.embed(front, [0, 2])[0], found, **CLOSE)
        assert not torch.allclose(found, joint, atol=1e-2)
        with pytest.raises(PathomixError, match="inputs missing"):
            model.front(**given, view=view)


def test_a_view_is_what_a_model_of_that_modality_with_the_same_weights_gives() -> None:
    model, given = drawn(ModalTune(longnet(), mixer(), SETTINGS)), batch()
    whole = model.state_dict()
    for view, backbone, genes, left_out in (
        ("image", longnet(), None, ("genes",)),
        ("genes", None, mixer(), ("features", "coords")),
    ):
        alone = ModalTune(backbone, genes, SETTINGS).eval()
        own = {name: whole[name][: len(value)] for name, value in alone.state_dict().items()}
        alone.load_state_dict(own)
        expected = alone(**without(given, *left_out)).embeddings
        assert torch.allclose(model.vectors(model.front(**given), [0, 1, 2], [view]), expected, **CLOSE)


def test_models_that_cannot_do_without_a_modality_have_one_view() -> None:
    for backbone, genes, options in (
        (longnet(), None, {}),
        (None, mixer(), {}),
        (longnet(), mixer(), {"tasks": 1}),
        (longnet(), mixer(), {"fusion": "image"}),
    ):
        assert ModalTune(backbone, genes, replace(SETTINGS, **options)).views == ("joint",)


@pytest.mark.parametrize(("mode", "random"), [(True, True), (False, False)])
def test_backbone_train_mode(mode: bool, random: bool) -> None:
    backbone = longnet()
    backbone.dropout = 0.5
    model = ModalTune(backbone, mixer(), replace(SETTINGS, backbone_train_mode=mode)).train()
    given = batch()
    assert model.gene_encoder.training and model.backbone.training is mode
    assert torch.equal(model(**given).embeddings, model(**given).embeddings) is not random
    assert not model.eval().backbone.training


@pytest.mark.parametrize("option", [{"prompt_dropout": 0.5}, {"drop_path": 0.5}])
def test_regularisation_acts_in_training_only(option: dict[str, float]) -> None:
    model, given = drawn(ModalTune(longnet(), mixer(), replace(SETTINGS, **option))), batch()
    assert torch.equal(model(**given).embeddings, model(**given).embeddings)
    model.train()
    assert not torch.equal(model(**given).embeddings, model(**given).embeddings)


def test_attention_is_a_distribution_and_asking_for_it_changes_nothing() -> None:
    model, given = drawn(ModalTune(longnet(), mixer(), SETTINGS)), batch()
    plain, asked = model(**given), model(**given, keep=("attention",))
    assert torch.equal(plain.embeddings, asked.embeddings) and not plain.kept
    assert asked.kept["stage1.prompt_to_tiles.2"].shape == (2, 3, 4, 9)
    assert asked.kept["stage0.tiles_to_prompt"].shape == (2, 3, 9, 4)
    for weights in asked.kept.values():
        assert torch.allclose(weights.sum(dim=-1), torch.ones(()), atol=1e-5)


def test_checkpointing_gives_the_same_gradients() -> None:
    plain = drawn(ModalTune(longnet(), mixer(), SETTINGS))
    thrifty = ModalTune(longnet(gradient_checkpointing=True), mixer(), replace(SETTINGS, checkpointing=True))
    thrifty.load_state_dict(plain.state_dict())
    given = batch()
    for model in (plain, thrifty):
        model.train()(**given).embeddings.square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), thrifty.parameters(), strict=True):
        assert (a.grad is None and b.grad is None) or torch.allclose(a.grad, b.grad, **CLOSE), name


def test_one_tile_and_low_precision() -> None:
    model, given = drawn(ModalTune(longnet(), mixer(), SETTINGS)), batch(tiles=1)
    full = model(**given).embeddings.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(**given).embeddings
    assert bool(full.isfinite().all()) and torch.allclose(full, low.float(), atol=0.1 * float(full.abs().max()))


def test_the_seed_decides_the_initial_model_and_attention_is_xavier() -> None:
    def state(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return ModalTune(longnet(), mixer(), SETTINGS).state_dict()

    one, same, other = state(1), state(1), state(2)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["gene_pe"], other["gene_pe"])
    for name in ("interactions.0.extractor.attn.multihead_attn.k_proj_weight", "prompt_selfattention.1.q_proj.weight"):
        assert float(one[name].abs().max()) <= (6 / (D + D // 4)) ** 0.5 and float(one[name].std()) > 0.2, name
    assert float(one["interactions.0.extractor.ffn.linear1.weight"].std()) < 0.03
    assert float(one["interactions.1.injector.gamma"].abs().max()) == 0.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ModalTune(None, None, SETTINGS), "neither images nor genes"),
        (lambda: ModalTune(longnet(), None, replace(SETTINGS, tasks=1)), "no prompt token"),
        (lambda: ModalTune(longnet(), mixer(), replace(SETTINGS, stages=((0, 4),))), "backbone with 4 blocks"),
        (lambda: ModalTune(longnet(), GeneMixer(SIZES, 8, 8, 1), SETTINGS), "widths do not agree"),
        (lambda: ModalTune(None, mixer(), replace(SETTINGS, fusion="image")), "without images"),
        (lambda: replace(SETTINGS, stages=((0, 2), (2, 3))), "increasing"),
        (lambda: replace(SETTINGS, stages=((1, 0),)), "increasing"),
        (lambda: replace(SETTINGS, fusion="product"), "fusion: product is unknown"),
        (lambda: replace(SETTINGS, tasks=0), "0 tasks"),
    ],
)
def test_impossible_models_are_refused(build: Any, message: str) -> None:
    with pytest.raises(PathomixError, match=message):
        build()


def test_missing_and_superfluous_inputs_are_named() -> None:
    model, given = ModalTune(longnet(), mixer(), SETTINGS), batch()
    with pytest.raises(PathomixError, match="genes"):
        model(**without(given, "genes"))
    with pytest.raises(PathomixError, match="clinical"):
        model(**given, clinical=torch.randn(2, 5))
    clinical = ModalTune(longnet(), mixer(), replace(SETTINGS, clinical_dim=5))
    with pytest.raises(PathomixError, match=r"clinical input of shape \(2, 4\)"):
        clinical(**given, clinical=torch.randn(2, 4))
