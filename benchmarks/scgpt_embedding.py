"""scGPT at the released size (random weights): cells per second and peak memory, against a plain nn.TransformerEncoder.

Every row is a process of its own, so that its peak memory is its own. The plain run has the same weights and tokens,
batches of 64 cells in the order given, padded to the longest, all states of all layers computed.

Usage: python -m benchmarks.scgpt_embedding
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from pathomix.scgpt.checkpoint import Checkpoint, load_checkpoint, write_random_checkpoint
from pathomix.scgpt.embed import Embedder
from pathomix.scgpt.model import Sizes
from pathomix.scgpt.parameters import EmbeddingSettings
from pathomix.scgpt.tokens import KeyedDraws, collate, tokenise

THREADS, GENES, CELLS, BATCH = 2, 60_694, 128, 64
FULL = EmbeddingSettings(length="full", draws=1, min_expression=0.0)
CAPPED = EmbeddingSettings(draws=1, min_expression=0.0)


class Measured(NamedTuple):
    seconds: float
    peak_gb: float
    vectors: np.ndarray


def expression(lengths: np.ndarray, genes: int) -> np.ndarray:
    """Profiles with so many expressed genes."""
    generator = np.random.default_rng(0)
    table = np.zeros((len(lengths), genes))
    for row, count in zip(table, lengths, strict=True):
        row[generator.permutation(genes)[:count]] = generator.lognormal(2, 2, count)
    return table


def mixed() -> np.ndarray:
    """Expressed genes of single cells: median 700, a fifth of them above the cap of 1,199."""
    lengths = np.random.default_rng(1).lognormal(np.log(700), 0.65, CELLS)
    return expression(np.clip(lengths, 100, 5000).astype(int), 20_000)


def ours(checkpoint: Checkpoint, table: np.ndarray, settings: EmbeddingSettings) -> np.ndarray:
    ids = [str(row) for row in range(len(table))]
    return Embedder(checkpoint, settings).embed(table, ids, checkpoint.vocabulary.genes[: table.shape[1]]).vectors


def plain(checkpoint: Checkpoint, table: np.ndarray, settings: EmbeddingSettings, fast_path: bool) -> np.ndarray:
    """The same weights in torch's own encoder."""
    model, sizes = checkpoint.model, checkpoint.model.sizes
    layer = nn.TransformerEncoderLayer(sizes.width, sizes.heads, sizes.hidden, batch_first=True)
    encoder = nn.TransformerEncoder(layer, sizes.layers).eval()
    encoder.load_state_dict({
        name.replace("Wqkv.weight", "in_proj_weight").replace("Wqkv.bias", "in_proj_bias"): value
        for name, value in model.transformer_encoder.state_dict().items()
    })  # fmt: skip
    torch.backends.mha.set_fastpath_enabled(fast_path)
    vocabulary = checkpoint.vocabulary
    profiles = []
    for place, row in enumerate(table):
        expressed = np.flatnonzero(row)
        draws = KeyedDraws(0, str(place), 0)
        profiles.append(tokenise(expressed, row[expressed], settings, cls=(vocabulary["<cls>"], -2.0), draws=draws))
    cells = []
    with torch.inference_mode():
        for start in range(0, len(profiles), BATCH):
            genes, values, padding = collate(profiles[start : start + BATCH], vocabulary["<pad>"], -2.0)
            x = model.encoder(genes) + model.value_encoder(values)
            cells.append(encoder(x, src_key_padding_mask=padding)[:, 0])
    vectors = torch.cat(cells)
    return (vectors / vectors.norm(dim=1, keepdim=True)).numpy()


def plain_with_fast_path(checkpoint: Checkpoint, table: np.ndarray, settings: EmbeddingSettings) -> np.ndarray:
    return plain(checkpoint, table, settings, True)


def plain_without_fast_path(checkpoint: Checkpoint, table: np.ndarray, settings: EmbeddingSettings) -> np.ndarray:
    return plain(checkpoint, table, settings, False)


Run = Callable[[Checkpoint, np.ndarray, EmbeddingSettings], np.ndarray]


def process(run: Run, folder: Path, table: np.ndarray, settings: EmbeddingSettings) -> Measured:
    """Seconds after loading, peak memory of the whole process."""
    torch.set_num_threads(THREADS)
    checkpoint = load_checkpoint(folder)
    # Not the first use of torch's kernels.
    run(checkpoint, table[:1, :200] + 1.0, settings)
    start = time.perf_counter()
    vectors = run(checkpoint, table, settings)
    seconds = time.perf_counter() - start
    return Measured(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, vectors)


def measured(run: Run, folder: Path, table: np.ndarray, settings: EmbeddingSettings) -> Measured:
    """`process` in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(process, (run, folder, table, settings))


def main() -> None:
    """Two lengths, then the mixed set against the plain runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = Sizes(GENES + 3, 512, 8, 512, 12, 0.2)
        write_random_checkpoint(folder, [f"GENE{i}" for i in range(GENES)], sizes, seed=0)
        print("| profiles | tokens each | seconds | per second | peak GB |\n|---|---|---|---|---|")
        for count, expressed, settings in ((16, 1_199, CAPPED), (1, 19_000, FULL)):
            table = expression(np.full(count, expressed), 19_000)
            result = measured(ours, folder, table, settings)
            print(f"| {count} | {expressed + 1} | {result.seconds:.1f} | {count / result.seconds:.3f} "
                  f"| {result.peak_gb:.2f} |", flush=True)  # fmt: skip
        table = mixed()
        print(f"\n{CELLS} cells of mixed length, at most 1,200 tokens\n")
        print("| run | seconds | cells per second | peak GB | times slower than ours | largest difference |")
        print("|---|---|---|---|---|---|")
        own = measured(ours, folder, table, CAPPED)
        rivals = {
            "ours": own,
            "nn.TransformerEncoder": measured(plain_with_fast_path, folder, table, CAPPED),
            "nn.TransformerEncoder, fast path off": measured(plain_without_fast_path, folder, table, CAPPED),
        }
        for label, result in rivals.items():
            difference = np.abs(result.vectors - own.vectors).max()
            print(f"| {label} | {result.seconds:.1f} | {CELLS / result.seconds:.2f} | {result.peak_gb:.2f} "
                  f"| {result.seconds / own.seconds:.2f} | {difference:.1e} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
