"""Order of sources and refusal of the implausible (spec 1.2, 1.3)."""

from __future__ import annotations

import math

import pytest

from pathomix.core.errors import PathomixError
from pathomix.slides.scale import Scale, ScaleRules, resolve_scale, scale_conflict, stated_scales

HEADER = {"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.252"}
APERIO = {"aperio.MPP": "0.4990"}
TIFF = {"tiff.XResolution": "20000", "tiff.YResolution": "20000", "tiff.ResolutionUnit": "centimeter"}
COMMENT = {"openslide.comment": "Aperio Image|AppMag = 20|MPP = 0.4990|x"}
POWER = {"openslide.objective-power": "20"}
ABSURD = {"openslide.mpp-x": "352.8", "openslide.mpp-y": "352.8"}
OME = {"openslide.comment": '<OME><Pixels SizeX="9" SizeY="9" PhysicalSizeX="0.3" PhysicalSizeY="0.3"/></OME>'}


@pytest.mark.parametrize(
    ("properties", "table", "x", "y", "source"),
    [
        ({**HEADER, **APERIO}, 0.3, 0.25, 0.252, "header"),
        (ABSURD, 0.3, 0.3, 0.3, "table"),
        ({}, 0.3, 0.3, 0.3, "table"),
        (POWER, 0.3, 0.3, 0.3, "table"),
        ({**COMMENT, **POWER}, 0.3, 0.499, 0.499, "comment"),
        ({**ABSURD, **TIFF, **OME}, None, 0.3, 0.3, "ome"),
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


@pytest.mark.parametrize("properties", [{}, HEADER, {**ABSURD, **TIFF}, {"openslide.mpp-x": "text"}])
def test_an_override_wins_over_everything(properties):
    scale = resolve_scale(properties, 0.3, override_mpp=0.7)
    assert (scale.x, scale.y, scale.source) == (0.7, 0.7, "override")
    assert resolve_scale(HEADER, override_mpp=math.nan).source == "header"
    with pytest.raises(PathomixError, match=r"mpp 250 in the overrides table is outside 0\.05-5"):
        resolve_scale(properties, override_mpp=250.0)


@pytest.mark.parametrize(
    ("properties", "table", "override", "conflict"),
    [
        (HEADER, 0.5, None, (math.sqrt(0.25 * 0.252), 0.5)),
        (HEADER, 0.26, None, None),
        (HEADER, 0.265, None, (math.sqrt(0.25 * 0.252), 0.265)),
        ({**ABSURD, **APERIO}, 0.25, None, (0.499, 0.25)),
        (ABSURD, 0.25, None, None),
        (HEADER, None, None, None),
        (HEADER, 0.5, 0.5, (math.sqrt(0.25 * 0.252), 0.5)),
    ],
)
def test_file_and_table_that_disagree_are_both_named(properties, table, override, conflict, caplog):
    stated = stated_scales(properties, table, override)
    assert scale_conflict(stated) == (None if conflict is None else pytest.approx(conflict))
    resolve_scale(properties, table, name="a.svs", override_mpp=override)
    warned = "a.svs: the file says" in caplog.text
    assert warned == (conflict is not None and override is None)
    if warned:
        assert f"{conflict[0]:g}" in caplog.text and f"{table:g}" in caplog.text


def test_all_that_is_said_is_kept_in_the_order_of_trust():
    rules = ScaleRules(allow_objective=True)
    stated = stated_scales({**ABSURD, **APERIO, **TIFF, **COMMENT, **POWER}, 0.3, 0.31, rules)
    assert list(stated) == ["override", "header", "vendor", "tiff", "comment", "table", "objective"]
    assert stated["header"] == (352.8, 352.8) and stated["objective"] == (0.5, 0.5)
    assert "objective" not in stated_scales(POWER)


def test_anisotropy_over_ten_percent_is_refused_and_an_override_settles_it(caplog):
    uneven = {"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.56"}
    with pytest.raises(PathomixError, match="differ by 11%") as error:
        resolve_scale(uneven, 0.5)
    assert "overrides table" in error.value.remedy
    assert resolve_scale(uneven, override_mpp=0.5).y == 0.5
    resolve_scale({"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.52"})
    assert "differ by 3.8 %" in caplog.text


def test_the_mean_scale_is_that_of_the_pixels_area():
    assert Scale(0.2, 0.8, "header").mean == pytest.approx(0.4)
