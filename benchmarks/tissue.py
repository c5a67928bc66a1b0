"""Tissue mask of a slide of 20,000 x 20,000 pixels: seconds and added memory, beside plain Otsu of tiatoolbox.

The slide is synthetic (textured pieces on glass), 0.25 µm per pixel, tiled JPEG with levels 1, 4, 16 and 32 as scanners
write them. Each row runs in a fresh process; memory is how far the peak of the resident set rises above what it was at
the start (Linux only). "Judging focus" is what `exclude_blur` adds: it reads the tissue once at 1 µm per pixel.

Usage: python -m benchmarks.tissue
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import tifffile

SIDE, MPP, LEVELS = 20_000, 0.25, (1, 4, 16, 32)
ROWS = {
    "tissue mask (colour)": "colour",
    "tissue mask (colour) and judging focus": "focus",
    "thumbnail and plain Otsu (tiatoolbox)": "tiatoolbox_otsu",
}


def write(path: Path) -> None:
    """Write the slide."""
    rng = np.random.default_rng(0)
    grid = cv2.GaussianBlur(rng.standard_normal((200, 200)).astype(np.float32), (0, 0), 12)
    inside = cv2.resize(grid, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) > float(np.quantile(grid, 0.6))
    tile = cv2.GaussianBlur(rng.standard_normal((2000, 2000)).astype(np.float32), (0, 0), 6)
    nuclei = np.tile(tile > tile.std(), (10, 10))
    image = np.full((SIDE, SIDE, 3), 243, dtype=np.uint8)
    image[inside] = (226, 150, 190)
    image[inside & nuclei] = (110, 70, 150)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for factor in LEVELS:
            size = SIDE // factor
            level = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) if factor > 1 else image
            file.write(
                level,
                tile=(256, 256),
                photometric="rgb",
                compression="jpeg",
                resolution=(1e4 / (MPP * factor), 1e4 / (MPP * factor)),
                resolutionunit="CENTIMETER",
                subfiletype=int(factor > 1),
                metadata=None,
            )


def measure(path: Path, what: str) -> tuple[float, float]:
    """Seconds and added megabytes of one row, libraries loaded beforehand."""
    from pathomix.slides.find_tissue import Networks, find_tissue
    from pathomix.slides.reader import open_slide
    from pathomix.slides.tissue import find_masker
    from pathomix.slides.tissue_parameters import TissueParameters

    plain = what == "tiatoolbox_otsu"
    if plain:
        find_masker(what)(np.tile(np.arange(64, dtype=np.uint8), (64, 1))[..., None].repeat(3, axis=2), 8.0)
    settings = TissueParameters(exclude_blur=what == "focus")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = peak(), time.perf_counter()
    with open_slide(path) as slide:
        thumbnail = slide.thumbnail(settings.thumbnail_mpp)
        if plain:
            find_masker(what)(thumbnail.rgb, thumbnail.mpp)
        else:
            find_tissue(slide, thumbnail, settings, "colour", Networks(settings))
    seconds = time.perf_counter() - start
    return seconds, peak() - before


def peak() -> float:
    """Peak of this process's resident set in megabytes (`getrusage` would inherit that of the parent)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    """Write the slide, then run each row in its own process."""
    if len(sys.argv) == 3:
        print(*measure(Path(sys.argv[1]), sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "slide.tiff"
        write(path)
        print(f"| {SIDE} x {SIDE} pixels, {path.stat().st_size >> 20} MB | seconds | added memory (MB) | times Otsu |")
        print("|---|---|---|---|")
        found = {}
        for label, what in ROWS.items():
            command = [sys.executable, "-m", "benchmarks.tissue", str(path), what]
            runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(3)]
            values = [[float(number) for number in run.split()[-2:]] for run in runs]
            found[label] = min(v[0] for v in values), max(v[1] for v in values)
        otsu = found[list(ROWS)[-1]][0]
        for label, (seconds, megabytes) in found.items():
            print(f"| {label} | {seconds:.2f} | {megabytes:.0f} | {seconds / otsu:.2f} |")


if __name__ == "__main__":
    main()
