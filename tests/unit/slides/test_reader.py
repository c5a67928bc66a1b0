"""Pixels at a wanted scale, white outside, a fresh handle after an error."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile
from openslide import OpenSlide

from pathomix.core.errors import PathomixError
from pathomix.slides.backends import OpenSlideBackend
from pathomix.slides.reader import (
    Slide,
    background_rgb,
    choose_level,
    composite,
    open_scaled,
    open_slide,
    resample,
    trusted_levels,
)
from pathomix.slides.scale import Scale, ScaleRules


@pytest.mark.parametrize(
    ("downsamples", "wanted", "level", "resize"),
    [
        ((1.0, 4.0003, 16.002), 4.0, 1, False),
        ((1.0, 4.0003, 16.002), 1.983, 0, True),
        ((1.0, 4.0, 16.0), 15.0, 1, True),
        ((1.0, 4.0), 64.0, 1, True),
        ((1.0, 2.0), 1.996, 1, False),
        ((1.0,), 0.9, 0, True),
    ],
)
def test_level_choice(downsamples, wanted, level, resize):
    choice = choose_level(downsamples, wanted)
    assert (choice.level, choice.downsample, choice.resize) == (level, downsamples[level], resize)


def test_enlarging_by_more_than_15_percent_is_refused():
    with pytest.raises(PathomixError, match="coarser"):
        choose_level((1.0,), 0.5, "slide")


def test_unscanned_pixels_take_the_background_not_black():
    rgba = np.zeros((2, 2, 4), dtype=np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    rgba[0, 1] = (100, 100, 100, 128)
    result = composite(rgba, (255, 255, 255))
    assert result[0, 0].tolist() == [10, 20, 30]
    assert result[0, 1].tolist() == [177, 177, 177]
    assert (result[1] == 255).all()
    assert background_rgb({"openslide.background-color": "0A0B0C"}) == (10, 11, 12)
    assert background_rgb({"openslide.background-color": "nonsense"}) == (255, 255, 255)


def test_every_transparency_is_blended_and_rounded():
    alpha, colour = np.meshgrid(np.arange(256), np.array([0, 1, 100, 254, 255]), indexing="ij")
    rgba = np.stack([colour, colour[:, ::-1], alpha // 2, alpha], axis=-1).astype(np.uint8)
    background = np.array([250, 128, 3])
    weight = rgba[..., 3:] / 255
    expected = np.floor(rgba[..., :3] * weight + background * (1 - weight) + 0.5)
    np.testing.assert_array_equal(composite(rgba, (250, 128, 3)), expected)


def test_reading_beyond_the_canvas_pads_with_white(zoo, image, kit):
    coarse = kit.halved(image[0])
    for path, mpp in ((zoo / "coarse.tiff", None), (zoo / "plain.png", 0.5)):
        with open_slide(path, mpp) as slide:
            region = slide.read(1000, -4, 0, 40, 20)
        assert (region[:, 24:] == 255).all() and (region[:4] == 255).all()
        np.testing.assert_array_equal(region[4:, :24], coarse[0:16, 1000:1024])


def test_locations_are_level_0_on_every_level(zoo, image, kit):
    with open_slide(zoo / "fine.tiff") as slide:
        region = slide.read(512, 256, 2, 64, 64)
    np.testing.assert_array_equal(region, kit.halved(image[0], 2)[64:128, 128:192])


@pytest.mark.parametrize("name", ["fine.tiff", "fine_one_level.tiff", "coarse.tiff"])
@pytest.mark.parametrize("mpp", [4.0, 3.3, 8.0])
def test_thumbnail_is_the_area_mean_with_exact_geometry(zoo, image, monkeypatch, name, mpp):
    monkeypatch.setattr("pathomix.slides.reader._STRIP_PIXELS", 100_000)  # several strips
    with open_slide(zoo / name) as slide:
        thumbnail = slide.thumbnail(mpp)
        extent = slide.dimensions
    height, width = thumbnail.rgb.shape[:2]
    assert thumbnail.mpp == pytest.approx(mpp, rel=0.02)
    # padding of the last column may reach over the canvas by less than one reduced pixel
    assert extent[0] <= width * thumbnail.step[0] <= extent[0] * 1.02
    expected = cv2.resize(image[0], (width, height), interpolation=cv2.INTER_AREA)
    difference = np.abs(thumbnail.rgb.astype(int) - expected)[: height - 2, : width - 2]
    assert difference.mean() < 3.0  # rounding of the levels, and up to 2 % of stretch


def test_the_file_wins_over_the_table_and_an_override_over_both(zoo):
    with open_slide(zoo / "coarse.tiff", 0.25) as slide:
        assert (slide.scale.source, slide.scale.mean) == ("header", pytest.approx(0.5))
        assert slide.scale_conflict == (pytest.approx(0.5), 0.25)
        assert slide.stated_scales["header"] == pytest.approx((0.5, 0.5)) and slide.stated_scales["table"] == (
            0.25,
            0.25,
        )
    with open_slide(zoo / "coarse.tiff", 0.25, override_mpp=0.25) as slide:
        assert slide.scale == Scale(0.25, 0.25, "override") and slide.scale_conflict is not None
    with open_slide(zoo / "absurd_mpp.tiff", 0.5) as slide:
        assert slide.scale.source == "table" and slide.scale_conflict is None
        assert slide.stated_scales["header"][0] == pytest.approx(352.8, rel=1e-3)
    with open_slide(zoo / "anisotropic.tiff", override_mpp=0.5, rules=ScaleRules(mpp_window=(0.4, 0.6))) as slide:
        assert slide.scale.y == 0.5


@pytest.mark.parametrize(
    ("dimensions", "downsamples", "levels"),
    [
        (((46000, 32914), (11500, 8228), (2875, 2057)), (1.0, 4.00012, 16.0003), (0, 1, 2)),
        (((300, 250), (150, 125), (75, 62), (37, 31)), (1.0, 2.0, 4.016, 8.086), (0, 1, 2, 3)),
        (((4096, 4096), (1024, 2048), (1024, 1024)), (1.0, 3.0, 4.0), (0, 2)),
        (((4096, 4096), (1024, 1024)), (1.0, 2.0), (0,)),
        (((4096, 4096), (1030, 1024)), (1.0, 4.0), (0,)),
        (((4097, 4095), (1025, 1023)), (1.0, 4.0), (0, 1)),
    ],
)
def test_levels_that_lie_about_their_downsample_are_ignored(dimensions, downsamples, levels, caplog):
    assert trusted_levels(dimensions, downsamples, "a.svs") == levels
    assert ("the level is ignored" in caplog.text) == (len(levels) < len(dimensions))


def test_a_lying_level_is_never_read(tmp_path, image, kit):
    """Level 1 is squeezed along x: OpenSlide states the mean of both axes and would read at wrong places."""
    path, coarse = tmp_path / "lying.tiff", kit.halved(image[0])
    squeezed = cv2.resize(coarse, (256, 512), interpolation=cv2.INTER_AREA)
    tags = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER", "photometric": "rgb", "tile": (256, 256)}
    with tifffile.TiffWriter(path) as file:
        for level, pixels in enumerate((coarse, squeezed, kit.halved(coarse, 2))):
            file.write(pixels, subfiletype=int(level > 0), metadata=None, **tags)
    with OpenSlide(path) as file:
        assert file.level_downsamples == (1.0, 3.0, 4.0)
    with open_slide(path) as slide:
        assert slide.level_downsamples == (1.0, 4.0) and slide.level_dimensions == ((1024, 1024), (256, 256))
        assert [slide.file_level(level) for level in (0, 1)] == [0, 2]
        np.testing.assert_array_equal(slide.read(256, 512, 1, 20, 10), kit.halved(coarse, 2)[128:138, 64:84])
        expected = cv2.resize(coarse, (341, 341), interpolation=cv2.INTER_AREA)
        thumbnail = slide.thumbnail(1.5).rgb
        assert np.abs(thumbnail[:340, :340].astype(int) - expected[:340, :340]).mean() < 4


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (("256", "128", "512", "256"), (256, 128, 512, 256)),
        (("900", "-10", "512", "256"), (900, 0, 124, 246)),
        (("2000", "0", "512", "256"), (0, 0, 1024, 1024)),
        (("0", "0", "0", "256"), (0, 0, 1024, 1024)),
        (("0", "x", "512", "256"), (0, 0, 1024, 1024)),
    ],
)
def test_bounds_are_the_part_on_the_canvas(zoo, box, expected):
    backend = OpenSlideBackend(zoo / "coarse.tiff")
    names = zip(("x", "y", "width", "height"), box, strict=True)
    backend.properties = {**backend.properties, **{f"openslide.bounds-{k}": v for k, v in names}}
    with Slide(zoo / "coarse.tiff", OpenSlideBackend, backend, Scale(0.5, 0.5, "header")) as slide:
        assert slide.bounds == expected


def test_bounds_restrict_the_thumbnail(zoo):
    class Bounded(OpenSlideBackend):
        def __init__(self, path):
            super().__init__(path)
            box = {"x": "256", "y": "128", "width": "512", "height": "256"}
            self.properties = {**self.properties, **{f"openslide.bounds-{k}": v for k, v in box.items()}}

    path = zoo / "coarse.tiff"
    slide = Slide(path, Bounded, Bounded(path), Scale(0.5, 0.5, "header"))
    with slide:
        part = slide.thumbnail(4.0)
    with open_slide(path) as whole:
        full = whole.thumbnail(4.0)
    assert part.origin == (256, 128)
    assert part.rgb.shape == (32, 64, 3)
    np.testing.assert_allclose(part.rgb, full.rgb[16:48, 32:96], atol=1)


def test_a_handle_is_replaced_after_an_error(zoo):
    opened = []

    class Flaky(OpenSlideBackend):
        def __init__(self, path):
            super().__init__(path)
            opened.append(self)

        def read(self, *args):
            if self is opened[0]:
                raise OSError("first handle is bad")
            return super().read(*args)

    path = zoo / "coarse.tiff"
    with Slide(path, Flaky, Flaky(path), Scale(0.5, 0.5, "header")) as slide:
        assert slide.read(0, 0, 0, 8, 8).shape == (8, 8, 3)
    assert len(opened) == 2


def test_an_unreadable_region_names_the_file_and_leaves_the_slide_usable(zoo):
    with open_slide(zoo / "damaged.tiff") as slide:
        with pytest.raises(PathomixError, match=r"damaged\.tiff: reading"):
            slide.read(0, 0, 0, 1024, 1024)
        assert slide.read(0, 0, 0, 64, 64).shape == (64, 64, 3)


def test_a_plain_image_needs_the_mpp_of_the_table(zoo):
    with pytest.raises(PathomixError, match="OpenSlide cannot open it") as error:
        open_slide(zoo / "plain.png")
    assert "column mpp" in error.value.remedy
    with open_slide(zoo / "plain.png", 0.5) as slide:
        assert (slide.scale.source, slide.level_downsamples) == ("table", (1.0,))
    with open_slide(zoo / "plain.png", override_mpp=0.7) as slide:
        assert slide.scale == Scale(0.7, 0.7, "override")
    with open_scaled(zoo / "plain.png", slide.scale) as again:
        assert again.dimensions == slide.dimensions
    with pytest.raises(PathomixError, match="nor is it a plain image"):
        open_slide(zoo / "text.tiff", 0.5)
    with pytest.raises(PathomixError, match="no such file"):
        open_slide(zoo / "absent.tiff")
    with pytest.raises(PathomixError, match="OpenSlide cannot open it"):
        open_scaled(zoo / "plain.png", Scale(0.5, 0.5, "header"))


def test_shrinking_is_the_area_mean():
    pixels = np.random.default_rng(0).integers(0, 255, (12, 8, 3)).astype(np.uint8)
    expected = pixels.reshape(4, 3, 4, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resample(pixels, (4, 4)), expected, atol=1)
