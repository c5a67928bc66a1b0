"""Scores of tiles over a slide: a map with exact areas, a figure with its colour bar, and GeoJSON that QuPath opens.

Everything is in level-0 pixels of the full canvas (spec slides_and_encoders 1.5: bounds are never subtracted), so that
map, rectangles and slide lie on each other whatever the scale of the slide and of the picture.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, sparse

from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path, write_text
from pathomix.core.tables import Column, TableSchema
from pathomix.slides.reader import Slide, Thumbnail

Floats = NDArray[np.float64]
Map = NDArray[np.float32]

COLOURS = "cividis"  # perceptually uniform, and the same to a red-green-blind eye (Nuñez et al. 2018)
_SNAP = 9  # decimals of a pixel: a tile that ends on a pixel's border must not touch the next one by rounding
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709
_WIDTH = 7.2  # inches: both columns of a journal
_BELOW, _ABOVE, _GAP = 0.7, 0.45, 0.3  # inches: colour bar with its label, titles, and between panels
_TALLEST = 12.0  # inches of a panel: a slide of many pieces in one column
_DPI = 300
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7.0,
    "axes.titlesize": 8.0,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "xtick.labelsize": 6.5,
}

# One row per slide; `figure` and `geojson` are relative to the folder of the table, `unscored` tiles were not drawn.
HEATMAPS = TableSchema(
    "heatmaps",
    ("slide_id",),
    {
        "slide_id": Column("str"),
        "patient_id": Column("str"),
        "status": Column("str", allowed=("drawn", "left_out")),
        "reason": Column("object", nullable=True),
        "tiles": Column("Int64", nullable=True),
        "unscored": Column("Int64", nullable=True),
        "figure": Column("object", nullable=True),
        "geojson": Column("object", nullable=True),
    },
)


@dataclass(frozen=True)
class HeatmapParameters:
    """How heatmaps are drawn.

    Attributes:
        longest: Pixels of the picture's longer side; a smaller slide is not enlarged.
        percentiles: Percentiles of the scores where the colours end.
        alpha: Share of the colour over the slide.
        smooth: Standard deviation of a Gaussian over the map, in tile edges; 0 = none.
        most: Rectangles in the GeoJSON; of more tiles those with the highest first score are kept.
    """

    longest: int = 1024
    percentiles: tuple[float, float] = (1.0, 99.0)
    alpha: float = 0.6
    smooth: float = 0.0
    most: int = 20_000

    def checked(self) -> HeatmapParameters:
        """Itself.

        Raises:
            PathomixError: A value that cannot be drawn with.
        """
        wrong = []
        if self.longest < 1 or self.most < 1:
            wrong.append("longest and most must be positive")
        if not (len(self.percentiles) == 2 and 0 <= self.percentiles[0] < self.percentiles[1] <= 100):
            wrong.append("percentiles must be two rising numbers from 0 to 100")
        if not 0 < self.alpha <= 1:
            wrong.append("alpha must be above 0 and at most 1")
        if not 0 <= self.smooth < math.inf:
            wrong.append("smooth must be at least 0")
        if wrong:
            raise PathomixError(f"heatmap: {'; '.join(wrong)}", remedy="correct the parameters")
        return self


@dataclass(frozen=True)
class ScoredTiles:
    """Tiles of one slide and what is known of each.

    Attributes:
        coords: [tiles, 2], level-0 pixels (x, y) of the upper left corners.
        edge: Width and height of a tile in level-0 pixels, not rounded.
        scores: Name to values [tiles]; the first one colours the rectangles.
    """

    coords: ArrayLike
    edge: Sequence[float]
    scores: Mapping[str, ArrayLike]


@dataclass(frozen=True)
class ColourScale:
    """Which scores get which colour: linear from `low` to `high`, the end colours beyond.

    Attributes:
        low: Score of the first colour.
        high: Score of the last colour; equal to `low` where all scores are, which then get the middle colour.
        smallest: Smallest score.
        largest: Largest score.
        percentiles: Percentiles of the scores that `low` and `high` are.
        count: Number of scores.
    """

    low: float
    high: float
    smallest: float
    largest: float
    percentiles: tuple[float, float]
    count: int

    @property
    def norm(self) -> Normalize:
        """Score to [0, 1]."""
        flat = 0.0 if self.high > self.low else max(abs(self.low), 1.0) / 2
        return Normalize(self.low - flat, self.high + flat, clip=True)

    def rgb(self, values: ArrayLike) -> NDArray[np.uint8]:
        """Colours uint8 [..., 3] of finite scores."""
        shares = np.asarray(self.norm(np.asarray(values, dtype=np.float64)))
        rgb: NDArray[np.uint8] = np.asarray(mpl.colormaps[COLOURS](shares, bytes=True))[..., :3]
        return rgb


def colour_scale(scores: ArrayLike, percentiles: tuple[float, float] = (1.0, 99.0)) -> ColourScale:
    """Scale whose colours end at percentiles of the scores, so that one odd tile does not take all the contrast.

    Raises:
        PathomixError: No score, or one that is not finite.
    """
    values = np.asarray(scores, dtype=np.float64).ravel()
    if not len(values) or not np.isfinite(values).all():
        raise PathomixError(
            f"{int((~np.isfinite(values)).sum())} of {len(values)} scores are not finite, so there is no colour scale",
            remedy="leave tiles without a score out",
        )
    low, high = np.percentile(values, percentiles)
    return ColourScale(float(low), float(high), float(values.min()), float(values.max()), percentiles, len(values))


def score_map(
    coords: ArrayLike,
    edge: Sequence[float],
    scores: ArrayLike,
    origin: Sequence[float],
    step: Sequence[float],
    shape: tuple[int, int],
    *,
    smooth: float = 0.0,
) -> Map:
    """Mean score of the tiles on each pixel, each weighted by the area it covers there; exact for any scale and edge.

    Without smoothing, the sum over pixels of value times covered area (of each tile) is the sum of the tiles' scores
    times their areas inside the picture.

    Args:
        coords: [tiles, 2], level-0 pixels (x, y) of the upper left corners.
        edge: Width and height of a tile in level-0 pixels; need not be whole.
        scores: [tiles].
        origin: Level-0 pixel (x, y) of the picture's upper left corner.
        step: Level-0 pixels per pixel of the picture along x and y.
        shape: Height and width of the picture.
        smooth: Standard deviation of a Gaussian in tile edges, normalised by the area, so that glass adds nothing.

    Returns:
        float32 [height, width], NaN where no tile is.

    Raises:
        PathomixError: No tile, another number of scores, a score that is not finite, or tiles outside the picture.
    """
    corners, values = _checked(coords, edge, {"score": scores})
    column, columns = np.unique(corners[:, 0], return_inverse=True)
    row, rows = np.unique(corners[:, 1], return_inverse=True)
    across = _overlaps(column, edge[0], origin[0], step[0], shape[1])
    down = _overlaps(row, edge[1], origin[1], step[1], shape[0])
    inside = (np.diff(across.indptr)[columns] > 0) & (np.diff(down.indptr)[rows] > 0)
    _refuse(~inside, corners, "tiles lie outside the picture", "are these the tiles of this slide, in level-0 pixels?")

    def spread(amounts: Floats) -> Floats:
        grid = sparse.csr_matrix((amounts, (rows, columns)), shape=(len(row), len(column)))
        return np.asarray((down.T @ (grid @ across)).toarray(), dtype=np.float64)

    total, area = spread(values["score"]), spread(np.ones(len(corners)))
    covered = area > 0
    if smooth:
        sigma = smooth * edge[1] / step[1], smooth * edge[0] / step[0]
        total, area = (ndimage.gaussian_filter(part, sigma, mode="constant") for part in (total, area))
    result = np.full(shape, np.nan, dtype=np.float32)
    result[covered] = total[covered] / area[covered]
    return result


def _overlaps(starts: Floats, edge: float, origin: float, step: float, count: int) -> sparse.csr_matrix:
    """Level-0 pixels that each interval [start, start + edge] shares with each of `count` pixels; only those > 0."""
    begin, end = (np.clip(np.round((at - origin) / step, _SNAP), 0, count) for at in (starts, starts + edge))
    first = np.floor(begin)
    pixel = first[:, None] + np.arange(max(1, math.ceil((end - first).max())))
    length = np.minimum(end[:, None], pixel + 1) - np.maximum(begin[:, None], pixel)
    interval, place = np.nonzero(length > 0)
    index = interval, pixel[interval, place].astype(np.int64)
    return sparse.csr_matrix((length[interval, place] * step, index), shape=(len(starts), count))


def _checked(
    coords: ArrayLike, edge: Sequence[float], scores: Mapping[str, ArrayLike]
) -> tuple[Floats, dict[str, Floats]]:
    corners = np.asarray(coords, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or not len(corners) or not np.isfinite(corners).all():
        raise PathomixError(
            f"tile positions of shape {corners.shape} cannot be drawn", remedy="give finite [tiles, 2], at least one"
        )
    if len(edge) != 2 or not all(0 < side < math.inf for side in edge):
        raise PathomixError(f"a tile of {tuple(edge)} level-0 pixels", remedy="give its width and height")
    if not scores:
        raise PathomixError("no scores to draw", remedy="give at least one")
    values = {name: np.asarray(given, dtype=np.float64) for name, given in scores.items()}
    for name, found in values.items():
        if found.shape != (len(corners),):
            raise PathomixError(
                f"{name}: scores of shape {found.shape} for {len(corners)} tiles",
                remedy="give one score per tile, in the order of the tiles",
            )
        _refuse(~np.isfinite(found), corners, f"{name}: not finite at tiles", "leave tiles without a score out")
    return corners, values


def _refuse(wrong: NDArray[np.bool_], corners: Floats, fact: str, remedy: str) -> None:
    if wrong.any():
        named = [f"({x:g}, {y:g})" for x, y in corners[wrong]]
        raise PathomixError(f"{fact} ({len(named)} of {len(corners)})", offending=named, remedy=remedy)


def overlay(rgb: NDArray[np.uint8], values: Map, scale: ColourScale, alpha: float = 0.6) -> NDArray[np.uint8]:
    """The picture with the map's colours over it, uint8 [height, width, 3]; untouched where the map is NaN.

    The picture turns grey below the colours: its own hues would shift theirs away from the colour bar's.

    Raises:
        PathomixError: Map and picture differ in size.
    """
    if values.shape != rgb.shape[:2]:
        raise PathomixError(
            f"a map of {values.shape} pixels over a picture of {rgb.shape[:2]}", remedy="make the map for this picture"
        )
    drawn = np.isfinite(values)
    grey = (rgb[drawn].astype(np.float64) @ _LUMINANCE)[:, None]
    result = rgb.copy()
    result[drawn] = np.rint((1 - alpha) * grey + alpha * scale.rgb(values[drawn])).astype(np.uint8)
    return result


def scores_geojson(
    tiles: ScoredTiles, scale: ColourScale, canvas: tuple[int, int], most: int | None = None
) -> dict[str, Any]:
    """GeoJSON FeatureCollection of the tiles' rectangles in level-0 pixels, cut at the canvas.

    Each is a tile object of QuPath, coloured by the first score, with every score among its measurements (the list of
    names and values is the form that every QuPath since 0.2 reads).

    Args:
        tiles: Tiles and their scores.
        scale: Colours of the first score.
        canvas: Width and height of the slide in level-0 pixels.
        most: Keep so many tiles with the highest first score (of equals the first ones); None = all. The order of the
            tiles stays.

    Raises:
        PathomixError: See `score_map`; or tiles outside the canvas.
    """
    corners, values = _checked(tiles.coords, tiles.edge, tiles.scores)
    low = np.clip(corners, 0, canvas)
    high = np.clip(corners + np.asarray(tiles.edge, dtype=np.float64), 0, canvas)
    outside = np.asarray((high <= low).max(axis=1))
    _refuse(outside, corners, f"tiles lie outside the canvas of {canvas[0]} x {canvas[1]}", "give this slide's tiles")
    first = next(iter(values.values()))
    order = np.argsort(-first, kind="stable")
    kept = np.sort(order if most is None else order[:most])
    colours = scale.rgb(first[kept]).tolist()
    features = []
    boxes = np.round(np.hstack([low, high])[kept], 2).tolist()
    for place, (left, top, right, bottom), colour in zip(kept, boxes, colours, strict=True):
        ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        measured = [{"name": name, "value": float(f"{found[place]:.6g}")} for name, found in values.items()]
        properties = {"objectType": "tile", "color": colour, "measurements": measured}
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return {"type": "FeatureCollection", "features": features}


def heatmap_figure(
    thumbnail: Thumbnail, maps: Mapping[str, Map], scales: Mapping[str, ColourScale], title: str, alpha: float = 0.6
) -> Figure:
    """The slide, and beside it each map over it, with the colour bar and what its range is below.

    Raises:
        PathomixError: A map is not of the thumbnail's size.
    """
    height, width = thumbnail.rgb.shape[:2]
    room = _WIDTH / (1 + len(maps))
    wide = room - _GAP
    tall = wide * height * thumbnail.step[1] / (width * thumbnail.step[0])
    if tall > _TALLEST:
        wide, tall = wide * _TALLEST / tall, _TALLEST
    size = np.array([_WIDTH, tall + _BELOW + _ABOVE])
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=tuple(size), dpi=_DPI)
        figure.text(_GAP / 2 / size[0], 1 - 0.08 / size[1], title, va="top", fontsize=8.0, fontweight="bold")
        for place, (name, values) in enumerate([("slide", None), *maps.items()]):
            left = place * room + _GAP / 2
            panel = figure.add_axes((*((left, _BELOW) / size), *((wide, tall) / size)))
            rgb = thumbnail.rgb if values is None else overlay(thumbnail.rgb, values, scales[name], alpha)
            panel.imshow(rgb, aspect="auto", interpolation="antialiased")
            panel.set(title=name, xticks=[], yticks=[])
            if values is None:
                _scale_bar(panel, width, height, thumbnail)
            else:
                bar = figure.add_axes((*((left, _BELOW - 0.18) / size), *((wide, 0.08) / size)))
                _colour_bar(figure, bar, scales[name])
    return figure


def _colour_bar(figure: Figure, axes: Axes, scale: ColourScale) -> None:
    below, above = scale.smallest < scale.low, scale.largest > scale.high
    beyond = "both" if below and above else "min" if below else "max" if above else "neither"
    mappable = ScalarMappable(scale.norm, COLOURS)
    bar = figure.colorbar(mappable, cax=axes, orientation="horizontal", extend=beyond)
    ticks = [scale.low, (scale.low + scale.high) / 2, scale.high] if scale.high > scale.low else [scale.low]
    bar.set_ticks(ticks, labels=[f"{tick:.3g}" for tick in ticks])
    first, last = scale.percentiles
    bar.set_label(
        f"colours: percentiles {first:g} to {last:g}\n{scale.count} tiles, {scale.smallest:.3g} to {scale.largest:.3g}"
    )


def _scale_bar(panel: Axes, width: int, height: int, thumbnail: Thumbnail) -> None:
    """A bar of 1, 2 or 5 times a power of ten micrometres, at most a third of the width."""
    across = thumbnail.mpp * math.sqrt(thumbnail.step[0] / thumbnail.step[1])  # mpp is the mean of both axes
    most = width * across / 3
    power = 10.0 ** math.floor(math.log10(most))
    length = max(factor * power for factor in (1, 2, 5) if factor * power <= most)
    text = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    side, thick = 0.03 * width, 0.012 * height
    panel.add_patch(Rectangle((side, height - side - thick), length / across, thick, color="black", linewidth=0))
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
    panel.text(side, height - side - 2 * thick, text, va="bottom", ha="left", bbox=box)


def write_heatmap(
    stem: Path,
    slide: Slide,
    tiles: ScoredTiles,
    title: str,
    parameters: HeatmapParameters | None = None,
    scales: Mapping[str, ColourScale] | None = None,
) -> tuple[Path, Path]:
    """Write `<stem>.png` and `<stem>.geojson`, each atomically; the same input gives the same bytes.

    Args:
        stem: Path without suffix.
        slide: The slide.
        tiles: Its tiles and scores.
        title: Title of the figure.
        parameters: How to draw.
        scales: Colours of each score, for instance one for all slides of a patient; by default of these tiles.

    Returns:
        Both paths.

    Raises:
        PathomixError: See `score_map` and `scores_geojson`, or the slide cannot be read. Then nothing is written.
    """
    settings = (parameters or HeatmapParameters()).checked()
    corners, values = _checked(tiles.coords, tiles.edge, tiles.scores)
    scales = scales or {name: colour_scale(found, settings.percentiles) for name, found in values.items()}
    collection = scores_geojson(tiles, scales[next(iter(values))], slide.dimensions, settings.most)
    longest = max(slide.bounds[2] * slide.scale.x, slide.bounds[3] * slide.scale.y)
    picture = slide.thumbnail(longest / settings.longest)
    shape = picture.rgb.shape[0], picture.rgb.shape[1]
    maps = {
        name: score_map(corners, tiles.edge, found, picture.origin, picture.step, shape, smooth=settings.smooth)
        for name, found in values.items()
    }
    figure = heatmap_figure(picture, maps, scales, title, settings.alpha)
    FigureCanvasAgg(figure)
    paths = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.geojson")
    written: dict[str, str | None] = {"Title": title, "Software": None}  # neither date nor version: equal bytes
    with mpl.rc_context(), atomic_path(paths[0]) as temporary:
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure.savefig(temporary, dpi=_DPI, metadata=written)
    write_text(paths[1], json.dumps(collection, separators=(",", ":"), allow_nan=False) + "\n")
    return paths
