"""Parameters of Path-GPTomic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice, filled
from pathomix.losses.cox import CoxMode, Ties
from pathomix.methods.blocks import BLOCKS
from pathomix.methods.path_gptomic_regions import RegionEncoder
from pathomix.methods.path_gptomic_switches import PROFILES, SWITCHES
from pathomix.nn.path_gptomic import GenomicSizes, HeadOutput
from pathomix.training.loop import Recipe
from pathomix.training.modulation import Mode, ModulationSettings
from pathomix.training.optimisers import FURTHER_OPTIMISERS, OPTIMISERS

IMAGES = ("tiles", "slide_vector", "regions", "none")


@dataclass(frozen=True, kw_only=True)
class PathGPTomicSettings:
    """Parameters of the method; None stands for the value of the profile, or of the modulation mode.

    Attributes:
        profile: ``paper`` or ``recommended``: the default of every switch (`SWITCHES` explains each).
        blocks: Feature blocks of the self-normalising network; with ``expression`` among them and `rna: none` this is
            Exp. 1 of the ablation; empty = no such network.
        rna: ``vectors``: the cohort's embedded expression goes into MLP-B; ``none``.
        mlp_a: ``frozen``: vectors are read as they are (after smoothing MLP-A is behind them); ``trained``: an MLP-A
            drawn at random is trained with the rest (the control of smoothing).
        image: ``tiles`` (gated attention), ``slide_vector`` (of a representation), ``regions`` (T2T-ViT) or ``none``.
        fusion: ``concat`` (additive head) or ``kronecker`` (gated bilinear fusion of Pathomic Fusion).
        head_bias: Whether the head has a bias.
        head_output: ``linear``, or ``sigmoid6``: log hazard squashed into [-3, 3].
        hidden: Widths of the self-normalising network.
        mlp_a_width: Widths of a trained MLP-A.
        mlp_b_hidden: Hidden width of MLP-B.
        genomic_width: Width of G where MLP-B makes it.
        image_width: Width of P.
        tile_width: Tile embedding width.
        attention: Width of the attention layer over tiles.
        max_tiles: Tiles read per patient; of a larger bag, evenly spaced ones.
        gate_image: Whether the Kronecker fusion gates P.
        gate_omic: Whether it gates G.
        skip: Whether it hands P and G on to its second layer.
        fused_width: Width of its layers.
        dropout: Of genomic networks, tile embedding, attention and fusion.
        mlp_a_dropout: Of a trained MLP-A.
        image_dropout: Of the projection to P.
        clip: Largest absolute z-score; None = unlimited.
        scale_vectors: Whether embedded expression is z-scored.
        image_encoder: Parameters of the T2T-ViT, see `RegionEncoder`; left out: T2T-ViT-14 at 224 pixels, untrained.
        encoder_learning_rate: Of the T2T-ViT; None: 2e-5 where it has weights, else `learning_rate`.
        crop: Edge of a crop of a region in pixels.
        stride: Distance of neighbouring crops in prediction.
        statistics: Means and deviations of the colours: ``imagenet`` or ``half``.
        survival_loss: ``pf``, ``paper`` or ``event_mean``, see `losses.cox.cox_loss`.
        ties: ``breslow`` or ``efron``.
        unit: ``patient`` or ``region``.
        min_events: Events of every batch.
        modulation: Mode, see `training.modulation.ModulationSettings`, as for all that follow.
        modulation_apply: ``lr`` or ``grad``.
        modulation_alpha: Steepness.
        modulation_k_min: Smallest coefficient; None: 0.05 with ``stable``, else 0.
        modulation_aggregate: ``mean_then_ratio`` or ``per_sample_ratio_mean``.
        modulation_ema_decay: Decay of the running mean of ``stable``.
        modulation_clip: Largest ratio of ``stable``, its inverse the smallest.
        modulation_warmup: Epochs without; None: 1 with ``stable``, else 0.
        modulation_window: First and last epoch with modulation; None = all.
        modulated_genomic: Parameters with k^G: ``mlp_b+snn`` (the genomic branch) or ``mlp_b``.
        modulated_tensors: ``all`` of a branch, or ``matrices_only``.
        ge_noise: Noise on the gradients (OGM-GE).
        selection: ``last``: the valid part is joined to the training part and the last epoch is the model;
            ``valid``: the epoch is selected on the valid part.
        patience: Epochs without a better valid score before stopping (`selection: valid`).
        epochs: Passes over the training patients.
        constant_epochs: Of these, before the linear decay of the learning rate; None = all of them.
        batch_size: Rows per step, and the largest risk set.
        optimiser: adam, radam or sgd (momentum 0.9).
        learning_rate: Of the optimiser.
        l2: Coupled weight decay.
        measured_every: Epochs between two measurements of the c-indices; the last epoch is always measured.
        device: cpu, cuda or auto (cuda where there is one).
        precision: float32, or bf16 for the image encoder.
    """

    profile: str = "recommended"
    blocks: tuple[str, ...] = ("copy_number", "mutation")
    rna: str = "vectors"
    mlp_a: str = "frozen"
    image: str = "tiles"
    fusion: str = "concat"
    head_bias: bool = False
    head_output: HeadOutput = "linear"
    hidden: tuple[int, ...] = (64, 48, 32, 32)
    mlp_a_width: int = 128
    mlp_b_hidden: int = 128
    genomic_width: int = 32
    image_width: int = 32
    tile_width: int = 128
    attention: int = 64
    max_tiles: int = 1024
    gate_image: bool = True
    gate_omic: bool = False
    skip: bool = False
    fused_width: int = 64
    dropout: float = 0.25
    mlp_a_dropout: float = 0.1
    image_dropout: float = 0.05
    clip: float | None = 5.0
    scale_vectors: bool | None = None
    image_encoder: Mapping[str, Any] = field(default_factory=dict)
    encoder_learning_rate: float | None = None
    crop: int = 512
    stride: int = 256
    statistics: str = "imagenet"
    survival_loss: CoxMode | None = None
    ties: Ties = "breslow"
    unit: str | None = None
    min_events: int | None = None
    modulation: str | None = None
    modulation_apply: str | None = None
    modulation_alpha: float = 1.0
    modulation_k_min: float | None = None
    modulation_aggregate: str = "mean_then_ratio"
    modulation_ema_decay: float = 0.9
    modulation_clip: float = 5.0
    modulation_warmup: int | None = None
    modulation_window: tuple[int, ...] | None = None
    modulated_genomic: str = "mlp_b+snn"
    modulated_tensors: str = "all"
    ge_noise: bool = False
    selection: str = "last"
    patience: int = 10
    epochs: int = 30
    constant_epochs: int | None = 10
    batch_size: int = 32
    optimiser: str = "adam"
    learning_rate: float = 1e-4
    l2: float = 4e-4
    measured_every: int = 1
    device: str = "cpu"
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            choice(getattr(self, name), allowed, name)
        for name in ("survival_loss", "unit", "modulation"):
            choice(self.value(name), _SWITCHED[name], name)
        for block in self.blocks:
            choice(block, BLOCKS, "blocks")
        self._check_numbers()
        self._check_parts()
        self._check_modulation()
        _ = self.modulation_settings  # Its numbers are checked there.

    def value(self, switch: str) -> Any:
        """Value of a switch: the one given, else the profile's; rows are patients wherever there are no regions."""
        given = getattr(self, switch)
        if given is None and switch == "unit" and self.image != "regions":
            return "patient"
        return getattr(SWITCHES[switch], self.profile) if given is None else given

    def _check_numbers(self) -> None:
        wrong = [f"{name} is below {least}" for name, least in _LEAST.items() if getattr(self, name) < least]
        wrong += [f"{name} is not from 0 to below 1" for name in _SHARES if not 0 <= getattr(self, name) < 1]
        if not self.hidden or min(self.hidden) < 1:
            wrong.append("hidden needs widths of at least 1")
        if (self.constant_epochs or 0) > self.epochs:
            wrong.append(f"constant_epochs ({self.constant_epochs}) is above epochs ({self.epochs})")
        if not 0 <= self.value("min_events") <= self.batch_size:
            wrong.append("min_events is not from 0 to batch_size")
        if self.modulation_clip <= 1:
            wrong.append("modulation_clip is not above 1")
        if wrong:
            raise PathomixError(f"path_gptomic: {'; '.join(wrong)}", remedy="correct these parameters")

    def _check_parts(self) -> None:
        def refuse(fact: str, remedy: str) -> None:
            raise PathomixError(f"path_gptomic: {fact}", remedy=remedy)

        if not self.genomic and self.image == "none":
            refuse("nothing is read", "give `blocks`, `rna: vectors` or an `image`")
        if self.mlp_a == "trained" and self.rna == "none":
            refuse("a trained MLP-A has no vectors to read", "set `rna: vectors`, or `mlp_a: frozen`")
        if self.fusion == "kronecker" and not (self.genomic and self.image != "none"):
            refuse("Kronecker fusion needs both modalities", "set `fusion: concat`, or give both")
        if self.value("unit") == "region" and self.image != "regions":
            refuse(f"unit is 'region' and image is {self.image!r}", "set `image: regions`, or `unit: patient`")
        if self.image == "regions":
            _ = self.region_encoder  # Its sizes are checked there.

    def _check_modulation(self) -> None:
        if self.value("modulation") == "none":
            return
        reasons = {
            "Kronecker fusion does not split the log hazard into the modalities": self.fusion == "kronecker",
            "a single modality has nothing to be balanced against": not self.genomic or self.image == "none",
            "a squashed log hazard is not the sum of the modalities' scores": self.head_output != "linear",
        }
        found = [reason for reason, holds in reasons.items() if holds]
        if found:
            raise PathomixError(
                f"path_gptomic: gradient modulation ({self.value('modulation')}) is undefined here: {'; '.join(found)}",
                remedy="set `modulation: none`",
            )
        if self.modulated_genomic == "mlp_b" and self.rna == "none":
            raise PathomixError(
                "path_gptomic: modulated_genomic is 'mlp_b', which is not there without embedded expression",
                remedy="set `modulated_genomic: mlp_b+snn`",
            )

    @property
    def genomic(self) -> bool:
        """Whether the genomic branch is there."""
        return bool(self.blocks) or self.rna != "none"

    @property
    def modalities(self) -> str:
        """What is read, for messages."""
        read = {"feature blocks": self.blocks, "embedded expression": self.rna == "vectors"}
        image = {"tiles": "tile features", "slide_vector": "a slide vector", "regions": "a region", "none": ""}
        names = [name for name, is_read in read.items() if is_read] + [image[self.image]] * (self.image != "none")
        return " and ".join(names)

    @property
    def switches(self) -> dict[str, Any]:
        """Every switch with its value."""
        return {name: self.value(name) for name in SWITCHES}

    @property
    def recipe(self) -> Recipe:
        """Optimisation settings."""
        return Recipe(
            epochs=self.epochs,
            constant_epochs=self.epochs if self.constant_epochs is None else self.constant_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            l2=self.l2,
            patience=self.patience if self.selection == "valid" else None,
            optimiser=self.optimiser,
        )

    @property
    def modulation_settings(self) -> ModulationSettings:
        """How steps are modulated."""
        mode = self.value("modulation")
        stable = mode == "stable"
        k_min, warmup = self.modulation_k_min, self.modulation_warmup
        return ModulationSettings(
            mode=mode,
            apply=self.value("modulation_apply"),
            alpha=self.modulation_alpha,
            k_min=(0.05 if stable else 0.0) if k_min is None else k_min,
            aggregate=self.modulation_aggregate,  # type: ignore[arg-type]
            ema_decay=self.modulation_ema_decay,
            clip=math.log(self.modulation_clip),
            warmup_epochs=int(stable) if warmup is None else warmup,
            window=self.modulation_window,  # type: ignore[arg-type]
            ge_noise=self.ge_noise,
        )

    @property
    def genomic_sizes(self) -> GenomicSizes:
        """Widths and dropout of the genomic branch."""
        return GenomicSizes(
            snn=self.hidden,
            mlp_a=self.mlp_a_width if self.mlp_a == "trained" else 0,
            mlp_b=self.mlp_b_hidden,
            width=self.genomic_width,
            dropout=self.dropout,
            mlp_a_dropout=self.mlp_a_dropout,
        )

    @property
    def region_encoder(self) -> RegionEncoder:
        """The T2T-ViT of regions."""
        return filled(RegionEncoder, self.image_encoder, "path_gptomic: image_encoder")


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "profile": PROFILES,
    "rna": ("vectors", "none"),
    "mlp_a": ("frozen", "trained"),
    "image": IMAGES,
    "fusion": ("concat", "kronecker"),
    "head_output": get_args(HeadOutput),
    "ties": get_args(Ties),
    "statistics": ("imagenet", "half"),
    "modulated_genomic": ("mlp_b+snn", "mlp_b"),
    "modulated_tensors": ("all", "matrices_only"),
    "selection": ("last", "valid"),
    "optimiser": (*OPTIMISERS, *FURTHER_OPTIMISERS),
    "device": ("cpu", "cuda", "auto"),
    "precision": ("float32", "bf16"),
}
_SWITCHED: Mapping[str, tuple[str, ...]] = {
    "survival_loss": get_args(CoxMode),
    "unit": ("patient", "region"),
    "modulation": get_args(Mode),
}
_LEAST = {
    "mlp_a_width": 1, "mlp_b_hidden": 1, "genomic_width": 1, "image_width": 1, "tile_width": 1, "attention": 1,
    "max_tiles": 1, "fused_width": 1, "crop": 1, "stride": 1, "patience": 1, "epochs": 1, "batch_size": 2,
    "measured_every": 1,
}  # fmt: skip
_SHARES = ("dropout", "mlp_a_dropout", "image_dropout")
