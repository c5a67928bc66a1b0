"""ModalTune: gene encoder, adapter layers, whole network, loss, learning rate, one training step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from checking import GoldenSet, Result, checker, torch_inputs
from torch import Tensor

from pathomix.losses.discrete import hazards_and_survival
from pathomix.losses.text_alignment import text_alignment_loss, unit_targets
from pathomix.nn.backbone import Tokens
from pathomix.nn.gene_mixer import GeneMixer
from pathomix.nn.longnet import LongNet
from pathomix.nn.modal_adapter import Extractor, Injector, Interaction
from pathomix.nn.modal_attention import CrossAttention, FeedForward, SelfAttention
from pathomix.nn.modaltune import ModalTune, ModalTuneSettings
from pathomix.nn.text_projector import TextProjector
from pathomix.training.schedule import WarmupCosine

TEXT_ROWS = [0, 1, 3]
TOLERANCE = 1e-5
POOLING = {False: "cls", True: "mean"}


def compare(golden: GoldenSet, name: str, ours: Any, tolerance: float = TOLERANCE) -> Result:
    """|a - b| <= tolerance * max(1, largest |reference|)."""
    ours = ours.detach() if isinstance(ours, Tensor) else ours
    return golden.compare(name, ours, tolerance, relative=bool(np.abs(golden.tensors[name]).max(initial=0.0) > 1.0))


def state(golden: GoldenSet, prefix: str = "") -> dict[str, Tensor]:
    """Weights below a prefix, without it."""
    weights = golden.weights()
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def load(module: torch.nn.Module, weights: dict[str, Tensor], name: str) -> Any:
    """A module with the weights below `name`, strictly, in evaluation mode."""
    module.load_state_dict({k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")})
    return module.eval()


def expression(golden: GoldenSet, start: str) -> Tensor:
    """Pathways side by side."""
    number = len(golden.config["config"]["pathway_sizes"])
    return torch.cat([torch_inputs(golden, f"{start}gene.{i}") for i in range(number)], dim=1)


def gene_mixer(genomic: dict[str, Any], sizes: list[int], width: int, classes: int | None = None) -> GeneMixer:
    return GeneMixer(
        sizes,
        width,
        genomic["latent_dim"],
        genomic["depth"],
        genomic["expansion_groups"],
        genomic["expansion_dim"],
        genomic["dropout"],
        genomic["cls_token"],
        genomic["final_groups"],
        classes,
    )


@checker("modaltune_gene_encoder_")
def gene_encoder(golden: GoldenSet) -> Iterator[Result]:
    config = golden.config["config"]
    head = config["mode"] != "feature"
    model = gene_mixer(config, config["pathway_sizes"], config["output_dim"], config["n_classes"] if head else None)
    model.load_state_dict(golden.weights())
    model.eval()
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Any:
        return lambda module, inputs, output: seen.__setitem__(name, output)

    model.gene_networks.register_forward_hook(note("pathway_tokens"))
    model.mlp_mixer[0].register_forward_hook(note("mixer_block0_out"))
    model.mlp_mixer.register_forward_hook(note("mixer_out"))
    for case in golden.config["cases"]:
        genes = expression(golden, f"{case}/in/")
        with torch.no_grad():
            seen["encoded_tokens"] = seen["output"] = model(genes)
            if head:
                logits = seen["logits"] = model.logits(genes)
                seen["hazards"], seen["S"] = hazards_and_survival(logits)
                seen["Y_hat"] = logits.argmax(dim=1)
        for name in [name for name in golden.tensors if name.startswith(f"{case}/out/")]:
            yield compare(golden, name, seen[name.split("/")[-1]], 0.0 if name.endswith("Y_hat") else TOLERANCE)


@checker("modaltune_adapter_blocks")
def adapter_blocks(golden: GoldenSet) -> Iterator[Result]:
    config, weights = golden.config["config"], golden.weights()
    d, heads, ratio = config["dim"], config["heads"], config["cffn_ratio"]
    extra = len({name.split(".")[2] for name in weights if name.startswith("interaction.extra_extractors.")})
    kinds = {"squeezed": ratio, "full": None}
    with torch.no_grad():
        for case in golden.config["cases"]:
            img, prompt, pe, cls = (
                torch_inputs(golden, f"{case}/in/{name}")
                for name in ("img_tokens", "prompt_tokens", "prompt_pe", "cls")
            )
            ours: dict[str, Tensor] = {}
            for name in {key.split(".")[0] for key in weights}:
                _, _, rest = name.partition("attn_")
                place, _, kind = rest.partition("_")
                if name.startswith("self_attn"):
                    layer = load(SelfAttention(d, heads, kinds[kind], place), weights, name)
                    ours[name], ours[f"{name}_nope"] = layer(prompt, pe), layer(prompt)
                elif name.startswith("cross_attn"):
                    layer = load(CrossAttention(d, heads, kinds[kind], place), weights, name)
                    ours[f"{name}.query_img_memory_prompt_pos_on_memory"] = layer(img, prompt, None, pe)
                    ours[f"{name}.query_prompt_memory_img_pos_on_query"] = layer(prompt, img, pe, None)
                elif name.startswith("ffn"):
                    ours[name] = load(FeedForward(d, ratio, name.removeprefix("ffn_")), weights, name)(prompt)  # type: ignore[arg-type]
                elif name.startswith("injector"):
                    squeeze = None if name.endswith("full") else ratio
                    ours[name] = load(Injector(d, heads, squeeze), weights, name)(img, prompt, pe)
                elif name.startswith("extractor"):
                    squeeze = None if name.endswith("full") else ratio
                    hidden = ratio if f"{name}.ffn.linear1.weight" in weights else None
                    ours[name] = load(Extractor(d, heads, squeeze, hidden), weights, name)(prompt, img, pe)
                else:
                    stage = load(Interaction(d, heads, extra, ratio, ratio), weights, name)
                    tokens, after = stage(Tokens(cls, img, torch.zeros(1)), prompt, pe, lambda tokens: tokens)
                    ours |= {f"{name}.img": tokens.tiles, f"{name}.prompt": after, f"{name}.cls": tokens.cls}
            for name in [name for name in golden.tensors if name.startswith(f"{case}/out/")]:
                yield compare(golden, name, ours[name.split("/")[-1]])


def network(config: dict[str, Any], weights: dict[str, Tensor]) -> ModalTune:
    """The model of a configuration, with the weights under their official names."""
    given, adapter = dict(config["backbone"]), config["adapter"]
    pooling = POOLING[given["global_pool"]]
    # The sets of training steps have all randomness off.
    backbone = LongNet(**given, drop_path=0.0, coord_divisor=256, indexing="compat", out_of_grid="wrap")
    stages = tuple((first, last) for first, last in adapter["interaction_indexes"])
    query = weights.get("interactions.0.injector.attn.q_proj.weight")
    last = f"interactions.{len(stages) - 1}.extra_extractors."
    settings = ModalTuneSettings(
        stages=stages,
        tasks=adapter["multi_task"],
        output_dim=adapter["output_dim"],
        heads=adapter["num_heads"],
        attention_ratio=None if query is None else (len(query) + 0.5) / given["embed_dim"],
        ffn_ratio=adapter["cffn_ratio"] if adapter["with_cffn"] else None,
        drop_path=0.0,
        extra_extractors=len({k.removeprefix(last).split(".")[0] for k in weights if k.startswith(last)}),
        prompt_self_attention=adapter["use_prompt_sa"],
        prompt_dropout=adapter["prompt_dropout"],
        gamma=adapter["init_values"],
        fusion=adapter["token_agg"] if adapter["add_prompt_feature"] else "image",
        gene_pooling=adapter["prompt_agg"],
        image_pooling=pooling,
        clinical_dim=adapter.get("clinfeat_dim", 0) if "clinical" in config["class"] else 0,
        freeze_backbone=adapter["freeze_vit"],
        checkpointing=adapter["with_cp"],
    )
    genes = gene_mixer(config["genomic"], config["pathway_sizes"], given["embed_dim"])
    model = ModalTune(backbone, genes, settings)
    frozen = set(backbone.state_dict())
    model.load_state_dict({f"backbone.{k}" if k in frozen else k: v for k, v in weights.items()})
    return model


def inputs(golden: GoldenSet, start: str) -> dict[str, Tensor]:
    """Inputs of `ModalTune.forward`."""
    found = {"features": f"{start}x", "coords": f"{start}coords", "clinical": f"{start}clinical"}
    given = {name: torch_inputs(golden, key) for name, key in found.items() if key in golden.tensors}
    return given | {"genes": expression(golden, start)}


@checker("modaltune_longnet_")
def longnet(golden: GoldenSet) -> Iterator[Result]:
    model = network(golden.config["config"], golden.weights()).eval()
    names = {"img": "tiles", "prompt": "prompt", "cls": "cls"}
    for case in golden.config["cases"]:
        with torch.no_grad():
            output = model(**inputs(golden, f"{case}/in/"), keep=("states",))
        for name in [name for name in golden.tensors if name.startswith(f"{case}/out/")]:
            path = name.split("/")[-1].split(".")
            task = int(path.pop(0).removeprefix("task")) if path[0].startswith("task") else 0
            if path[0].startswith("interaction"):
                ours = output.kept[f"stage{path[0].removeprefix('interaction')}.{names[path[1]]}"][:, task]
            elif path == ["gene_tokens"]:
                ours = output.kept["gene_tokens"]
            else:
                ours = output.embeddings[:, task] if path == ["embedding"] else output.kept["fused"][:, task]
            yield compare(golden, name, ours)


@checker("modaltune_loss")
def loss(golden: GoldenSet) -> Iterator[Result]:
    config = golden.config["config"]
    projector = TextProjector(config["text_dim"], config["out_dim"])
    projector.load_state_dict(golden.weights())
    for case, settings in golden.config["cases"].items():
        embeddings = torch_inputs(golden, f"{case}/in/embeddings").requires_grad_()
        projected = projector(torch_inputs(golden, f"{case}/in/text"))
        targets = unit_targets(projected[0, TEXT_ROWS])
        total = text_alignment_loss(embeddings, targets, settings["temperature"]).total
        total.backward()
        yield compare(golden, f"{case}/out/loss", total)
        # A very small embedding norm or temperature makes the gradient noisier (README of the sets).
        yield compare(golden, f"{case}/out/grad_embeddings", embeddings.grad, 1e-4)
        yield compare(golden, f"{case}/out/projected_text", projected)
        probabilities = torch.softmax(targets / settings["temperature"], dim=-1)
        yield compare(golden, f"{case}/out/target_probabilities", probabilities)


@checker("modaltune_lr_schedule")
def lr_schedule(golden: GoldenSet) -> Iterator[Result]:
    for case, settings in golden.config["cases"].items():
        schedule = WarmupCosine(settings["lr"], settings["num_epochs"], joint="released")
        rates = [schedule.rate(epoch) for epoch in range(settings["num_epochs"])]
        yield golden.compare(f"{case}/out/lr_used_in_epoch", rates, 1e-9, relative=True)


def official(model: ModalTune, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Trainable tensors under their official names."""
    start = "gene_encoder.gene_networks."
    stacked = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
    named = {name: value for name, value in tensors.items() if not name.startswith(start)}
    return named | {start + name: value for name, value in model.gene_encoder.gene_networks.official(stacked).items()}


@checker("modaltune_train_step")
def train_step(golden: GoldenSet) -> Iterator[Result]:
    """Gradients at 1e-4 relative; updated parameters at 1e-6 where the gradient is not rounding noise."""
    config, (case, recipe) = golden.config["config"], next(iter(golden.config["cases"].items()))
    model = network(config, state(golden, "model.")).train(config["train_mode"])
    projector = TextProjector(config["text_dim"], config["adapter"]["output_dim"])
    projector.load_state_dict(state(golden, "projector."))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    schedule = WarmupCosine(recipe["lr"], 100, joint="released")
    optimiser = torch.optim.AdamW(
        trained, lr=schedule.rate(0), betas=tuple(recipe["betas"]), weight_decay=recipe["weight_decay"]
    )
    for step in range(recipe["n_batches"]):
        start = f"{case}/in/b{step}."
        targets = unit_targets(projector(torch_inputs(golden, f"{start}text"))[:, TEXT_ROWS])
        total = text_alignment_loss(model(**inputs(golden, start)).embeddings, targets).total
        optimiser.zero_grad()
        total.backward()
        yield compare(golden, f"{case}/out/step{step}.loss", total)
        own = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        grads = official(model, {name: parameter.grad for name, parameter in own.items()})
        order = config["resolved_params_receiving_gradient_in_order_of_grad_norms"]
        norms = [float(grads[name].norm()) for name in order]
        yield compare(golden, f"{case}/out/step{step}.grad_norms", norms, 1e-4)
        optimiser.step()
    yield golden.compare_with("trainable parameters", len(grads), len(config["resolved_trainable"]), 0.0)
    after = official(model, {name: parameter.detach() for name, parameter in own.items()})
    for name, ours in after.items():
        gradient = golden.tensors[f"{case}/out/grad.{name}"]
        noise = float(np.linalg.norm(gradient)) < 1e-6
        key = f"{case}/out/grad.{name}"
        yield golden.compare(key, grads[name], 1e-6 if noise else 1e-4, relative=not noise)
        key = f"{case}/out/after.{name}"
        compared = (
            np.abs(gradient) > 1e-4 * np.abs(gradient).max() if not noise else np.zeros_like(gradient, dtype=bool)
        )
        golden.seen.add(key)
        yield golden.compare_with(key, ours.numpy()[compared], golden.tensors[key][compared], 1e-6)
