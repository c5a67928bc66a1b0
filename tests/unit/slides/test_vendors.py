"""Scale and objective by the keys of every vendor of spec 1.2: OpenSlide's property first, else the vendor's own."""

from __future__ import annotations

import pytest

from pathomix.slides.scale import resolve_scale
from pathomix.slides.vendors import comment_mpp, objective_power, ome_mpp, tiff_mpp, vendor_mpp

DICOM = "dicom.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing"
MIRAX = "mirax.LAYER_0_LEVEL_0_SECTION.MICROMETER_PER_PIXEL_"
SIZE = {"openslide.level[0].width": "1000", "openslide.level[0].height": "2000"}


def cm(x, y=None):
    return {"tiff.XResolution": x, "tiff.YResolution": y or x, "tiff.ResolutionUnit": "centimeter"}


# backend, properties without openslide.mpp-*, µm per pixel along x and y, source, power
VENDORS = [
    ("aperio", {"aperio.MPP": "0.2521", "aperio.AppMag": "40"}, (0.2521, 0.2521), "vendor", 40),
    ("hamamatsu", {**cm("43985", "43800"), "hamamatsu.SourceLens": "40"}, (0.22735, 0.22831), "tiff", 40),
    (
        "hamamatsu",  # VMS
        {**SIZE, "hamamatsu.PhysicalWidth": "230000", "hamamatsu.PhysicalHeight": "462000",
         "hamamatsu.SourceLens": "20.0"},
        (0.23, 0.231), "vendor", 20,
    ),
    ("leica", {**cm("20000"), "leica.objective": "20"}, (0.5, 0.5), "tiff", 20),
    ("mirax", {f"{MIRAX}X": "0.2325", f"{MIRAX}Y": "0.2330", "mirax.GENERAL.OBJECTIVE_MAGNIFICATION": "20x"},
     (0.2325, 0.2330), "vendor", 20),
    ("philips", {"philips.DICOM_PIXEL_SPACING": '"0.000227" "0.000226"'}, (0.226, 0.227), "vendor", None),
    ("ventana", {"ventana.ScanRes": "0.25", "ventana.Magnification": "40"}, (0.25, 0.25), "vendor", 40),
    ("trestle", {"tiff.XResolution": "0.25", "tiff.YResolution": "0.24", "tiff.ResolutionUnit": "inch",
                 "trestle.Objective Power": "40"}, (0.25, 0.24), "vendor", 40),
    ("sakura", {"sakura.ResolutionMmPerPix": "0.000238", "sakura.NominalLensMagnification": "20"},
     (0.238, 0.238), "vendor", 20),
    ("zeiss", {"openslide.mpp-x": "0.22", "openslide.mpp-y": "0.221", "openslide.objective-power": "20"},
     (0.22, 0.221), "header", 20),
    ("dicom", {f"{DICOM}[0]": ".00025", f"{DICOM}[1]": ".000245",
               "dicom.OpticalPathSequence[0].ObjectiveLensPower": "40"}, (0.245, 0.25), "vendor", 40),
    ("huron", cm("25000"), (0.4, 0.4), "tiff", None),
    ("argos", {**cm("20000"), "argos.ObjectiveMagnification": "20"}, (0.5, 0.5), "tiff", 20),
    ("generic-tiff", {"tiff.XResolution": "101600", "tiff.YResolution": "101600"}, (0.25, 0.25), "tiff", None),
]  # fmt: skip


@pytest.mark.parametrize(("vendor", "properties", "mpp", "source", "power"), VENDORS)
def test_every_vendors_scale_and_objective(vendor, properties, mpp, source, power):
    stated = {"openslide.vendor": vendor, **properties}
    scale = resolve_scale(stated)
    assert (scale.x, scale.y) == (pytest.approx(mpp[0], rel=1e-4), pytest.approx(mpp[1], rel=1e-4))
    assert scale.source == source and objective_power(stated) == power
    header = {"openslide.mpp-x": str(mpp[0] * 1.01), "openslide.mpp-y": str(mpp[1] * 1.01)}
    assert resolve_scale({**stated, **header}).source == "header"


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"aperio.MPP": ""},
        {"philips.DICOM_PIXEL_SPACING": '"0.000227"'},
        {"philips.DICOM_PIXEL_SPACING": '"0.000227" "x"'},
        {"hamamatsu.PhysicalWidth": "230000", "hamamatsu.PhysicalHeight": "462000"},
        {f"{MIRAX}X": "0.25"},
        {f"{DICOM}[0]": "0.00025"},
    ],
)
def test_half_a_statement_is_none(properties):
    assert vendor_mpp(properties) is None and objective_power(properties) is None


def test_resolution_tags():
    assert tiff_mpp(cm("72")) == pytest.approx((138.889, 138.889), rel=1e-5)
    assert tiff_mpp({**cm("20000"), "tiff.ResolutionUnit": "none"}) is None
    assert tiff_mpp({**cm("0.25"), "openslide.vendor": "trestle"}) is None


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ('PhysicalSizeX="0.25" PhysicalSizeY="0.26"', (0.25, 0.26)),
        ('PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="0.00026" PhysicalSizeYUnit="mm"', (0.25, 0.26)),
        ('PhysicalSizeX="0.25" PhysicalSizeXUnit="μm" PhysicalSizeY="0.26" PhysicalSizeYUnit="µm"', (0.25, 0.26)),
        ('PhysicalSizeX="0.25" PhysicalSizeXUnit="pixel" PhysicalSizeY="0.26"', None),
        ('PhysicalSizeX="0.25"', None),
    ],
)
def test_ome_sizes_have_units_and_belong_to_level_0(pixels, expected):
    label = '<Pixels SizeX="10" SizeY="20" PhysicalSizeX="9" PhysicalSizeY="9"/>'
    text = f'<OME:OME>{label}<OME:Pixels SizeX="1000" SizeY="2000" {pixels}><Channel/></OME:Pixels></OME:OME>'
    found = ome_mpp({**SIZE, "tiff.ImageDescription": text})
    assert found == (None if expected is None else pytest.approx(expected))


def test_comments():
    assert comment_mpp({"openslide.comment": "Aperio|AppMag = 20|MPP = 0.4990|x"}) == (0.499, 0.499)
    assert comment_mpp({"openslide.comment": "COMPP = 3", "tiff.ImageDescription": "MPP=0.3"}) == (0.3, 0.3)
    assert comment_mpp({"openslide.comment": "MPP = 1.2.3"}) is None
