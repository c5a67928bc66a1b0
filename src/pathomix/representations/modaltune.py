"""ModalTune (ICCV 2025): vectors of patients from a frozen slide encoder tuned by genes against label texts."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.core.fitting import note_carried, note_fitted
from pathomix.core.parameters import filled
from pathomix.core.seeding import seeded
from pathomix.core.seeds import derived_seed
from pathomix.foundation.build import SlideEncoders
from pathomix.foundation.layout import Layout
from pathomix.foundation.parameters import SlideEncoderParameters
from pathomix.foundation.slide_encoder import SlideEncoder
from pathomix.losses.text_alignment import unit_targets
from pathomix.nn.gene_mixer import GeneMixer, initialise_by_fan_in
from pathomix.nn.modaltune import ModalTune, View
from pathomix.nn.modaltune import ModalTuneSettings as NetworkSettings
from pathomix.nn.text_projector import TextProjector
from pathomix.representations.base import Embedding
from pathomix.representations.measurements import CLINICAL, ClinicalScaling, GeneScaling
from pathomix.representations.modaltune_data import CaseInputs, Readers, report_missing
from pathomix.representations.modaltune_selection import Selection
from pathomix.representations.modaltune_settings import ModalTuneSettings
from pathomix.representations.modaltune_training import Trainer
from pathomix.training.checkpoint import Checkpoint
from pathomix.training.precision import Precision, choose_device

log = logging.getLogger(__name__)

_DESIGN = "design"
_NETWORK = "network."
_PROJECTOR = "projector."


@dataclass(frozen=True)
class Settings(ModalTuneSettings):
    """Parameters of the representation."""


class ModalTuneRepresentation:
    """Adapter, gene encoder and head trained against embedded label texts, `base.Representation`.

    Args:
        slide_encoder: Parameters of the frozen slide encoder.
        parameters: Fields of `ModalTuneSettings`.

    Raises:
        PathomixError: Parameters that are refused.
    """

    def __init__(self, slide_encoder: Mapping[str, Any], **parameters: Any) -> None:
        self.settings = filled(Settings, parameters, "modaltune")
        self.inner_folds: int = self.settings.value("inner_folds")
        self._slide_encoder = dict(slide_encoder)
        self._encoders = SlideEncoders(slide_encoder)

    def fit(
        self, train: Cases, valid: Cases, *, seed: int, checkpoint: Checkpoint, cohort: Cases | None = None
    ) -> FittedModalTune:
        """Train; see `base.Representation.fit`.

        Fits with one seed share the projector, whatever their patients: models of cross-fitting have common targets.

        Raises:
            PathomixError: The training part lacks a modality or texts, texts of another profile, nothing to select by,
                or a loss that is not finite.
        """
        settings = self.settings
        self._require(train)
        readers = self._readers(train, cohort if settings.value("standardise_on") == "all" else train)
        inputs = CaseInputs(train, readers, needs_texts=True)
        report_missing(inputs, "training")
        if len(inputs.ids) < 2:
            raise PathomixError(
                f"only {len(inputs.ids)} of {len(train.ids)} training patients can be used",
                offending=sorted(set(inputs.missing.values())),
                remedy="take the modality they lack out of `modalities`, or leave modaltune out for this cohort",
            )
        note_fitted("training", inputs.ids)
        note_carried(train.texts)
        texts = inputs.targets(settings.tasks)
        projector = TextProjector(texts.shape[-1], settings.output_dim, derived_seed(seed, "projector"))
        targets = unit_targets(projector(texts))
        centre = targets.mean(dim=0) if settings.value("centred_targets") else None
        with seeded(derived_seed(seed, "network")):
            network = self._network(readers)
        fitted = FittedModalTune(self, network, readers, _projection(projector, centre), pd.DataFrame())
        criterion, standardise = settings.value("selection"), settings.value("standardised_probe")
        selection = Selection.of(criterion, standardise, train, valid, fitted, inputs)
        trainer = Trainer(
            network, inputs, unit_targets(projector(texts), centre), settings, seed, self.precision(), selection
        )
        return replace(fitted, epochs=pd.DataFrame(trainer.run(checkpoint)).astype({"step": "int64"}))

    @property
    def declared_leaks(self) -> dict[str, str]:
        """Step to the switch that lets it look at all patients, for the leakage guard."""
        if self.settings.value("standardise_on") == "train":
            return {}
        return dict.fromkeys(("imputation", "gene_filter", "scaler", "vocabulary"), "standardise_on: all")

    def load(self, state: Mapping[str, NDArray[np.generic]]) -> FittedModalTune:
        """Rebuild; see `base.Representation.load`.

        Raises:
            PathomixError: The slide encoder has other weights than the model was trained with, or a tensor does not
                fit the parameters.
        """
        design = json.loads(state[_DESIGN].tobytes().decode())
        encoder = None
        if design["slide_encoder"] is not None:
            encoder = self._encoders.of(design["slide_encoder"]["in_dim"])
            if encoder.weights_sha256 != design["slide_encoder"]["weights_sha256"]:
                raise PathomixError(
                    "the slide encoder's weights are not those the model was trained with",
                    remedy="put the weights file back, or run train_representation again",
                )
        genes = None if design["genes"] is None else GeneScaling.load(design["genes"], state)
        clinical = None if design["clinical"] is None else ClinicalScaling.load(design["clinical"], state)
        readers = self._with(encoder, genes, clinical)
        with seeded(0):  # initial values, all of them replaced below
            network = self._network(readers)
        given = {n.removeprefix(_NETWORK): torch.from_numpy(np.array(v)) for n, v in state.items() if _NETWORK in n}
        own = {name: value for name, value in network.named_parameters() if value.requires_grad}
        wrong = sorted(
            n for n in own.keys() | given.keys() if n not in own or n not in given or own[n].shape != given[n].shape
        )
        if wrong:
            raise PathomixError(
                "the saved model has other tensors than its parameters say",
                offending=wrong,
                remedy="load it with the parameters it was trained with, or run train_representation again",
            )
        network.load_state_dict(given, strict=False)
        network.eval()
        rest = {name: value for name, value in state.items() if name.startswith(_PROJECTOR)}
        return FittedModalTune(self, network, readers, rest, pd.DataFrame({"step": pd.Series(dtype="int64")}))

    def precision(self) -> Precision:
        """Of forward passes: on a CPU the profile means float32."""
        device = choose_device(self.settings.device)
        given = self.settings.precision
        return Precision(given or (self.settings.value("precision") if device.type == "cuda" else "float32"), device)

    # building

    def _require(self, train: Cases) -> None:
        settings = self.settings
        wanted = settings.value("text_profile")
        if train.texts is None:
            raise PathomixError(
                "modaltune is trained against label texts, and there are none",
                remedy="set the key `text` of the representation",
            )
        if wanted not in ("any", train.texts.profile):
            raise PathomixError(
                f"label texts are of profile {train.texts.profile!r}, the representation wants {wanted!r}",
                remedy="name another text under the key `text`, or set `text_profile: any`",
            )
        if "image" in settings.modalities and train.tiles is None:
            raise PathomixError("no tile features", remedy="set the key `encoder`, or take image out of `modalities`")
        if "genes" in settings.modalities and (train.expression is None or not len(train.expression)):
            raise PathomixError(
                "no training patient has expression", remedy="take genes out of `modalities`, or the cohort out"
            )

    def _readers(self, train: Cases, reference: Cases | None) -> Readers:
        """Scalings by the statistics of `reference`."""
        settings = self.settings
        if reference is None:
            raise ValueError("standardise_on `all` needs the whole cohort")
        encoder = genes = clinical = None
        if "image" in settings.modalities and train.tiles is not None:
            encoder = self._encoders.of(train.tiles.dim)
        if "genes" in settings.modalities and reference.expression is not None:
            genes = GeneScaling.fit(reference.expression, train.pathways, settings.clip)
        if "clinical" in settings.modalities:
            clinical = ClinicalScaling.fit(reference.patients, settings.value("clinical_coding"))
        return self._with(encoder, genes, clinical)

    def _with(
        self, encoder: SlideEncoder | None, genes: GeneScaling | None, clinical: ClinicalScaling | None
    ) -> Readers:
        value = self.settings.value
        layout = Layout(
            coord_frame=value("coord_frame"),
            slide_layout=value("slide_layout"),
            subset=value("subset"),
            same_cell=value("same_cell"),
            max_tiles=self.settings.max_tiles,
        )
        return Readers(encoder, layout, genes, clinical, self.settings.cache_mib << 20)

    def _network(self, readers: Readers) -> ModalTune:
        settings, value = self.settings, self.settings.value
        parameters = filled(SlideEncoderParameters, self._slide_encoder, "slide encoder")
        backbone = None if readers.encoder is None else readers.encoder.backbone
        width = parameters.width if backbone is None else backbone.width
        depth = settings.stages if backbone is None else backbone.depth
        genes = None
        if readers.genes is not None:
            genes = GeneMixer(
                [len(members) for members in readers.genes.pathways.values()],
                width,
                settings.gene_latent,
                settings.gene_depth,
                dropout=settings.gene_dropout,
                tokens=settings.gene_tokens,
            )
            if value("gene_initialisation") == "fan_in":
                initialise_by_fan_in(genes)
        titan = parameters.architecture != "longnet"
        network = NetworkSettings(
            stages=_stages(depth, settings.stages),
            tasks=len(settings.tasks),
            output_dim=settings.output_dim,
            heads=settings.heads,
            attention_ratio=settings.attention_ratio,
            ffn_ratio=settings.ffn_ratio,
            drop_path=settings.drop_path if settings.drop_path is not None else 0.2 if titan else 0.1,
            extra_extractors=settings.extra_extractors,
            gamma=settings.gamma,
            residual_mode=value("residual_mode"),
            fusion=settings.fusion or ("cat" if titan else "sum"),  # type: ignore[arg-type]
            image_pooling=settings.pooling or ("model" if titan else "cls"),
            clinical_dim=0 if readers.clinical is None else len(CLINICAL),
            backbone_train_mode=value("frozen_backbone_stochastic"),
            checkpointing=settings.checkpoint_blocks,
        )
        return ModalTune(backbone, genes, network, width).to(choose_device(settings.device))


@dataclass(frozen=True)
class FittedModalTune:
    """A trained model, `base.FittedRepresentation`.

    Attributes:
        owner: The representation.
        network: In evaluation mode.
        readers: What it reads of a patient.
        projection: Arrays of the projector and the centre of the targets; empty where they are not saved.
        epochs: History.
    """

    owner: ModalTuneRepresentation
    network: ModalTune
    readers: Readers
    projection: Mapping[str, NDArray[np.generic]]
    epochs: pd.DataFrame

    def embed(self, cases: Cases, *, foreign: Cases | None = None) -> Embedding:
        """One vector per task; see `base.FittedRepresentation.embed`. No texts are needed.

        With ``standardise_on: all`` the statistics of a foreign cohort are those of `cases` themselves, as in the
        released code, which reads one file per cohort.

        Raises:
            PathomixError: The cohort measures too few of the model's genes, or its tiles have another width.
        """
        inputs = self.inputs(cases, foreign=foreign)
        return Embedding(self.vectors(inputs, self.owner.settings.tasks, self.draw), inputs.missing)

    def inputs(self, cases: Cases, *, foreign: Cases | None = None) -> CaseInputs:
        """What the model reads of these patients; arguments and errors as of `embed`."""
        settings = self.owner.settings
        reference = foreign if foreign is None or settings.value("standardise_on") == "train" else cases
        return CaseInputs(cases, self._adapted(cases, reference))

    @property
    def views(self) -> tuple[View, ...]:
        """What a vector consists of, side by side."""
        return self.network.views if self.owner.settings.value("vectors") == "by_modality" else ("joint",)

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return self.owner.settings.output_dim * len(self.views)

    @property
    def draw(self) -> int:
        """Number of the draw of tiles of the finished model, where it is redrawn."""
        return 2 * self.owner.settings.epochs + 1

    def vectors(self, inputs: CaseInputs, tasks: tuple[str, ...], draw: int) -> dict[str, pd.DataFrame]:
        """Vectors [patients, width] of some tasks, only of patients whose tiles are usable.

        Args:
            inputs: Patients.
            tasks: Some of the model's tasks.
            draw: Number of the draw of tiles, where it is redrawn.
        """
        chosen = [self.owner.settings.tasks.index(task) for task in tasks]
        precision, device = self.owner.precision(), self.network.gene_pe.device
        at_once = max(1, self.owner.settings.tokens_at_once // len(chosen))
        found = np.full((len(inputs.ids), len(chosen), self.width), np.nan, np.float32)
        for batch in inputs.groups(range(len(inputs.ids)), draw, at_once):
            with torch.inference_mode(), precision.autocast():
                front = self.network.front(**batch.inputs(device), view="joint")
                found[batch.rows] = self.network.vectors(front, chosen, self.views).float().cpu().numpy()
        known = ~inputs.ids.isin(list(inputs.missing))
        ids = pd.Index(inputs.ids[known].astype(str), name="patient_id", dtype=object)
        return {task: pd.DataFrame(found[known, place], index=ids) for place, task in enumerate(tasks)}

    def _adapted(self, cases: Cases, reference: Cases | None) -> Readers:
        """Readers for another cohort: its own statistics of the model's genes."""
        genes, clinical = self.readers.genes, self.readers.clinical
        if genes is not None and cases.expression is not None:
            genes.require_coverage(cases.expression, self.owner.settings.min_gene_coverage)
        if reference is not None:
            if genes is not None and reference.expression is not None:
                genes = genes.refitted(reference.expression)
            if clinical is not None and clinical.coding == "labels":
                clinical = ClinicalScaling.fit(reference.patients, clinical.coding)
        return replace(self.readers, genes=genes, clinical=clinical)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Trained parameters, scalings, and what the targets were made with; of the slide encoder only the digest."""
        encoder, genes, clinical = self.readers.encoder, self.readers.genes, self.readers.clinical
        described: dict[str, Any] = {"slide_encoder": None, "genes": None, "clinical": None}
        arrays: dict[str, NDArray[np.generic]] = {}
        if encoder is not None:
            described["slide_encoder"] = {"in_dim": encoder.in_dim, "weights_sha256": encoder.weights_sha256}
        if genes is not None:
            described["genes"], found = genes.state()
            arrays |= found
        if clinical is not None:
            described["clinical"], found = clinical.state()
            arrays |= found
        trained = {n: p for n, p in self.network.named_parameters() if p.requires_grad}
        arrays |= {f"{_NETWORK}{name}": value.detach().cpu().numpy() for name, value in trained.items()}
        arrays[_DESIGN] = np.frombuffer(json.dumps(described, sort_keys=True).encode(), dtype=np.uint8)
        return arrays | (dict(self.projection) if self.owner.settings.value("save_projector") else {})

    def history(self) -> pd.DataFrame:
        """One row per epoch: loss, by task too, learning rate, lengths of what is fused, scores on the valid part."""
        return self.epochs


def _stages(depth: int, stages: int) -> tuple[tuple[int, int], ...]:
    """First and last block of each stage, evenly spread over the blocks (spec modaltune 2.1)."""
    if stages > depth:
        raise PathomixError(
            f"{stages} stages over the {depth} blocks of the slide encoder",
            remedy="lower `stages` to at most its depth",
        )
    parts = np.array_split(np.arange(depth), stages)
    return tuple((int(part[0]), int(part[-1])) for part in parts)


def _projection(projector: TextProjector, centre: Tensor | None) -> dict[str, NDArray[np.generic]]:
    arrays = {f"{_PROJECTOR}{name}": value.numpy() for name, value in projector.state_dict().items()}
    return arrays if centre is None else {**arrays, f"{_PROJECTOR}centre": centre.numpy()}
