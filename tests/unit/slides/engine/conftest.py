"""A shop of slides cut into whole grids, without the earlier stages: engine tests need tiles, not tissue."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from pathomix.core.files import file_digest
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PASS_INDEX, SLIDE_INDEX, SLIDES
from pathomix.core.tables import read_table, write_table
from pathomix.slides.coords import interchange_attributes, write_coords
from pathomix.slides.reader import choose_level, open_slide
from pathomix.slides.stage import coords_path
from pathomix.slides.tiles import Grid, TileParameters, Tiles
from pathomix.slides.tilings import tiling_name

TINY = {"model": "timm", "timm": "test_resnet", "input_size": 64, "stages": [0, 1], "pooling": "mean_std"}
SCRIPT = Path(__file__).resolve().parents[4] / "workflow_scripts" / "embed_tiles.py"


def entry(size=64, mpp=1.0, **more):
    return {**TINY, "seed": 0, "tile_size": size, "mpp": mpp, **more}


def all_tiles(slide, parameters):
    grid = Grid.of(slide.scale, slide.dimensions, parameters)
    y, x = np.meshgrid(grid.starts(1), grid.starts(0), indexing="ij")
    coords = np.column_stack([x.ravel(), y.ravel()]).astype(np.int64)
    return grid, Tiles(coords, np.ones(len(coords), np.float32), np.zeros(len(coords), np.uint8))


class Shop:
    """Slides, their coordinate files and indices; embeds them in this process or as a command."""

    entry = staticmethod(entry)

    def __init__(self, root: Path, results: Path) -> None:
        self.root, self.results = root, results
        self.slides, self.table = {}, results / "slides.parquet"
        self.index = results / "pass.parquet"

    def cut(self, files, *tilings):
        """Coordinate files of whole grids (or of `tiles` many) and the tile index of each tiling."""
        self.slides |= files
        frame = pd.DataFrame({"slide_id": list(self.slides), "path": list(self.slides.values())})
        frame = frame.assign(patient_id="P-" + frame["slide_id"], md5=None, size=None, mpp=np.nan)
        write_table(frame, SLIDES, self.table, Provenance("slides"))
        self.tilings = tilings
        for size, mpp in tilings:
            rows = [self._cut(slide_id, TileParameters(size, mpp)) for slide_id in self.slides]
            index = pd.DataFrame(rows, columns=list(SLIDE_INDEX.columns))
            write_table(index, SLIDE_INDEX, self.tiles_index(size, mpp), Provenance("tiles_index"))

    def tiles_index(self, size, mpp):
        return self.results / f"tiles-{tiling_name(size, mpp)}-0.parquet"

    def _cut(self, slide_id, parameters):
        target = coords_path(self.results, slide_id, parameters.name)
        with open_slide(self.root / self.slides[slide_id]) as slide:
            grid, tiles = all_tiles(slide, parameters)
            choice = choose_level(slide.level_downsamples, min(grid.downsample))
            attributes = interchange_attributes(slide, slide_id, grid, choice, parameters)
            scale = slide.scale
        attributes |= {"key": f"coords of {slide_id}", "slide_md5": file_digest(self.root / self.slides[slide_id])}
        write_coords(target, tiles, attributes, Provenance("coords"))
        row = {**dict.fromkeys(SLIDE_INDEX.columns), "slide_id": slide_id, "patient_id": f"P-{slide_id}"}
        return row | {"status": "done", "tiles": len(tiles.coords), "mpp": scale.mean, "mpp_source": scale.source}

    def arguments(self, encoders=None, **engine):
        """Keyword arguments of `embed_shard`."""
        indices = [self.tiles_index(*tiling) for tiling in self.tilings]
        encoders = encoders or {"tiny": entry(*self.tilings[0])}
        return {
            "tiles": indices, "slides_path": self.table, "root": self.root, "pass_name": "all", "encoders": encoders,
            "engine": engine, "results": self.results, "index": self.index,
        }  # fmt: skip

    def command(self, encoders=None, **engine):
        """The same as a command."""
        given = self.arguments(encoders, **engine)
        paths = [part for path in given["tiles"] for part in ("--tiles", path)]
        options = ["--slides", self.table, "--root", self.root, "--pass", "all", "--results", self.results]
        options += ["--index", self.index, "--encoders", json.dumps(given["encoders"]), "--engine", json.dumps(engine)]
        return [sys.executable, str(SCRIPT), *map(str, paths + options)]

    def embed(self, encoders=None, **engine):
        """Run it here; the index by encoder and slide."""
        from pathomix.slides.embed import embed_shard

        embed_shard(**self.arguments(encoders, **engine))
        return self.read_index()

    def read_index(self):
        return read_table(self.index, PASS_INDEX).set_index(["encoder", "slide_id"])

    def path(self, slide_id, encoder="tiny"):
        return self.results / "features" / encoder / f"{slide_id}.h5"

    def features(self, slide_id, encoder="tiny"):
        with h5py.File(self.path(slide_id, encoder)) as file:
            return file["features"][:].astype(np.float32), file["coords"][:]

    def coords(self, slide_id, size, mpp):
        with h5py.File(coords_path(self.results, slide_id, tiling_name(size, mpp))) as file:
            return file["coords"][:]

    def leftovers(self):
        """Whatever is in the features folder beside finished files."""
        return sorted(p.name for p in (self.results / "features").rglob("*") if p.is_file() and p.suffix != ".h5")


@pytest.fixture
def shop(zoo, tmp_path):
    """Shop on the zoo's slides."""
    return Shop(zoo, tmp_path / "R")


@pytest.fixture(scope="session")
def stall():
    """The class, for another folder of slides."""
    return Shop
