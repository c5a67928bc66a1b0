"""The embedding engine against what it is made of: reading alone, the encoder alone; and its memory over many slides.

(a) a free encoder against a bare `read_region` loop over the same tiles with the same number of processes, (b)
ResNet-18 on slides against the same encoder on batches in memory, (c) memory of the job and its decode processes over
200 slides, (d) on a GPU (`--device cuda`): a network of the size of Prov-GigaPath's tile encoder (ViT-g, random
weights) in bf16, from memory and from slides.

Every row of (a) and (b) is measured several times in turns and the median of the paired ratios is given. On a machine
with other work, read the ratio of processor seconds (all processes of each side): the engine has one process more.

Usage: python -m benchmarks.embedding [--device cuda] [--slides 4] [--processes 2]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openslide
import psutil
import tifffile
import torch

from pathomix.slides.encoders.encoder import build_encoder
from pathomix.slides.engine.device import Numerics, Runner, prepare
from pathomix.slides.engine.parameters import EngineParameters
from pathomix.slides.engine.partial import Layout, PartialFile
from pathomix.slides.engine.plan import Tiling
from pathomix.slides.engine.run import Engine, Sink, SlideTask, start_pool
from pathomix.slides.scale import Scale

SIZE, MPP, EDGE = 256, 0.5, 8192
REPEATS = 3


class Free:
    """An encoder that costs nothing."""

    name, dim, tile_size = "free", 8, SIZE

    def to(self, device: Any, precision: str, compile: bool = False) -> Free:
        return self

    def encode(self, tiles: torch.Tensor) -> torch.Tensor:
        return torch.zeros((len(tiles), self.dim), device=tiles.device)


def write_slide(path: Path, seed: int, base_mpp: float, edge: int = EDGE) -> Path:
    """Smooth noise as JPEG tiles of 256 pixels, quality 80: decodes like tissue does."""
    rng = np.random.default_rng(seed)
    small = rng.integers(90, 230, (edge // 16, edge // 16, 3), dtype=np.uint8)
    image = small.repeat(16, axis=0).repeat(16, axis=1)
    image = np.clip(image.astype(np.int16) + rng.integers(-12, 12, image.shape, dtype=np.int16), 0, 255)
    resolution = (1e4 / base_mpp, 1e4 / base_mpp)
    tifffile.imwrite(path, image.astype(np.uint8), tile=(256, 256), photometric="rgb", compression="jpeg",
                     compressionargs={"level": 80}, resolution=resolution, resolutionunit="CENTIMETER",
                     metadata=None)  # fmt: skip
    return path


def tiling(base_mpp: float, edge: int = EDGE) -> Tiling:
    """All whole tiles of 256 pixels at 0.5 µm, row by row."""
    side = round(SIZE * MPP / base_mpp)
    starts = np.arange(0, edge - side + 1, side)
    y, x = np.meshgrid(starts, starts, indexing="ij")
    return Tiling("tiles", SIZE, MPP, 0, (1.0, 1.0), np.column_stack([x.ravel(), y.ravel()]).astype(np.int64))


def tasks(slides: list[Path], base_mpp: float, runner: Runner, folder: Path, edge: int = EDGE) -> Iterator[SlideTask]:
    one = tiling(base_mpp, edge)
    for number, path in enumerate(slides):
        layout = Layout(f"{number:032d}", len(one.coords), runner.encoder.dim, 64 * runner.batch, runner.batch)
        sink = Sink(runner, PartialFile(folder / f"{number}.h5", layout), path.name, 0.0)
        yield SlideTask(str(number), path, Scale(base_mpp, base_mpp, "header"), [one], {"tiles": [sink]})


class Cost(NamedTuple):
    """Wall and processor seconds."""

    wall: float
    cpu: float


@contextmanager
def measured() -> Iterator[list[float]]:
    """Wall and processor seconds of this process and its living children, filled at the end."""

    def now() -> Cost:
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        return Cost(time.perf_counter(), sum(sum(p.cpu_times()[:2]) for p in processes))

    start, cost = now(), []
    yield cost
    end = now()
    cost += [end.wall - start.wall, end.cpu - start.cpu]


def engine_cost(slides: list[Path], base_mpp: float, runner: Runner, workers: int, edge: int = EDGE) -> Cost:
    """Cost of a run of the engine, its processes started and warm."""
    pool = start_pool(workers, EngineParameters().regions(workers), [SIZE])
    with tempfile.TemporaryDirectory() as name:
        engine = Engine(pool, [runner], [SIZE])
        for task in engine.run(tasks(slides[:1], base_mpp, runner, Path(name) / "warm", edge)):
            task.all_sinks[0].partial.discard()
        with measured() as cost:
            for task in engine.run(tasks(slides, base_mpp, runner, Path(name), edge)):
                assert task.all_sinks[0].error is None
                task.all_sinks[0].partial.discard()
    pool.close()
    return Cost(*cost)


def read_all(path: Path, level0: list[list[int]], side: int) -> None:
    with openslide.OpenSlide(path) as slide:
        for x, y in level0:
            slide.read_region((x, y), 0, (side, side))


def bare_cost(slides: list[Path], base_mpp: float, processes: int) -> Cost:
    """Cost of reading the same tiles one by one, each slide cut in as many pieces as there are processes."""
    side = round(SIZE * MPP / base_mpp)
    pieces = np.array_split(tiling(base_mpp).coords, processes)
    jobs = [(path, piece.tolist(), side) for path in slides for piece in pieces]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.starmap(read_all, [(slides[0], piece.tolist(), side) for piece in pieces], chunksize=1)
        with measured() as cost:
            pool.starmap(read_all, jobs, chunksize=1)
    return Cost(*cost)


def paired(ours: Callable[[], Cost], theirs: Callable[[], Cost]) -> tuple[float, float, Cost]:
    """Median wall seconds of both, and the median ratios theirs / ours."""
    rows = [(ours(), theirs()) for _ in range(REPEATS)]
    ratios = Cost(*(statistics.median(row[1][k] / row[0][k] for row in rows) for k in range(2)))
    return (*(statistics.median(row[k].wall for row in rows) for k in range(2)), ratios)


def from_memory(runner: Runner, batches: int) -> Cost:
    """Cost of encoding batches that are in memory already."""
    tiles = torch.from_numpy(np.random.default_rng(0).integers(0, 255, runner.stage.shape, dtype=np.uint8))
    device = "cuda" if torch.cuda.is_available() and runner.encoder.name == "gigapath" else "cpu"
    tiles = tiles.to(device)
    runner.encoder.encode(tiles)
    with measured() as cost:
        for _ in range(batches):
            runner.encoder.encode(tiles).half()
        if device == "cuda":
            torch.cuda.synchronize()
    return Cost(*cost)


def reading(folder: Path, count: int, processes: int) -> None:
    print("\n(a) free encoder against a bare read_region loop\n")
    print("| base scale | processes | tiles | engine (tiles/s) | bare loop (tiles/s) | share | of processor seconds |")
    print("|---|---|---|---|---|---|---|")
    for base_mpp in (0.5, 0.25):
        slides = [write_slide(folder / f"{base_mpp}-{k}.tiff", k, base_mpp) for k in range(count)]
        runner = Runner(Free(), "cpu", 32)
        tiles = len(tiling(base_mpp).coords) * count
        for workers in sorted({1, processes}):
            ours, bare, share = paired(
                lambda s=slides, m=base_mpp, r=runner, w=workers: engine_cost(s, m, r, w),
                lambda s=slides, m=base_mpp, w=workers: bare_cost(s, m, w),
            )
            print(f"| {base_mpp} µm | {workers} | {tiles} | {tiles / ours:.0f} | {tiles / bare:.0f} "
                  f"| {share.wall:.0%} | {share.cpu:.0%} |", flush=True)  # fmt: skip


def encoding(folder: Path, processes: int) -> None:
    print("\n(b) ResNet-18 from slides against the same encoder on batches in memory\n")
    print("| processes | threads | from slides (tiles/s) | in memory (tiles/s) | share | of processor seconds |")
    print("|---|---|---|---|---|---|")
    edge = 4096
    slides = [write_slide(folder / f"small-{k}.tiff", k, MPP, edge) for k in range(2)]
    entry = {"model": "timm", "timm": "resnet18", "tile_size": SIZE, "mpp": MPP, "input_size": 224, "resize": 256}
    runner = prepare(build_encoder("resnet18", entry), Numerics("cpu", "fp32", False), "auto")
    tiles = len(tiling(MPP, edge).coords) * len(slides)
    for workers in sorted({0, max(1, processes - 1)}):
        torch.set_num_threads(max(1, processes - workers))
        slow, fast, share = paired(
            lambda w=workers: engine_cost(slides, MPP, runner, w, edge),
            lambda: from_memory(runner, tiles // runner.batch),
        )
        print(f"| {workers} | {torch.get_num_threads()} | {tiles / slow:.0f} | {tiles / fast:.0f} "
              f"| {share.wall:.0%} | {share.cpu:.0%} |", flush=True)  # fmt: skip


def memory(folder: Path, processes: int) -> None:
    print("\n(c) memory over 200 slides: job and decode processes together\n")
    edge = 2048
    first = write_slide(folder / "one.tiff", 0, MPP, edge)
    slides = [folder / f"copy-{number}.tiff" for number in range(200)]
    for path in slides:
        shutil.copy(first, path)
    runner = Runner(Free(), "cpu", 32)
    pool = start_pool(processes, EngineParameters().regions(processes), [SIZE])
    own, sizes = psutil.Process(os.getpid()), []
    with tempfile.TemporaryDirectory() as name:
        for task in Engine(pool, [runner], [SIZE]).run(tasks(slides, MPP, runner, Path(name), edge)):
            task.all_sinks[0].partial.discard()
            sizes.append(sum(p.memory_full_info().uss for p in [own, *own.children(recursive=True)]) / 1e6)
    pool.close()
    print("| after slide | MB |\n|---|---|")
    for number in (20, 50, 100, 150, 200):
        print(f"| {number} | {sizes[number - 1]:.0f} |")


def gpu(folder: Path, count: int, processes: int) -> None:
    print(f"\n(d) ViT-g of Prov-GigaPath's size, bf16, {torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    encoder = build_encoder("gigapath", {"model": "gigapath", "seed": 0})
    print("| compiled | batch | from memory (tiles/s) | from slides (tiles/s) | share |\n|---|---|---|---|---|")
    slides = [write_slide(folder / f"gpu-{k}.tiff", k, MPP) for k in range(count)]
    tiles = len(tiling(MPP).coords) * count
    for compiled in (False, True):
        runner = prepare(encoder, Numerics("cuda", "bf16", compiled), "auto")
        batches = max(10, 4096 // runner.batch)
        fast = batches * runner.batch / from_memory(runner, batches).wall
        slow = tiles / engine_cost(slides, MPP, runner, processes).wall
        print(f"| {compiled} | {runner.batch} | {fast:.0f} | {slow:.0f} | {slow / fast:.0%} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--slides", type=int, default=4)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--parts", default="abc")
    options = parser.parse_args()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.device == "cuda":
            gpu(folder, options.slides, options.processes)
            return
        if "a" in options.parts:
            reading(folder, options.slides, options.processes)
        if "b" in options.parts:
            encoding(folder, options.processes)
        if "c" in options.parts:
            memory(folder, options.processes)
    print(f"\nload at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
