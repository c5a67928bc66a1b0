"""All parameters of the simulator in one place, read from one JSON object."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import numpy as np

from pathomix.core.errors import PathomixError

_REMEDY = "correct the `simulation` section of the configuration"
_PATTERNS = 3


@dataclass(frozen=True)
class CohortParameters:
    """One simulated cohort.

    Attributes:
        patients: Number of patients.
        classes: Names of the diagnoses, two or three; their order is the order of the growth patterns (glandular,
            solid, mucinous).
        ood: Out of distribution: another organ (cell types, batch, stain and nuclear size differ).
    """

    patients: int
    classes: tuple[str, ...]
    ood: bool = False


@dataclass(frozen=True)
class Effects:
    """Log-hazard per standard deviation of each independent contribution, and how readable the class is.

    Attributes:
        image: Extent of the planted morphology.
        expression: Activity of the prognostic pathway programme.
        alterations: Score of mutated and gained or lost drivers.
        age: Age at diagnosis.
        stage: Pathological stage.
        site: Standard deviation of the tissue source site's log-hazard.
        class_separation: Distance of a class from the others, in standard deviations, in image and in expression each.
        stain_shift: Relative standard deviation of the stain vectors between sites.
        batch_shift: Standard deviation of log2 expression between sites.
        pathway: Natural-log change of a gene per standard deviation of its pathway's activity.
        expression_noise: Standard deviation of a gene's own natural-log noise.
    """

    image: float = 1.20
    expression: float = 1.20
    alterations: float = 0.95
    age: float = 0.48
    stage: float = 0.48
    site: float = 0.25
    class_separation: float = 1.9
    stain_shift: float = 0.10
    batch_shift: float = 0.35
    pathway: float = 0.40
    expression_noise: float = 0.30


@dataclass(frozen=True)
class Outcome:
    """Weibull baseline and the mechanisms of censoring.

    Attributes:
        median_days: Median survival at log-hazard 0.
        shape: Weibull shape.
        accrual_days: Patients enter evenly over this span before the study's end.
        minimum_follow_up_days: Follow-up possible for the last patient who entered.
        loss_median_days: Median of loss at random.
        age_loss_median_days: Median of loss for a patient of mean age; one standard deviation older doubles the rate.
        closing_sites: Share of sites that stop follow-up early.
        closing_days: Follow-up at such a site.
    """

    median_days: float = 700.0
    shape: float = 1.5
    accrual_days: float = 3400.0
    minimum_follow_up_days: float = 1400.0
    loss_median_days: float = 10000.0
    age_loss_median_days: float = 10000.0
    closing_sites: float = 0.25
    closing_days: float = 2000.0


@dataclass(frozen=True)
class Missing:
    """Shares of patients without an item (`slides`: number of patients), and of unclassifiable diagnoses."""

    expression: float = 0.03
    copy_number: float = 0.03
    mutation: float = 0.03
    stage: float = 0.06
    grade: float = 0.04
    age: float = 0.01
    unclassifiable: float = 0.03
    slides: int = 2


@dataclass(frozen=True)
class Samples:
    """Additional samples in the molecular tables: second tumour samples and normal tissue per cohort."""

    second_tumour: int = 5
    normal: int = 8


@dataclass(frozen=True)
class SlideParameters:
    """Slides. Shares are of slides, except `two_slides` (of patients); defects only in training cohorts.

    Attributes:
        size_um: Edge of the square canvas in micrometres.
        extent: Smallest and largest share of tissue with the planted morphology.
        extent_noise: Standard deviation between slides of one patient.
        fine: Share scanned at 0.25 instead of 0.5 micrometres per pixel.
        two_pieces: Share with a second piece of tissue.
        pen: Share with a pen mark.
        blurred: Share with a region out of focus.
        two_slides: Share of patients with two slides.
        unreadable: Number of truncated files.
        without_mpp: Number of files whose header lacks the resolution.
        quality: JPEG quality.
    """

    size_um: float = 512.0
    extent: tuple[float, ...] = (0.03, 0.60)
    extent_noise: float = 0.015
    fine: float = 0.3
    two_pieces: float = 0.2
    pen: float = 0.08
    blurred: float = 0.08
    two_slides: float = 0.12
    unreadable: int = 1
    without_mpp: int = 1
    quality: int = 85


@dataclass(frozen=True)
class Atlas:
    """Labelled single cells whose types compose the bulk profiles."""

    cells: int = 1500
    donors: int = 6
    counts_per_cell: int = 2500


def _default_cohorts() -> dict[str, CohortParameters]:
    return {
        "sim_a": CohortParameters(360, ("Acinar carcinoma", "Solid carcinoma")),
        "sim_b": CohortParameters(360, ("Acinar carcinoma", "Solid carcinoma", "Mucinous carcinoma")),
        "sim_c": CohortParameters(120, ("Tubular carcinoma", "Medullary carcinoma"), ood=True),
    }


@dataclass(frozen=True)
class Parameters:
    """Everything the simulated data depend on: equal parameters give equal bytes.

    Attributes:
        seed: Seed of every random stream.
        permute_outcomes: Shuffle (time, event), and separately class, and stage with grade, over patients at the end.
        cohorts: Cohort name to its parameters.
    """

    seed: int = 0
    permute_outcomes: bool = False
    cohorts: Mapping[str, CohortParameters] = field(default_factory=_default_cohorts)
    effects: Effects = field(default_factory=Effects)
    outcome: Outcome = field(default_factory=Outcome)
    missing: Missing = field(default_factory=Missing)
    samples: Samples = field(default_factory=Samples)
    slides: SlideParameters = field(default_factory=SlideParameters)
    atlas: Atlas = field(default_factory=Atlas)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Parameters:
        """Defaults overridden by `content`; a cohort table given replaces the default cohorts.

        Raises:
            PathomixError: An unknown key, a value of the wrong type, or a cohort that cannot be simulated.
        """
        cohorts = content.get("cohorts")
        plain = {key: value for key, value in content.items() if key != "cohorts"}
        result: Parameters = _build(cls, plain, "simulation")
        if cohorts is not None:
            if not isinstance(cohorts, Mapping) or not cohorts:
                raise PathomixError("simulation.cohorts is not a table of cohorts", remedy=_REMEDY)
            built = {
                str(name): _build(CohortParameters, c, f"simulation.cohorts.{name}") for name, c in cohorts.items()
            }
            result = dataclasses.replace(result, cohorts=built)
        for name, cohort in result.cohorts.items():
            if not 2 <= len(set(cohort.classes)) == len(cohort.classes) <= _PATTERNS or cohort.patients < 20:
                raise PathomixError(
                    "a simulated cohort needs two or three different classes and at least 20 patients",
                    offending=[name],
                    remedy=_REMEDY,
                )
        return result

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for JSON."""
        return dataclasses.asdict(self)

    def cohort(self, name: str) -> CohortParameters:
        """Parameters of one cohort.

        Raises:
            PathomixError: There is no such cohort.
        """
        if name not in self.cohorts:
            raise PathomixError(
                "no such simulated cohort",
                offending=[name],
                remedy=f"choose one of {', '.join(self.cohorts)} or add it to simulation.cohorts",
            )
        return self.cohorts[name]

    def random(self, *stream: str) -> np.random.Generator:
        """Generator of a named stream: drawing more in one stream never changes another."""
        digest = hashlib.sha256("/".join((str(self.seed), *stream)).encode()).digest()
        return np.random.default_rng(np.frombuffer(digest[:16], dtype=np.uint32).tolist())


def _build(kind: type[Any], content: object, where: str) -> Any:
    if not isinstance(content, Mapping):
        raise PathomixError(f"{where} is not a table of keys", offending=[repr(content)], remedy=_REMEDY)
    hints = get_type_hints(kind)
    unknown = sorted(set(map(str, content)) - set(hints))
    if unknown:
        raise PathomixError(f"{where}: unknown keys", offending=unknown, remedy=f"known keys are {', '.join(hints)}")
    required = {f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING}
    required -= {f.name for f in dataclasses.fields(kind) if f.default_factory is not dataclasses.MISSING}
    missing = sorted(required - set(content))
    if missing:
        raise PathomixError(f"{where}: keys are missing", offending=missing, remedy=_REMEDY)
    return kind(**{key: _value(hints[key], value, f"{where}.{key}") for key, value in content.items()})


def _value(hint: Any, value: object, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)  # type: ignore[arg-type]
    if hint is bool and isinstance(value, bool):
        return value
    if hint in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        if hint is float:
            return float(value)
        if value == int(value):
            return int(value)
    if hint == tuple[str, ...] and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if hint == tuple[float, ...] and isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value):
        return tuple(float(v) for v in value)
    raise PathomixError(f"{where} has the wrong type", offending=[repr(value)], remedy=_REMEDY)
