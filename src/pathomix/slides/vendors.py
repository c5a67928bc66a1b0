"""What each scanner vendor's own properties say of scale and objective (spec slides_and_encoders 1.2).

OpenSlide copies most of them into ``openslide.mpp-x/-y`` and ``openslide.objective-power``; these keys count where it
did not, or where what it copied cannot be true.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

Pair = tuple[float, float]

_MIRAX = "mirax.LAYER_0_LEVEL_0_SECTION.MICROMETER_PER_PIXEL_"
# key of both axes -> µm per pixel of one unit of it
_SQUARE = {"aperio.MPP": 1.0, "ventana.ScanRes": 1.0, "sakura.ResolutionMmPerPix": 1000.0}
_POWERS = (
    "openslide.objective-power",
    "aperio.AppMag",
    "hamamatsu.SourceLens",
    "leica.objective",
    "mirax.GENERAL.OBJECTIVE_MAGNIFICATION",
    "trestle.Objective Power",
    "ventana.Magnification",
    "sakura.NominalLensMagnification",
    "argos.ObjectiveMagnification",
    "dicom.OpticalPathSequence[0].ObjectiveLensPower",
)
_UNIT_UM = {"centimeter": 10_000.0, "inch": 25_400.0}
_OME_UM = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}  # both signs for micro occur


def number(text: str | None) -> float | None:
    """A positive finite number, None for anything else."""
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) and value > 0 else None


def pair(properties: Mapping[str, str], x: str, y: str, factor: float = 1.0) -> Pair | None:
    """Two properties as numbers, times a factor."""
    first, second = number(properties.get(x)), number(properties.get(y))
    return None if first is None or second is None else (first * factor, second * factor)


def vendor_mpp(properties: Mapping[str, str]) -> Pair | None:
    """µm per pixel along x and y by the vendor's own keys."""
    for key, factor in _SQUARE.items():
        square = pair(properties, key, key, factor)
        if square:
            return square
    if properties.get("openslide.vendor") == "trestle":  # it writes µm per pixel into the resolution tags
        return pair(properties, "tiff.XResolution", "tiff.YResolution")
    return (
        _dicom(properties)
        or _philips(properties)
        or pair(properties, f"{_MIRAX}X", f"{_MIRAX}Y")
        or _hamamatsu(properties)
    )


def objective_power(properties: Mapping[str, str]) -> float | None:
    """Nominal magnification, by OpenSlide's property or the vendor's; ``20x`` is read as 20."""
    for key in _POWERS:
        value = number(properties.get(key, "").strip().rstrip("xX") or None)
        if value:
            return value
    return None


def tiff_mpp(properties: Mapping[str, str]) -> Pair | None:
    """µm per pixel by the TIFF resolution tags: a missing unit means inch, the unit ``none`` means nothing is known."""
    if properties.get("openslide.vendor") == "trestle":
        return None
    unit = _UNIT_UM.get(properties.get("tiff.ResolutionUnit", "inch").lower())
    resolution = pair(properties, "tiff.XResolution", "tiff.YResolution")
    return None if unit is None or resolution is None else (unit / resolution[0], unit / resolution[1])


def ome_mpp(properties: Mapping[str, str]) -> Pair | None:
    """µm per pixel by the OME-XML of an OME-TIFF: the entry whose size is that of level 0; the default unit is µm."""
    width, height = (properties.get(f"openslide.level[0].{side}") for side in ("width", "height"))
    for text in _descriptions(properties):
        for tag in re.findall(r"<(?:\w+:)?Pixels\b[^>]*>", text):
            entry = dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', tag))
            if width is not None and (entry.get("SizeX"), entry.get("SizeY")) != (width, height):
                continue
            sizes = []
            for axis in "XY":
                unit = _OME_UM.get(entry.get(f"PhysicalSize{axis}Unit", "µm"))
                size = number(entry.get(f"PhysicalSize{axis}"))
                sizes.append(None if unit is None or size is None else size * unit)
            if sizes[0] is not None and sizes[1] is not None:
                return sizes[0], sizes[1]
    return None


def comment_mpp(properties: Mapping[str, str]) -> Pair | None:
    """µm per pixel by an Aperio-style ``MPP = 0.25`` in the free text."""
    for text in _descriptions(properties):
        match = re.search(r"\bMPP\s*=\s*([0-9.]+)", text)
        value = number(match.group(1)) if match else None
        if value:
            return value, value
    return None


def _descriptions(properties: Mapping[str, str]) -> list[str]:
    return [properties.get(key, "") for key in ("openslide.comment", "tiff.ImageDescription")]


def _dicom(properties: Mapping[str, str]) -> Pair | None:
    """Millimetres; element 0 is the spacing of rows, that is y."""
    key = next((key[:-3] for key in properties if key.endswith("PixelSpacing[0]")), None)
    return None if key is None else pair(properties, f"{key}[1]", f"{key}[0]", 1000.0)


def _philips(properties: Mapping[str, str]) -> Pair | None:
    """DICOM spacing in one text: ``"0.000227" "0.000226"``, millimetres, rows first."""
    values = [number(text) for text in properties.get("philips.DICOM_PIXEL_SPACING", "").replace('"', " ").split()]
    if len(values) != 2 or values[0] is None or values[1] is None:
        return None
    return values[1] * 1000, values[0] * 1000


def _hamamatsu(properties: Mapping[str, str]) -> Pair | None:
    """VMS and VMU: the size of the scan in nanometres over its pixels."""
    sizes = []
    for side, name in (("width", "PhysicalWidth"), ("height", "PhysicalHeight")):
        pixels = number(properties.get(f"openslide.level[0].{side}"))
        length = number(properties.get(f"hamamatsu.{name}"))
        sizes.append(None if pixels is None or length is None else length / 1000 / pixels)
    return None if sizes[0] is None or sizes[1] is None else (sizes[0], sizes[1])
