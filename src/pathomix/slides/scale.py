"""Physical scale of a slide in µm per pixel, and where it was learned (spec slides_and_encoders 1.2, 1.3)."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

from pathomix.core.errors import PathomixError
from pathomix.slides.vendors import comment_mpp, objective_power, ome_mpp, pair, tiff_mpp, vendor_mpp

log = logging.getLogger(__name__)

FILE_SOURCES = ("header", "vendor", "ome", "tiff", "comment")
GIVEN_SOURCES = ("override", "table")
_WARN_ANISOTROPY = 0.02
_MAX_ANISOTROPY = 0.10
_MAX_CONFLICT = 0.05
_REMEDY = "set it in the column mpp of the cohort's slide table, or leave the slide out"
_GIVEN_BY = {"override": "the overrides table", "table": "the slide table"}


@dataclass(frozen=True)
class Scale:
    """µm per level-0 pixel along x and y.

    Attributes:
        x: µm per pixel along x.
        y: µm per pixel along y.
        source: ``override``, ``header``, ``vendor``, ``ome``, ``tiff``, ``comment``, ``table`` or ``objective``.
    """

    x: float
    y: float
    source: str

    @property
    def mean(self) -> float:
        """Geometric mean of both axes: the scale whose square is the pixel's area."""
        return math.sqrt(self.x * self.y)


@dataclass(frozen=True)
class ScaleRules:
    """What may be believed.

    Attributes:
        allow_objective: Derive 10/power µm per pixel from the objective where nothing else is known.
        mpp_window: Smallest and largest plausible µm per pixel; 72-dpi TIFF tags (352.8) fall outside.
    """

    allow_objective: bool = False
    mpp_window: tuple[float, float] = (0.05, 5.0)

    def plausible(self, value: float) -> bool:
        """Whether a number can be a slide's µm per pixel."""
        return math.isfinite(value) and self.mpp_window[0] <= value <= self.mpp_window[1]


def known(mpp: float | None) -> bool:
    """Whether a table gives a scale (a missing cell arrives as NaN or None)."""
    return mpp is not None and not math.isnan(mpp)


def stated_scales(
    properties: Mapping[str, str],
    table_mpp: float | None = None,
    override_mpp: float | None = None,
    rules: ScaleRules | None = None,
) -> dict[str, tuple[float, float]]:
    """Everything that is said about a slide's scale, plausible or not, most trusted first.

    Args:
        properties: OpenSlide's properties (empty for a plain image).
        table_mpp: µm per pixel from the user's slide table.
        override_mpp: µm per pixel from the overrides table: a deliberate correction.
        rules: What may be believed.

    Returns:
        µm per pixel along x and y by source.
    """
    found = {
        "override": _square(override_mpp),
        "header": pair(properties, "openslide.mpp-x", "openslide.mpp-y"),
        "vendor": vendor_mpp(properties),
        "ome": ome_mpp(properties),
        "tiff": tiff_mpp(properties),
        "comment": comment_mpp(properties),
        "table": _square(table_mpp),
    }
    power = objective_power(properties)
    if power and rules and rules.allow_objective:
        found["objective"] = (10 / power, 10 / power)
    return {source: numbers for source, numbers in found.items() if numbers is not None}


def resolve_scale(
    properties: Mapping[str, str],
    table_mpp: float | None = None,
    rules: ScaleRules | None = None,
    name: str = "slide",
    override_mpp: float | None = None,
) -> Scale:
    """The first plausible source: overrides table, file, slide table, objective (if allowed).

    The file speaks by its header, vendor keys, OME-XML, TIFF tags and comment, in this order. The slide table says what
    the file does not; it does not win against the file, because a column filled by a rule of thumb is wrong more often
    than a scanner. Where both speak and differ by more than 5 %, a warning names both.

    Args:
        properties: OpenSlide's properties (empty for a plain image).
        table_mpp: µm per pixel from the user's slide table.
        rules: What may be believed.
        name: File name for messages.
        override_mpp: µm per pixel from the overrides table.

    Raises:
        PathomixError: No plausible source, a given number is not plausible, or the axes differ by more than 10 %.
    """
    rules = rules or ScaleRules()
    stated = stated_scales(properties, table_mpp, override_mpp, rules)
    for source in GIVEN_SOURCES:
        if source in stated and not rules.plausible(stated[source][0]):
            low, high = rules.mpp_window
            raise PathomixError(
                f"{name}: mpp {stated[source][0]:g} in {_GIVEN_BY[source]} is outside {low:g}-{high:g} µm per pixel",
                remedy="correct the column mpp (µm per pixel, not nanometres), or widen slides.tissue.mpp_window",
            )
    refused = []
    for source, numbers in stated.items():
        if all(map(rules.plausible, numbers)):
            _warn_of_conflict(stated, rules, name)
            return _isotropic_enough(Scale(*numbers, source), name)
        refused.append(f"{source} says {numbers[0]:g} x {numbers[1]:g}")
    fact = f"{name}: no plausible mpp" + (f" ({'; '.join(refused)})" if refused else " in the file")
    power = objective_power(properties)
    hint = (
        ""
        if not power or rules.allow_objective
        else f", or allow the objective ({power:g}x): slides.tissue.allow_objective"
    )
    raise PathomixError(fact, remedy=_REMEDY + hint)


def scale_conflict(
    stated: Mapping[str, tuple[float, float]], rules: ScaleRules | None = None
) -> tuple[float, float] | None:
    """What the file and the slide table say (mean µm per pixel of each), where they differ by more than 5 %.

    Args:
        stated: What `stated_scales` returned.
        rules: What may be believed; an implausible number of the file is no contradiction.
    """
    rules = rules or ScaleRules()
    plausible = [stated[s] for s in FILE_SOURCES if s in stated and all(map(rules.plausible, stated[s]))]
    if not plausible or "table" not in stated:
        return None
    file, table = math.sqrt(plausible[0][0] * plausible[0][1]), stated["table"][0]
    return (file, table) if abs(file / table - 1) > _MAX_CONFLICT else None


def _warn_of_conflict(stated: Mapping[str, tuple[float, float]], rules: ScaleRules, name: str) -> None:
    conflict = scale_conflict(stated, rules)
    if conflict and "override" not in stated:
        log.warning(
            "%s: the file says %g µm per pixel, the slide table %g: the file's is used; to correct it, set mpp of this "
            "slide in the overrides table",
            name,
            *conflict,
        )


def _isotropic_enough(scale: Scale, name: str) -> Scale:
    deviation = abs(scale.x / scale.y - 1)
    if deviation > _MAX_ANISOTROPY:
        raise PathomixError(
            f"{name}: mpp {scale.x:g} along x and {scale.y:g} along y differ by {deviation:.0%}",
            remedy="set mpp of this slide in the overrides table if the pixels are square",
        )
    if deviation > _WARN_ANISOTROPY:
        log.warning("%s: mpp %g along x and %g along y differ by %.1f %%", name, scale.x, scale.y, 100 * deviation)
    return scale


def _square(mpp: float | None) -> tuple[float, float] | None:
    return (float(mpp), float(mpp)) if mpp is not None and known(mpp) else None
