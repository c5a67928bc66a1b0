"""Pixel sources behind one interface: OpenSlide, and a plain one-level image for what OpenSlide refuses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

READ_ERRORS: tuple[type[Exception], ...] = (
    openslide.OpenSlideError,
    Image.DecompressionBombError,
    OSError,
    ValueError,
    SyntaxError,  # Pillow's answer to a broken PNG
    EOFError,
)
_PLAIN_MODES = ("RGB", "RGBA", "L", "LA", "P", "CMYK", "YCbCr")


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
    """A slide read by OpenSlide."""

    def __init__(self, path: Path) -> None:
        self._slide = openslide.OpenSlide(path)
        self.properties: Mapping[str, str] = dict(self._slide.properties)
        self.level_dimensions = self._slide.level_dimensions
        self.level_downsamples = self._slide.level_downsamples

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """RGBA region, see `Backend`."""
        return np.asarray(self._slide.read_region((x, y), level, (width, height)))

    def close(self) -> None:
        """Free the handle."""
        self._slide.close()


class PlainImageBackend:
    """One image held in memory, as one level; Pillow's own pixel limit guards the memory.

    Raises:
        ValueError: The pixels are not 8-bit colours.
    """

    def __init__(self, path: Path) -> None:
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
