"""Two regions of the Pathomic Fusion release, imported; a real slide, cut; by the scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import openslide
import pandas as pd
import pytest
import torch
from PIL import Image

from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS, SLIDES
from pathomix.core.tables import write_table
from pathomix.slides import region_images
from pathomix.slides.region_store import CohortRegions
from pathomix.slides.regions import RegionParameters, stain_normaliser

REGIONS = {
    "TCGA-06-0174": "TCGA-06-0174-01Z-00-DX3.23b6e12e-dfc1-4c6f-903e-170038a0e055_1",
    "TCGA-26-1442": "TCGA-26-1442-01Z-00-DX1.FD8D4EB7-AD5E-49E8-BD0B-6CDDEA8DDB35_1",
}


@pytest.fixture(scope="module")
def script(root: Path):
    def run(name: str, *arguments: object) -> None:
        command = [sys.executable, str(root / "workflow_scripts" / f"{name}.py"), *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(root / "src")}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture(scope="module")
def images(shared_data: Path) -> Path:
    return shared_data / "pathomicfusion/roi/imgs"


@pytest.fixture(scope="module")
def imported(images: Path, script, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("regions")
    patients = pd.DataFrame({"patient_id": [*REGIONS, "TCGA-02-0001"], "endpoint": "OS"})
    patients = patients.reindex(columns=list(PATIENTS.columns))
    write_table(patients, PATIENTS, folder / "patients.parquet", Provenance("patients"))
    files = ("--output", folder / "glioma.h5", "--quarantine", folder / "glioma.quarantine.tsv")
    common = ("--patients", folder / "patients.parquet", "--name", "roi", "--max-lost-share", 0)
    script("import_regions", "--folder", images, *common, *files)
    return folder


def test_the_release_is_imported_pixel_by_pixel(imported, images):
    store = CohortRegions(imported / "glioma.h5")
    assert store.size == 1024 and store.patient_ids == set(REGIONS)
    for patient, name in REGIONS.items():
        regions = store.of(patient)
        assert regions.region_ids == (name,)
        with Image.open(images / f"{name}.png") as image:
            np.testing.assert_array_equal(regions.images[0], np.asarray(image))
    assert (imported / "glioma.quarantine.tsv").read_text() == "slide_id\tpatient_id\tstage\treason\n"


def test_a_real_region_gives_nine_crops_and_training_crops_of_its_colours(imported):
    image = CohortRegions(imported / "glioma.h5").of("TCGA-06-0174").images[0]
    crops = region_images.test_crops(image, crop=512, stride=256, size=224)
    assert crops.shape == (9, 3, 224, 224)
    random = region_images.training_crop(
        np.repeat(image[None], 16, axis=0), 224, np.random.default_rng(0), crop=512, jitter=(0.1, 0.1, 0.05, 0.01)
    )
    assert random.shape == (16, 3, 224, 224) and bool(torch.isfinite(random).all())
    assert (random.mean(dim=(0, 2, 3)) - crops.mean(dim=(0, 2, 3))).abs().max() < 0.25
    assert len({round(float(value), 5) for value in random.mean(dim=(1, 2, 3))}) == 16


def test_a_real_slide_is_cut_where_openslide_reads_the_same(shared_data, script, tmp_path):
    slides = pd.DataFrame({"slide_id": ["cmu"], "patient_id": ["P"], "path": ["slides/CMU-1-Small-Region.svs"]})
    slides = slides.reindex(columns=list(SLIDES.columns))
    write_table(slides, SLIDES, tmp_path / "slides.parquet", Provenance("slides"))
    common = ("--slides", tmp_path / "slides.parquet", "--root", shared_data, "--results", tmp_path)
    tissue = tmp_path / "tissue.parquet"
    script("segment_tissue", *common, "--shard", 0, "--shards", 1, "--index", tissue)
    parameters = {"size": 512, "mpp": 0.499, "per_slide": 3, "min_tissue": 0.5}
    files = ("--output", tmp_path / "r.h5", "--quarantine", tmp_path / "q.tsv")
    options = ("--name", "r", "--parameters", json.dumps(parameters), "--max-lost-share", 0)
    script("cut_regions", *common, "--tissue", tissue, *options, *files)
    regions = CohortRegions(tmp_path / "r.h5").of("P")
    assert regions.region_ids == ("cmu_1", "cmu_2", "cmu_3")
    with h5py.File(tmp_path / "r.h5") as file, openslide.OpenSlide(shared_data / slides["path"][0]) as slide:
        corners = file["coords"][:]
        for image, (x, y) in zip(regions.images, corners.tolist(), strict=True):
            expected = np.asarray(slide.read_region((x, y), 0, (512, 512)).convert("RGB"))
            np.testing.assert_array_equal(image, expected)
            assert (expected.max(axis=2) - expected.min(axis=2) > 12).mean() > 0.45  # stained, not glass
    apart = np.abs(corners[:, None] - corners[None]).max(axis=2)
    assert apart[~np.eye(3, dtype=bool)].min() >= 512


@pytest.mark.slow  # importing tiatoolbox takes a minute on a busy machine
@pytest.mark.parametrize("stain", ["macenko", "vahadane", "reinhard"])
def test_real_stain_moves_to_that_of_the_target(images, stain):
    from tiatoolbox.data import stain_norm_target

    target = stain_norm_target().reshape(-1, 3).mean(axis=0)
    for name in REGIONS.values():
        with Image.open(images / f"{name}.png") as file:
            image = np.asarray(file)[:512, :512]
        result = stain_normaliser(RegionParameters(stain=stain))(image)
        before, after = (np.abs(i.reshape(-1, 3).mean(axis=0) - target).sum() for i in (image, result))
        assert after < 0.7 * before
        assert np.corrcoef(image.mean(axis=2).ravel(), result.mean(axis=2).ravel())[0, 1] > 0.95  # the same tissue
