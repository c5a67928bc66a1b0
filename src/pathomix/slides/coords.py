"""The coordinate file: ours, with the attributes that TRIDENT and CLAM look for (spec 2.4)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path
from pathomix.core.provenance import METADATA_KEY, Provenance
from pathomix.slides.reader import RESIZE_FILTER, LevelChoice, Slide
from pathomix.slides.scale import Scale
from pathomix.slides.tiles import Grid, TileParameters, Tiles

_CHUNK = 1024
# upper bound of µm per pixel -> magnification, as TRIDENT bins them
_MAGNIFICATIONS = ((0.16, 80), (0.20, 60), (0.30, 40), (0.60, 20), (1.2, 10), (2.4, 5))


def magnification(mpp: float) -> float:
    """TRIDENT's nominal magnification of a scale; only for interchange, nothing here computes with it."""
    return next((nominal for bound, nominal in _MAGNIFICATIONS if mpp < bound), 10 / mpp)


@dataclass(frozen=True)
class CoordsFile:
    """What the embedding needs of a coordinate file.

    Attributes:
        coords: int64 [tiles, 2], level-0 pixels (x, y).
        flags: uint8 [tiles].
        scale: Physical scale of the slide.
        size: Tile edge in pixels at `mpp`.
        mpp: Target µm per pixel.
        slide_md5: Digest of the slide.
        key: Content key of the file.
        attributes: All attributes of the dataset `coords`.
    """

    coords: NDArray[np.int64]
    flags: NDArray[np.uint8]
    scale: Scale
    size: int
    mpp: float
    slide_md5: str
    key: str
    attributes: Mapping[str, Any]


def interchange_attributes(
    slide: Slide, slide_id: str, grid: Grid, choice: LevelChoice, parameters: TileParameters
) -> dict[str, Any]:
    """Attributes of TRIDENT and CLAM, and ours.

    `patch_size` has TRIDENT's meaning (pixels at the target scale). It equals CLAM's (pixels at `patch_level`) where
    `resized` is False; elsewhere CLAM's number is `patch_size_level`.
    """
    level_size, level = slide.level_dimensions[choice.level], slide.file_level(choice.level)
    read = [
        parameters.size if not choice.resize else round(parameters.size * d / choice.downsample)
        for d in grid.downsample
    ]
    return {
        "patch_size": parameters.size,
        "patch_size_level0": grid.footprint[0],
        "level0_magnification": round(magnification(slide.scale.mean)),
        "target_magnification": magnification(parameters.mpp),
        "overlap": parameters.overlap,
        "name": slide_id,
        "savetodir": f"slides/{slide_id}",
        "level0_width": slide.dimensions[0],
        "level0_height": slide.dimensions[1],
        "patch_level": level,
        "downsample": [slide.dimensions[0] / level_size[0], slide.dimensions[1] / level_size[1]],
        "downsampled_level_dim": list(level_size),
        "level_dim": list(level_size),
        "save_path": f"slides/{slide_id}",
        "patch_size_level": read,
        "patch_size_level0_xy": list(grid.footprint),
        "resized": choice.resize,
        "resize_filter": RESIZE_FILTER if choice.resize else "none",
        "level_read": level,
        "mpp_x": slide.scale.x,
        "mpp_y": slide.scale.y,
        "mpp_source": slide.scale.source,
        "target_mpp": parameters.mpp,
        "tiling": parameters.name,
        "min_tissue": parameters.min_tissue,
        "bounds_xywh": list(slide.bounds),
        "background_rgb": list(slide.background),
        "quickhash1": slide.properties.get("openslide.quickhash-1", "None"),
        "coords_frame": "level0",
    }


def write_coords(path: Path, tiles: Tiles, attributes: Mapping[str, Any], provenance: Provenance) -> None:
    """Write `coords` int64 [tiles, 2], `tissue_fraction` float32 and `flags` uint8, attributes on `coords`."""
    count = max(1, min(len(tiles.coords), _CHUNK))
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        coords = file.create_dataset("coords", data=tiles.coords, chunks=(count, 2), maxshape=(None, 2))
        file.create_dataset("tissue_fraction", data=tiles.tissue_fraction)
        file.create_dataset("flags", data=tiles.flags)
        for name, value in attributes.items():
            coords.attrs[name] = value
        coords.attrs["pipeline_version"] = provenance.version
        file.attrs[METADATA_KEY] = provenance.to_json()


def read_coords(path: Path) -> CoordsFile:
    """Read a coordinate file of ours.

    Raises:
        PathomixError: The file is missing, damaged, or lacks an attribute.
    """
    try:
        with h5py.File(path, "r") as file:
            coords = file["coords"]
            attributes = {name: plain(value) for name, value in coords.attrs.items()}
            return CoordsFile(
                coords=coords[:],
                flags=file["flags"][:],
                scale=Scale(attributes["mpp_x"], attributes["mpp_y"], attributes["mpp_source"]),
                size=attributes["patch_size"],
                mpp=attributes["target_mpp"],
                slide_md5=attributes["slide_md5"],
                key=attributes["key"],
                attributes=attributes,
            )
    except (OSError, KeyError, ValueError) as error:
        raise PathomixError(
            f"{path}: not a coordinate file ({error})", remedy="delete it and run cut_tiles again"
        ) from error


def stored_key(path: Path, dataset: str) -> str | None:
    """Content key of an HDF5 artefact, None where there is no readable one."""
    try:
        with h5py.File(path, "r") as file:
            key = file[dataset].attrs.get("key")
    except (OSError, KeyError):
        return None
    return None if key is None else str(key)


def plain(value: Any) -> Any:
    """An HDF5 attribute as a Python value."""
    if isinstance(value, bytes):
        return value.decode()
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def tissue_attributes(quality: Mapping[str, Any]) -> dict[str, Any]:
    """How the tissue was found, for the attributes of the coordinate file."""
    parameters = quality["provenance"]["parameters"]
    return {"tissue_method": parameters["masker"], "tissue_params_json": json.dumps(parameters, sort_keys=True)}
