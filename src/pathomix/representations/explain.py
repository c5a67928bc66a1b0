"""What a trained ModalTune looks at and what moves its vectors: attention maps, and integrated gradients by pathway.

Attention says where tokens look, not what they change: an injector whose gate gamma is 0 attends and alters nothing.
So every map of an injector comes with its effect, the length of what it adds to each tile token relative to the token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pathomix.cohort.cases import Cases, TextStore
from pathomix.core.errors import PathomixError
from pathomix.core.texts import TEXT_TASKS
from pathomix.losses.text_alignment import unit_targets
from pathomix.nn.attribution import NODES, Attribution, compression_shares, integrated_gradients
from pathomix.nn.dilated_attention import mixing_gradient
from pathomix.nn.modal_adapter import Injector, Interaction
from pathomix.nn.modaltune import Kept
from pathomix.nn.text_projector import TextProjector
from pathomix.representations.modaltune import FittedModalTune
from pathomix.representations.modaltune_data import Batch

Floats = NDArray[np.float64]

# Ends of the stretches of `Explainer.approximate`: shorter towards the baseline, where networks bend sharply.
_STRETCHES = np.array([0.0, 0.0625, 0.25, 1.0])

_PROJECTOR = "projector."
_CENTRE = "centre"
_KEEP: tuple[Kept, ...] = ("attention",)


@dataclass(frozen=True)
class Scalar:
    """A number read off one of a patient's vectors.

    Attributes:
        name: ``risk``, ``logit_<class>`` or ``cosine_<task>``.
        task: Which vector.
        weight: [D]; the number is weight · vector + offset, or the cosine between the two (of output_dim numbers: with
            the joint vector, the first of the views).
        offset: See `weight`.
        cosine: See `weight`.
    """

    name: str
    task: str
    weight: Floats
    offset: float = 0.0
    cosine: bool = False

    def of(self, vectors: Tensor) -> Tensor:
        """Values float64 [B] of vectors [B, D]."""
        wide = vectors.double()
        weight = torch.from_numpy(np.array(self.weight, dtype=np.float64)).to(wide.device)
        if self.cosine:
            return functional.cosine_similarity(wide[:, : len(weight)], weight[None], dim=1)
        return wide @ weight + self.offset


def probe_scalars(
    state: Mapping[str, NDArray[np.generic]], classes: Sequence[str], task: str, width: int
) -> list[Scalar]:
    """Risk and class logits of a fitted probe: linear functionals of the vector it was fitted on.

    Args:
        state: Arrays of `methods.probe` (its ``model.safetensors``).
        classes: Classes in the order of its probabilities; not needed without a subtype probe.
        task: The vector the probe was fitted on.
        width: D.

    Raises:
        PathomixError: Neither a risk nor logits, another width, or classes that do not fit the logits.
    """
    found: list[Scalar] = []
    arrays = {name: np.asarray(value, dtype=np.float64) for name, value in state.items()}
    if "survival.coefficients" in arrays:
        weight = arrays["survival.coefficients"]
        found.append(Scalar("risk", task, weight, -float(arrays["survival.mean"] @ weight)))
    if "subtype.coefficients" in arrays:
        weights = arrays["subtype.coefficients"] / arrays["subtype.scale"]
        offsets = arrays["subtype.intercepts"] - weights @ arrays["subtype.shift"]
        named = list(classes[1:] if len(classes) == 2 else classes)
        if len(named) != len(weights):
            raise PathomixError(
                f"the probe has {len(weights)} logits for {len(classes)} classes",
                offending=classes,
                remedy="give the folder of one run, with the predictions beside the model",
            )
        found += [Scalar(f"logit_{n}", task, w, float(b)) for n, w, b in zip(named, weights, offsets, strict=True)]
    wrong = [scalar.name for scalar in found if scalar.weight.shape != (width,)]
    if wrong or not found:
        raise PathomixError(
            f"the probe was not fitted on vectors of width {width}" if wrong else "no probe in these arrays",
            offending=wrong,
            remedy="give the run of the method probe on the vectors of this very representation",
        )
    return found


def text_scalars(model: FittedModalTune, texts: TextStore, patient: str) -> list[Scalar]:
    """Per task, the cosine between the patient's vector and the target made from the patient's label text.

    Raises:
        PathomixError: The model was saved without its projector, or the patient has no texts.
    """
    arrays = {
        name.removeprefix(_PROJECTOR): torch.from_numpy(np.array(value)) for name, value in model.projection.items()
    }
    if not arrays:
        raise PathomixError(
            "the model was saved without its text projector, so its targets are unknown",
            remedy="explain a probe (--probe), or train with `save_projector: true`",
        )
    centre = arrays.pop(_CENTRE, None)
    tasks = model.owner.settings.tasks
    embedded = torch.from_numpy(texts.embedding(patient)[[TEXT_TASKS.index(task) for task in tasks]])
    projector = TextProjector(embedded.shape[-1], model.owner.settings.output_dim)
    projector.load_state_dict(arrays)
    targets = unit_targets(projector(embedded), centre).double().numpy()
    return [Scalar(f"cosine_{t}", t, row, cosine=True) for t, row in zip(tasks, targets, strict=True)]


@dataclass(frozen=True)
class PathwayAttribution:
    """Integrated gradients of one scalar.

    Attributes:
        values: Per pathway [pathways], sum over its genes; all of them add up to the change of the scalar between
            training-mean expression and the patient's.
        checked: The integral and how complete it is.
    """

    values: Floats
    checked: Attribution


class ApproximateAttribution(NamedTuple):
    """Attributions by pathway [pathways], and what their sum misses of the change of the scalar."""

    values: Floats
    gap: float


@dataclass(frozen=True)
class TileAttention:
    """Attention of one patient, mean over heads.

    Attributes:
        coords: int32 [T, 2], level-0 pixels of the tiles that went in.
        slide: int32 [T], position of each tile's slide in `slide_ids`.
        slide_ids: Slides.
        token: int64 [T], row of the maps each tile is in; -1 for a tile dropped as background.
        maps: ``<task>/stage<k>/`` and then ``tiles_to_prompt`` [L, P] (injector: tiles ask prompt tokens),
            ``prompt_to_tiles.<n>`` [P, L] (n-th extractor: prompt tokens ask tiles), both with rows adding up to 1,
            and ``effect`` [L]: length of what the injector adds to a tile token, relative to the token.
    """

    coords: NDArray[np.int32]
    slide: NDArray[np.int32]
    slide_ids: tuple[str, ...]
    token: NDArray[np.int64]
    maps: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Explanation:
    """One patient: per scalar the attributions (none in a model without genes), and attention (or None without tiles).

    `pathway_attention` has per task the injectors' attention to each pathway [pathways], mean over tiles and stages.
    """

    patient_id: str
    attributions: Mapping[str, PathwayAttribution]
    attention: TileAttention | None
    pathway_attention: Mapping[str, Floats]


class Explainer:
    """Explains patients of one cohort by one trained model, in single precision.

    Args:
        model: Trained model.
        cases: The patients; in a cohort that is `foreign` to the model, all of its listed ones.
        foreign: See `FittedModalTune.embed`.
        tolerance: See `nn.attribution.integrated_gradients`.
        evaluations: See there.

    Attributes:
        pathways: Names, in the order of attributions.
        shares: [tokens, pathways] share of each pathway in each gene token, by the absolute weights of the compression;
            [0, 0] in a model without genes. The mixer before it lets pathways see each other, so that this is how a
            token is composed, not all that it knows.
        prompt: Names of the prompt tokens.
    """

    def __init__(
        self,
        model: FittedModalTune,
        cases: Cases,
        *,
        foreign: Cases | None = None,
        tolerance: float = 0.01,
        evaluations: int = 512,
    ) -> None:
        self.model, self._cases = model, cases
        self._inputs = model.inputs(cases, foreign=foreign)
        self._tolerance, self._evaluations = tolerance, evaluations
        self._network = model.network.eval()
        encoder, genes = self._network.gene_encoder, model.readers.genes
        self.prompt = self._network.prompt_names
        self.pathways: tuple[str, ...] = ()
        self.shares: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        if encoder is not None and genes is not None:
            self.pathways = tuple(genes.pathways)
            weight = encoder.pathway_compression.weight[:, -len(self.pathways) :]
            self.shares = compression_shares(weight).float().cpu().numpy()

    @property
    def missing(self) -> Mapping[str, str]:
        """Patients that cannot be explained, with the reason."""
        return self._inputs.missing

    def explain(self, patient: str, scalars: Sequence[Scalar]) -> Explanation | None:
        """Explain one patient; None for one who lacks what the model reads (see `missing`).

        Raises:
            PathomixError: The patient is not among the cases, or a scalar reads a vector the model does not have.
        """
        tasks = self.model.owner.settings.tasks
        unknown = [scalar.task for scalar in scalars if scalar.task not in tasks]
        if unknown:
            raise PathomixError("the model has no such vectors", offending=unknown, remedy=f"use some of {list(tasks)}")
        if patient not in self._cases.ids:
            raise PathomixError(
                "not a patient of this cohort and fold", offending=[patient], remedy="name others in --patients"
            )
        batch = self._batch(patient)
        if batch is None:
            return None
        inputs = batch.inputs(self._network.gene_pe.device)
        attention = self._attention(patient, inputs) if "features" in inputs else None
        attributions = {s.name: self._attribute(s, inputs) for s in scalars} if "genes" in inputs else {}
        return Explanation(patient, attributions, attention, self._by_pathway(attention))

    def approximate(self, patient: str, scalars: Sequence[Scalar]) -> dict[str, ApproximateAttribution] | None:
        """Attributions of all scalars in one pass over a fixed quadrature; None for a patient who lacks genes.

        For comparing many models by ranks of pathways: the gap is measured as in a checked integral, and not closed.
        """
        batch = self._batch(patient)
        inputs = {} if batch is None else batch.inputs(self._network.gene_pe.device)
        if "genes" not in inputs:
            return None
        tasks = [self.model.owner.settings.tasks.index(scalar.task) for scalar in scalars]
        genes = inputs["genes"][0]
        shares, weights = _quadrature()
        points = torch.from_numpy(np.r_[0.0, shares, 1.0]).to(genes)[:, None] * genes
        ends: list[list[float]] = [[] for _ in scalars]
        totals = torch.zeros(len(scalars), len(genes), dtype=torch.float64)
        factors = torch.from_numpy(np.r_[0.0, weights, 0.0])
        size = self._points_at_once(inputs)
        for part, factor in zip(torch.split(points, size), torch.split(factors, size), strict=True):
            leaf = part.detach().requires_grad_(True)
            with torch.enable_grad(), mixing_gradient():
                vectors = self._embedded(inputs, leaf, tasks)
                for number, scalar in enumerate(scalars):
                    values = scalar.of(vectors[:, number])
                    ends[number] += values.detach().tolist()
                    (gradient,) = torch.autograd.grad(values.sum(), leaf, retain_graph=number + 1 < len(scalars))
                    totals[number] += (factor[:, None] * gradient.double().cpu()).sum(dim=0)
        totals *= genes.double().cpu()
        return {
            scalar.name: ApproximateAttribution(self._by_gene_set(total), found[-1] - found[0] - float(total.sum()))
            for scalar, total, found in zip(scalars, totals, ends, strict=True)
        }

    def _batch(self, patient: str) -> Batch | None:
        row = self._inputs.ids.get_indexer(pd.Index([patient]))[0]
        return None if row < 0 else next(self._inputs.groups([int(row)], self.model.draw, 1), None)

    # integrated gradients

    def _attribute(self, scalar: Scalar, inputs: Mapping[str, Tensor]) -> PathwayAttribution:
        task = self.model.owner.settings.tasks.index(scalar.task)

        def function(genes: Tensor) -> Tensor:
            return scalar.of(self._embedded(inputs, genes, [task])[:, 0])

        genes = inputs["genes"][0]
        with mixing_gradient():
            found = integrated_gradients(
                function,
                genes,
                torch.zeros_like(genes),
                tolerance=self._tolerance,
                evaluations=self._evaluations,
                at_once=self._points_at_once(inputs),
            )
        return PathwayAttribution(self._by_gene_set(found.values.cpu()), found)

    def _embedded(self, inputs: Mapping[str, Tensor], genes: Tensor, tasks: list[int]) -> Tensor:
        """Vectors [S, tasks, D] of one patient with each of these genes [S, n]."""
        case = {name: value.expand(len(genes), *value.shape[1:]) for name, value in inputs.items()} | {"genes": genes}
        return self._network.vectors(self._network.front(**case, view="joint"), tasks, self.model.views)

    def _points_at_once(self, inputs: Mapping[str, Tensor]) -> int:
        tiles = inputs["features"].shape[1] if "features" in inputs else 1
        return max(1, self.model.owner.settings.tokens_at_once // tiles)

    def _by_gene_set(self, values: Tensor) -> Floats:
        """Sum of the values [n] of each pathway's genes."""
        encoder = self._network.gene_encoder
        assert encoder is not None  # a model that reads genes has one
        return np.array([float(part.sum()) for part in torch.split(values, list(encoder.gene_networks.sizes))])

    # attention

    @torch.no_grad()
    def _attention(self, patient: str, inputs: Mapping[str, Tensor]) -> TileAttention:
        front = self._network.front(**inputs, view="joint")
        maps: dict[str, NDArray[np.float32]] = {}
        for number, task in enumerate(self.model.owner.settings.tasks):
            with self._effects() as effects:
                _, kept = self._network.embed(front, [number], keep=_KEEP)
            found = {**kept, **{f"stage{stage}.effect": value for stage, value in effects.items()}}
            for name, value in found.items():
                stage, _, rest = name.partition(".")
                maps[f"{task}/{stage}/{rest}"] = value.reshape(value.shape[-2:] if name in kept else -1).cpu().numpy()
        encoder, tiles, layout = self.model.readers.encoder, self._cases.tiles, self.model.readers.layout
        assert encoder is not None and tiles is not None  # there are features
        bag = tiles.bag(patient)
        arranged = encoder.arrange(bag, patient, layout, self.model.draw if layout.subset == "redrawn" else None)
        rows = arranged.tiles
        return TileAttention(bag.coords[rows], bag.slide[rows], bag.slide_ids, arranged.tokens, maps)

    @contextmanager
    def _effects(self) -> Iterator[dict[int, Tensor]]:
        """Effects [1, L] of the injectors by stage, filled by the forward pass inside the block."""
        found: dict[int, Tensor] = {}

        def keep(stage: int) -> Any:
            def hook(injector: Injector, given: tuple[Tensor, ...], result: Tensor) -> None:
                tiles = given[0]
                added = result - tiles
                if injector.residual_mode == "released":
                    # The second residual only rescales the tile's own token.
                    added = added - injector.gamma * tiles
                found[stage] = added.norm(dim=-1) / tiles.norm(dim=-1).clamp_min(torch.finfo(tiles.dtype).tiny)

            return hook

        stages = [module for module in self._network.interactions if isinstance(module, Interaction)]
        handles = [stage.injector.register_forward_hook(keep(number)) for number, stage in enumerate(stages)]
        try:
            yield found
        finally:
            for handle in handles:
                handle.remove()

    def _by_pathway(self, attention: TileAttention | None) -> dict[str, Floats]:
        if attention is None or not self.pathways:
            return {}
        genes = [place for place, name in enumerate(self.prompt) if name.startswith("gene_") and name != "gene_cls"]
        result: dict[str, Floats] = {}
        for task in self.model.owner.settings.tasks:
            maps = [
                m for name, m in attention.maps.items() if name.startswith(f"{task}/") and "tiles_to_prompt" in name
            ]
            tokens = np.mean([m[:, genes].mean(axis=0, dtype=np.float64) for m in maps], axis=0)
            result[task] = tokens @ self.shares.astype(np.float64)
        return result


def _quadrature() -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes in (0, 1), as many per stretch as in a checked integral, and weights that add up to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    starts, lengths = _STRETCHES[:-1, None], np.diff(_STRETCHES)[:, None]
    return (starts + lengths * (nodes + 1) / 2).ravel(), (lengths * weights / 2).ravel()
