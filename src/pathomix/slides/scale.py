"""Physical scale of a slide in µm per pixel, and where it was learned (spec slides_and_encoders 1.2, 1.3)."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pathomix.core.errors import PathomixError

log = logging.getLogger(__name__)

_UNIT_UM = {"centimeter": 10_000.0, "inch": 25_400.0}
_WARN_ANISOTROPY = 0.02
_MAX_ANISOTROPY = 0.10
_REMEDY = "set it in the column mpp of the cohort's slide table, or leave the slide out"


@dataclass(frozen=True)
class Scale:
    """µm per level-0 pixel along x and y.

    Attributes:
        x: µm per pixel along x.
        y: µm per pixel along y.
        source: ``table``, ``header``, ``vendor``, ``tiff``, ``comment`` or ``objective``.
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


def resolve_scale(
    properties: Mapping[str, str], table_mpp: float | None = None, rules: ScaleRules | None = None, name: str = "slide"
) -> Scale:
    """The first plausible source: user table, header, vendor keys, TIFF tags, comment, objective (if allowed).

    Args:
        properties: OpenSlide's properties (empty for a plain image).
        table_mpp: µm per pixel from the user's table.
        rules: What may be believed.
        name: File name for messages.

    Raises:
        PathomixError: No plausible source, or the axes differ by more than 10 %.
    """
    rules = rules or ScaleRules()
    if table_mpp is not None and not math.isnan(table_mpp):
        if not rules.plausible(table_mpp):
            low, high = rules.mpp_window
            raise PathomixError(
                f"{name}: mpp {table_mpp:g} in the slide table is outside {low:g}-{high:g} µm per pixel",
                remedy="correct the column mpp (µm per pixel, not nanometres), or widen slides.tissue.mpp_window",
            )
        return Scale(float(table_mpp), float(table_mpp), "table")
    refused = []
    for source, pair in _candidates(properties, rules):
        if pair is None:
            continue
        if rules.plausible(pair[0]) and rules.plausible(pair[1]):
            return _isotropic_enough(Scale(pair[0], pair[1], source), name)
        refused.append(f"{source} says {pair[0]:g} x {pair[1]:g}")
    fact = f"{name}: no plausible mpp" + (f" ({'; '.join(refused)})" if refused else " in the file")
    power = _number(properties.get("openslide.objective-power"))
    hint = (
        "" if not power or rules.allow_objective else f", or allow the objective ({power:g}x): slides.allow_objective"
    )
    raise PathomixError(fact, remedy=_REMEDY + hint)


def _isotropic_enough(scale: Scale, name: str) -> Scale:
    deviation = abs(scale.x / scale.y - 1)
    if deviation > _MAX_ANISOTROPY:
        raise PathomixError(
            f"{name}: mpp {scale.x:g} along x and {scale.y:g} along y differ by {deviation:.0%}",
            remedy="set one value in the column mpp of the slide table if the pixels are square",
        )
    if deviation > _WARN_ANISOTROPY:
        log.warning("%s: mpp %g along x and %g along y differ by %.1f %%", name, scale.x, scale.y, 100 * deviation)
    return scale


def _candidates(properties: Mapping[str, str], rules: ScaleRules) -> list[tuple[str, tuple[float, float] | None]]:
    result = [
        ("header", _pair(properties, "openslide.mpp-x", "openslide.mpp-y")),
        ("vendor", _vendor(properties)),
        ("tiff", _tiff(properties)),
        ("comment", _comment(properties)),
    ]
    if rules.allow_objective:
        power = _number(properties.get("openslide.objective-power"))
        result.append(("objective", (10 / power, 10 / power) if power else None))
    return result


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) and value > 0 else None


def _pair(properties: Mapping[str, str], x: str, y: str, factor: float = 1.0) -> tuple[float, float] | None:
    first, second = _number(properties.get(x)), _number(properties.get(y))
    return None if first is None or second is None else (first * factor, second * factor)


def _vendor(properties: Mapping[str, str]) -> tuple[float, float] | None:
    aperio = _pair(properties, "aperio.MPP", "aperio.MPP")
    if aperio:
        return aperio
    spacing = next((key[:-3] for key in properties if key.endswith("PixelSpacing[0]")), None)
    if spacing:  # DICOM: millimetres, element 0 is the spacing of rows, that is y
        return _pair(properties, f"{spacing}[1]", f"{spacing}[0]", 1000.0)
    mirax = "mirax.LAYER_0_LEVEL_0_SECTION.MICROMETER_PER_PIXEL_"
    return _pair(properties, f"{mirax}X", f"{mirax}Y")


def _tiff(properties: Mapping[str, str]) -> tuple[float, float] | None:
    unit = _UNIT_UM.get(properties.get("tiff.ResolutionUnit", "inch").lower())
    resolution = _pair(properties, "tiff.XResolution", "tiff.YResolution")
    return None if unit is None or resolution is None else (unit / resolution[0], unit / resolution[1])


def _comment(properties: Mapping[str, str]) -> tuple[float, float] | None:
    for key in ("openslide.comment", "tiff.ImageDescription"):
        match = re.search(r"\bMPP\s*=\s*([0-9.]+)", properties.get(key, ""))
        value = _number(match.group(1)) if match else None
        if value:
            return value, value
    return None
