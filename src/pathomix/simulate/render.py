"""Renders a planned slide: two stain concentrations, then light through them (Beer-Lambert), then pen and focus."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pathomix.simulate import nuclei
from pathomix.simulate.slide_plan import (
    FIRST_PATTERN,
    GRID_UM,
    PLANTED,
    STROMA,
    Layout,
    SlidePlan,
    layout,
    pen_colour,
    pen_stroke,
    smooth_noise,
)

Image = NDArray[np.uint8]

_WHITE = 243
_BLUR_UM = 5.0
_TEXTURES = 3

# Hematoxylin and eosin (0..255) of what lies between the nuclei, by region value.
_GROUND = {
    STROMA: (14, 120),
    PLANTED: (78, 128),
    FIRST_PATTERN: (12, 96),
    FIRST_PATTERN + 1: (42, 112),
    FIRST_PATTERN + 2: (26, 34),
}
# Fibres show in stroma and between glands; elsewhere the cytoplasm is granular.
_FIBROUS = (STROMA, FIRST_PATTERN)
_GLAND_GROUND = (36, 118)


@dataclass(frozen=True)
class _Texture:
    """Modulation of the ground, 128 = none, and the direction of its fibres on the grid."""

    values: Image
    flow: NDArray[np.float32]


def render(plan: SlidePlan) -> Image:
    """Level 0 of a slide, uint8 [pixels, pixels, 3]."""
    drawn = layout(plan)
    random = plan.random("texture")
    fibres = _fibres(plan.size_um, plan.mpp, int(random.integers(_TEXTURES)))
    flip = int(random.integers(-1, 3))
    cells, glands = nuclei.place(plan, drawn, _flipped(fibres.flow, flip, turn=True))
    grain = _granules(plan.size_um, plan.mpp, int(random.integers(_TEXTURES)))
    hematoxylin, eosin = _ground(plan, drawn, glands, _flipped(fibres.values, flip), grain)
    scale = nuclei.organ_scale(plan)
    for group in cells:
        _stamp(hematoxylin, group, plan, nuclei.stamps(group.kind, plan.mpp, scale))
    image = _light(hematoxylin, eosin, plan)
    _defocus(image, plan, drawn)
    _mark(image, plan, drawn)
    return image


def _resized(field: NDArray[np.float32], plan: SlidePlan) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(field, (plan.pixels, plan.pixels), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _ground(plan: SlidePlan, drawn: Layout, glands: nuclei.Glands, fibres: Image, grain: Image) -> tuple[Image, Image]:
    """Both stains without nuclei: flat on the grid, then enlarged and given a texture."""
    region, size = drawn.region, (plan.pixels, plan.pixels)
    fibrous = np.isin(region, _FIBROUS)
    body, lumen = _gland_covers(glands, fibrous)
    slow = 128 + 14 * smooth_noise(plan.random("thickness"), region.shape[0], 120.0)
    light = np.clip((drawn.tissue - 0.42) / 0.16, 0, 1) * (1 - lumen) * np.clip(slow, 80, 176) / 128
    pattern = grain.copy()
    woven = np.where(fibrous & (body < 0.5), 255, 0).astype(np.uint8)
    # Enlarged smoothly and cut at one half, so that no border shows the steps of the grid.
    _, mask = cv2.threshold(cv2.resize(woven, size, interpolation=cv2.INTER_LINEAR), 127, 255, cv2.THRESH_BINARY)
    cv2.copyTo(fibres, mask, pattern)
    stains = []
    for k in range(2):
        level = np.zeros(256, np.float32)
        for value, both in _GROUND.items():
            level[value] = both[k]
        flat = cv2.GaussianBlur(level[region], (0, 0), 0.8)
        flat = (flat * (1 - body) + _GLAND_GROUND[k] * body) * light
        large = cv2.resize(flat.astype(np.uint8), size, interpolation=cv2.INTER_LINEAR)
        stains.append(np.asarray(cv2.multiply(large, pattern, scale=1 / 128), dtype=np.uint8))
    return stains[0], stains[1]


def _gland_covers(glands: nuclei.Glands, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far each grid cell lies in a gland's epithelium or lumen, 0..1; nothing is drawn over other regions."""
    covers = []
    shift, unit = 4, 16 / GRID_UM
    for factor in (1.1, 0.42):
        canvas = np.zeros(allowed.shape, np.uint8)
        for x, y, long, short, angle in zip(glands.x, glands.y, glands.long, glands.short, glands.angle, strict=True):
            axes = (round(long * factor * unit), round(short * factor * unit))
            centre = (round(x * unit), round(y * unit))
            cv2.ellipse(canvas, centre, axes, float(np.degrees(angle)), 0, 360, 255, -1, cv2.LINE_AA, shift)
        canvas[~allowed] = 0
        soft = cv2.GaussianBlur(canvas.astype(np.float32) / 255, (0, 0), 0.6)
        covers.append(np.asarray(soft, dtype=np.float32))
    return covers[0], covers[1]


def _stamp(stain: Image, cells: nuclei.Cells, plan: SlidePlan, pictures: list[list[Image]]) -> None:
    size = plan.pixels
    directions, variants = len(pictures), len(pictures[0])
    direction = (np.round(cells.angle / np.pi * directions).astype(int) % directions).tolist()
    variant = plan.random(f"stamp {cells.kind}").integers(0, variants, len(cells.x)).tolist()
    columns, rows = (cells.x / plan.mpp).astype(int).tolist(), (cells.y / plan.mpp).astype(int).tolist()
    for x, y, d, v in zip(columns, rows, direction, variant, strict=True):
        picture = pictures[d][v]
        half = picture.shape[0] // 2
        if half <= x < size - half and half <= y < size - half:
            part = stain[y - half : y + half + 1, x - half : x + half + 1]
            np.maximum(part, picture, out=part)


def _light(hematoxylin: Image, eosin: Image, plan: SlidePlan) -> Image:
    """Transmitted light: each channel is the product of what both stains let through."""
    level = np.arange(256) / 255.0
    channels = []
    for c in range(3):
        first = np.exp(-plan.stains[c] * level)
        second = np.exp(-plan.stains[3 + c] * level)
        through = [np.round(_WHITE * first).astype(np.uint8), np.round(255 * second).astype(np.uint8)]
        channels.append(cv2.multiply(cv2.LUT(hematoxylin, through[0]), cv2.LUT(eosin, through[1]), scale=1 / 255))
    return np.asarray(cv2.merge(channels), dtype=np.uint8)


def _defocus(image: Image, plan: SlidePlan, drawn: Layout) -> None:
    rows, columns = np.nonzero(drawn.blur > 0)
    if not len(rows):
        return
    unit = GRID_UM / plan.mpp
    top, bottom = int(rows.min() * unit), int((rows.max() + 1) * unit)
    left, right = int(columns.min() * unit), int((columns.max() + 1) * unit)
    part = image[top:bottom, left:right]
    # Blurred at half size: an out-of-focus picture has nothing there to lose, and it is four times as fast.
    small = cv2.resize(part, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    soft = cv2.resize(cv2.GaussianBlur(small, (0, 0), _BLUR_UM / plan.mpp / 2), part.shape[1::-1])
    weight = _resized(drawn.blur, plan)[top:bottom, left:right, None]
    part[:] = np.round(part * (1 - weight) + soft * weight).astype(np.uint8)


def _mark(image: Image, plan: SlidePlan, drawn: Layout) -> None:
    """Ink over glass and tissue: it dims what is below, unevenly, and nearly hides it."""
    if plan.pen is None:
        return
    stroke = cv2.GaussianBlur(pen_stroke(plan, drawn), (0, 0), 0.8 / plan.mpp)
    rows, columns = np.nonzero(stroke.max(axis=1))[0], np.nonzero(stroke.max(axis=0))[0]
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    uneven = smooth_noise(plan.random("ink"), drawn.region.shape[0], 60.0)
    density = np.clip(0.86 + 0.05 * _resized(uneven, plan)[top:bottom, left:right], 0.7, 0.97)
    alpha = (stroke[top:bottom, left:right] / 255.0 * density)[..., None]
    part = image[top:bottom, left:right]
    part[:] = np.round(part * (1 - alpha) + np.array(pen_colour(plan.pen)) * alpha).astype(np.uint8)


@cache
def _fibres(size_um: float, mpp: float, number: int) -> _Texture:
    """Wavy collagen: noise smeared along one direction, then bent by a smooth displacement.

    Drawn at 0.5 micrometres and enlarged for finer scans, so that both scans of a tissue look alike.
    """
    random = np.random.default_rng([7, number])
    n, grid = round(size_um / 0.5), round(size_um / GRID_UM)
    noise = random.standard_normal((n, n)).astype(np.float32)
    streaks = cv2.GaussianBlur(noise, (0, 0), sigmaX=22.0, sigmaY=1.1)
    fine = cv2.GaussianBlur(noise, (0, 0), 0.7)
    streaks = streaks / streaks.std() + 0.35 * fine / fine.std()
    bend = 26.0 * smooth_noise(random, grid, 130.0)
    turn = random.uniform(0, np.pi)
    y, x = np.mgrid[0:n, 0:n].astype(np.float32)
    shift = cv2.resize(bend, (n, n), interpolation=cv2.INTER_LINEAR)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u, v = x * c + y * s, y * c - x * s + shift
    bent = cv2.remap(streaks, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    # Fibres are lines of constant v.
    step = GRID_UM / 0.5
    slope_y, slope_x = np.gradient(bend, step)
    flow = np.arctan2(-(-s + slope_x), c + slope_y)
    values = np.clip(128 + 30 * bent, 40, 235).astype(np.uint8)
    size = round(size_um / mpp)
    if size != n:
        values = cv2.resize(values, (size, size), interpolation=cv2.INTER_CUBIC)
    return _Texture(values, flow.astype(np.float32))


@cache
def _granules(size_um: float, mpp: float, number: int) -> Image:
    """Granular cytoplasm: isotropic noise of about one micrometre, mirrored to fill fine scans."""
    random = np.random.default_rng([8, number])
    n = round(size_um / mpp)
    half = (n + 1) // 2
    noise = random.standard_normal((half, half)).astype(np.float32)
    coarse = cv2.GaussianBlur(noise, (0, 0), 1.6 / mpp)
    fine = cv2.GaussianBlur(noise, (0, 0), 0.35 / mpp)
    values = np.clip(128 + 14 * coarse / coarse.std() + 10 * fine / fine.std(), 40, 235).astype(np.uint8)
    return cv2.copyMakeBorder(values, 0, n - half, 0, n - half, cv2.BORDER_REFLECT)


def _flipped(field: NDArray[Any], flip: int, turn: bool = False) -> NDArray[Any]:
    """A field mirrored by an OpenCV flip code (2 = not at all); `turn` where its values are directions."""
    if flip == 2:
        return field
    mirrored = cv2.flip(field, flip)
    return -mirrored if turn and flip != -1 else mirrored
