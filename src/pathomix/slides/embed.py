"""Third slide stage: tiles to features."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path, content_key, file_digest
from pathomix.core.provenance import METADATA_KEY, Provenance
from pathomix.core.schemas import SLIDES
from pathomix.core.tables import read_table
from pathomix.slides.coords import CoordsFile, read_coords, stored_key
from pathomix.slides.encoders import EncoderParameters, TileEncoder
from pathomix.slides.reader import open_scaled
from pathomix.slides.stage import Row, joined_rows, parameters_from, run_stage, slide_folder, slide_path, write_index
from pathomix.slides.tile_reader import TileReader

log = logging.getLogger(__name__)

STAGE = "features"
# Part of every content key. Features cost GPU-weeks, so their key does not follow each edit of the code: raise
# `version` when reading or encoding changes what a feature means (test_embed.py compares with stored values).
NUMERIC_POLICY = {"version": 1, "precision": "float32", "storage": "float16"}
_CHUNK = 1024


def embed_shard(
    tiles_index: Path,
    slides_path: Path,
    root: Path,
    encoder_name: str,
    parameters: Mapping[str, Any],
    results: Path,
    index: Path,
    threads: int = 1,
) -> None:
    """Embed the tiles of one shard's slides and write the index of feature files.

    Args:
        tiles_index: SLIDE_INDEX of the tiling stage.
        slides_path: SLIDES table of the cohort.
        root: Folder that relative slide paths start from.
        encoder_name: Name of the encoder in the configuration.
        parameters: Fields of `EncoderParameters`.
        results: Results folder.
        index: SLIDE_INDEX table to write.
        threads: Threads for the network.

    Raises:
        PathomixError: The encoder cannot be built; a bad slide is quarantined instead.
    """
    torch.set_num_threads(threads)
    settings = parameters_from(EncoderParameters, parameters, f"encoders.{encoder_name}")
    rows = joined_rows(tiles_index, read_table(slides_path, SLIDES))
    encoder = TileEncoder(encoder_name, settings)
    frame = run_stage(
        STAGE,
        rows,
        lambda row: embed_slide(row, root, encoder, results),
        lambda row: [feature_path(results, encoder_name, row["slide_id"])],
    )
    write_index(frame, index, "features_index", {"tiles": tiles_index}, parameters)


def feature_path(results: Path, encoder_name: str, slide_id: str) -> Path:
    """Feature file of a slide."""
    return results / "features" / encoder_name / f"{slide_folder(results, slide_id).name}.h5"


def feature_key(tiles: CoordsFile, encoder: TileEncoder) -> str:
    """Content key: slide, tiles, weights, transform and numeric policy; not how the tiles were found."""
    coords = hashlib.sha256(np.ascontiguousarray(tiles.coords, dtype="<i8").tobytes()).hexdigest()
    return content_key(
        slide=tiles.slide_md5,
        coords=coords,
        scale=[tiles.scale.x, tiles.scale.y],
        size=tiles.size,
        mpp=tiles.mpp,
        weights=encoder.weights_sha256,
        transform=encoder.transform,
        numeric=NUMERIC_POLICY,
    )


def embed_slide(row: Row, root: Path, encoder: TileEncoder, results: Path) -> dict[str, Any]:
    """Write the features of one slide, unless they are there with the same key.

    Returns:
        The slide's columns of SLIDE_INDEX.

    Raises:
        PathomixError: The slide cannot be read, or too many of its tiles.
    """
    slide_id = str(row["slide_id"])
    target = feature_path(results, encoder.name, slide_id)
    tiles = read_coords(slide_folder(results, slide_id) / "coords.h5")
    key = feature_key(tiles, encoder)
    if stored_key(target, "features") != key:
        start = time.perf_counter()
        features, good = encode_tiles(slide_path(row, root), tiles, encoder)
        _write(target, features, tiles, good, encoder, key)
        seconds = time.perf_counter() - start
        log.info("%s: %d tiles in %.2f s (%.0f per s)", slide_id, len(features), seconds, len(features) / seconds)
    with h5py.File(target, "r") as file:
        count = len(file["features"])
    return {
        "path": target.relative_to(results).as_posix(),
        "sha256": file_digest(target),
        "key": key,
        "tiles": count,
        "mpp": tiles.scale.mean,
        "mpp_source": tiles.scale.source,
    }


def encode_tiles(path: Path, tiles: CoordsFile, encoder: TileEncoder) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Features of all readable tiles of a slide, in the order of the coordinate file.

    Returns:
        float16 [readable, dim] and the positions of the readable tiles, int64 [readable].

    Raises:
        PathomixError: The slide cannot be opened, too many tiles cannot be read, or a feature is not finite.
    """
    features = np.zeros((len(tiles.coords), encoder.dim), dtype=np.float16)
    readable = np.ones(len(tiles.coords), dtype=bool)
    batch = encoder.parameters.batch_size
    with open_scaled(path, tiles.scale) as slide:
        for positions, pixels, bad in TileReader(slide, tiles.size, tiles.mpp).tiles(tiles.coords):
            readable[bad] = False
            for start in range(0, len(positions), batch):
                part = slice(start, start + batch)
                with np.errstate(over="ignore"):  # an overflow is an error with a remedy, below
                    features[positions[part]] = encoder.encode(pixels[part])
    lost = 1 - readable.mean()
    if lost > encoder.parameters.max_bad_share:
        raise PathomixError(
            f"{path.name}: {lost:.1%} of its tiles cannot be read",
            remedy=f"fetch the file again, or raise encoders.{encoder.name}.max_bad_share",
        )
    if not np.isfinite(features).all():
        raise PathomixError(
            f"{path.name}: features of {encoder.name} are not finite in float16",
            remedy="check mean and std of the encoder, and its weights",
        )
    return features[readable], np.flatnonzero(readable)


def _write(
    target: Path,
    features: NDArray[np.float16],
    tiles: CoordsFile,
    good: NDArray[np.int64],
    encoder: TileEncoder,
    key: str,
) -> None:
    provenance = Provenance(
        "features",
        inputs={"slide_md5": tiles.slide_md5, "coords_key": tiles.key, "weights": encoder.weights_sha256},
        parameters={"transform": encoder.transform, "numeric": NUMERIC_POLICY},
    )
    attributes = {
        "name": tiles.attributes["name"],
        "savetodir": f"features/{encoder.name}",
        "encoder": encoder.name,
        "encoder_id": encoder.parameters.timm,
        "encoder_revision": _origin(encoder.parameters),
        "weights_sha256": encoder.weights_sha256,
        "transform_json": encoder.transform_json,
        "precision": NUMERIC_POLICY["precision"],
        "numeric_policy_json": json.dumps(NUMERIC_POLICY, sort_keys=True),
        "torch_version": str(torch.__version__),
        "unreadable_tiles": len(tiles.coords) - len(good),
        "key": key,
    }
    count = max(1, min(len(features), _CHUNK))
    with atomic_path(target) as temporary, h5py.File(temporary, "w") as file:
        data = file.create_dataset("features", data=features, chunks=(count, encoder.dim))
        coords = file.create_dataset("coords", data=tiles.coords[good].astype(np.int32))
        for name, value in attributes.items():
            data.attrs[name] = value
        for name, value in tiles.attributes.items():
            coords.attrs[name] = value
        file.attrs[METADATA_KEY] = provenance.to_json()


def _origin(parameters: EncoderParameters) -> str:
    if parameters.weights:
        return Path(parameters.weights).name
    return "timm" if parameters.pretrained else f"random, seed {parameters.seed}"
