"""Coordinate files of others: TRIDENT's and CLAM's are read, CLAM's is written where ours would mislead it (spec 2.4).

Our own file (`pathomix.slides.coords`) carries all attributes of TRIDENT. CLAM takes `patch_size` as pixels at
`patch_level`, TRIDENT as pixels at the target scale. Both are the same number where a level is read as it is; where
pixels are resampled they are not, and CLAM gets a file of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path
from pathomix.core.provenance import METADATA_KEY, Provenance
from pathomix.slides.coords import plain
from pathomix.slides.scale import Scale
from pathomix.slides.tiles import Grid, TileParameters

_TRIDENT = ("patch_size", "level0_magnification", "target_magnification")
_CLAM = ("patch_size", "patch_level", "downsample")
_CLAM_COPIED = ("patch_level", "downsample", "downsampled_level_dim", "level_dim", "name", "save_path")
_CLAM_CHUNK = 32
_MAX_DEVIATION = 0.05
_REMEDY = "import the file that belongs to this slide and tiling, or cut the tiles here"


@dataclass(frozen=True)
class ForeignCoords:
    """Coordinates that another program wrote.

    Attributes:
        path: The file.
        convention: Whose attributes it carries.
        coords: int64 [tiles, 2], level-0 pixels (x, y) of the upper left corners.
        footprint: Tile edge in level-0 pixels along x and y.
        canvas: Width and height of the slide in level-0 pixels, where the file says it.
        overlap: Target pixels that neighbours share, where the file says it.
    """

    path: Path
    convention: Literal["trident", "clam"]
    coords: NDArray[np.int64]
    footprint: tuple[float, float]
    canvas: tuple[int, int] | None = None
    overlap: int | None = None


def read_foreign_coords(path: Path) -> ForeignCoords:
    """Read a coordinate file in TRIDENT's or CLAM's convention; where it has both, TRIDENT's counts.

    Raises:
        PathomixError: No such file, not an HDF5 file with whole-numbered `coords`, or attributes of neither convention.
    """
    if not path.is_file():
        raise PathomixError(f"{path}: no such coordinate file", remedy="correct the template of --imported")
    try:
        with h5py.File(path, "r") as file:
            values = np.asarray(file["coords"][:])
            found = {name: plain(value) for name, value in file["coords"].attrs.items()}
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise PathomixError(f"{path}: not a coordinate file ({error})", remedy=_REMEDY) from error
    coords = _whole(path, values)
    attributes = {name: value for name, value in found.items() if value != "None"}  # TRIDENT's way of writing nothing
    try:
        if all(name in attributes for name in _TRIDENT):
            return _trident(path, coords, attributes)
        if all(name in attributes for name in _CLAM):
            return _clam(path, coords, attributes)
    except (TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise PathomixError(f"{path}: its attributes cannot be read ({error})", remedy=_REMEDY) from error
    raise PathomixError(
        f"{path}: attributes neither of TRIDENT ({', '.join(_TRIDENT)}) nor of CLAM ({', '.join(_CLAM)}), found",
        offending=sorted(attributes) or ["none"],
        remedy="give the file of coordinates, not of features",
    )


def imported_corners(foreign: ForeignCoords, scale: Scale, grid: Grid, parameters: TileParameters) -> NDArray[np.int64]:
    """The corners of a foreign file, if they can be tiles of this slide under this tiling.

    Args:
        foreign: What `read_foreign_coords` returned.
        scale: Physical scale of the slide.
        grid: The slide's grid.
        parameters: The tiling.

    Raises:
        PathomixError: Another canvas, a corner outside the canvas or twice, no corner, or tiles whose scale differs
            from the tiling's by more than 5 %.
    """
    name, corners = foreign.path.name, foreign.coords
    if foreign.canvas not in (None, grid.canvas):
        raise PathomixError(
            f"{name}: made for a slide of {foreign.canvas} pixels, this one has {grid.canvas}", remedy=_REMEDY
        )
    for edge, mpp in zip(foreign.footprint, (scale.x, scale.y), strict=True):
        theirs = edge * mpp / parameters.size
        if abs(theirs / parameters.mpp - 1) > _MAX_DEVIATION:
            raise PathomixError(
                f"{name}: its tiles are {edge:g} level-0 pixels wide, which at {parameters.size} pixels is "
                f"{theirs:.4g} µm per pixel; the tiling {parameters.name} has {parameters.mpp:g}",
                remedy=_REMEDY,
            )
    outside = corners[(corners < 0).any(axis=1) | (corners >= np.array(grid.canvas)).any(axis=1)]
    if len(outside):
        raise PathomixError(
            f"{name}: {len(outside)} tiles start outside the canvas of {grid.canvas[0]} x {grid.canvas[1]} pixels",
            offending=map(tuple, outside.tolist()),
            remedy=_REMEDY,
        )
    unique, counts = np.unique(corners, axis=0, return_counts=True)
    if len(unique) < len(corners):
        twice = unique[counts > 1].tolist()
        raise PathomixError(f"{name}: tiles that are there twice", offending=map(tuple, twice), remedy=_REMEDY)
    if not len(corners):
        raise PathomixError(f"{name}: no tiles", remedy=_REMEDY)
    return corners


def overlap_of(foreign: ForeignCoords, grid: Grid) -> int:
    """Target pixels that neighbours share: what the file says, else by the most frequent distance within a row."""
    if foreign.overlap is not None:
        return foreign.overlap
    corners = foreign.coords[np.lexsort((foreign.coords[:, 0], foreign.coords[:, 1]))]
    steps = np.diff(corners, axis=0)
    distances, counts = np.unique(steps[steps[:, 1] == 0, 0], return_counts=True)
    if not len(distances):
        return 0
    return max(0, round((foreign.footprint[0] - int(distances[counts.argmax()])) / grid.downsample[0]))


def clam_patch_size(attributes: Mapping[str, Any]) -> int | None:
    """CLAM's tile edge, in pixels at `patch_level`; None where it would need two numbers (axes of different scale)."""
    width, height = (int(side) for side in attributes["patch_size_level"])
    return width if width == height else None


def write_clam_coords(
    path: Path, coords: NDArray[np.int64], size: int, attributes: Mapping[str, Any], provenance: Provenance
) -> None:
    """Write coordinates as CLAM does: `patch_size` in pixels at `patch_level`.

    Args:
        path: File to write.
        coords: int64 [tiles, 2], level-0 pixels (x, y).
        size: Tile edge in pixels at `patch_level` (`clam_patch_size`).
        attributes: `pathomix.slides.coords.interchange_attributes` of the slide.
        provenance: Lineage.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        data = file.create_dataset("coords", data=coords, chunks=(_CLAM_CHUNK, 2), maxshape=(None, 2))
        data.attrs["patch_size"] = size
        for name in _CLAM_COPIED:
            data.attrs[name] = attributes[name]
        file.attrs[METADATA_KEY] = provenance.to_json()


def _whole(path: Path, values: NDArray[Any]) -> NDArray[np.int64]:
    if values.ndim != 2 or values.shape[1] != 2 or values.dtype.kind not in "iuf":
        raise PathomixError(
            f"{path}: `coords` is {values.dtype} {values.shape}, not numbers (tiles, 2)", remedy=_REMEDY
        )
    whole = np.isfinite(values) & (np.floor(values) == values)
    if not whole.all():
        wrong = values[~whole.all(axis=1)]
        raise PathomixError(
            f"{path}: coordinates that are not whole level-0 pixels",
            offending=map(tuple, wrong.tolist()),
            remedy="give coordinates at level 0",
        )
    return values.astype(np.int64)


def _trident(path: Path, coords: NDArray[np.int64], attributes: Mapping[str, Any]) -> ForeignCoords:
    size = int(attributes["patch_size"])
    derived = size * float(attributes["level0_magnification"]) / float(attributes["target_magnification"])
    edge = float(attributes.get("patch_size_level0", derived))
    width, height = (attributes.get(f"level0_{side}") for side in ("width", "height"))
    overlap = attributes.get("overlap")
    return ForeignCoords(
        path,
        "trident",
        coords,
        (edge, edge),
        None if width is None or height is None else (int(width), int(height)),
        None if overlap is None else int(overlap),
    )


def _clam(path: Path, coords: NDArray[np.int64], attributes: Mapping[str, Any]) -> ForeignCoords:
    downsample = np.broadcast_to(np.asarray(attributes["downsample"], dtype=float), 2)
    edge = int(attributes["patch_size"]) * float(attributes.get("custom_downsample", 1)) * downsample
    return ForeignCoords(path, "clam", coords, (float(edge[0]), float(edge[1])))
