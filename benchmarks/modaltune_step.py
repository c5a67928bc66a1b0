"""A training step of the full-size ModalTune on CPU: three separate passes against the batched form.

Usage: python -m benchmarks.modaltune_step [--tiles N] [--repeats N] [--threads N]

Every form runs in a process of its own, so that its peak memory is its own. `separate` runs the whole network once per
task, as the released code does. `batched` computes the task-independent front once and folds the tasks into the batch.
`by task` computes the front once and holds the activations of one task at a time (`backward_by_task`).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from pathomix.losses.text_alignment import text_alignment_loss, unit_targets
from pathomix.nn.gene_mixer import GeneMixer
from pathomix.nn.longnet import LongNet
from pathomix.nn.modaltune import ModalTune, ModalTuneSettings, backward_by_task

# The spread of the 331 pathway sizes of the published model: 1 to 199, median 8, sum 9,731.
SIZES = [1] * 19 + [3] * 116 + [8] * 61 + [25] * 84 + [128] * 43 + [71] + [167] * 6 + [199]
FORMS = ("separate", "batched", "by task")


def build() -> ModalTune:
    """Full size; all randomness off, so that the forms can be compared."""
    backbone = LongNet(dropout=0.0, drop_path=0.0)
    return ModalTune(backbone, GeneMixer(SIZES, dropout=0.0), ModalTuneSettings(drop_path=0.0)).train()


def separate(model: ModalTune, given: dict[str, Tensor], targets: Tensor) -> Tensor:
    passes = [model.embed(model.front(**given), [task])[0] for task in range(3)]
    embeddings = torch.cat(passes, dim=1)
    text_alignment_loss(embeddings, targets).total.backward()
    return embeddings.detach()


def batched(model: ModalTune, given: dict[str, Tensor], targets: Tensor) -> Tensor:
    embeddings = model(**given).embeddings
    text_alignment_loss(embeddings, targets).total.backward()
    return embeddings.detach()


def by_task(model: ModalTune, given: dict[str, Tensor], targets: Tensor) -> Tensor:
    return backward_by_task(
        model, model.front(**given), lambda z, tasks: text_alignment_loss(z, targets[:, tasks]).total, 1
    )


STEPS: dict[str, Callable[[ModalTune, dict[str, Tensor], Tensor], Tensor]] = {
    "separate": separate,
    "batched": batched,
    "by task": by_task,
}


def measure(form: str, tiles: int, repeats: int) -> None:
    """Print seconds per step (wall and processor), peak memory in GB and the embeddings' sum, as JSON."""
    torch.manual_seed(0)
    model = build()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    side = int(tiles**0.5) + 1
    cells = torch.stack([torch.arange(tiles) % side, torch.arange(tiles) // side], dim=1)
    given = {
        "features": torch.randn(1, tiles, 1536),
        "coords": 256 * cells[None],
        "genes": torch.randn(1, sum(SIZES)),
    }
    targets = unit_targets(torch.randn(1, 3, 256))
    wall, busy = [], []
    for _ in range(repeats + 1):
        start, start_busy = time.perf_counter(), time.process_time()
        optimiser.zero_grad(set_to_none=True)
        embeddings = STEPS[form](model, given, targets)
        optimiser.step()
        wall.append(time.perf_counter() - start)
        busy.append(time.process_time() - start_busy)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"wall": median(wall[1:]), "busy": median(busy[1:]), "peak": peak / 1e9, "sum": float(embeddings.sum())}
    print(json.dumps(found))


def main() -> None:
    """Measure all forms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--form", choices=FORMS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.form:
        measure(arguments.form, arguments.tiles, arguments.repeats)
        return
    print(f"training step, 12 x 768 LongNet, {len(SIZES)} pathways, {arguments.tiles} tiles, 3 tasks, float32")
    print("| form | wall (s) | processor (s) | `separate` over it, processor | peak memory (GB) | sum of embeddings |")
    print("|---|---|---|---|---|---|", flush=True)
    base = 0.0
    for form in FORMS:
        command = [sys.executable, "-m", "benchmarks.modaltune_step", "--form", form]
        command += ["--tiles", str(arguments.tiles), "--repeats", str(arguments.repeats)]
        command += ["--threads", str(arguments.threads)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        base = base or found["busy"]
        times = f"{found['wall']:.1f} | {found['busy']:.1f} | {base / found['busy']:.2f}"
        print(f"| {form} | {times} | {found['peak']:.2f} | {found['sum']:.4f} |", flush=True)


if __name__ == "__main__":
    main()
