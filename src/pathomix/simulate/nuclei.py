"""Nuclei: kinds, their pictures at a resolution, and where they lie on a slide."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pathomix.simulate.slide_plan import FIRST_PATTERN, GRID_UM, PLANTED, STROMA, Layout, SlidePlan

_PER_KIND = 40
_ANGLES = 12
# Of the smoothed tissue mask: about two micrometres from the outline.
_INSIDE = 0.9


@dataclass(frozen=True)
class NucleusKind:
    """How nuclei of a tissue component look and lie.

    Attributes:
        spacing_um: Mean distance between neighbours.
        radius_um: Smallest and largest mean radius.
        elongation: Long over short axis.
        stain: Hematoxylin, 0..1.
        clumping: Contrast of the chromatin.
        irregular: Deviation of the outline from an ellipse.
    """

    spacing_um: float
    radius_um: tuple[float, float]
    elongation: float
    stain: float
    clumping: float
    irregular: float


KINDS: dict[str, NucleusKind] = {
    "stroma": NucleusKind(21.0, (1.9, 2.6), 3.2, 0.62, 0.10, 0.05),
    "planted": NucleusKind(10.4, (3.9, 5.9), 1.3, 0.92, 0.18, 0.15),
    "gland": NucleusKind(6.2, (2.4, 3.1), 1.8, 0.62, 0.16, 0.05),
    "solid": NucleusKind(11.5, (3.2, 4.1), 1.15, 0.55, 0.20, 0.07),
    "mucinous": NucleusKind(15.0, (2.1, 2.8), 1.2, 0.66, 0.12, 0.06),
}
# Kind of nuclei that fill each growth pattern; glands are drawn as rings.
_PATTERN_KINDS = ("gland", "solid", "mucinous")


@dataclass(frozen=True)
class Cells:
    """Nuclei of one kind.

    Attributes:
        kind: Key of `KINDS`.
        x: Micrometres from the left.
        y: Micrometres from the top.
        angle: Direction of the long axis in radians.
    """

    kind: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    angle: NDArray[np.float64]


@dataclass(frozen=True)
class Glands:
    """Glands as ellipses: centre, half axes (micrometres) and direction."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    long: NDArray[np.float64]
    short: NDArray[np.float64]
    angle: NDArray[np.float64]


def organ_scale(plan: SlidePlan) -> float:
    """Size of nuclei relative to the training cohorts."""
    return 1.15 if plan.ood else 1.0


def stamps(kind: str, mpp: float, scale: float) -> list[list[NDArray[np.uint8]]]:
    """Pictures of one kind of nucleus, [direction][variant], hematoxylin 0..255."""
    return _stamps(kind, mpp, scale)


@cache
def _stamps(kind: str, mpp: float, scale: float) -> list[list[NDArray[np.uint8]]]:
    look = KINDS[kind]
    random = np.random.default_rng([3, *kind.encode()])
    variants = _PER_KIND // 4
    return [[_stamp(look, np.pi * a / _ANGLES, mpp, scale, random) for _ in range(variants)] for a in range(_ANGLES)]


def _stamp(look: NucleusKind, angle: float, mpp: float, scale: float, random: np.random.Generator) -> NDArray[np.uint8]:
    radius = random.uniform(*look.radius_um) * scale / mpp
    long, short = radius * np.sqrt(look.elongation), radius / np.sqrt(look.elongation)
    half = int(np.ceil(long * 1.25)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    theta = np.arctan2(v / short, u / long)
    wobble = sum(look.irregular / k * np.sin(k * theta + random.uniform(0, 2 * np.pi)) for k in (2, 3))
    distance = np.hypot(u / long, v / short) / (1 + wobble)
    edge = np.clip((1 - distance) * short / 1.1 + 0.5, 0, 1)
    grain = cv2.GaussianBlur(random.standard_normal(x.shape), (0, 0), max(0.45 / mpp, 0.7))
    grain /= grain.std()
    rim = 0.10 * np.exp(-((distance - 0.9) ** 2) / 0.02)
    tone = look.stain * random.uniform(0.85, 1.1) * (1 + look.clumping * grain) + rim
    return np.clip(255 * edge * np.clip(tone, 0.2, 1.0), 0, 255).astype(np.uint8)


def place(plan: SlidePlan, drawn: Layout, flow: NDArray[np.float32]) -> tuple[list[Cells], Glands]:
    """Positions of all nuclei, and the glands.

    Args:
        plan: Plan of the slide.
        drawn: Its layout.
        flow: [rows, columns] direction of the fibres on the grid, radians; stromal nuclei follow it.
    """
    random = plan.random("nuclei")
    scale = organ_scale(plan)
    cells = [_fill(random, plan, drawn, "stroma", STROMA, scale, flow)]
    cells.append(_fill(random, plan, drawn, "planted", PLANTED, scale, None))
    for k, kind in enumerate(_PATTERN_KINDS[1 : len(plan.patterns)], start=1):
        cells.append(_fill(random, plan, drawn, kind, FIRST_PATTERN + k, scale, None))
    glands = _glands(random, plan, drawn)
    # Between the glands lies stroma.
    cells.append(_fill(random, plan, drawn, "stroma", FIRST_PATTERN, 1.3 * scale, flow))
    cells = [_outside(glands, group) if group.kind == "stroma" else group for group in cells]
    cells.append(_rings(random, drawn, glands, scale))
    return [_inside(drawn, group) for group in cells], glands


def _at(field: NDArray[Any], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[Any]:
    """Values of a grid field at points in micrometres."""
    top = field.shape[0] - 1
    rows, columns = np.clip((y / GRID_UM).astype(int), 0, top), np.clip((x / GRID_UM).astype(int), 0, top)
    return field[rows, columns]


def _inside(drawn: Layout, cells: Cells) -> Cells:
    """The cells whose whole nucleus lies in the tissue, so that none sticks out of its outline."""
    keep = _at(drawn.tissue, cells.x, cells.y) > _INSIDE
    return Cells(cells.kind, cells.x[keep], cells.y[keep], cells.angle[keep])


def _scatter(
    random: np.random.Generator, size_um: float, spacing: float, jitter: float = 0.28
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points of a jittered hexagonal grid: even, but not regular."""
    rows, columns = int(size_um / (spacing * 0.866)) + 1, int(size_um / spacing) + 1
    y, x = np.mgrid[0:rows, 0:columns].astype(float)
    x = (x + 0.5 * (y % 2)) * spacing
    y = y * spacing * 0.866
    moved = jitter * spacing * random.standard_normal((2, x.size))
    return x.ravel() + moved[0], y.ravel() + moved[1]


def _fill(
    random: np.random.Generator,
    plan: SlidePlan,
    drawn: Layout,
    kind: str,
    region: int,
    scale: float,
    flow: NDArray[np.float32] | None,
) -> Cells:
    x, y = _scatter(random, plan.size_um, KINDS[kind].spacing_um * scale)
    keep = _at(drawn.region, x, y) == region
    x, y = x[keep], y[keep]
    if flow is None:
        angle = random.uniform(0, np.pi, x.size)
    else:
        angle = _at(flow, x, y) + 0.25 * random.standard_normal(x.size)
    return Cells(kind, x, y, angle)


def _glands(random: np.random.Generator, plan: SlidePlan, drawn: Layout) -> Glands:
    x, y = _scatter(random, plan.size_um, 54.0 if plan.ood else 45.0, jitter=0.09)
    keep = _at(drawn.region, x, y) == FIRST_PATTERN
    x, y = x[keep], y[keep]
    radius = random.uniform(14.0, 19.5, x.size)
    stretch = random.uniform(1.3, 1.8, x.size) if plan.ood else random.uniform(1.0, 1.2, x.size)
    return Glands(x, y, radius * stretch, radius / np.sqrt(stretch), random.uniform(0, np.pi, x.size))


def _outside(glands: Glands, cells: Cells) -> Cells:
    """The cells that lie in no gland."""
    reach = 1.15 * np.maximum(glands.long, glands.short)
    distance = np.hypot(cells.x[:, None] - glands.x, cells.y[:, None] - glands.y)
    free = (distance > reach).all(axis=1)
    return Cells(cells.kind, cells.x[free], cells.y[free], cells.angle[free])


def _rings(random: np.random.Generator, drawn: Layout, glands: Glands, scale: float) -> Cells:
    """Columnar nuclei side by side along each gland's outline, their long axes pointing to the lumen."""
    xs, ys, angles = [], [], []
    for x, y, long, short, angle in zip(glands.x, glands.y, glands.long, glands.short, glands.angle, strict=True):
        count = int(np.pi * (long + short) / (KINDS["gland"].spacing_um * scale))
        theta = np.linspace(0, 2 * np.pi, count, endpoint=False) + 0.05 * random.standard_normal(count)
        depth = 0.86 + 0.05 * random.standard_normal(count)
        u, v = long * depth * np.cos(theta), short * depth * np.sin(theta)
        c, s = np.cos(angle), np.sin(angle)
        xs.append(x + u * c - v * s)
        ys.append(y + u * s + v * c)
        angles.append(theta + angle)
    if not xs:
        return Cells("gland", np.zeros(0), np.zeros(0), np.zeros(0))
    x_all, y_all = np.concatenate(xs), np.concatenate(ys)
    keep = np.isin(_at(drawn.region, x_all, y_all), (FIRST_PATTERN, STROMA))
    return Cells("gland", x_all[keep], y_all[keep], np.concatenate(angles)[keep])
