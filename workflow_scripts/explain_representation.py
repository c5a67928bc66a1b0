"""Explain patients by a trained model: attention of genes and tiles, integrated gradients of pathways, controlled."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pathomix.core import script

if TYPE_CHECKING:
    from pathomix.representations.explain import Scalar
    from pathomix.representations.explain_run import Scalars
    from pathomix.representations.modaltune import FittedModalTune


def main(options: argparse.Namespace) -> None:
    """Explain one fold and seed."""
    from pathomix.cohort.loader import load_cases
    from pathomix.core.schemas import MODEL_INDEX, SPLITS
    from pathomix.core.tables import read_table
    from pathomix.representations.explain_run import ExplanationCell, OtherSeed, explain_cell
    from pathomix.slides.feature_store import FeatureStore

    tiles = FeatureStore(options.features, options.results) if options.features else None
    cell = ExplanationCell(
        configuration=options.parameters,
        slide_encoder=options.slide_encoder,
        cohort=options.cohort,
        foreign=options.foreign,
        fold=options.fold,
        inputs=_inputs(options),
        tolerance=options.tolerance,
        evaluations=options.evaluations,
    )
    explain_cell(
        cell,
        load_cases(options.cohort_dir, tiles=tiles),
        read_table(options.splits, SPLITS),
        read_table(options.models, MODEL_INDEX),
        options.patients.split(",") if options.patients else options.first,
        _scalars(options, options.probe, options.texts),
        options.results,
        options.output,
        [
            OtherSeed(read_table(models, MODEL_INDEX), _scalars(options, probe, None if probe else options.texts))
            for models, probe in _others(options)
        ],
    )


def _others(options: argparse.Namespace) -> list[tuple[Path, Path | None]]:
    """Index of models and folder of the probe of every other seed."""
    from pathomix.core.errors import PathomixError

    models, probes = options.other_models, options.other_probes
    if (probes and len(probes) != len(models)) or bool(options.probe and models) != bool(probes):
        raise PathomixError(
            f"{len(models)} other seeds and {len(probes)} probes of them",
            remedy="give one --other-probes per --other-models, and none without --probe",
        )
    return list(zip(models, probes or [None] * len(models), strict=True))


def _inputs(options: argparse.Namespace) -> dict[str, str]:
    """Digests of everything read."""
    from pathomix.core.files import file_digest
    from pathomix.representations.files import input_digests

    read = input_digests(options.cohort_dir, options.features or (), options.texts or (), options.slide_encoder)
    files = {"splits": options.splits, "models": options.models}
    files |= {"probe": options.probe / "model.safetensors"} if options.probe else {}
    for number, (models, probe) in enumerate(_others(options)):
        files |= {f"models{number}": models}
        files |= {f"probe{number}": probe / "model.safetensors"} if probe else {}
    return read | {name: file_digest(path) for name, path in files.items()}


def _scalars(options: argparse.Namespace, folder: Path | None, labels: list[Path] | None) -> Scalars:
    """Scalars of the probe, of the label texts, or of both."""
    from pathomix.core.errors import PathomixError
    from pathomix.representations.explain import probe_scalars, text_scalars
    from pathomix.representations.explain_run import read_probe
    from pathomix.text.store import StoredTexts

    if not folder and not labels:
        raise PathomixError(
            "nothing to explain", remedy="give --probe (a run of the method probe), --texts (label texts), or both"
        )
    probe = read_probe(folder) if folder else None
    texts = StoredTexts(labels, options.fold) if labels else None

    def of(model: FittedModalTune, patient: str) -> list[Scalar]:
        found = probe_scalars(*probe, options.token, model.width) if probe else []
        return found + (text_scalars(model, texts, patient) if texts and patient in texts.patient_ids else [])

    return of


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    arguments.add_argument("--parameters", required=True, type=script.json_object, help="representation, as trained")
    arguments.add_argument("--slide-encoder", required=True, type=script.json_object, help="slide encoder, as trained")
    arguments.add_argument("--models", required=True, type=Path, help="index of train_representation")
    arguments.add_argument("--cohort", required=True)
    arguments.add_argument("--cohort-dir", required=True, type=Path)
    arguments.add_argument("--features", type=Path, nargs="+", help="merged feature indices of the cohort")
    arguments.add_argument("--splits", required=True, type=Path)
    arguments.add_argument("--fold", type=int, default=0)
    arguments.add_argument("--foreign", action="store_true", help="the model was not trained on this cohort")
    arguments.add_argument("--probe", type=Path, help="folder of one run of the method probe: its risk and logits")
    arguments.add_argument("--token", default="general", help="vector the probe was fitted on")
    arguments.add_argument("--texts", type=Path, nargs="+", help="label texts: the cosine with each task's target")
    arguments.add_argument("--other-models", type=Path, nargs="*", default=[], help="indices of models of other seeds")
    arguments.add_argument(
        "--other-probes", type=Path, nargs="*", default=[], help="runs of the probe on them, in order"
    )
    arguments.add_argument("--patients", default="", help="ids, comma-separated")
    arguments.add_argument("--first", type=int, default=2, help="without --patients: so many of the test part")
    arguments.add_argument("--tolerance", type=float, default=0.01, help="of the attributions' sum, relative")
    arguments.add_argument("--evaluations", type=int, default=512, help="most points on the path of one attribution")
    arguments.add_argument("--results", required=True, type=Path)
    arguments.add_argument("--output", required=True, type=Path, help="folder")
    script.run(main, arguments)
