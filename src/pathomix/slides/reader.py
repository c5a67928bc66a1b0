"""Slides at a physical scale: level choice, area resampling, background where nothing was scanned, fresh handles.

Spec slides_and_encoders 1.3 (scale), 1.4 (levels and resampling), 1.5 (alpha), 1.7 (handles unusable after an error).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import openslide
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.slides.backends import READ_ERRORS, Backend, OpenSlideBackend, PlainImageBackend, TiaToolboxBackend
from pathomix.slides.scale import GIVEN_SOURCES, Scale, ScaleRules, known, resolve_scale, scale_conflict, stated_scales

log = logging.getLogger(__name__)

LEVEL_TOLERANCE = 0.01
MAX_UPSAMPLING = 1.15
RESIZE_FILTER = "area"
_LEVEL_SLACK = 2.0
_STRIP_PIXELS = 1 << 24

cv2.setNumThreads(1)  # a job already owns its cores by shards; more threads would oversubscribe them


@dataclass(frozen=True)
class LevelChoice:
    """How to reach a wanted downsample.

    Attributes:
        level: Pyramid level to read.
        downsample: Its downsample.
        resize: False when the level is the wanted one within 1 %: pixels are taken as they are.
    """

    level: int
    downsample: float
    resize: bool


def choose_level(downsamples: Sequence[float], wanted: float, name: str = "slide") -> LevelChoice:
    """The exact level, else the coarsest one that is finer than wanted (spec 1.4).

    Args:
        downsamples: Downsample of each level, ascending.
        wanted: Target µm per pixel over level-0 µm per pixel.
        name: File name for messages.

    Raises:
        PathomixError: The slide would have to be enlarged by more than 15 %.
    """
    for level, downsample in enumerate(downsamples):
        if abs(downsample / wanted - 1) <= LEVEL_TOLERANCE:
            return LevelChoice(level, downsample, resize=False)
    if wanted < 1 / MAX_UPSAMPLING:
        raise PathomixError(
            f"{name}: its pixels are {1 / wanted:.2f} times coarser than the wanted scale",
            remedy="use an encoder whose mpp is larger, or leave the slide out",
        )
    level = max((i for i, downsample in enumerate(downsamples) if downsample <= wanted), default=0)
    return LevelChoice(level, downsamples[level], resize=True)


def trusted_levels(
    dimensions: Sequence[tuple[int, int]], downsamples: Sequence[float], name: str = "slide"
) -> tuple[int, ...]:
    """Levels whose size and downsample tell the same, with a warning for the others.

    A level that is not level 0 divided by its downsample, within two of its pixels, would be read at wrong places. It
    is ignored: a finer level serves, more slowly and correctly.

    Args:
        dimensions: Width and height of each level.
        downsamples: Downsample of each level.
        name: File name for messages.
    """
    good = []
    for level, (size, downsample) in enumerate(zip(dimensions, downsamples, strict=True)):
        slack = _LEVEL_SLACK * downsample
        if level == 0 or all(abs(size[i] * downsample - dimensions[0][i]) <= slack for i in range(2)):
            good.append(level)
        else:
            log.warning(
                "%s: level %d is %d x %d pixels, which is not %d x %d reduced %g times; the level is ignored",
                name,
                level,
                *size,
                *dimensions[0],
                downsample,
            )
    return tuple(good)


@dataclass(frozen=True)
class Thumbnail:
    """A small image of the scanned area.

    Attributes:
        rgb: uint8 [height, width, 3].
        mpp: µm per thumbnail pixel (mean of both axes).
        origin: Level-0 pixel (x, y) of its upper left corner.
        step: Level-0 pixels per thumbnail pixel along x and y.
    """

    rgb: NDArray[np.uint8]
    mpp: float
    origin: tuple[int, int]
    step: tuple[float, float]


class Slide:
    """An open slide with a known physical scale. Use as a context manager; not for sharing between processes.

    Attributes:
        path: The file.
        scale: µm per level-0 pixel, and how it is known.
        stated_scales: All that was said about the scale, by source (`pathomix.slides.scale.stated_scales`); empty where
            an earlier stage settled it.
        scale_conflict: µm per pixel by the file and by the slide table where they differ by more than 5 %, else None.
        level_dimensions: Width and height of each trusted level.
        level_downsamples: Downsample of each trusted level.
        background: Colour of unscanned area.
    """

    def __init__(
        self,
        path: Path,
        factory: Callable[[Path], Backend],
        backend: Backend,
        scale: Scale,
        stated: Mapping[str, tuple[float, float]] | None = None,
        rules: ScaleRules | None = None,
    ) -> None:
        self.path = path
        self.scale = scale
        self.stated_scales = dict(stated or {})
        self.scale_conflict = scale_conflict(self.stated_scales, rules)
        self._factory = factory
        self._backend: Backend | None = backend
        self.properties: Mapping[str, str] = backend.properties
        self._levels = trusted_levels(backend.level_dimensions, backend.level_downsamples, path.name)
        self.level_dimensions = tuple(backend.level_dimensions[level] for level in self._levels)
        self.level_downsamples = tuple(backend.level_downsamples[level] for level in self._levels)
        self.background = background_rgb(backend.properties)

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the handle."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of the canvas in level-0 pixels."""
        return self.level_dimensions[0]

    def file_level(self, level: int) -> int:
        """Number that the file gives to a trusted level: other programs count all levels."""
        return self._levels[level]

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """x, y, width, height of the scanned area in level-0 pixels; the whole canvas where the format knows none.

        The part of the stated box that lies on the canvas; a box that does not is not believed.
        """
        whole = (0, 0, *self.dimensions)
        try:
            x, y, width, height = (
                int(self.properties[f"openslide.bounds-{part}"]) for part in ("x", "y", "width", "height")
            )
        except (KeyError, ValueError):
            return whole
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, whole[2]), min(y + height, whole[3])
        return (left, top, right - left, bottom - top) if right > left and bottom > top else whole

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """RGB uint8 [height, width, 3] of one level; (x, y) level-0 pixels; unscanned pixels get the background.

        An OpenSlide handle is unusable after its first error, so a failing read is repeated once on a fresh one.
        `level` counts the trusted levels.

        Raises:
            PathomixError: The region cannot be read.
        """
        for attempt in (1, 2):
            try:
                if self._backend is None:
                    self._backend = self._factory(self.path)
                return composite(self._backend.read(x, y, self._levels[level], width, height), self.background)
            except READ_ERRORS as error:
                self.close()
                if attempt == 2:
                    raise PathomixError(
                        f"{self.path.name}: reading {width} x {height} pixels of level {level} at ({x}, {y}) failed "
                        f"({type(error).__name__}: {error})",
                        remedy="fetch the file again, or leave the slide out",
                    ) from error
        raise AssertionError("unreachable")

    def thumbnail(self, mpp: float) -> Thumbnail:
        """The scanned area at `mpp` µm per pixel, averaged by area, with bounded memory for one-level files.

        Raises:
            PathomixError: The pixels cannot be read.
        """
        wanted = max(1.0, mpp / self.scale.x), max(1.0, mpp / self.scale.y)
        choice = choose_level(self.level_downsamples, min(wanted), self.path.name)
        x0, y0, width, height = self.bounds
        columns, rows = (max(1, round(side / choice.downsample)) for side in (width, height))
        factor = 1 if not choice.resize else max(1, math.floor(min(wanted) / choice.downsample))
        reduced = self._reduced(choice, (x0, y0), (columns, rows), factor)
        # level-0 extent of the reduced image, padding of the last column and row included
        extent = reduced.shape[1] * factor * choice.downsample, reduced.shape[0] * factor * choice.downsample
        size = max(1, round(extent[0] / wanted[0])), max(1, round(extent[1] / wanted[1]))
        if not choice.resize:
            size = reduced.shape[1], reduced.shape[0]
        rgb = resample(reduced, size)
        step = extent[0] / size[0], extent[1] / size[1]
        return Thumbnail(rgb, math.sqrt(step[0] * step[1]) * self.scale.mean, (x0, y0), step)

    def _reduced(
        self, choice: LevelChoice, origin: tuple[int, int], size: tuple[int, int], factor: int
    ) -> NDArray[np.uint8]:
        """One level averaged over blocks of factor x factor pixels, read in strips; padded with background."""
        columns, rows = size
        out_columns, out_rows = math.ceil(columns / factor), math.ceil(rows / factor)
        strip = max(1, _STRIP_PIXELS // (columns * factor))
        parts = []
        for first in range(0, out_rows, strip):
            count = min(strip, out_rows - first)
            top = first * factor
            inside = min(count * factor, rows - top)
            y = origin[1] + round(top * choice.downsample)
            pixels = self.read(origin[0], y, choice.level, columns, inside)
            pad = ((0, count * factor - inside), (0, out_columns * factor - columns))
            if pad != ((0, 0), (0, 0)):
                pixels = np.stack(
                    [np.pad(pixels[..., c], pad, constant_values=self.background[c]) for c in range(3)], -1
                )
            parts.append(resample(pixels, (out_columns, count)))
        return np.concatenate(parts) if len(parts) > 1 else parts[0]


def open_slide(
    path: Path, table_mpp: float | None = None, rules: ScaleRules | None = None, override_mpp: float | None = None
) -> Slide:
    """Open a slide and settle its physical scale (`pathomix.slides.scale.resolve_scale`).

    A TIFF that OpenSlide refuses is read by tiatoolbox; any other image as one plain level, only when a table gives its
    mpp.

    Args:
        path: The file.
        table_mpp: µm per pixel from the slide table, None or NaN where it has none.
        rules: What may be believed about the scale.
        override_mpp: µm per pixel from the overrides table: wins over everything.

    Raises:
        PathomixError: The file is missing, cannot be opened, or its scale is unknown or implausible.
    """
    factory, backend = _open_backend(path, plain_allowed=known(table_mpp) or known(override_mpp))
    try:
        scale = resolve_scale(backend.properties, table_mpp, rules, path.name, override_mpp)
    except PathomixError as error:
        backend.close()
        if isinstance(backend, TiaToolboxBackend):
            fact = f"{path.name}: OpenSlide cannot open it, tiatoolbox can; {error.fact}"
            raise PathomixError(fact, remedy=error.remedy) from error
        raise
    stated = stated_scales(backend.properties, table_mpp, override_mpp, rules)
    return Slide(path, factory, backend, scale, stated, rules)


def open_scaled(path: Path, scale: Scale) -> Slide:
    """Open a slide whose scale an earlier stage settled.

    Raises:
        PathomixError: The file is missing or cannot be opened.
    """
    factory, backend = _open_backend(path, plain_allowed=scale.source in GIVEN_SOURCES)
    return Slide(path, factory, backend, scale)


def _open_backend(path: Path, *, plain_allowed: bool) -> tuple[Callable[[Path], Backend], Backend]:
    if not path.is_file():
        raise PathomixError(f"{path}: no such file", remedy="correct the column path of the slide table")
    try:
        return OpenSlideBackend, OpenSlideBackend(path)
    except READ_ERRORS as error:
        reason = f"{path.name}: OpenSlide cannot open it ({error})"
        # what OpenSlide does not know may be known elsewhere; what it knows and finds broken is broken
        unknown = isinstance(error, openslide.OpenSlideUnsupportedFormatError) or "compression" in str(error)
        if not unknown:
            raise PathomixError(reason, remedy="fetch the file again, or leave the slide out") from error
    try:
        return TiaToolboxBackend, TiaToolboxBackend(path)
    except READ_ERRORS as error:
        reason += f", nor can tiatoolbox ({error})"
    if not plain_allowed:
        remedy = "fetch the file again; if it is a plain image, give its mpp in the column mpp of the slide table"
        raise PathomixError(reason, remedy=remedy)
    try:
        return PlainImageBackend, PlainImageBackend(path)
    except READ_ERRORS as error:
        raise PathomixError(
            f"{reason}, nor is it a plain image ({error})", remedy="fetch the file again, or leave the slide out"
        ) from error


def background_rgb(properties: Mapping[str, str]) -> tuple[int, int, int]:
    """Colour of unscanned area: the file's own, white where it names none."""
    text = properties.get("openslide.background-color", "FFFFFF")
    try:
        red, green, blue = bytes.fromhex(text)
    except ValueError:
        return 255, 255, 255
    return red, green, blue


def composite(rgba: NDArray[np.uint8], background: tuple[int, int, int]) -> NDArray[np.uint8]:
    """RGBA [h, w, 4] over a plain colour, uint8 [h, w, 3]. Without it unscanned area would turn black."""
    alpha = rgba[..., 3]
    result = np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), dtype=np.uint8)  # a copy of a slice takes twice as long
    if alpha.min(initial=255) == 255:
        return result
    unscanned = alpha == 0  # often whole strips of glass
    cv2.copyTo(np.full_like(result, background), unscanned.astype(np.uint8), result)
    seen_through = (alpha < 255) & ~unscanned
    weight = alpha[seen_through][:, None].astype(np.uint32)
    blend = result[seen_through] * weight + np.asarray(background, dtype=np.uint32) * (255 - weight)
    result[seen_through] = (blend + 127) // 255
    return result


def resample(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize to (width, height): mean over the covered area when shrinking, bilinear when enlarging."""
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    shrinking = size[0] <= width and size[1] <= height
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR))
