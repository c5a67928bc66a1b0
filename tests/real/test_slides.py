"""The real slide, two real regions and every edge-case file through tissue, tiles and features, by the scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pathomix.core.provenance import Provenance
from pathomix.core.schemas import SLIDE_INDEX, SLIDES
from pathomix.core.tables import read_table, write_table
from pathomix.slides.feature_store import FeatureStore
from pathomix.slides.outlines import read_outlines

ENCODERS = {"demo": {"model": "demo", "mpp": 1.0}}  # random weights, tiles of 64 pixels
TILING = "64px_1mpp"
GOOD = {"CMU-1-Small-Region", "TCGA-06-0174", "TCGA-26-1442"}
REASONS = {
    "boxes_tiff": "no plausible mpp (header says 352.778",
    "boxes_0_dcm": "no tissue",
    "boxes_1_dcm": "no tissue",
    "small_svs": "no tissue",
    "broken_svs": "OpenSlide cannot open it",
    "unopenable_tiff": "OpenSlide cannot open it",
    "unreadable_svs": "reading 16 x 16 pixels of level 0 at (0, 0) failed",
    "kidney": "give its mpp in the column mpp",
    "kidney_with_mpp": "no tissue",
    "broken_svs_with_mpp": "nor is it a plain image",
}


@pytest.fixture(scope="module")
def run(shared_data: Path, root: Path, tmp_path_factory: pytest.TempPathFactory):
    """Results folder and slide table after the four scripts."""
    folder = tmp_path_factory.mktemp("real")
    edge = "slides/edge_synthetic"
    files = {path.name.replace(".", "_"): f"{edge}/{path.name}" for path in (shared_data / edge).iterdir()}
    files |= {"kidney": "slides/kidney-48-5.tif", "kidney_with_mpp": "slides/kidney-48-5.tif"}
    files |= {"broken_svs_with_mpp": f"{edge}/broken.svs", "CMU-1-Small-Region": "slides/CMU-1-Small-Region.svs"}
    for path in sorted((shared_data / "pathomicfusion/roi/imgs").iterdir()):
        files[path.name[:12]] = str(path)  # an absolute path is taken as it is
    table = pd.DataFrame({"slide_id": list(files), "path": list(files.values()), "md5": None, "size": None})
    table["patient_id"] = "P-" + table["slide_id"]
    table["mpp"] = [0.5 if s.endswith("_with_mpp") or s.startswith("TCGA") else None for s in files]
    write_table(table, SLIDES, folder / "slides.parquet", Provenance("slides"))

    def script(name: str, *arguments: object, fails: bool = False) -> str:
        command = [sys.executable, str(root / "workflow_scripts" / f"{name}.py"), *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(root / "src")}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert (done.returncode != 0) == fails, done.stderr
        return done.stderr

    r = folder / "R"
    common = ("--slides", folder / "slides.parquet", "--root", shared_data, "--results", r)
    for shard in range(2):
        tissue, tiles = (r / f"slides/real/{name}-{shard}.parquet" for name in ("tissue", f"tiles-{TILING}"))
        script("segment_tissue", *common, "--shard", shard, "--shards", 2, "--index", tissue)
        script("cut_tiles", *common, "--tissue", tissue, "--size", 64, "--mpp", 1.0, "--index", tiles)
        features = r / f"features/passes/demo/real-{shard}.parquet"
        encoders = ("--pass", "demo", "--encoders", json.dumps(ENCODERS))
        script("embed_tiles", *common, "--tiles", tiles, *encoders, "--index", features)
    shards = [r / f"features/passes/demo/real-{shard}.parquet" for shard in range(2)]
    outputs = ("--output", r / "features/demo/real.parquet", "--quarantine", r / "features/demo/real.quarantine.tsv")
    merge = ("--indices", *shards, "--slides", folder / "slides.parquet", "--encoder", "demo", *outputs)
    merge = (*merge, "--max-lost-share")
    refused = script("index_features", *merge, 0.1, fails=True)
    script("index_features", *merge, 0.9)
    return r, refused


def test_edge_cases_end_in_quarantine_with_their_reason_and_the_run_goes_on(run):
    results, refused = run
    index = read_table(results / "features/demo/real.parquet", SLIDE_INDEX).set_index("slide_id")
    assert set(index.index[index["status"] == "done"]) == GOOD
    quarantine = pd.read_csv(results / "features/demo/real.quarantine.tsv", sep="\t").set_index("slide_id")
    assert set(quarantine.index) == set(REASONS)
    for slide, reason in REASONS.items():
        assert quarantine.loc[slide, "stage"] == "tissue" and reason in quarantine.loc[slide, "reason"]
    assert "10 of 13 patients have no usable slide" in refused and "P-boxes_0_dcm" in refused


@pytest.mark.parametrize(
    ("slide", "area", "share", "source", "tiles"),
    [
        # 0.6 of 1.64 mm² by eye; both regions are tissue from edge to edge
        ("CMU-1-Small-Region", (0.55, 0.70), (0.33, 0.43), "header", (140, 190)),
        ("TCGA-06-0174", (0.25, 0.27), (0.95, 1.0), "table", (64, 64)),
        ("TCGA-26-1442", (0.25, 0.27), (0.95, 1.0), "table", (64, 64)),
    ],
)
def test_real_tissue_tiles_and_features(run, slide, area, share, source, tiles):
    results, _ = run
    folder = results / "slides" / slide
    quality = json.loads((folder / "qc.json").read_text())
    assert area[0] < quality["tissue_mm2"] < area[1] and share[0] < quality["tissue_share"] <= share[1]
    assert quality["mpp_source"] == source and quality["pen_share"] < 0.002 and quality["focus_median"] > 0.1
    assert read_outlines(folder / "tissue.geojson").area * quality["mpp_x"] ** 2 / 1e6 == pytest.approx(
        quality["tissue_mm2"], rel=0.02
    )
    with Image.open(folder / "thumbnail.jpg") as image:
        assert max(image.size) <= 1024
    bag = FeatureStore(results / "features/demo/real.parquet", results).bag(f"P-{slide}")
    assert bag.slide_ids == (slide,) and tiles[0] <= len(bag.features) <= tiles[1]
    assert np.isfinite(bag.features).all() and (bag.features.std(axis=0) > 0).mean() > 0.9
    with h5py.File(folder / f"{TILING}.coords.h5") as file:
        np.testing.assert_array_equal(file["coords"][:], bag.coords)
        assert file["tissue_fraction"][:].min() >= 0.25
    provenance = json.loads(h5py.File(results / f"features/demo/{slide}.h5").attrs["pathomix"])
    assert provenance["parameters"]["transform"]["timm"] == "resnet18"
