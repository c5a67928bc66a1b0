"""ModalTune: a frozen slide encoder with a Modal Adapter of gene, task and clinical tokens (ModalTune 1, 2)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from pathomix.core.errors import PathomixError
from pathomix.nn.backbone import Backbone, Tokens
from pathomix.nn.gene_mixer import GeneMixer, initialise_linear
from pathomix.nn.modal_adapter import Interaction, ResidualMode
from pathomix.nn.modal_attention import CrossAttention, SelfAttention

Fusion = Literal["sum", "cat", "image"]
GenePooling = Literal["avg", "cls"]
Kept = Literal["states", "attention", "parts"]
View = Literal["joint", "image", "genes"]


@dataclass(frozen=True)
class ModalTuneSettings:
    """Settings of the adapter; the defaults are the released Prov-GigaPath configuration.

    Attributes:
        stages: First and last block of each stage, both included, increasing. Blocks before the first stage run before
            the adapter ("late start"); later blocks that belong to no stage do not run.
        tasks: Task tokens J; with 1 there is no task token (single-task model).
        output_dim: Width of the embeddings.
        heads: Heads of the adapter's attention.
        attention_ratio: Bottleneck of the adapter's attention as a share of the width; None = full width.
        ffn_ratio: Hidden width of the extractors' feed-forward branch; None = without it.
        drop_path: Probability of leaving that branch out in training (0.1 for Prov-GigaPath, 0.2 for TITAN).
        extra_extractors: Further extractors in the last stage.
        prompt_self_attention: Self-attention of the prompt tokens before every stage but the first.
        prompt_dropout: Dropout of the prompt tokens before the first stage.
        gamma: Initial gate of the injectors.
        residual_mode: ``released``: attention layers keep a residual of their own under the injector's and extractor's.
            ``single``: one residual.
        fusion: ``sum`` or ``cat`` of image, task, genes and clinical vector; ``image``: the image vector alone.
        gene_pooling: ``avg`` of the gene tokens, or a learned ``cls`` token before them.
        image_pooling: See `Backbone.image_vector`.
        clinical_dim: Clinical numbers per case; 0 = no clinical token.
        freeze_backbone: Backbone without gradients.
        backbone_train_mode: Whether dropout and stochastic depth of the backbone act in training although it is
            frozen (released: true; recommended: false).
        checkpointing: Recompute the adapter's activations in the backward pass (the backbone has its own switch).
    """

    stages: tuple[tuple[int, int], ...] = ((0, 3), (4, 7), (8, 11))
    tasks: int = 3
    output_dim: int = 256
    heads: int = 12
    attention_ratio: float | None = 0.25
    ffn_ratio: float | None = 0.25
    drop_path: float = 0.1
    extra_extractors: int = 2
    prompt_self_attention: bool = True
    prompt_dropout: float = 0.0
    gamma: float = 0.0
    residual_mode: ResidualMode = "released"
    fusion: Fusion = "sum"
    gene_pooling: GenePooling = "avg"
    image_pooling: str = "cls"
    clinical_dim: int = 0
    freeze_backbone: bool = True
    backbone_train_mode: bool = True
    checkpointing: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("residual_mode", self.residual_mode, get_args(ResidualMode)),
            ("fusion", self.fusion, get_args(Fusion)),
            ("gene_pooling", self.gene_pooling, get_args(GenePooling)),
        ):
            if value not in known:
                raise PathomixError(f"{name}: {value} is unknown", remedy=f"one of {', '.join(known)}")
        bounds = [-1, *(block for stage in self.stages for block in stage)]
        rising = all(a <= b if number % 2 else a < b for number, (a, b) in enumerate(pairwise(bounds)))
        if not self.stages or not rising:
            raise PathomixError(
                f"stages {self.stages}", remedy="give increasing (first, last) block numbers, both included"
            )
        if self.tasks < 1:
            raise PathomixError(f"{self.tasks} tasks", remedy="give at least one")


class Front(NamedTuple):
    """What does not depend on the task.

    Attributes:
        tokens: Tokens before the first stage; None without images: no block runs, prompt tokens see each other alone.
        prompt: Prompt tokens [B, J, P, d] before the first stage; only the task token differs between tasks.
        genes: Gene tokens [B, G, d]; None without genes.
    """

    tokens: Tokens | None
    prompt: Tensor
    genes: Tensor | None


class ModalTuneOutput(NamedTuple):
    """Embeddings [B, J, output_dim] and what was asked to be kept, each [B, J, ...].

    ``states``: ``gene_tokens`` [B, G, d], per stage k ``stage<k>.tiles``, ``.prompt``, ``.cls`` behind it, ``fused``
    (input of the closing norm). ``attention``: ``stage<k>.tiles_to_prompt`` [B, J, L, P] and
    ``stage<k>.prompt_to_tiles.<extractor>`` [B, J, P, L], mean over heads; ``prompt_names`` tells the order of P.
    ``parts``: ``part.image``, ``part.task``, ``part.gene``, ``part.clinical`` [B, J, d], what is fused.
    """

    embeddings: Tensor
    kept: dict[str, Tensor]


class ModalTune(nn.Module):
    """The network, over any backbone; image-only and gene-only models are the same code with a part left out.

    Args:
        backbone: Slide encoder, also an `nn.Module`; None = gene-only: no block runs, the prompt tokens see each other
            through the self-attention layers, and the fused vector has no image part.
        genes: Gene encoder of the backbone's width; None = image-only.
        settings: See there.
        width: d; needed only without a backbone.

    Raises:
        PathomixError: Neither images nor genes, no prompt token at all, stages beyond the backbone's depth, or a gene
            encoder of another width.
    """

    def __init__(
        self, backbone: Backbone | None, genes: GeneMixer | None, settings: ModalTuneSettings, width: int | None = None
    ) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = backbone
        self.gene_encoder = genes
        self.width = d = _checked_width(backbone, genes, settings, width)
        stages = len(settings.stages)
        self.prompt_names = self._name_prompt()
        if backbone is not None:
            self.interactions = nn.ModuleList(
                Interaction(
                    d,
                    settings.heads,
                    settings.extra_extractors if stage == stages - 1 else 0,
                    settings.attention_ratio,
                    settings.ffn_ratio,
                    settings.drop_path,
                    settings.gamma,
                    settings.residual_mode,
                    settings.checkpointing,
                )
                for stage in range(stages)
            )
        self.prompt_selfattention = nn.ModuleList(
            SelfAttention(d, settings.heads, settings.attention_ratio)
            if stage and settings.prompt_self_attention
            else nn.Identity()
            for stage in range(stages)
        )
        self.gene_pe = nn.Parameter(nn.init.trunc_normal_(torch.empty(len(self.prompt_names), d), std=0.02))
        if "gene_cls" in self.prompt_names:
            self.gene_cls = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, d), std=0.02))
        if settings.tasks > 1:
            self.task_weight = nn.Sequential(nn.Linear(settings.tasks, d), nn.LayerNorm(d))
        if settings.clinical_dim:
            self.clinical_mlp = nn.Sequential(
                nn.Linear(settings.clinical_dim, d // 2), nn.ReLU(), nn.Linear(d // 2, d), nn.LayerNorm(d)
            )
        self.prompt_dropout = nn.Dropout(settings.prompt_dropout)
        fused = d * (len(self._parts()) if settings.fusion == "cat" else 1)
        self.final_norm = nn.LayerNorm(fused)
        self.final_project = nn.Linear(fused, settings.output_dim)
        self._initialise()

    def _name_prompt(self) -> tuple[str, ...]:
        names = ["clinical"] * bool(self.settings.clinical_dim) + ["task"] * (self.settings.tasks > 1)
        if self.gene_encoder is not None:
            names += ["gene_cls"] * (self.settings.gene_pooling == "cls")
            names += [f"gene_{number}" for number in range(self.gene_encoder.tokens)]
        return tuple(names)

    def _parts(self) -> tuple[str, ...]:
        present = {
            "image": self.backbone is not None,
            "task": self.settings.tasks > 1,
            "gene": self.gene_encoder is not None,
            "clinical": self.settings.clinical_dim > 0,
        }
        if self.settings.fusion == "image":
            return ("image",)
        return tuple(name for name, there in present.items() if there)

    def _initialise(self) -> None:
        """Truncated normal, then Xavier for all matrices inside attention layers (ModalTune 2.5); not the backbone."""
        for name, child in self.named_children():
            if name not in ("backbone", "gene_encoder"):
                initialise_linear(child)
                for layer in child.modules():
                    if isinstance(layer, CrossAttention | SelfAttention):
                        for parameter in layer.parameters():
                            if parameter.dim() > 1:
                                nn.init.xavier_uniform_(parameter)
        if self.settings.freeze_backbone and isinstance(self.backbone, nn.Module):
            self.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> ModalTune:
        """Set training mode; the backbone follows only where `backbone_train_mode` says so."""
        super().train(mode)
        if not self.settings.backbone_train_mode and isinstance(self.backbone, nn.Module):
            self.backbone.eval()
        return self

    def front(
        self,
        features: Tensor | None = None,
        coords: Tensor | None = None,
        genes: Tensor | None = None,
        clinical: Tensor | None = None,
        view: View = "joint",
    ) -> Front:
        """What all tasks share, computed once: positions, blocks before the first stage, gene and clinical tokens.

        In training this shares the dropout draws of these parts between the tasks of a case.

        Args:
            features: [B, L, in_dim].
            coords: [B, L, 2].
            genes: See `GeneMixer.forward`.
            clinical: [B, clinical_dim].
            view: ``image`` or ``genes``: the other modality is left out, and must not be given.

        Raises:
            PathomixError: An input that the model needs is missing, or one is given that it does not read.
        """
        given = {"features": features, "coords": coords, "genes": genes, "clinical": clinical}
        self._check(given, view)
        first = next(value for value in given.values() if value is not None)
        tokens = None
        if self.backbone is not None and features is not None and coords is not None:
            tokens = self.backbone.prepare(features, coords)
            if self.settings.stages[0][0]:
                tokens = self.backbone.run_blocks(tokens, 0, self.settings.stages[0][0] - 1)
        shared: dict[str, Tensor] = {}
        if clinical is not None:
            shared["clinical"] = self.clinical_mlp(clinical)[:, None]
        tasks, cases = self.settings.tasks, len(first)
        gene_tokens = None
        if self.gene_encoder is not None and genes is not None:
            gene_tokens = shared["genes"] = self.gene_encoder(genes)
            if "gene_cls" in self.prompt_names:
                shared["genes"] = torch.cat([self.gene_cls.expand(cases, -1, -1), gene_tokens], dim=1)
        pieces = {name: piece[:, None].expand(-1, tasks, -1, -1) for name, piece in shared.items()}
        if tasks > 1:
            one_hot = torch.eye(tasks, device=self.gene_pe.device, dtype=self.gene_pe.dtype)
            pieces["task"] = self.task_weight(one_hot)[None, :, None].expand(cases, -1, -1, -1)
        prompt = torch.cat([pieces[name] for name in ("clinical", "task", "genes") if name in pieces], dim=2)
        return Front(tokens, prompt, gene_tokens)

    def _check(self, given: dict[str, Tensor | None], view: View) -> None:
        image = self.backbone is not None and view != "genes"
        needed = {
            "features": image,
            "coords": image,
            "genes": self.gene_encoder is not None and view != "image",
            "clinical": self.settings.clinical_dim > 0,
        }
        wrong = [name for name, value in given.items() if (value is not None) != needed[name]]
        if wrong:
            raise PathomixError(
                "inputs missing, or given to a model without this modality", offending=wrong, remedy="match the model"
            )
        clinical = given["clinical"]
        if clinical is not None and clinical.shape[1:] != (self.settings.clinical_dim,):
            raise PathomixError(
                f"clinical input of shape {tuple(clinical.shape)}, not [B, {self.settings.clinical_dim}]",
                remedy="set clinical_dim to the number of clinical fields",
            )

    @property
    def views(self) -> tuple[View, ...]:
        """``joint``, and each modality without the other in a model that has both and a prompt token besides genes."""
        both = self.backbone is not None and self.gene_encoder is not None and self.settings.fusion != "image"
        other_prompt = self.settings.tasks > 1 or self.settings.clinical_dim > 0
        return ("joint", "image", "genes") if both and other_prompt else ("joint",)

    def vectors(self, front: Front, tasks: Sequence[int], views: Sequence[View]) -> Tensor:
        """Embeddings [B, len(tasks), output_dim] of each view side by side; `front` is of the view ``joint``."""
        return torch.cat([self.embed(self._seen(front, view), tasks)[0] for view in views], dim=-1)

    def _seen(self, front: Front, view: View) -> Front:
        if view == "image":
            others = len(self.prompt_names) - sum(name.startswith("gene_") for name in self.prompt_names)
            return Front(front.tokens, front.prompt[:, :, :others], None)
        return front._replace(tokens=None) if view == "genes" else front

    def embed(
        self, front: Front, tasks: Sequence[int], keep: Collection[Kept] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Embeddings [B, len(tasks), output_dim] of some tasks; cases and tasks form one batch."""
        count = len(tasks)
        prompt = self.prompt_dropout(front.prompt[:, list(tasks)].flatten(0, 1))
        kept: dict[str, Tensor] = {}
        tokens = None
        if front.tokens is not None:
            tokens = Tokens(*(_per_task(part, count) for part in front.tokens))
        # Gene tokens are the last: without them the first positions are those of the others.
        position = self.gene_pe if front.genes is not None else self.gene_pe[: prompt.shape[1]]
        for stage, attend in enumerate(self.prompt_selfattention):
            if not isinstance(attend, nn.Identity):
                prompt = attend(prompt, position)
            if tokens is not None:
                tokens, prompt = self._stage(stage, tokens, prompt, position, kept, keep)
        parts = self._vectors(tokens, prompt, front.genes is not None)
        fused = torch.cat(parts, dim=1) if self.settings.fusion == "cat" else torch.stack(parts).sum(dim=0)
        if "parts" in keep:
            kept |= {f"part.{name}": part for name, part in zip(self._parts(), parts, strict=True)}
        if "states" in keep:
            kept["fused"] = fused
        embeddings = self.final_project(self.final_norm(fused))
        return _by_case(embeddings, count), {name: _by_case(value, count) for name, value in kept.items()}

    def _stage(
        self,
        stage: int,
        tokens: Tokens,
        prompt: Tensor,
        position: Tensor,
        kept: dict[str, Tensor],
        keep: Collection[Kept],
    ) -> tuple[Tokens, Tensor]:
        backbone = self.backbone
        assert backbone is not None  # tokens exist only with a backbone
        first, last = self.settings.stages[stage]
        attention: dict[str, Tensor] | None = {} if "attention" in keep else None
        tokens, prompt = self.interactions[stage](
            tokens, prompt, position, lambda inner: backbone.run_blocks(inner, first, last), attention
        )
        found = dict(attention or {})
        if "states" in keep:
            found |= {"tiles": tokens.tiles, "prompt": prompt, "cls": tokens.cls}
        kept.update({f"stage{stage}.{name}": value for name, value in found.items()})
        return tokens, prompt

    def _vectors(self, tokens: Tokens | None, prompt: Tensor, with_genes: bool) -> list[Tensor]:
        """What is fused; 0 for a modality that is left out of this view."""
        vectors: list[Tensor] = []
        for part in self._parts():
            if part == "image" and tokens is not None and self.backbone is not None:
                vectors.append(self.backbone.image_vector(tokens, self.settings.image_pooling))
            elif part == "image" or (part == "gene" and not with_genes):
                vectors.append(torch.zeros_like(prompt[:, 0]))
            elif part == "gene" and self.gene_encoder is not None:
                pooled = prompt[:, -self.gene_encoder.tokens :].mean(dim=1)
                by_class = "gene_cls" in self.prompt_names
                vectors.append(prompt[:, self.prompt_names.index("gene_cls")] if by_class else pooled)
            else:
                vectors.append(prompt[:, self.prompt_names.index(part)])
        return vectors

    def forward(
        self,
        features: Tensor | None = None,
        coords: Tensor | None = None,
        genes: Tensor | None = None,
        clinical: Tensor | None = None,
        *,
        task_batch: int | None = None,
        keep: Collection[Kept] = (),
    ) -> ModalTuneOutput:
        """Embed cases with equally many tiles, for all tasks; for the inputs see `front`.

        Args:
            features: [B, L, in_dim].
            coords: [B, L, 2].
            genes: [B, memberships].
            clinical: [B, clinical_dim].
            task_batch: Tasks per pass; None = all in one. Fewer take less memory where no gradient is recorded (for
                training see `backward_by_task`); the numbers are the same.
            keep: What to keep besides, see `ModalTuneOutput`.
        """
        front = self.front(features, coords, genes, clinical)
        passes = [self.embed(front, tasks, keep) for tasks in task_batches(self.settings.tasks, task_batch)]
        kept = {name: torch.cat([part[name] for _, part in passes], dim=1) for name in passes[0][1]}
        if "states" in keep and front.genes is not None:
            kept["gene_tokens"] = front.genes
        return ModalTuneOutput(torch.cat([part for part, _ in passes], dim=1), kept)


def task_batches(tasks: int, size: int | None) -> list[list[int]]:
    """Task numbers 0..tasks-1 in groups of at most `size` (None: one group)."""
    step = tasks if size is None else max(1, size)
    return [list(range(start, min(start + step, tasks))) for start in range(0, tasks, step)]


def backward_by_task(
    model: ModalTune,
    front: Front,
    loss: Callable[[Tensor, list[int]], Tensor],
    task_batch: int | None = None,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> Tensor:
    """Gradients of a loss that is a sum over tasks, holding the activations of one group of tasks at a time.

    Args:
        model: The network; gradients are added to its parameters.
        front: From `model.front`, with gradient recording on.
        loss: Scalar loss of embeddings [B, k, output_dim] of the given k tasks.
        task_batch: Tasks per group; None = all in one.
        autocast: Context of the forward passes; the backward passes run outside of it.

    Returns:
        Embeddings [B, J, output_dim], detached.
    """
    leaves = [front.prompt, *(front.tokens or ())]
    held = [part.detach().requires_grad_(part.requires_grad) for part in leaves]
    cut = Front(Tokens(*held[1:]) if front.tokens else None, held[0], front.genes)
    found: list[Tensor] = []
    for tasks in task_batches(model.settings.tasks, task_batch):
        with autocast():
            embeddings, _ = model.embed(cut, tasks)
        loss(embeddings, tasks).backward()  # type: ignore[no-untyped-call]
        found.append(embeddings.detach())
    reached = [(part, leaf.grad) for part, leaf in zip(leaves, held, strict=True) if leaf.grad is not None]
    torch.autograd.backward([part for part, _ in reached], [grad for _, grad in reached])
    return torch.cat(found, dim=1)


def _per_task(part: Tensor, count: int) -> Tensor:
    return part[:, None].expand(-1, count, *part.shape[1:]).flatten(0, 1)


def _by_case(rows: Tensor, count: int) -> Tensor:
    return rows.reshape(-1, count, *rows.shape[1:])


def _checked_width(
    backbone: Backbone | None, genes: GeneMixer | None, settings: ModalTuneSettings, width: int | None
) -> int:
    if backbone is None and genes is None:
        raise PathomixError("a model with neither images nor genes", remedy="switch one of the modalities on")
    if settings.fusion == "image" and backbone is None:
        raise PathomixError("fusion `image` in a model without images", remedy="choose `sum` or `cat`")
    if genes is None and settings.tasks < 2 and not settings.clinical_dim:
        raise PathomixError("no prompt token", remedy="use several tasks, a clinical token or genes")
    if backbone is not None and settings.stages[-1][1] >= backbone.depth:
        raise PathomixError(
            f"stages {settings.stages} of a backbone with {backbone.depth} blocks", remedy="correct `stages`"
        )
    widths: dict[str, Any] = {
        "backbone": backbone and backbone.width,
        "gene encoder": genes and genes.width,
        "width": width,
    }
    known = {value for value in widths.values() if value is not None}
    if len(known) != 1:
        raise PathomixError(f"widths do not agree: {widths}", remedy="give all parts the same width")
    return int(known.pop())
