"""One simulated slide stored at 0.25, 0.5 and 1.0 µm per pixel: the same tiles, the same features."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest
import shapely
import tifffile
import torch

from pathomix.core.provenance import Provenance
from pathomix.core.schemas import SLIDE_INDEX, SLIDES
from pathomix.core.tables import read_table, write_table
from pathomix.simulate.render import render
from pathomix.simulate.slide_plan import SlidePlan
from pathomix.slides.coords import read_coords
from pathomix.slides.cut import cut_shard
from pathomix.slides.encoders.encoder import build_encoder
from pathomix.slides.reader import open_scaled
from pathomix.slides.segment import segment_shard
from pathomix.slides.tile_reader import TileReader

PLAN = SlidePlan(
    slide_id="S", patient_id="P", seed=5, size_um=512.0, mpp=0.25, has_mpp=True, truncated=False, extent=0.3,
    patterns=(0.5, 0.5), tissue_share=0.6, pieces=2, pen=None, blurred=False, ood=False,
    stains=(1.3, 1.45, 0.62, 0.12, 0.86, 0.42), quality=85,
)  # fmt: skip
TISSUE = {"thumbnail_mpp": 4.0, "min_area_mm2": 0.005, "max_hole_mm2": 0.002, "close_um": 12.0}
SCANS = {"quarter": 0.25, "half": 0.5, "one": 1.0}


def write_pyramid(path, level, mpp):
    """As the simulator stores its slides, without loss: the scans differ in nothing but their scale."""
    with tifffile.TiffWriter(path) as file:
        for number in range(3):
            file.write(
                level,
                tile=(256, 256),
                photometric="rgb",
                compression="deflate",
                resolution=(1e4 / mpp / 4**number, 1e4 / mpp / 4**number),
                resolutionunit="CENTIMETER",
                subfiletype=int(number > 0),
                metadata=None,
            )
            level = cv2.resize(level, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Folder with the three files, their slide table and the index of the tissue stage."""
    folder = tmp_path_factory.mktemp("scans")
    image = render(PLAN)
    for name, mpp in SCANS.items():
        side = round(PLAN.size_um / mpp)
        write_pyramid(folder / f"{name}.tiff", cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), mpp)
    table = pd.DataFrame({"slide_id": list(SCANS), "path": [f"{name}.tiff" for name in SCANS]}, dtype=object)
    table = table.assign(patient_id="P-" + table["slide_id"], md5=None, size=None, mpp=None)
    write_table(table, SLIDES, folder / "slides.parquet", Provenance("slides"))
    segment_shard(folder / "slides.parquet", folder, 0, 1, TISSUE, folder / "R", folder / "tissue.parquet")
    return folder


def tiles_of(folder, encoder):
    index = folder / "tiles.parquet"
    tiling = encoder.tile_size, encoder.mpp
    cut_shard(folder / "tissue.parquet", folder / "slides.parquet", folder, tiling, {}, folder / "R", index)
    return read_table(index, SLIDE_INDEX).set_index("slide_id")


def cover(file):
    """Area covered by the tiles, in µm."""
    width, height = file.attributes["patch_size_level0_xy"]
    x, y = file.coords.T
    area = shapely.union_all(shapely.box(x, y, x + width, y + height))
    return shapely.transform(area, lambda points: points * [file.scale.x, file.scale.y])


def features(folder, name, file, encoder):
    """Features by place: (x, y) in whole µm -> vector."""
    with open_scaled(folder / f"{name}.tiff", file.scale) as slide:
        reader = TileReader(slide, file.size, file.mpp)
        pixels = np.stack([reader.tile(x, y) for x, y in file.coords])
    vectors = encoder.encode(torch.from_numpy(pixels)).numpy()
    places = np.rint(file.coords * file.scale.mean).astype(int)
    return dict(zip(map(tuple, places.tolist()), vectors, strict=True))


@pytest.mark.parametrize(("mpp", "names"), [(0.5, ("quarter", "half")), (1.0, ("quarter", "half", "one"))])
def test_the_same_slide_at_three_scales_gives_the_same_tiles_and_features(scans, mpp, names):
    encoder = build_encoder("demo", {"model": "demo", "mpp": mpp})
    index = tiles_of(scans, encoder)
    files = {name: read_coords(scans / "R" / index.loc[name, "path"]) for name in names}
    found = {name: features(scans, name, file, encoder) for name, file in files.items()}
    first, reference = cover(files[names[0]]), found[names[0]]
    assert len(reference) > 20
    spread = np.std(list(reference.values()), axis=0)
    mean = np.mean(list(reference.values()), axis=0)
    for name in names[1:]:
        area = cover(files[name])
        assert first.intersection(area).area / first.union(area).area > 0.98
        both = sorted(set(reference) & set(found[name]))
        assert len(both) >= 0.98 * max(len(reference), len(found[name]))
        a, b = (np.array([vectors[place] for place in both]) for vectors in (reference, found[name]))
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        assert ((a * b).sum(axis=1) / norms).min() > 0.99
        # positive features all point one way: each tile must also be nearest to itself among all tiles
        a, b = (a - mean) / (spread + 1e-6), (b - mean) / (spread + 1e-6)
        nearest = np.linalg.norm(a[:, None] - b[None], axis=2).argmin(axis=1)
        assert (nearest == np.arange(len(both))).all()


def test_a_scan_without_the_resolution_is_refused_not_enlarged(scans):
    index = tiles_of(scans, build_encoder("demo", {"model": "demo", "mpp": 0.5}))
    assert index["status"].to_dict() == {"quarter": "done", "half": "done", "one": "quarantined"}
    assert "one.tiff: its pixels are 2.00 times coarser than the wanted scale" in index.loc["one", "reason"]
