"""The tissue that is used, against the simulator's truth: tissue without ink and without what is out of focus."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest
import shapely

from pathomix.core.errors import PathomixError
from pathomix.simulate.slide_plan import GRID_UM, SlidePlan, layout, pen_stroke
from pathomix.simulate.slides import write_slide
from pathomix.slides.find_tissue import Networks, dice, find_tissue
from pathomix.slides.outlines import read_outlines
from pathomix.slides.reader import open_slide
from pathomix.slides.segment import segment_slide
from pathomix.slides.tissue_parameters import TissueParameters

# as config/demo.yaml: the simulated slides are half a millimetre across
DEMO = {
    "thumbnail_mpp": 4.0,
    "min_area_mm2": 0.005,
    "max_hole_mm2": 0.002,
    "close_um": 12.0,
    "min_blur_mm2": 0.004,
}
OTSU = {"masker": "tiatoolbox_otsu", "exclude_pen": False, "exclude_blur": False}
STAINS = np.array([(1.30, 1.45, 0.62), (0.12, 0.86, 0.42)])
OOD_STAINS = np.array([(1.05, 1.45, 0.85), (0.22, 0.95, 0.30)])
CLEAN = {f"clean{k}": {} for k in range(6)}
MARKED = {
    "blurred": {"blurred": True},
    "blue": {"pen": "blue"},
    "green": {"pen": "green"},
    "black": {"pen": "black"},
    "blue_blurred": {"pen": "blue", "blurred": True},
    "black_blurred": {"pen": "black", "blurred": True},
}


def plan(number: int, name: str, **marks) -> SlidePlan:
    """Slides of both organs, of one piece and two, of both scans, with stains that vary by a tenth."""
    ood = number % 3 == 2
    noise = np.random.default_rng([number, *name.encode()]).standard_normal((2, 3))
    stains = (OOD_STAINS if ood else STAINS) * (1 + 0.1 * noise)
    base = SlidePlan(
        slide_id=name, patient_id="P", seed=100 + number, size_um=512.0, mpp=0.25 if number == 4 else 0.5, has_mpp=True,
        truncated=False, extent=0.2, patterns=(0.4, 0.3, 0.3), tissue_share=0.62, pieces=1 + number % 2, pen=None,
        blurred=False, ood=ood, stains=tuple(stains.ravel().tolist()), quality=85,
    )  # fmt: skip
    return dataclasses.replace(base, **marks)


def truth(planned: SlidePlan, side: int):
    """Bool [side, side]: tissue, neither under ink nor out of focus."""
    drawn = layout(planned)
    assert drawn.tissue.shape[0] == round(planned.size_um / GRID_UM)

    def at(field):
        return cv2.resize(field.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)

    return (at(drawn.tissue) > 0.5) & (at(drawn.blur) < 0.5) & (at(pen_stroke(planned, drawn)) < 127)


def scored(planned: SlidePlan, folder, name: str, **changes) -> float:
    """Dice of what segment_slide wrote, as raster of 4 µm."""
    path = folder / f"{planned.slide_id}.tiff"
    if not path.exists():
        write_slide(planned, path, "0" * 32)
    row = {"slide_id": planned.slide_id, "patient_id": "P", "path": path.name, "mpp": None, "md5": None, "size": None}
    results = folder / name
    segment_slide(row, folder, TissueParameters(**{**DEMO, **changes}), results)
    outlines = read_outlines(results / "slides" / planned.slide_id / "tissue.geojson")
    side = 128
    y, x = (np.mgrid[0:side, 0:side] + 0.5) * planned.pixels / side
    return dice(shapely.contains_xy(outlines, x, y), truth(planned, side))


@pytest.mark.parametrize(("name", "least"), [("clean1", 0.95), ("blue_blurred", 0.90), ("black", 0.90)])
def test_simulated_tissue_is_found_without_its_artefacts(tmp_path, name, least):
    marks = {**CLEAN, **MARKED}[name]
    assert scored(plan(1, name, **marks), tmp_path, "colour") >= least


@pytest.mark.slow  # twelve slides and the import of tiatoolbox
def test_dice_on_clean_and_marked_slides_beside_plain_otsu(tmp_path):
    rows = []
    for group, least in ((CLEAN, 0.95), (MARKED, 0.90)):
        for number, (name, marks) in enumerate(group.items()):
            planned = plan(number, name, **marks)
            rows.append((name, least, scored(planned, tmp_path, "colour"), scored(planned, tmp_path, "otsu", **OTSU)))
    print("\n| slide | colour, artefacts excluded | tiatoolbox Otsu |\n|---|---|---|")
    for name, _, ours, otsu in rows:
        print(f"| {name} | {ours:.3f} | {otsu:.3f} |")
    assert all(ours >= least for _, least, ours, _ in rows)
    assert all(ours > otsu for name, _, ours, otsu in rows if name in MARKED)


def test_exclusion_is_a_switch(tmp_path):
    planned = plan(0, "both", pen="blue", blurred=True)
    kept = {"exclude_pen": False, "exclude_blur": False}
    area = {}
    for name, changes in {"both": {}, "pen": {"exclude_blur": False}, "none": kept}.items():
        scored(planned, tmp_path, name, **changes)
        report = json.loads((tmp_path / name / "slides/both/qc.json").read_text())
        area[name] = report["tissue_mm2"]
        assert report["focus_judged"] == (name == "both")
        assert report["pen_share"] > 0.02
        assert sum(report["shares"].values()) == pytest.approx(1)
        assert (report["shares"]["blurred"] > 0.02) == (name == "both")
    assert area["both"] < 0.95 * area["pen"] and area["pen"] < 0.97 * area["none"]


def test_no_tissue_is_left_under_ink_and_none_out_of_focus(tmp_path):
    planned = plan(0, "both", pen="blue", blurred=True)
    write_slide(planned, tmp_path / "both.tiff", "0" * 32)
    taken = {}
    with open_slide(tmp_path / "both.tiff") as slide:
        thumbnail = slide.thumbnail(4.0)
        for close_um in (12.0, 60.0):  # a closing that bridges the stroke must not bring it back
            settings = TissueParameters(**{**DEMO, "close_um": close_um})
            found = find_tissue(slide, thumbnail, settings, "colour", Networks(settings))
            assert found.pen.any() and not (found.mask & found.pen).any()
            assert found.blurred.any() and not (found.mask & found.blurred).any()
            taken[close_um] = (found.whole & found.pen).mean()
    assert taken[60.0] > 2 * taken[12.0]


def test_artefacts_go_by_any_masker_and_agreement_falls_where_colour_and_darkness_differ(zoo, kit, tmp_path, image):
    settings = TissueParameters(**kit.tissue)
    with open_slide(zoo / "coarse.tiff") as slide:
        thumbnail = slide.thumbnail(4.0)
        found = {m: find_tissue(slide, thumbnail, settings, m, Networks(settings)) for m in ("colour", "luminance")}
    assert found["colour"].checked_by == "luminance" and found["luminance"].checked_by == "colour"
    assert found["colour"].agreement == pytest.approx(found["luminance"].agreement) and found["colour"].agreement > 0.95
    grey = kit.halved(image[0])
    shade = grey.copy()
    shade[:, 700:] = (shade[:, 700:] * 0.6).astype(np.uint8)  # shadow: dark, not stained
    with open_slide(kit.write_slide(tmp_path / "shade.tiff", shade, 0.5, levels=2)) as slide:
        found = find_tissue(slide, slide.thumbnail(4.0), settings, "colour", Networks(settings))
    assert found.agreement < 0.85
    assert found.foreign.mean() > 0.05


def test_dice():
    first, second = np.array([True, True, False]), np.array([True, False, False])
    assert dice(first, second) == pytest.approx(2 / 3)
    assert dice(~first & first, second & ~second) == 1.0


def test_a_network_without_weights_is_named():
    with pytest.raises(PathomixError, match=r"hest needs its weights.*masker_weights.hest to deeplabv3_seg_v4.ckpt"):
        Networks(TissueParameters()).find("hest")


def test_lost_weights_are_named(tmp_path):
    settings = TissueParameters(masker="grandqc", masker_weights={"grandqc": str(tmp_path / "absent.pth")})
    with pytest.raises(PathomixError, match=r"absent\.pth: no such weights file"):
        Networks(settings).digests("grandqc")
    assert Networks(settings).digests("colour") == {}
