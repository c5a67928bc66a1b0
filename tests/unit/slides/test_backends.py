"""tiatoolbox for TIFF files that OpenSlide refuses, against the pixels that went in; the shared cache of tiles."""

from __future__ import annotations

import multiprocessing
import os

import cv2
import numpy as np
import openslide
import pytest
import tifffile

from pathomix.core.errors import PathomixError
from pathomix.slides import backends
from pathomix.slides.backends import OpenSlideBackend, PlainImageBackend, TiaToolboxBackend, cache_bytes, shared_cache
from pathomix.slides.reader import open_scaled, open_slide
from pathomix.slides.scale import Scale

METADATA = {"axes": "YXS", "PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.25}
KINDS = {
    "strips.ome.tiff": {"metadata": METADATA},
    "jxl.tiff": {"tile": (256, 256), "compression": "jpegxl", "compressionargs": {"lossless": True}, "metadata": None},
    "webp.tiff": {"tile": (256, 256), "compression": "webp", "compressionargs": {"lossless": True}, "metadata": None},
    "big.tiff": {"rowsperstrip": 64, "metadata": None},
}


@pytest.fixture(scope="module")
def pixels(image, kit):
    return kit.halved(image[0])


@pytest.fixture(scope="module")
def refused(tmp_path_factory, pixels, kit):
    """TIFF files that OpenSlide cannot read."""
    folder = tmp_path_factory.mktemp("refused")
    for name, options in KINDS.items():
        with tifffile.TiffWriter(folder / name, ome=".ome." in name, bigtiff=name == "big.tiff") as file:
            file.write(pixels, photometric="rgb", **options)
    with tifffile.TiffWriter(folder / "levels.ome.tiff", ome=True) as file:
        file.write(pixels, photometric="rgb", subifds=2, metadata=METADATA, rowsperstrip=128)
        for times in (1, 2):
            file.write(kit.halved(pixels, times), photometric="rgb", subfiletype=1, rowsperstrip=128)
    return folder


@pytest.mark.parametrize("name", [*KINDS, "levels.ome.tiff"])
def test_what_openslide_refuses_is_read_pixel_by_pixel(refused, pixels, name):
    with pytest.raises(openslide.OpenSlideError):
        openslide.OpenSlide(refused / name)
    with open_slide(refused / name, 0.5) as slide:
        assert isinstance(slide._backend, TiaToolboxBackend)
        assert slide.dimensions == (pixels.shape[1], pixels.shape[0])
        # OME sizes with units; a table says it for the others
        assert slide.scale == (Scale(0.25, 0.25, "ome") if "ome" in name else Scale(0.5, 0.5, "table"))
        np.testing.assert_array_equal(slide.read(300, 200, 0, 70, 50), pixels[200:250, 300:370])
        edge = slide.read(1000, -4, 0, 40, 20)
        assert (edge[:, 24:] == 255).all() and (edge[:4] == 255).all()
        np.testing.assert_array_equal(edge[4:, :24], pixels[0:16, 1000:1024])
        assert (slide.read(5000, 5000, 0, 4, 4) == 255).all()
        scale = slide.scale
    with open_scaled(refused / name, scale) as again:
        assert again.read(0, 0, 0, 8, 8).shape == (8, 8, 3)


def test_levels_of_an_ome_pyramid(refused, pixels, kit):
    with open_slide(refused / "levels.ome.tiff") as slide:
        assert slide.level_downsamples == (1.0, 2.0, 4.0)
        np.testing.assert_array_equal(slide.read(256, 512, 2, 30, 20), kit.halved(pixels, 2)[128:148, 64:94])
        assert slide.thumbnail(8.0).rgb.shape == (32, 32, 3)


def test_an_ome_tiff_that_openslide_reads_has_its_physical_size(tmp_path, pixels):
    path = tmp_path / "tiled.ome.tiff"
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(256, 256), ome=True, metadata=METADATA)
    with open_slide(path) as slide:
        assert isinstance(slide._backend, OpenSlideBackend) and slide.scale == Scale(0.25, 0.25, "ome")


def test_without_a_scale_it_is_refused_not_guessed(refused):
    with pytest.raises(PathomixError, match=r"OpenSlide cannot open it, tiatoolbox can; jxl\.tiff: no plausible mpp"):
        open_slide(refused / "jxl.tiff")


def test_a_truncated_or_foreign_tiff_is_refused(refused, tmp_path, pixels):
    whole = (refused / "jxl.tiff").read_bytes()
    (tmp_path / "cut.tiff").write_bytes(whole[: len(whole) // 2])
    levels = (refused / "levels.ome.tiff").read_bytes()
    (tmp_path / "cut_levels.ome.tiff").write_bytes(levels[: len(levels) - 100])
    pages = tmp_path / "pages.tiff"
    tifffile.imwrite(pages, np.stack([pixels[:64, :64]] * 3), photometric="rgb", metadata=None)
    with tifffile.TiffFile(pages) as file:
        last = file.pages[2].offset
    (tmp_path / "cut_pages.tiff").write_bytes(pages.read_bytes()[: last + 4])
    deep = tmp_path / "deep.ome.tiff"
    tifffile.imwrite(deep, pixels.astype(np.uint16), photometric="rgb", ome=True)
    channels = tmp_path / "channels.ome.tiff"
    tifffile.imwrite(channels, np.moveaxis(pixels, -1, 0), photometric="minisblack", ome=True, metadata={"axes": "CYX"})
    for path, reason in (
        (tmp_path / "cut.tiff", "it ends before its last pixel"),
        (tmp_path / "cut_levels.ome.tiff", "it is cut off: a tag"),
        (tmp_path / "cut_pages.tiff", "it is cut off"),
        (deep, "not 8-bit RGB"),
        (channels, "not 8-bit RGB"),
    ):
        with pytest.raises(PathomixError, match=f"nor can tiatoolbox .*{reason}"):
            open_slide(path)
    with open_slide(pages, 0.5) as slide:
        assert isinstance(slide._backend, PlainImageBackend)
    with pytest.raises(PathomixError, match=r"nor is it a plain image \(it is cut off"):
        open_slide(tmp_path / "cut_pages.tiff", 0.5)


def test_the_cache_holds_a_row_of_native_tiles_within_bounds():
    def size(width, tile):
        sides = {f"openslide.level[0].tile-{side}": str(tile) for side in ("width", "height")}
        return cache_bytes(sides, (width, 1000))

    mib = 1 << 20
    assert cache_bytes({}, (100_000, 1)) == size(1000, 256) == 32 * mib
    assert size(50_000, 256) == 196 * 256 * 256 * 4
    assert size(500_000, 512) == 128 * mib
    assert size(10_000, 8192) == 2 * 8192 * 8192 * 4  # two tiles always fit


def _other_process(queue, size):
    before = os.getpid() in backends._shared
    shared_cache(size)
    queue.put((before, os.getpid() in backends._shared))


def test_handles_of_a_process_share_one_cache_and_a_fork_makes_its_own(zoo, monkeypatch):
    monkeypatch.setattr(backends, "_shared", {})
    first, second = OpenSlideBackend(zoo / "fine.tiff"), OpenSlideBackend(zoo / "coarse.tiff")
    size, cache = backends._shared[os.getpid()]
    assert size == 32 << 20 and shared_cache(size) is cache
    assert shared_cache(size + 1) is not cache and backends._shared[os.getpid()][0] == 64 << 20
    assert first.read(0, 0, 0, 4, 4).shape == second.read(0, 0, 0, 4, 4).shape
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_other_process, args=(queue, size))
    process.start()
    assert queue.get(timeout=60) == (False, True)
    process.join()


def test_a_plain_image_of_other_depth_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), np.zeros((8, 8), dtype=np.uint16))
    with pytest.raises(PathomixError, match="not 8-bit"):
        open_slide(tmp_path / "deep.png", 0.5)
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((8, 8), 7, dtype=np.uint8))
    assert PlainImageBackend(tmp_path / "grey.png").read(0, 0, 0, 1, 1).ravel().tolist() == [7, 7, 7, 255]
