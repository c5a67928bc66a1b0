"""Pixel sources behind one interface: OpenSlide, tiatoolbox for TIFF files it cannot read, and one plain image."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import openslide
import tifffile
from numpy.typing import NDArray
from PIL import Image

READ_ERRORS: tuple[type[Exception], ...] = (
    openslide.OpenSlideError,
    tifffile.TiffFileError,
    Image.DecompressionBombError,
    OSError,
    ValueError,
    SyntaxError,  # Pillow's answer to a broken PNG
    EOFError,
)
_PLAIN_MODES = ("RGB", "RGBA", "L", "LA", "P", "CMYK", "YCbCr")
_UNITS = {1: "none", 2: "inch", 3: "centimeter"}
_MIB = 1 << 20
_SMALLEST_CACHE = 32 * _MIB
_LARGEST_CACHE = 128 * _MIB
_shared: dict[int, tuple[int, Any]] = {}  # process id -> bytes and cache of decoded tiles


class Backend(Protocol):
    """What `Slide` needs from a file format."""

    properties: Mapping[str, str]
    level_dimensions: tuple[tuple[int, int], ...]
    level_downsamples: tuple[float, ...]

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """RGBA uint8 [height, width, 4]; (x, y) in level-0 pixels; alpha 0 outside the scanned area."""
        ...

    def close(self) -> None:
        """Free the handle."""
        ...


class OpenSlideBackend:
    """A slide read by OpenSlide. All handles of a process share one bounded cache of decoded tiles."""

    def __init__(self, path: Path) -> None:
        self._slide = openslide.OpenSlide(path)
        self.properties: Mapping[str, str] = dict(self._slide.properties)
        self.level_dimensions = self._slide.level_dimensions
        self.level_downsamples = self._slide.level_downsamples
        self._slide.set_cache(shared_cache(cache_bytes(self.properties, self.level_dimensions[0])))

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """RGBA region, see `Backend`."""
        return np.asarray(self._slide.read_region((x, y), level, (width, height)))

    def close(self) -> None:
        """Free the handle."""
        self._slide.close()


def cache_bytes(properties: Mapping[str, str], dimensions: tuple[int, int]) -> int:
    """Bytes of one row of native tiles at level 0, at least two tiles, within 32 and 128 MiB (spec 1.7).

    Two tiles always fit, however large they are: below that every read would decode again.
    """
    try:
        width, height = (int(properties[f"openslide.level[0].tile-{side}"]) for side in ("width", "height"))
    except (KeyError, ValueError):
        return _SMALLEST_CACHE
    tile = width * height * 4
    row = math.ceil(dimensions[0] / max(1, width)) * tile
    return max(min(max(row, _SMALLEST_CACHE), _LARGEST_CACHE), 2 * tile)


def shared_cache(size: int) -> Any:
    """The process's cache of decoded tiles, replaced by a larger one where a slide needs it.

    Sizes are powers of two, so at most a few generations exist while old handles are still open. A forked process makes
    its own.
    """
    present, cache = _shared.get(os.getpid(), (0, None))
    if size > present:
        present = 1 << (size - 1).bit_length()
        cache = openslide.OpenSlideCache(present)
        _shared[os.getpid()] = present, cache
    return cache


class TiaToolboxBackend:
    """An RGB TIFF that OpenSlide refuses, read by tiatoolbox: OME-TIFF in strips, tiles as JPEG XL, JPEG 2000 or WebP.

    Scale and levels are taken from the file's own tags, never from tiatoolbox, which fills a missing mpp from the
    objective.

    Raises:
        ValueError: The file is not such a TIFF, or ends before its last pixel.
    """

    def __init__(self, path: Path) -> None:
        self.properties: Mapping[str, str] = _tiff_properties(path)
        # takes seconds, and few files need it
        from tiatoolbox.wsicore.wsireader import TIFFWSIReader

        self._reader = _guarded(TIFFWSIReader, path, post_proc=None, cache_size=_SMALLEST_CACHE)
        self._levels = list(self._reader.level_arrays.values())
        self.level_dimensions = tuple((int(level.shape[1]), int(level.shape[0])) for level in self._levels)
        width, height = self.level_dimensions[0]
        self.level_downsamples = tuple((width / w + height / h) / 2 for w, h in self.level_dimensions)

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """RGBA region, see `Backend`."""
        across, down = self.level_dimensions[level]
        left, top = (round(value / self.level_downsamples[level]) for value in (x, y))
        region = np.zeros((height, width, 4), dtype=np.uint8)
        first, last = (max(left, 0), max(top, 0)), (min(left + width, across), min(top + height, down))
        if last[0] > first[0] and last[1] > first[1]:
            part = _guarded(self._levels[level].__getitem__, (slice(first[1], last[1]), slice(first[0], last[0])))
            inside = region[first[1] - top : last[1] - top, first[0] - left : last[0] - left]
            inside[..., : part.shape[2]] = part
            if part.shape[2] == 3:
                inside[..., 3] = 255
        return region

    def close(self) -> None:
        """Free the handles of the reader and of its array store."""
        self._reader.tiff.close()
        self._reader._zarr_store.close()


def _guarded(work: Any, *arguments: Any, **options: Any) -> Any:
    """A call into libraries that answer a damaged file with whatever exception came along."""
    try:
        return work(*arguments, **options)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, tifffile.TiffFileError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _tiff_properties(path: Path) -> dict[str, str]:
    """The tags that say scale and content, under OpenSlide's names for them; refuses what is no whole RGB TIFF."""
    try:
        with tifffile.TiffFile(path) as file:
            _refuse_cut_off(file)
            series = file.series[0]
            if series.dtype != np.uint8 or series.sizes.get("sample") not in (3, 4):
                raise ValueError(f"its pixels are {series.dtype} {series.axes} {series.shape}, not 8-bit RGB")
            if series.size < max(other.size for other in file.series):
                raise ValueError("its first image is not its largest")
            for level in series.levels:
                _refuse_missing_pixels([page for page in level.pages if page is not None], path.stat().st_size)
            tags = series.keyframe.tags
            result = {"openslide.vendor": "tiatoolbox-tiff"}
            result |= {f"openslide.level[0].{side}": str(series.sizes[side]) for side in ("width", "height")}
            result["tiff.ImageDescription"] = series.keyframe.description
            result["tiff.ResolutionUnit"] = _UNITS.get(int(tags.valueof("ResolutionUnit", 2)), "none")
            for name in ("XResolution", "YResolution"):
                numerator, denominator = tags.valueof(name, (0, 1))
                if numerator and denominator:
                    result[f"tiff.{name}"] = repr(numerator / denominator)
            return result
    except (tifffile.TiffFileError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"not a readable TIFF: {error}") from error


def _refuse_cut_off(file: tifffile.TiffFile) -> None:
    """A TIFF whose chain of pages breaks off was not fetched whole, even where its first page can be read."""
    end = file.pages.next_page_offset if len(file.pages) else None
    width = file.tiff.offsetsize
    if end is None or file.filehandle.seek(end) != end or file.filehandle.read(width) != bytes(width):
        raise ValueError("it is cut off: its chain of pages breaks")
    first = file.pages.first
    file.filehandle.seek(first.offset)
    (count,) = struct.unpack(file.tiff.tagnoformat, file.filehandle.read(file.tiff.tagnosize))
    if count != len(first.tags):
        raise ValueError("it is cut off: a tag of its first page cannot be read")


def _refuse_missing_pixels(pages: list[Any], size: int) -> None:
    for page in pages:
        if min(page.databytecounts) == 0 or np.add(page.dataoffsets, page.databytecounts).max() > size:
            raise ValueError("it ends before its last pixel, or has tiles that were never written")


class PlainImageBackend:
    """One image held in memory, as one level; Pillow's own pixel limit guards the memory.

    Raises:
        ValueError: The pixels are not 8-bit colours, or the file is a TIFF that is cut off.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as stream:
            if stream.read(2) in (b"II", b"MM"):
                with tifffile.TiffFile(path) as file:
                    _refuse_cut_off(file)
        with Image.open(path) as image:
            if image.mode not in _PLAIN_MODES:
                raise ValueError(f"pixels of type {image.mode} are not 8-bit colours")
            self._pixels = np.asarray(image.convert("RGBA"))
        height, width = self._pixels.shape[:2]
        self.properties: Mapping[str, str] = {"openslide.vendor": "plain-image"}
        self.level_dimensions: tuple[tuple[int, int], ...] = ((width, height),)
        self.level_downsamples: tuple[float, ...] = (1.0,)

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """RGBA region, see `Backend`."""
        region = np.zeros((height, width, 4), dtype=np.uint8)
        part = self._pixels[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
        top, left = max(-y, 0), max(-x, 0)
        region[top : top + part.shape[0], left : left + part.shape[1]] = part
        return region

    def close(self) -> None:
        """Nothing to free."""
