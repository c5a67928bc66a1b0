from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import openslide
import pandas as pd
import pytest

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest, shard_of
from pathomix.simulate.parameters import Parameters
from pathomix.simulate.render import render
from pathomix.simulate.slide_plan import SlidePlan
from pathomix.simulate.slides import slide_key, stored_key, write_slide, write_slides

KINDS = {
    "coarse": {"size_um": 512.0},
    "fine": {"size_um": 512.0, "mpp": 0.25},
    "pen": {"pen": "green"},
    "blurred": {"blurred": True},
    "two pieces": {"pieces": 2},
    "three patterns": {"patterns": (0.2, 0.3, 0.5)},
    "other organ": {"ood": True, "mpp": 0.25},
}


def written(plan: SlidePlan, folder: Path) -> Path:
    path = folder / f"{plan.slide_id}.tiff"
    write_slide(plan, path, slide_key(plan))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_openslide_reads_every_kind_of_slide(plan: SlidePlan, kind: str, tmp_path: Path) -> None:
    plan = replace(plan, **KINDS[kind])
    slide = openslide.OpenSlide(written(plan, tmp_path))
    assert slide.properties["openslide.vendor"] == "generic-tiff"
    assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(plan.mpp)
    assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(plan.mpp)
    assert slide.level_count == {512: 2, 1024: 2, 2048: 3}[plan.pixels]
    assert slide.level_downsamples == tuple(4.0**k for k in range(slide.level_count))
    whole = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")).astype(float)
    assert np.abs(whole - render(plan)).mean() < 4
    small = np.asarray(slide.read_region((0, 0), 1, slide.level_dimensions[1]).convert("RGB")).astype(float)
    reduced = whole.reshape(small.shape[0], 4, small.shape[1], 4, 3).mean(axis=(1, 3))
    assert np.abs(small - reduced).mean() < 6


def test_slide_without_resolution_opens_but_says_nothing(plan: SlidePlan, tmp_path: Path) -> None:
    slide = openslide.OpenSlide(written(replace(plan, has_mpp=False), tmp_path))
    assert "openslide.mpp-x" not in slide.properties and slide.dimensions == (512, 512)


def test_truncated_slide_cannot_be_read_but_keeps_its_key(plan: SlidePlan, tmp_path: Path) -> None:
    broken = replace(plan, truncated=True)
    path = written(broken, tmp_path)
    with pytest.raises(openslide.OpenSlideError):
        slide = openslide.OpenSlide(path)
        slide.read_region((0, 0), 0, slide.dimensions)
    assert stored_key(path) == slide_key(broken)


def test_same_plan_same_bytes_and_key(plan: SlidePlan, tmp_path: Path) -> None:
    first, second = written(plan, tmp_path / "a"), written(plan, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert stored_key(first) == slide_key(plan) != slide_key(replace(plan, extent=0.31))


def test_shards_write_each_slide_once_and_keep_what_is_there(
    small: Parameters, simulation: Path, tmp_path: Path
) -> None:
    tables = tmp_path / "tables"
    shutil.copytree(simulation / "sim_c", tables / "sim_c")
    names = pd.read_csv(tables / "sim_c" / "slides.tsv", sep="\t")["slide_id"].tolist()

    def job(shard: int) -> pd.DataFrame:
        index = tmp_path / f"slides-{shard}.tsv"
        write_slides(small, "sim_c", shard, 3, tables, index)
        return pd.read_csv(index, sep="\t")

    indices = [job(shard) for shard in range(3)]
    assert sorted(pd.concat(indices)["slide_id"]) == sorted(names)
    assert all(shard_of(name, 3) == k for k, index in enumerate(indices) for name in index["slide_id"])
    folder = tables / "slides"
    for row in indices[0].itertuples():
        path = folder / f"{row.slide_id}.tiff"
        assert (file_digest(path, "md5"), path.stat().st_size) == (row.md5, row.size)

    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    lost, foreign = (folder / f"{name}.tiff" for name in indices[0]["slide_id"][:2])
    lost.unlink()
    foreign.write_bytes(b"not a slide")
    pd.testing.assert_frame_equal(job(0), indices[0])
    rewritten = {path for path in folder.iterdir() if path.stat().st_mtime_ns != times[path]}
    assert rewritten == {lost, foreign}


def test_absent_tables_are_named(small: Parameters, tmp_path: Path) -> None:
    with pytest.raises(PathomixError, match="simulate_tables"):
        write_slides(small, "sim_a", 0, 1, tmp_path, tmp_path / "index.tsv")
