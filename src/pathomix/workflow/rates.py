"""Rates a plan reckons with: the defaults of ``resources/rates.yaml``, replaced by what runs have left behind."""

from __future__ import annotations

import csv
import json
import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pathomix.core.errors import PathomixError
from pathomix.workflow.amounts import Amount

_ON = re.compile(r"INFO \S+: (?P<encoder>\S+) on (?P<device>cuda|cpu)\S*, ")
_ENCODED = re.compile(r"encode\[(?P<encoder>[^\]]+)\]=(?P<rate>\d+)/s")


@dataclass(frozen=True)
class Rate:
    """Something per something, and where the figure comes from."""

    amount: Amount
    source: str


@dataclass(frozen=True)
class Rates:
    """Defaults.

    Attributes:
        tissue: mm² of tissue per slide.
        encode: Tiles per second of one GPU, by model of the tile encoder.
        read: Million pixels per second of one core, at the scale of the tiles.
    """

    tissue: Rate
    encode: Mapping[str, Rate]
    read: Rate


@dataclass(frozen=True)
class RuleTime:
    """What the jobs of a rule took.

    Attributes:
        jobs: Measured jobs.
        seconds: Mean wall seconds of a job.
        cpu_seconds: Mean processor seconds of a job, None where Snakemake could not tell.
    """

    jobs: int
    seconds: float
    cpu_seconds: float | None


@dataclass(frozen=True)
class Measured:
    """What runs have left behind.

    Attributes:
        rules: By name of the rule.
        encode: Tiles per second of one GPU, by name of the tile encoder in the configuration; the middle half of the
            slides.
        tissue: mm² of tissue per slide, the mean; None where no slide has been looked at.
    """

    rules: Mapping[str, RuleTime] = field(default_factory=dict)
    encode: Mapping[str, Rate] = field(default_factory=dict)
    tissue: Rate | None = None


def read_rates(path: Path) -> Rates:
    """Read the defaults.

    Raises:
        PathomixError: The file is missing or malformed.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Rates(
            _rate(content["tissue_mm2_per_slide"]),
            {str(model): _rate(entry) for model, entry in content["tiles_per_gpu_second"].items()},
            _rate(content["read_mpx_per_core_second"]),
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise PathomixError(f"{path}: no table of rates ({error})", remedy="restore it from the repository") from error


def _rate(entry: Mapping[str, Any]) -> Rate:
    amount = Amount(float(entry["low"]), float(entry["high"]))
    if not amount.low or not str(entry["source"]).strip():
        raise ValueError(f"{dict(entry)}: a rate is above 0 and has a source")
    return Rate(amount, str(entry["source"]))


def measured_rates(results: Path) -> Measured:
    """Read benchmarks, the logs of `embed_tiles` and the slides' quality reports; nothing there, nothing measured.

    Speeds of a tile encoder count from jobs that ran on a GPU only.
    """
    times: dict[str, list[tuple[float, float | None]]] = {}
    folder = results / "benchmarks"
    for path in sorted(folder.rglob("*.tsv")):
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
        times.setdefault(rule, []).extend(_benchmark(path))
    speeds: dict[str, list[float]] = {}
    for path in sorted((results / "logs" / "embed_tiles").glob("*.log")):
        for encoder, rate in _gpu_speeds(path):
            speeds.setdefault(encoder, []).append(rate)
    return Measured(
        {rule: _mean(rows) for rule, rows in times.items() if rows},
        {encoder: _middle(values) for encoder, values in speeds.items()},
        _tissue(results / "slides"),
    )


def _benchmark(path: Path) -> list[tuple[float, float | None]]:
    """Wall and processor seconds of each run in a benchmark file; rows that are not whole do not count."""
    found = []
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            seconds, cpu = _number(row.get("s")), _number(row.get("cpu_time"))
            if seconds is not None:
                found.append((seconds, cpu))
    return found


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def _mean(rows: list[tuple[float, float | None]]) -> RuleTime:
    cpu = [value for _, value in rows if value is not None]
    return RuleTime(len(rows), statistics.fmean(row[0] for row in rows), statistics.fmean(cpu) if cpu else None)


def _gpu_speeds(path: Path) -> Iterable[tuple[str, float]]:
    devices: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        found = _ON.search(line)
        if found:
            devices[found["encoder"]] = found["device"]
        for match in _ENCODED.finditer(line):
            if devices.get(match["encoder"]) == "cuda" and int(match["rate"]):
                yield match["encoder"], float(match["rate"])


def _tissue(folder: Path) -> Rate | None:
    areas = []
    for path in sorted(folder.glob("*/qc.json")):
        try:
            areas.append(float(json.loads(path.read_text(encoding="utf-8"))["tissue_mm2"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    mean = statistics.fmean(areas) if areas else 0.0
    return Rate(Amount(mean, mean), f"measured here on {len(areas)} slides") if mean > 0 else None


def _middle(values: list[float]) -> Rate:
    """The middle half of the slides: one slide that waited for its disk must not make a plan."""
    quarters = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return Rate(Amount(quarters[0], quarters[2]), f"measured here on {len(values)} slides")
