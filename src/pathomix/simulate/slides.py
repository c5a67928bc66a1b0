"""Writes simulated slides as pyramidal tiled TIFF files, and the shard job that makes them."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import logging
from functools import cache
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import tifffile

from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path, content_key, file_digest, shard_of, write_text
from pathomix.simulate import nuclei, render, slide_plan
from pathomix.simulate.parameters import Parameters
from pathomix.simulate.slide_plan import SlidePlan, plan_slides

_LOG = logging.getLogger(__name__)

_TILE = 256
_REDUCTION = 4
_KEPT_SHARE = 0.5
_LABEL = "pathomix simulated slide, key "


def write_slides(parameters: Parameters, cohort: str, shard: int, shards: int, tables: Path, index: Path) -> None:
    """Write the slides of one shard to ``<tables>/slides`` and their index (slide_id, md5, size).

    A slide that is already there with the same content key is kept.

    Raises:
        PathomixError: The tables of the cohort are absent.
    """
    cv2.setNumThreads(1)
    truth_path, slides_path = tables / cohort / "truth.parquet", tables / cohort / "slides.tsv"
    for path in (truth_path, slides_path):
        if not path.is_file():
            raise PathomixError(f"{path} is absent", remedy="run workflow_scripts/simulate_tables.py first")
    plans = plan_slides(parameters, cohort, pd.read_parquet(truth_path), pd.read_csv(slides_path, sep="\t"))
    lines, written = ["slide_id\tmd5\tsize"], 0
    for plan in plans:
        if shard_of(plan.slide_id, shards) != shard:
            continue
        path, key = tables / "slides" / f"{plan.slide_id}.tiff", slide_key(plan)
        if stored_key(path) != key:
            write_slide(plan, path, key)
            written += 1
        lines.append(f"{plan.slide_id}\t{file_digest(path, 'md5')}\t{path.stat().st_size}")
    _LOG.info("%s shard %d of %d: %d slides, %d written", cohort, shard, shards, len(lines) - 1, written)
    write_text(index, "\n".join(lines) + "\n")


def write_slide(plan: SlidePlan, path: Path, key: str) -> None:
    """Render and write one slide: tiles of 256 pixels, levels reduced by 4, resolution in pixels per centimetre."""
    level = render.render(plan)
    with atomic_path(path) as temporary:
        with tifffile.TiffWriter(temporary) as tiff:
            number, mpp = 0, plan.mpp
            while True:
                tiff.write(
                    level,
                    tile=(_TILE, _TILE),
                    photometric="rgb",
                    subsampling=(2, 2),
                    compression="jpeg",
                    compressionargs={"level": plan.quality},
                    resolution=(1e4 / mpp, 1e4 / mpp) if plan.has_mpp else None,
                    resolutionunit="CENTIMETER" if plan.has_mpp else None,
                    description=_LABEL + key if number == 0 else None,
                    subfiletype=0 if number == 0 else 1,
                    metadata=None,
                    software=False,
                    maxworkers=1,
                )
                if max(level.shape[:2]) <= _TILE:
                    break
                size = (level.shape[1] // _REDUCTION, level.shape[0] // _REDUCTION)
                level = np.asarray(cv2.resize(level, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
                number, mpp = number + 1, mpp * _REDUCTION
        if plan.truncated:
            with temporary.open("rb+") as stream:
                stream.truncate(int(temporary.stat().st_size * _KEPT_SHARE))


def slide_key(plan: SlidePlan) -> str:
    """Content key of a slide: its plan, the meaning of the drawing code and the libraries that draw and compress."""
    return content_key(plan=dataclasses.asdict(plan), code=_drawing_code(), libraries=_libraries())


def stored_key(path: Path) -> str | None:
    """Key written into an existing slide; None when there is no such file or it is not one of ours."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        head = stream.read(4096)
    start = head.find(_LABEL.encode())
    return None if start < 0 else head[start + len(_LABEL) : start + len(_LABEL) + 32].decode("ascii", "replace")


@cache
def _libraries() -> dict[str, str]:
    return {name: version(name) for name in ("numpy", "tifffile", "imagecodecs")} | {"cv2": cv2.__version__}


@cache
def _drawing_code() -> str:
    """Digest of the syntax trees that decide the files; comments and docstrings do not count."""
    digest = hashlib.sha256()
    for path in (slide_plan.__file__, nuclei.__file__, render.__file__, __file__):
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
                first = body[0]
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                    del body[0]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()
