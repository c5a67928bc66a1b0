"""Order of sources and refusal of the implausible (spec 1.2, 1.3)."""

from __future__ import annotations

import math

import pytest

from pathomix.core.errors import PathomixError
from pathomix.slides.scale import ScaleRules, resolve_scale

HEADER = {"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.252"}
APERIO = {"aperio.MPP": "0.4990"}
TIFF = {"tiff.XResolution": "20000", "tiff.YResolution": "20000", "tiff.ResolutionUnit": "centimeter"}
COMMENT = {"openslide.comment": "Aperio Image|AppMag = 20|MPP = 0.4990|x"}
POWER = {"openslide.objective-power": "20"}
ABSURD = {"openslide.mpp-x": "352.8", "openslide.mpp-y": "352.8"}


@pytest.mark.parametrize(
    ("properties", "table", "x", "y", "source"),
    [
        ({**HEADER, **APERIO}, 0.3, 0.3, 0.3, "table"),
        ({**HEADER, **APERIO}, None, 0.25, 0.252, "header"),
        ({**ABSURD, **APERIO, **TIFF}, None, 0.499, 0.499, "vendor"),
        ({**TIFF, **COMMENT}, math.nan, 0.5, 0.5, "tiff"),
        (
            {"tiff.XResolution": "101600", "tiff.YResolution": "101600"},
            None, 0.25, 0.25, "tiff",
        ),
        ({**COMMENT, **POWER}, None, 0.499, 0.499, "comment"),
        ({"dicom.A[0].PixelSpacing[0]": "0.0005", "dicom.A[0].PixelSpacing[1]": "0.00049"}, None, 0.49, 0.5, "vendor"),
        ({**ABSURD, "tiff.XResolution": "72", "tiff.YResolution": "72", "tiff.ResolutionUnit": "inch", **COMMENT},
         None, 0.499, 0.499, "comment"),
    ],
)  # fmt: skip
def test_the_first_plausible_source_wins(properties, table, x, y, source):
    scale = resolve_scale(properties, table)
    assert (scale.source, scale.x, scale.y) == (source, pytest.approx(x), pytest.approx(y))


def test_the_objective_is_believed_only_when_allowed():
    with pytest.raises(PathomixError, match="allow_objective"):
        resolve_scale(POWER)
    scale = resolve_scale(POWER, rules=ScaleRules(allow_objective=True))
    assert (scale.x, scale.source) == (0.5, "objective")


@pytest.mark.parametrize("value", ["nan", "inf", "-0.25", "0", "", "text", "6.0", "0.04"])
def test_an_implausible_header_is_refused_never_guessed(value):
    with pytest.raises(PathomixError, match="no plausible mpp") as error:
        resolve_scale({"openslide.mpp-x": value, "openslide.mpp-y": value}, name="slide.svs")
    assert "slide.svs" in str(error.value) and "column mpp" in error.value.remedy


def test_a_unit_of_none_gives_no_scale():
    with pytest.raises(PathomixError, match="no plausible mpp"):
        resolve_scale({**TIFF, "tiff.ResolutionUnit": "none"})


def test_nanometres_in_the_table_are_refused():
    with pytest.raises(PathomixError, match="nanometres"):
        resolve_scale(HEADER, 250.0)


def test_anisotropy_over_ten_percent_is_refused_and_the_table_settles_it(caplog):
    uneven = {"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.56"}
    with pytest.raises(PathomixError, match="differ by 11%"):
        resolve_scale(uneven)
    assert resolve_scale(uneven, 0.5).y == 0.5
    resolve_scale({"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.52"})
    assert "differ by 3.8 %" in caplog.text
