"""Quality report: areas and shares against planted masks, flags."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from shapely.geometry import box

from pathomix.slides.find_tissue import FoundTissue
from pathomix.slides.focus import FocusMap
from pathomix.slides.quality import flags_of, quality_report
from pathomix.slides.reader import open_slide


@pytest.fixture(scope="module")
def judged(zoo):
    """A report of planted masks on a real thumbnail of 128 x 128 pixels of 4 µm."""
    shape = (128, 128)
    masks = {name: np.zeros(shape, dtype=bool) for name in ("mask", "whole", "pen", "blurred", "foreign")}
    masks["whole"][20:84, 20:84] = True
    masks["blurred"][20:84, 68:84] = True  # a quarter
    masks["pen"][100:116, :] = True
    masks["pen"][20:24, 20:24] = True
    masks["mask"] = masks["whole"] & ~masks["blurred"] & ~masks["pen"]
    masks["foreign"][0:8, 0:8] = True
    energy = np.ones(shape, np.float32)
    focus = FocusMap(energy, energy, masks["whole"], unread=2)
    found = FoundTissue(agreement=0.9, checked_by="luminance", focus=focus, shares={}, **masks)
    with open_slide(zoo / "coarse.tiff", table_mpp=1.0) as slide:
        report = quality_report(slide, slide.thumbnail(4.0), found, [box(0, 0, 100, 200)], {})
    return found, report


def test_areas_and_shares(judged):
    found, report = judged
    assert report["tissue_mm2"] == pytest.approx(100 * 200 * 0.25 / 1e6)
    assert report["tissue_share"] == pytest.approx(100 * 200 / 1024**2)
    assert report["blurred_share_of_tissue"] == pytest.approx(0.25)
    assert report["pen_share"] == pytest.approx(found.pen.mean())
    shares = report["shares"]
    assert sum(shares.values()) == pytest.approx(1)
    for name in ("pen", "blurred", "foreign"):
        assert shares[name] == pytest.approx(getattr(found, name).mean())
    assert shares["tissue"] == pytest.approx(found.mask.mean())


def test_scale_and_focus(judged):
    _, report = judged
    assert report["mpp_source"] == "header" and report["mpp_conflict"] == [pytest.approx(0.5), 1.0]
    assert report["mpp_stated"]["table"] == [1.0, 1.0]
    assert report["sharpness"] == pytest.approx(0.5) and report["unread_parts"] == 2
    assert json.loads(json.dumps(report, allow_nan=False)) == report


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"pen_share": 0.01}, "pen"),
        ({"blurred_share_of_tissue": 0.3}, "partly out of focus"),
        ({"sharpness": 0.02}, "soft"),
        ({"shares": {"foreign": 0.05}}, "foreign matter"),
        ({"mask_confidence": 0.4}, "mask uncertain"),
        ({"unread_parts": 1}, "unreadable parts"),
        ({"mpp_conflict": [0.25, 0.5]}, "scale disputed"),
        ({"mpp_source": "objective"}, "scale by objective"),
        ({"override": {"mpp": 0.5}}, "override"),
        ({"outlines_edited": True}, "edited by hand"),
    ],
)
def test_each_flag_has_its_cause(judged, change, flag):
    good = {
        **judged[1],
        "pen_share": 0.0,
        "blurred_share_of_tissue": 0.0,
        "shares": {"foreign": 0.0},
        "unread_parts": 0,
        "mpp_conflict": None,
    }
    assert flags_of(good) == []
    assert flags_of({**good, **change}) == [flag]


def test_a_disputed_scale_that_a_person_settled_is_no_dispute(judged):
    settled = {**judged[1], "mpp_source": "override", "override": {"mpp": 0.5}}
    assert "scale disputed" in flags_of(judged[1]) and "scale disputed" not in flags_of(settled)


def test_confidence_and_separation_where_there_is_no_outside(judged, kit, image, tmp_path):
    found, report = judged
    assert report["mask_confidence"] == 0.9 and report["mask_separation"] is not None
    everywhere = dataclasses.replace(found, whole=np.ones_like(found.whole), focus=None)
    path = kit.write_slide(tmp_path / "s.tiff", kit.halved(image[0]), 0.5)
    with open_slide(path) as slide:
        report = quality_report(slide, slide.thumbnail(4.0), everywhere, [box(0, 0, 9, 9)], {})
    assert report["mask_separation"] is None and report["sharpness"] is None and not report["focus_judged"]
