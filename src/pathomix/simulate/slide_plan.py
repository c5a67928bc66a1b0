"""What is planted on each simulated slide, and where: the truth that rendering follows.

A plan is drawn per slide from its own random stream, so shards are independent and a slide never depends on another.
The layout is drawn on a grid of `GRID_UM` micrometres; every share is exact on that grid because regions are cut from
smooth noise at a quantile.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.simulate.parameters import Parameters

Mask = NDArray[np.bool_]
Field = NDArray[np.float32]

GRID_UM = 2.0
COARSE_MPP, FINE_MPP = 0.5, 0.25

# Values of `Layout.region`.
OUTSIDE, STROMA, PLANTED, FIRST_PATTERN = 0, 1, 2, 3

# Optical density of red, green and blue at full stain: hematoxylin, then eosin.
_STAINS = ((1.30, 1.45, 0.62), (0.12, 0.86, 0.42))
_OOD_STAINS = ((1.05, 1.45, 0.85), (0.22, 0.95, 0.30))
_PENS = {"blue": (40, 60, 150), "green": (30, 120, 70), "black": (35, 35, 40)}
_STROMA_SHARE = 0.22
_FREE_BORDER = 0.14


@dataclass(frozen=True)
class SlidePlan:
    """Everything a slide is rendered from.

    Attributes:
        slide_id: Name of the file without its suffix.
        patient_id: Patient.
        seed: Seed of the slide's own random stream.
        size_um: Edge of the square canvas.
        mpp: Micrometres per pixel of level 0.
        has_mpp: Whether the header says so.
        truncated: Whether the file is cut off.
        extent: Share of the tissue with the planted morphology.
        patterns: Share of each growth pattern in the remaining tissue.
        tissue_share: Share of the canvas covered with tissue.
        pieces: Pieces of tissue, 1 or 2.
        pen: Colour of a pen mark, or None.
        blurred: Whether a region is out of focus.
        ood: Another organ: elongated glands, larger nuclei.
        stains: Optical densities (hematoxylin r, g, b, eosin r, g, b).
        quality: JPEG quality.
    """

    slide_id: str
    patient_id: str
    seed: int
    size_um: float
    mpp: float
    has_mpp: bool
    truncated: bool
    extent: float
    patterns: tuple[float, ...]
    tissue_share: float
    pieces: int
    pen: str | None
    blurred: bool
    ood: bool
    stains: tuple[float, ...]
    quality: int

    @property
    def pixels(self) -> int:
        """Edge of level 0 in pixels."""
        return round(self.size_um / self.mpp)

    def random(self, purpose: str) -> np.random.Generator:
        """Generator for one purpose."""
        return np.random.default_rng([self.seed, *purpose.encode()])


@dataclass(frozen=True)
class Layout:
    """Regions of a slide on the grid.

    Attributes:
        tissue: [rows, columns] float, smooth; tissue where above 0.5.
        region: uint8 [rows, columns]: `OUTSIDE`, `STROMA`, `PLANTED` or `FIRST_PATTERN` + k.
        blur: [rows, columns] float in 0..1, how far out of focus.
        pen: int32 [points, 2], (x, y) in micrometres along the stroke, empty without a mark.
        pen_width_um: Width of the stroke.
    """

    tissue: Field
    region: NDArray[np.uint8]
    blur: Field
    pen: NDArray[np.int32]
    pen_width_um: float


def plan_slides(parameters: Parameters, cohort: str, truth: pd.DataFrame, slides: pd.DataFrame) -> list[SlidePlan]:
    """Plans of all slides of a cohort, in the order of the slide table.

    Args:
        parameters: Parameters of the simulator.
        cohort: Name of the cohort.
        truth: Truth table, with columns patient_id, extent and pattern_<k>.
        slides: Slide table, with columns slide_id and bcr_patient_barcode.

    Raises:
        PathomixError: A slide belongs to no patient of the truth table.
    """
    rows = truth.set_index("patient_id")
    unknown = sorted(set(slides["bcr_patient_barcode"]) - set(rows.index))
    if unknown:
        raise PathomixError(
            f"cohort {cohort}: slides of patients without truth",
            offending=unknown,
            remedy="write both tables with workflow_scripts/simulate_tables.py in one run",
        )
    patterns = sorted(c for c in rows.columns if c.startswith("pattern_"))
    truncated, without_mpp = _defects(parameters, cohort, slides)
    plans = []
    for slide_id, patient in zip(slides["slide_id"], slides["bcr_patient_barcode"], strict=True):
        row = rows.loc[patient]
        shares = tuple(float(row[c]) for c in patterns)
        plans.append(_plan(parameters, cohort, slide_id, patient, float(row["extent"]), shares, truncated, without_mpp))
    return plans


def _defects(parameters: Parameters, cohort: str, slides: pd.DataFrame) -> tuple[set[str], set[str]]:
    """Truncated slides and slides without resolution: second slides first, so that their patients keep one."""
    settings = parameters.slides
    if parameters.cohort(cohort).ood:
        return set(), set()
    names = sorted(slides["slide_id"], key=lambda name: (not name.endswith("DX2"), name))
    return set(names[: settings.unreadable]), set(names[settings.unreadable :][: settings.without_mpp])


def _plan(
    parameters: Parameters,
    cohort: str,
    slide_id: str,
    patient: str,
    extent: float,
    patterns: tuple[float, ...],
    truncated: set[str],
    without_mpp: set[str],
) -> SlidePlan:
    settings, ood = parameters.slides, parameters.cohort(cohort).ood
    random = parameters.random("slide", slide_id)
    site = parameters.random("stain", cohort, patient[5:7])
    base = np.array(_OOD_STAINS if ood else _STAINS)
    shift = 1 + parameters.effects.stain_shift * site.standard_normal(base.shape)
    strength = 1 + 0.5 * parameters.effects.stain_shift * random.standard_normal((2, 1))
    low, high = settings.extent
    share, fine, pieces, pen, blurred = random.random(5)
    colour = sorted(_PENS)[int(random.integers(len(_PENS)))]
    seed = int.from_bytes(hashlib.sha256(f"{parameters.seed}/{slide_id}".encode()).digest()[:6], "big")
    return SlidePlan(
        slide_id=slide_id,
        patient_id=patient,
        seed=seed,
        size_um=settings.size_um,
        mpp=FINE_MPP if fine < settings.fine else COARSE_MPP,
        has_mpp=slide_id not in without_mpp,
        truncated=slide_id in truncated,
        extent=float(np.clip(extent + settings.extent_noise * random.standard_normal(), low / 2, min(2 * high, 0.95))),
        patterns=patterns,
        tissue_share=float(0.56 + 0.14 * share),
        pieces=2 if pieces < settings.two_pieces else 1,
        pen=colour if pen < settings.pen else None,
        blurred=bool(blurred < settings.blurred),
        ood=ood,
        stains=tuple(float(v) for v in np.clip(base * shift * strength, 0.05, 2.2).ravel()),
        quality=settings.quality,
    )


def layout(plan: SlidePlan) -> Layout:
    """Draw the regions of a slide."""
    n = round(plan.size_um / GRID_UM)
    tissue = _tissue(plan, n)
    inside = tissue > 0.5
    random = plan.random("regions")
    region = np.where(inside, FIRST_PATTERN, OUTSIDE).astype(np.uint8)
    planted = _top_share(smooth_noise(random, n, 55.0), inside, plan.extent)
    rest = inside & ~planted
    remaining, left = rest.copy(), 1.0
    for k in range(len(plan.patterns) - 1, 0, -1):
        chosen = _top_share(smooth_noise(random, n, 90.0), remaining, min(1.0, plan.patterns[k] / max(left, 1e-9)))
        region[chosen] = FIRST_PATTERN + k
        remaining &= ~chosen
        left -= plan.patterns[k]
    septa = -np.abs(smooth_noise(random, n, 50.0))
    region[_top_share(septa, rest, _STROMA_SHARE)] = STROMA
    region[planted] = PLANTED
    pen, width = _pen(plan)
    return Layout(tissue, region, _blur(plan, n), pen, width)


def tissue_mask(plan: SlidePlan) -> Mask:
    """Tissue on level 0, [pixels, pixels]; gland lumens belong to the tissue."""
    return to_pixels(_tissue(plan, round(plan.size_um / GRID_UM)), plan)


def planted_mask(plan: SlidePlan) -> Mask:
    """Planted morphology on level 0."""
    return to_pixels((layout(plan).region == PLANTED).astype(np.float32), plan) & tissue_mask(plan)


def blur_mask(plan: SlidePlan) -> Mask:
    """Region out of focus on level 0."""
    return to_pixels(layout(plan).blur, plan)


def pen_mask(plan: SlidePlan) -> Mask:
    """Pen mark on level 0."""
    drawn = layout(plan)
    return pen_stroke(plan, drawn) > 0


def to_pixels(field: Field, plan: SlidePlan) -> Mask:
    """A smooth grid field cut at 0.5 on level 0."""
    return cv2.resize(field, (plan.pixels, plan.pixels), interpolation=cv2.INTER_LINEAR) > 0.5


def pen_stroke(plan: SlidePlan, drawn: Layout) -> NDArray[np.uint8]:
    """The stroke on level 0, 255 where the ink is, 0 elsewhere."""
    canvas = np.zeros((plan.pixels, plan.pixels), np.uint8)
    if len(drawn.pen):
        points = np.round(drawn.pen / plan.mpp).astype(np.int32)
        cv2.polylines(canvas, [points], False, 255, round(drawn.pen_width_um / plan.mpp), cv2.LINE_8)
    return canvas


def pen_colour(name: str) -> tuple[int, int, int]:
    """Red, green, blue of the ink."""
    return _PENS[name]


def smooth_noise(random: np.random.Generator, n: int, scale_um: float) -> Field:
    """Smooth random field [n, n] that varies over about `scale_um`: coarse noise, interpolated."""
    cells = max(4, round(n * GRID_UM / scale_um * 1.6))
    coarse = random.standard_normal((cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (n, n), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _top_share(field: Field, inside: Mask, share: float) -> Mask:
    """The part of `inside` where the field is highest, covering `share` of it."""
    count = round(share * int(inside.sum()))
    values = np.where(inside, field, -np.inf).ravel()
    result = np.zeros(values.size, dtype=bool)
    if count:
        result[np.argpartition(-values, count - 1)[:count]] = True
    return result.reshape(field.shape)


def _tissue(plan: SlidePlan, n: int) -> Field:
    random = plan.random("tissue")
    axis = np.linspace(-1, 1, n, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    angle = random.uniform(0, np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    if plan.pieces == 2:
        left = np.hypot((u + 0.52) / 0.55, v / random.uniform(0.75, 0.95))
        right = np.hypot((u - 0.52) / 0.50, v / random.uniform(0.70, 0.95))
        height = -np.minimum(left, right) + 0.10 * smooth_noise(random, n, 90.0)
        share = min(plan.tissue_share, 0.58)
    else:
        distance = (np.abs(x) ** 3 + np.abs(y) ** 3) ** (1 / 3)
        height = -distance + 0.10 * smooth_noise(random, n, 150.0) + 0.03 * smooth_noise(random, n, 40.0)
        share = plan.tissue_share
    # Towards the border of the canvas the tissue thins out, so that no outline is a straight cut.
    border = np.maximum(np.abs(x), np.abs(y)) + 0.04 * smooth_noise(random, n, 60.0)
    height = height - 8.0 * np.maximum(border - (1 - _FREE_BORDER), 0)
    inside = _top_share(np.asarray(height, dtype=np.float32), np.ones((n, n), dtype=bool), share)
    return np.asarray(cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 1.2), dtype=np.float32)


def _blur(plan: SlidePlan, n: int) -> Field:
    if not plan.blurred:
        return np.zeros((n, n), np.float32)
    random = plan.random("blur")
    axis = np.linspace(-1, 1, n, dtype=np.float32)
    cx, cy = random.uniform(-0.4, 0.4, 2)
    rx, ry = random.uniform(0.35, 0.55, 2)
    distance = np.hypot((axis[None, :] - cx) / rx, (axis[:, None] - cy) / ry)
    return np.clip((1.15 - distance) / 0.3, 0, 1).astype(np.float32)


def _pen(plan: SlidePlan) -> tuple[NDArray[np.int32], float]:
    if plan.pen is None:
        return np.zeros((0, 2), np.int32), 0.0
    random = plan.random("pen")
    along = np.linspace(0, 1, 40)
    angle, offset = random.uniform(0, np.pi), random.uniform(-0.35, 0.35)
    wave = 0.06 * np.sin(2 * np.pi * (along * random.uniform(0.5, 1.2) + random.random()))
    s, t = (along - 0.5) * random.uniform(0.7, 1.3), wave + offset
    points = np.stack([s * np.cos(angle) - t * np.sin(angle), s * np.sin(angle) + t * np.cos(angle)], axis=1)
    return np.round((points + 0.5) * plan.size_um).astype(np.int32), float(random.uniform(22, 38))
