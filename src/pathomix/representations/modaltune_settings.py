"""Parameters of ModalTune, and the points on which its code, its paper and good practice disagree."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice
from pathomix.core.texts import TEXT_TASKS

PROFILES = ("released", "paper", "recommended")
MODALITIES = ("image", "genes", "clinical")


class Switch(NamedTuple):
    """One point of doubt: its values by profile (in the order of PROFILES), and what it is about.

    Where the text of the paper is silent, `paper` has the value of the released code.
    """

    released: Any
    paper: Any
    recommended: Any
    allowed: tuple[Any, ...]
    sentence: str


SWITCHES = MappingProxyType(
    {
        "residual_mode": Switch(
            "released", "single", "single", ("released", "single"),
            "The released attention layers carry a second residual, which doubles every token at each extractor; the "
            "figure draws one.",
        ),
        "gene_initialisation": Switch(
            "released", "released", "fan_in", ("released", "fan_in"),
            "Weights of the gene encoder drawn with standard deviation 0.02 whatever their size, which leaves gene "
            "tokens far smaller than those they meet, or with 1 / sqrt(inputs).",
        ),
        "frozen_backbone_stochastic": Switch(
            True, False, False, (True, False),
            "The released training leaves dropout and stochastic depth of the frozen slide encoder active.",
        ),
        "standardise_on": Switch(
            "all", "all", "train", ("all", "train"),
            "Means and standard deviations of genes and clinical numbers from all patients, test part included, or "
            "from the training part.",
        ),
        "clinical_coding": Switch(
            "labels", "labels", "ranks", ("labels", "ranks"),
            "Stage, T, N and M as alphabetical codes of the values met, unscaled, age divided by its maximum; or as "
            "ranks of a fixed vocabulary, standardised, what is unknown at the mean.",
        ),
        "text_profile": Switch(
            "released", "released", "recommended", ("released", "paper", "recommended", "any"),
            "Profile the label texts have to be written with (their survival intervals and wording).",
        ),
        "subset": Switch(
            "redrawn", "redrawn", "fixed", ("redrawn", "fixed"),
            "Tiles of a case above `max_tiles`: drawn anew at every access, evaluation included, or once per case.",
        ),
        "slide_layout": Switch(
            "released", "released", "disjoint", ("released", "disjoint"),
            "Slides of a case: offset by the previous slide alone, so that third and later ones overlap, or side by "
            "side without overlap.",
        ),
        "coord_frame": Switch(
            "level0_raw", "level0_raw", "target_mpp", ("level0_raw", "target_mpp"),
            "Grid cells of a constant number of level-0 pixels whatever the scan, or one cell per tile.",
        ),
        "same_cell": Switch(
            "summed", "summed", "separate", ("summed", "separate"),
            "Tiles that fall into one grid cell (TITAN and its like): summed into one token, or tokens of their own.",
        ),
        "loss": Switch(
            "softmax", "sigmoid", "softmax", ("softmax", "sigmoid"),
            "The figure names a sigmoid in the loss, the code takes the softmax over channels.",
        ),
        "centred_targets": Switch(
            False, False, True, (True, False),
            "Whether what the texts of all training patients share is taken out of the targets before the loss.",
        ),
        "gene_epochs": Switch(
            0, 0, 45, (),
            "Epochs on genes alone before the others: the gene encoder starts from random weights, beside a slide "
            "encoder that does not, and is read before it has learnt. They cost no pass of the slide encoder.",
        ),
        "modality_dropout": Switch(
            0.0, 0.0, 0.67, (),
            "Share of a step's cases that are shown without genes or without images, half each; the rest shows both. "
            "Each modality has to align with the texts without the other.",
        ),
        "vectors": Switch(
            "joint", "joint", "by_modality", ("joint", "by_modality"),
            "Vectors that probes read: the joint one alone, or behind it those of images without genes and of genes "
            "without images, so that a probe can weigh what each modality knows.",
        ),
        "learning_rate_rule": Switch(
            "released", "smooth", "smooth", ("released", "smooth"),
            "The released schedule exceeds its peak after warm-up and never reaches 0; or a plain cosine.",
        ),
        "selection": Switch(
            "valid_balanced_accuracy", "valid_balanced_accuracy", "both_tasks",
            ("valid_balanced_accuracy", "both_tasks", "last"),
            "Epoch of the model: by balanced accuracy of the subtype probe on the valid part, by the mean of it and "
            "the concordance of the survival probe, or the last.",
        ),
        "standardised_probe": Switch(
            False, False, True, (True, False),
            "Whether the subtype probe of the selection sees z-scores; without, its penalty outweighs vectors of small "
            "spread. The probes of the table have a parameter of their own, `standardise`.",
        ),
        "inner_folds": Switch(
            0, 0, 5, (),
            "Models fitted without a part of the training patients each, so that probes are fitted on vectors of "
            "patients the model has not seen; 0: probes on the vectors of the model's own training patients.",
        ),
        "save_projector": Switch(
            False, False, True, (True, False),
            "Whether the random projector that defines the targets is part of the saved model.",
        ),
        "precision": Switch(
            "fp16", "fp16", "bf16", ("float32", "bf16", "fp16"),
            "Autocast on a GPU, fp16 with a loss scaler that starts at 2^15; on a CPU float32 unless bf16 is given "
            "explicitly.",
        ),
    }
)  # fmt: skip


@dataclass(frozen=True)
class ModalTuneSettings:
    """Parameters of the representation; None stands for the value of the profile.

    Attributes:
        profile: ``released``, ``paper`` or ``recommended``: the default of every switch (`SWITCHES` explains each).
        modalities: Of ``image``, ``genes``, ``clinical``: the first two, or an ablation, or the clinical variant.
        tasks: Texts the model is trained on, one task token each; ``general`` always.
        epochs: Passes over the training patients.
        warmup: Epochs of rising learning rate.
        learning_rate: Peak, of AdamW.
        weight_decay: Of AdamW.
        batch_size: Cases per step; those with equally many tiles run together.
        max_tiles: Tiles of a case.
        stages: Interactions of prompt and tile tokens, evenly spread over the encoder's blocks.
        extra_extractors: Further extractors of the last stage.
        heads: Attention heads of the adapter.
        attention_ratio: Width of its attention as a share of the encoder's.
        ffn_ratio: Hidden width of its feed-forward layers as a share of the encoder's.
        drop_path: Stochastic depth of the extractors; None: 0.2 for TITAN, 0.1 for others.
        gamma: Initial gate of the injectors.
        gene_latent: Width of pathway networks and mixer.
        gene_depth: Mixer blocks.
        gene_dropout: In pathway networks and mixer.
        gene_tokens: Gene tokens after compression.
        fusion: ``sum`` or ``cat`` of image, task and gene vectors; None: ``cat`` for TITAN, ``sum`` for others.
        pooling: Image vector: ``cls``, ``mean``, or ``model`` (the encoder's own); None: ``model`` for TITAN, ``cls``
            for others.
        output_dim: Width of the vectors.
        temperature: Of the loss.
        clip: Largest absolute z-score of a gene; None = unlimited.
        min_gene_coverage: Smallest share of the model's genes that another cohort has to measure.
        device: ``auto`` (cuda where there is one), ``cpu`` or ``cuda``.
        cache_mib: Memory for tile features; cases beyond it are read again in every epoch.
        tokens_at_once: Tile tokens, over cases and tasks, of one pass through the encoder's blocks; larger batches
            are split by case, then by task.
        checkpoint_blocks: Recompute the adapter's activations in the backward pass instead of keeping them.
    """

    profile: str = "recommended"
    modalities: tuple[str, ...] = ("image", "genes")
    tasks: tuple[str, ...] = ("general", "diagnosis", "survival")
    epochs: int = 15
    warmup: int = 10
    learning_rate: float = 1e-4
    weight_decay: float = 5e-4
    batch_size: int = 1
    max_tiles: int = 25_000
    stages: int = 3
    extra_extractors: int = 2
    heads: int = 12
    attention_ratio: float = 0.25
    ffn_ratio: float = 0.25
    drop_path: float | None = None
    gamma: float = 0.0
    gene_latent: int = 256
    gene_depth: int = 3
    gene_dropout: float = 0.25
    gene_tokens: int = 64
    fusion: str | None = None
    pooling: str | None = None
    output_dim: int = 256
    temperature: float = 1.0
    clip: float | None = None
    min_gene_coverage: float = 0.8
    device: str = "auto"
    cache_mib: int = 4096
    tokens_at_once: int = 30_000
    checkpoint_blocks: bool = False
    residual_mode: str | None = None
    gene_initialisation: str | None = None
    frozen_backbone_stochastic: bool | None = None
    standardise_on: str | None = None
    clinical_coding: str | None = None
    text_profile: str | None = None
    subset: str | None = None
    slide_layout: str | None = None
    coord_frame: str | None = None
    same_cell: str | None = None
    loss: str | None = None
    centred_targets: bool | None = None
    gene_epochs: int | None = None
    modality_dropout: float | None = None
    vectors: str | None = None
    learning_rate_rule: str | None = None
    selection: str | None = None
    standardised_probe: bool | None = None
    inner_folds: int | None = None
    save_projector: bool | None = None
    precision: str | None = None

    def __post_init__(self) -> None:
        choice(self.profile, PROFILES, "profile")
        for name, switch in SWITCHES.items():
            value = getattr(self, name)
            if value is not None and switch.allowed and value not in switch.allowed:
                raise PathomixError(
                    f"modaltune: {name} is {value!r}", remedy=f"use one of {list(switch.allowed)}, or leave it out"
                )
        for name in self.modalities:
            choice(name, MODALITIES, "modalities")
        for name in self.tasks:
            choice(name, TEXT_TASKS, "tasks")
        if TEXT_TASKS[0] not in self.tasks or not self.modalities:
            raise PathomixError(
                "modaltune: `tasks` lacks general, or `modalities` is empty", remedy="give at least one modality"
            )
        if self.device not in ("auto", "cpu", "cuda"):
            raise PathomixError(f"modaltune: device is {self.device!r}", remedy="use auto, cpu or cuda")
        if not 0 <= self.value("modality_dropout") <= 1 or self.value("gene_epochs") < 0:
            raise PathomixError(
                "modaltune: modality_dropout has to be from 0 to 1, gene_epochs at least 0",
                remedy="correct these parameters",
            )
        small = [name for name in _POSITIVE if getattr(self, name) < 1]
        if small or not 0 <= self.min_gene_coverage <= 1 or (self.inner_folds or 0) < 0 or self.inner_folds == 1:
            raise PathomixError(
                "modaltune: sizes have to be at least 1, inner_folds 0 or at least 2, min_gene_coverage from 0 to 1",
                offending=small,
                remedy="correct these parameters",
            )

    def value(self, switch: str) -> Any:
        """Value of a switch: the one given, else the profile's."""
        given = getattr(self, switch)
        return getattr(SWITCHES[switch], self.profile) if given is None else given

    @property
    def switches(self) -> dict[str, Any]:
        """Every switch with its value."""
        return {name: self.value(name) for name in SWITCHES}


_POSITIVE = ("epochs", "batch_size", "max_tiles", "stages", "heads", "gene_latent", "gene_tokens", "output_dim",
             "tokens_at_once")  # fmt: skip


def profile_table() -> pd.DataFrame:
    """Switches by profile, with a sentence on each: what the three profiles differ in."""
    columns = [*PROFILES, "sentence"]
    rows = {name: [*(getattr(switch, p) for p in PROFILES), switch.sentence] for name, switch in SWITCHES.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("switch")
