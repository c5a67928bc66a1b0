"""Small slides of known content, made with tifffile: independent of the simulator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from numpy.typing import NDArray

from pathomix.core.provenance import Provenance
from pathomix.core.schemas import SLIDES
from pathomix.core.tables import write_table

FINE = 2048  # pixels at 0.25 µm: a canvas of 512 µm
TISSUE = {"thumbnail_mpp": 4.0, "min_area_mm2": 0.005, "max_hole_mm2": 0.001, "close_um": 12.0}
TILES = {"mpp": 1.0, "size": 64}
QUICK = {"timm": "test_resnet", "seed": 0, "input_size": 64, "stages": (0, 1), "pooling": "mean_std"}
ENCODER = {"timm": "resnet18", "seed": 0, "input_size": 64, "stages": (0, 1), "pooling": "mean_std"}

Image = NDArray[np.uint8]


def tissue_image(seed: int = 0, *, blank: bool = False) -> tuple[Image, NDArray[np.bool_]]:
    """H&E-like texture inside two blobs (one with a hole) on glass, at 0.25 µm per pixel, and where it is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:FINE, 0:FINE].astype(np.float32) / FINE
    inside = ((x - 0.38) ** 2 + (y - 0.45) ** 2 < 0.3**2) & ((x - 0.33) ** 2 + (y - 0.42) ** 2 > 0.09**2)
    inside |= ((x - 0.82) / 0.12) ** 2 + ((y - 0.7) / 0.22) ** 2 < 1
    if blank:
        inside[:] = False
    noise = cv2.GaussianBlur(rng.normal(size=(FINE, FINE)).astype(np.float32), (0, 0), 12)
    noise /= noise.std()
    nuclei = noise > 1.0
    rgb = np.full((FINE, FINE, 3), 243.0, dtype=np.float32)
    rgb[inside] = np.array([226, 150, 190], dtype=np.float32) + noise[inside][:, None] * 6
    rgb[inside & nuclei] = (110, 70, 150)
    rgb += cv2.GaussianBlur(rng.normal(size=rgb.shape).astype(np.float32), (0, 0), 2) * 4
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8), inside


def halved(image: Image, times: int = 1) -> Image:
    """Average over blocks of 2 x 2 pixels, repeatedly."""
    for _ in range(times):
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return image


def write_slide(
    path: Path, image: Image, mpp: float | tuple[float, float] | None, levels: int = 1, **options: Any
) -> Path:
    """A tiled TIFF that OpenSlide opens as generic-tiff; without mpp the resolution unit is `none`."""
    pair = mpp if isinstance(mpp, tuple) else (mpp, mpp)
    tags: dict[str, Any] = {"resolutionunit": "NONE"}
    if mpp is not None:
        tags = {"resolution": (1e4 / pair[0], 1e4 / pair[1]), "resolutionunit": "CENTIMETER"}  # type: ignore[operator]
    settings = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate", **tags, **options}
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            file.write(halved(image, level), subfiletype=int(level > 0), metadata=None, **settings)
    return path


def damage_tile(path: Path, column: int, row: int) -> None:
    """Overwrite one 256-pixel tile of level 0: the slide opens, and reading there fails."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        number = row * -(-page.shape[1] // 256) + column
        offset, count = page.dataoffsets[number], page.databytecounts[number]
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\0" * count)


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The helpers above: test modules cannot import a conftest."""
    names = (tissue_image, halved, write_slide)
    return SimpleNamespace(tissue=TISSUE, tiles=TILES, encoder=ENCODER, quick=QUICK, **{f.__name__: f for f in names})


@pytest.fixture(scope="session")
def image() -> tuple[Image, NDArray[np.bool_]]:
    return tissue_image()


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory, image: tuple[Image, NDArray[np.bool_]]) -> Path:
    """A folder of good and bad slides."""
    folder = tmp_path_factory.mktemp("zoo")
    fine, _ = image
    coarse = halved(fine)
    write_slide(folder / "fine.tiff", fine, 0.25, levels=3)
    write_slide(folder / "fine_one_level.tiff", fine, 0.25)
    write_slide(folder / "coarse.tiff", coarse, 0.5, levels=2)
    write_slide(folder / "coarse_one_level.tiff", coarse, 0.5)
    write_slide(folder / "no_mpp.tiff", coarse, None)
    write_slide(folder / "absurd_mpp.tiff", coarse, 352.8)
    write_slide(folder / "anisotropic.tiff", coarse, (0.5, 0.6))
    write_slide(folder / "no_tissue.tiff", halved(tissue_image(1, blank=True)[0]), 0.5)
    whole = (folder / "coarse_one_level.tiff").read_bytes()
    (folder / "truncated.tiff").write_bytes(whole[: len(whole) // 3])
    damage_tile(write_slide(folder / "damaged.tiff", coarse, 0.5, levels=2), column=1, row=1)
    (folder / "text.tiff").write_text("this is no slide")
    cv2.imwrite(str(folder / "plain.png"), coarse[..., ::-1])
    return folder


@pytest.fixture
def slide_table(tmp_path: Path) -> Callable[..., Path]:
    """Write a SLIDES table of files below a folder; one patient per slide unless told."""

    def write(files: Mapping[str, str], mpp: Mapping[str, float] | None = None, **columns: Mapping[str, Any]) -> Path:
        frame = pd.DataFrame({"slide_id": list(files), "path": list(files.values())}, dtype=object)
        frame["patient_id"] = "P-" + frame["slide_id"]
        frame["mpp"] = frame["slide_id"].map(mpp or {})
        for name in ("md5", "size", "patient_id"):
            known = frame["slide_id"].map(columns.get(name, {}))
            frame[name] = known.where(known.notna(), frame.get(name))
        path = tmp_path / "slides.parquet"
        write_table(frame, SLIDES, path, Provenance("slides"))
        return path

    return write
