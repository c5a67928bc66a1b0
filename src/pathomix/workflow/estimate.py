"""What a run will take: slides, bytes, GPU-hours and core-hours, with what is not known said and never counted as 0."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pathomix.acquire.lock import Lock, read_lock
from pathomix.acquire.weights import Missing, missing_weights, read_registry
from pathomix.core.errors import PathomixError
from pathomix.slides.encoders.entries import spec_of, tiling_of
from pathomix.workflow.amounts import Amount, exactly, total, unknown
from pathomix.workflow.needs import needed_cohorts, needed_features, weight_entries
from pathomix.workflow.plan import Plan
from pathomix.workflow.rates import Measured, Rate, Rates, measured_rates, read_rates

REGISTRY, RATES = "resources/weights.yaml", "resources/rates.yaml"
_HOUR = 3600.0
# Features are stored as float16, with two int32 coordinates per tile.
_FEATURE_BYTES, _COORDINATE_BYTES = 2, 8


@dataclass(frozen=True)
class CohortSize:
    """How large a cohort is.

    Attributes:
        slides: Number of slides.
        patients: Number of patients.
        slide_bytes: Bytes of all slides.
        to_fetch: Bytes of the slides that are not there yet.
        source: Where the numbers come from.
    """

    slides: Amount
    patients: Amount
    slide_bytes: Amount
    to_fetch: Amount
    source: str


@dataclass(frozen=True)
class EncoderLoad:
    """What one tile encoder has to do.

    Attributes:
        tiles: Tiles of all its cohorts.
        gpu_hours: Hours of one GPU.
        feature_bytes: Bytes of its features.
        rate: Tiles per second that this reckons with, None where none is known.
    """

    tiles: Amount
    gpu_hours: Amount
    feature_bytes: Amount
    rate: Rate | None


@dataclass(frozen=True)
class Estimate:
    """What the reported rows of a configuration take.

    Attributes:
        cohorts: By name, members of unions on their own.
        slides: Of all cohorts; those that share a slide lock count once.
        patients: Likewise.
        encoders: By name in the configuration.
        read_hours: Core-hours of reading tiles, by embedding pass.
        download: Bytes to download.
        features: Bytes of all features.
        keep: Bytes that stay on disk: slides, features, other fetched files and missing weights.
        sources: Where each figure that this reckons with comes from.
    """

    cohorts: Mapping[str, CohortSize]
    slides: Amount
    patients: Amount
    encoders: Mapping[str, EncoderLoad]
    read_hours: Mapping[str, Amount]
    download: Amount
    features: Amount
    keep: Amount
    sources: Mapping[str, str]


# arithmetic


def tiles_per_slide(tissue_mm2: Amount, size: int, mpp: float, overlap: int = 0) -> Amount:
    """Tiles that cover an area of tissue: each one adds its edge less the overlap, squared.

    Args:
        tissue_mm2: Area in mm².
        size: Edge of a tile in pixels.
        mpp: µm per pixel.
        overlap: Pixels that neighbours share.
    """
    step_mm = (size - overlap) * mpp / 1000
    return tissue_mm2 * (1 / step_mm**2)


def encode_hours(tiles: Amount, per_second: Amount) -> Amount:
    """Hours of one GPU that encodes so many tiles per second."""
    return tiles / per_second * (1 / _HOUR)


def read_hours(tiles: Amount, size: int, mpx_per_second: Amount) -> Amount:
    """Core-hours of reading tiles of `size` pixels."""
    return tiles * (size**2 / 1e6) / mpx_per_second * (1 / _HOUR)


def feature_bytes(tiles: Amount, dim: int) -> Amount:
    """Bytes of features of width `dim` with their coordinates."""
    return tiles * float(dim * _FEATURE_BYTES + _COORDINATE_BYTES)


def job_hours(jobs: Mapping[str, int], measured: Measured) -> dict[str, Amount]:
    """Wall hours of the jobs of each rule, one after the other, as far as jobs of that rule have been measured."""
    return {
        rule: exactly(count * measured.rules[rule].seconds / _HOUR)
        if rule in measured.rules
        else unknown(f"no job of {rule} has run here")
        for rule, count in jobs.items()
    }


# what the plan says


def cohort_size(plan: Plan, cohort: str) -> CohortSize:
    """Size of a described cohort: by its slide lock, else by its built tables, else not known."""
    locks = plan.cohorts.lock_paths(cohort)
    if locks and (plan.root / locks[0]).is_file():
        try:
            return _of_lock(plan, _read_lock(plan.root / locks[0]), locks[0])
        except PathomixError as error:
            return _counted(plan.root / locks[0], locks[0], error.fact)
    report = plan.root / plan.results / "cohort" / cohort / "report.json"
    why = f"{locks[0]} is not there" if locks else f"{cohort} is not built"
    if report.is_file():
        # Without a lock the slides are the user's own, where they are.
        remote = unknown(why) if locks else exactly(0)
        return _of_report(report, f"{plan.results}/cohort/{cohort}", remote)
    simulated = plan.cohorts.simulation.get("cohorts", {}).get(cohort, {}).get("patients")
    size = _nothing(why)
    return size if simulated is None else CohortSize(
        size.slides, exactly(simulated), size.slide_bytes, size.to_fetch, "configuration"
    )  # fmt: skip


def _nothing(why: str) -> CohortSize:
    return CohortSize(unknown(why), unknown(why), unknown(why), unknown(why), "")


@cache
def _read_lock(path: Path) -> Lock:
    return read_lock(path)


def _of_lock(plan: Plan, lock: Lock, source: str) -> CohortSize:
    folder = plan.root / plan.acquisition.slide_folder
    absent = [s.size for s in lock.slides if not _is_there(folder / s.project / s.file_name, s.size)]
    return CohortSize(
        exactly(len(lock.slides)),
        exactly(len({slide.patient_id for slide in lock.slides})),
        exactly(sum(slide.size for slide in lock.slides)),
        exactly(sum(absent)),
        source,
    )


def _counted(path: Path, source: str, why: str) -> CohortSize:
    """A lock that cannot be downloaded by (made from lists, for dry runs) still tells how many slides there are."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        patients = {row["patient_id"] for row in rows}
    except (OSError, UnicodeDecodeError, KeyError):
        return _nothing(why)
    return CohortSize(exactly(len(rows)), exactly(len(patients)), unknown(why), unknown(why), source)


def _is_there(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _of_report(path: Path, source: str, to_fetch: Amount) -> CohortSize:
    counts: Any = {}
    try:
        counts = json.loads(path.read_text(encoding="utf-8")).get("counts", {})
    except (OSError, ValueError, AttributeError) as error:
        return _nothing(f"{path}: cannot be read ({error})")
    why = f"{source} holds no lock of slides"
    slides, patients = (
        exactly(counts[key]) if isinstance(counts.get(key), int) else unknown(f"{path} does not tell {key}")
        for key in ("slides", "patients")
    )
    return CohortSize(slides, patients, unknown(why), to_fetch, source)


def encoder_load(
    plan: Plan, encoder: str, slides: Mapping[str, Amount], rates: Rates, measured: Measured
) -> EncoderLoad:
    """What a tile encoder has to do with the slides of its cohorts."""
    entry = plan.slides.encoders[encoder]
    size, mpp = tiling_of(entry)
    overlap = int(plan.slides.tiles.get("overlap", 0))
    tiles = total(
        count * tiles_per_slide(_tissue(plan, cohort, rates, measured), size, mpp, overlap)
        for cohort, count in slides.items()
    )
    rate = measured.encode.get(encoder) or rates.encode.get(str(entry.get("model")))
    speed = rate.amount if rate else unknown(f"the speed of {encoder} is neither published nor measured here")
    dim = spec_of(entry.get("model")).dim
    held = feature_bytes(tiles, dim) if dim else unknown(f"the width of {encoder}'s features is known once it has run")
    return EncoderLoad(tiles, encode_hours(tiles, speed), held, rate)


def _tissue(plan: Plan, cohort: str, rates: Rates, measured: Measured) -> Amount:
    """mm² of tissue per slide."""
    if measured.tissue:
        return measured.tissue.amount
    # The default is that of a resection; simulated slides are half a millimetre across.
    return unknown("no simulated slide is there") if plan.cohorts.is_simulated(cohort) else rates.tissue.amount


def estimate(plan: Plan, rates: Rates, measured: Measured, missing: Iterable[Missing] = ()) -> Estimate:
    """Everything together.

    Args:
        plan: The configuration.
        rates: Defaults.
        measured: What goes before them.
        missing: Weights that have to be fetched still.
    """
    sizes = {cohort: cohort_size(plan, cohort) for cohort in needed_cohorts(plan)}
    needed = needed_features(plan)
    fetched = [sizes[cohort] for cohort in _once(plan, {c for cohorts in needed.values() for c in cohorts})]
    loads = {
        name: encoder_load(plan, name, {c: sizes[c].slides for c in _once(plan, cohorts)}, rates, measured)
        for name, cohorts in needed.items()
    }
    reading = {name: _pass_hours(encoders, loads, plan, rates) for name, encoders in plan.slides.passes.items()}
    weights = total(_bytes_of(item) for item in missing)
    files = _files(plan, list(sizes))
    absent = total(size for path, size in files.items() if not (plan.root / path).is_file())
    features = total(load.feature_bytes for load in loads.values())
    return Estimate(
        sizes,
        slides=total(sizes[cohort].slides for cohort in _once(plan, sizes)),
        patients=total(sizes[cohort].patients for cohort in _once(plan, sizes)),
        encoders=loads,
        read_hours={name: hours for name, hours in reading.items() if hours is not None},
        download=total(size.to_fetch for size in fetched) + absent + weights,
        features=features,
        keep=total(size.slide_bytes for size in fetched) + features + total(files.values()) + weights,
        sources=_sources(loads, rates, measured),
    )


def current_estimate(plan: Plan) -> tuple[Estimate, list[Missing]]:
    """The estimate by the repository's rates and what was measured below the results folder; weights still missing."""
    missing = missing_weights(weight_entries(plan), plan.root, read_registry(plan.root / REGISTRY))
    measured = measured_rates(plan.root / plan.results)
    return estimate(plan, read_rates(plan.root / RATES), measured, missing), missing


def _once(plan: Plan, cohorts: Iterable[str]) -> list[str]:
    """One cohort of each slide lock: descriptions that share a lock share its slides and their features."""
    return list({tuple(plan.cohorts.lock_paths(cohort)) or (cohort,): cohort for cohort in sorted(cohorts)}.values())


def _pass_hours(encoders: Iterable[str], loads: Mapping[str, EncoderLoad], plan: Plan, rates: Rates) -> Amount | None:
    """Encoders of one tiling read its tiles once."""
    tilings: dict[tuple[int, float], Amount] = {}
    for encoder in encoders:
        if encoder in loads:
            tilings[tiling_of(plan.slides.encoders[encoder])] = loads[encoder].tiles
    parts = [read_hours(tiles, size, rates.read.amount) for (size, _), tiles in tilings.items()]
    return total(parts) if parts else None


def _files(plan: Plan, cohorts: Iterable[str]) -> dict[str, Amount]:
    """Sizes of the named files that these cohorts and the atlases read, by their pins."""
    pins: Any = {}
    path = plan.root / plan.acquisition.pins
    if plan.acquisition.pins and path.is_file():
        pins = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    read = {name for cohort in cohorts for name in plan.cohorts.description_inputs(cohort)}
    wanted = [name for name in plan.acquisition.files if name in read or name.startswith("raw/atlas/")]
    sizes: dict[str, int | None] = {}
    for name in wanted:
        path = plan.root / plan.acquisition.folder / name
        sizes[name] = path.stat().st_size if path.is_file() else pins.get(name, {}).get("size")
    why = f"{sum(size is None for size in sizes.values())} files that are fetched by name are not pinned yet"
    return {
        f"{plan.acquisition.folder}/{name}": unknown(why) if size is None else exactly(size)
        for name, size in sizes.items()
    }


def _bytes_of(missing: Missing) -> Amount:
    """Bytes of what is lacking: the one file that is named, or those of a folder."""
    files = missing.weight.files if missing.weight else ()
    named = {*missing.lacking, Path(missing.path).name}
    wanted = [file for file in files if file.file in named] or (
        list(files) if len(files) == 1 or _is_folder(missing) else []
    )
    why = f"the size of {missing.path} is not known"
    return total(exactly(f.about_mb * 1e6) if f.about_mb else unknown(why) for f in wanted) if wanted else unknown(why)


def _is_folder(missing: Missing) -> bool:
    """Whether the path names a folder of several files: it has no suffix."""
    return not Path(missing.path).suffix


def _sources(loads: Mapping[str, EncoderLoad], rates: Rates, measured: Measured) -> dict[str, str]:
    if not loads:
        return {}
    found = {"tissue per slide": (measured.tissue or rates.tissue).source, "reading": rates.read.source}
    return found | {f"speed of {name}": load.rate.source for name, load in loads.items() if load.rate}
