"""The pool: what is in it, that blocks are kept, and that damage is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pathomix.core.errors import PathomixError
from pathomix.core.tables import read_table
from pathomix.smoothing.cells import AtlasCells
from pathomix.smoothing.encoders import Embedded, FittedEncoder, build_encoder
from pathomix.smoothing.files import POOL
from pathomix.smoothing.mixing import draw, in_space, mix
from pathomix.smoothing.parameters import MixingSettings
from pathomix.smoothing.pool import Mixer, Pool, write_pool
from tests.unit.smoothing.conftest import GENES

SMALL = {"pairs": 70, "valid_pairs": 30, "pure_cells": 25, "block_size": 32, "storage": "float32"}
INPUTS = {"atlas": "a", "encoder": "e"}


@pytest.fixture(scope="module")
def encoder(atlas: AtlasCells) -> FittedEncoder:
    """A projection."""
    return build_encoder({"encoder": "pca", "dimensions": 6}).fit(atlas, [])


def write(atlas: AtlasCells, encoder: FittedEncoder, folder: Path, **given: object) -> Pool:
    mixer = Mixer(atlas, encoder, MixingSettings(**{**SMALL, **given}))  # type: ignore[arg-type]
    write_pool(mixer, folder / "pool", folder / "pool.parquet", INPUTS)
    return Pool(folder / "pool.parquet")


def test_rows_are_the_drawn_mixtures_embedded(atlas: AtlasCells, encoder: FittedEncoder, tmp_path: Path) -> None:
    pool = write(atlas, encoder, tmp_path)
    rows = pool.rows("mixture", "train")
    expected = draw(np.arange(70), atlas.rows("train"), atlas.labels, MixingSettings(**SMALL), "train")
    for ours, theirs in zip(rows.mixtures, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    profiles = mix(in_space(atlas.counts, "cp10k"), expected, "cp10k")
    np.testing.assert_allclose(
        rows.embeddings, encoder.embed(profiles, [f"x{i}" for i in range(70)], GENES).vectors, atol=1e-6
    )
    np.testing.assert_allclose(rows.targets.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(rows.labels, atlas.labels[expected.cells])
    assert pool.classes == atlas.classes and pool.protocol == encoder.protocol and pool.donors_held_out == 2


def test_held_out_mixtures_are_of_held_out_cells_with_pure_rows(
    atlas: AtlasCells, encoder: FittedEncoder, tmp_path: Path
) -> None:
    pool = write(atlas, encoder, tmp_path)
    cells = {part: pool.rows("cell", part).mixtures.numbers for part in ("train", "valid")}
    for part, rows in cells.items():
        assert len(rows) == len(set(rows)) == 25 and set(atlas.part[rows]) == {part}
    assert set(pool.rows("mixture", "valid").mixtures.cells.ravel()) <= set(cells["valid"])
    assert set(atlas.part[pool.rows("mixture", "train").mixtures.cells.ravel()]) == {"train"}
    everyone = write(atlas, encoder, tmp_path / "all", pure_cells=10**6)
    np.testing.assert_array_equal(everyone.rows("cell", "valid").mixtures.numbers, atlas.rows("valid"))


def test_stored_as_asked(atlas: AtlasCells, encoder: FittedEncoder, tmp_path: Path) -> None:
    full = write(atlas, encoder, tmp_path / "full").rows("mixture", "valid").embeddings
    half = write(atlas, encoder, tmp_path / "half", storage="float16").rows("mixture", "valid").embeddings
    np.testing.assert_array_equal(half, full.astype(np.float16).astype(np.float32))


def test_online_stores_no_training_mixtures_and_starts_with_the_pools(
    atlas: AtlasCells, encoder: FittedEncoder, tmp_path: Path
) -> None:
    online = write(atlas, encoder, tmp_path / "online", mode="online")
    with pytest.raises(PathomixError, match="mixture, train"):
        online.rows("mixture", "train")
    pool = write(atlas, encoder, tmp_path / "pool").rows("mixture", "train")
    mixer = Mixer(atlas, encoder, MixingSettings(**SMALL))
    np.testing.assert_array_equal(mixer.epoch(0).embeddings, pool.embeddings)
    assert not set(mixer.epoch(1).mixtures.numbers) & set(pool.mixtures.numbers)


class Interrupted(Exception):
    """What a killed job looks like from within."""


class Counting:
    """An encoder that counts blocks, and may be interrupted."""

    def __init__(self, encoder: FittedEncoder, last: int = 10**6) -> None:
        self._encoder, self._last, self.calls = encoder, last, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._encoder, name)

    def embed(self, *given: object) -> Embedded:
        self.calls += 1
        if self.calls > self._last:
            raise Interrupted
        return self._encoder.embed(*given)  # type: ignore[arg-type]


def test_an_interrupted_job_goes_on(atlas: AtlasCells, encoder: FittedEncoder, tmp_path: Path) -> None:
    first = Counting(encoder, last=3)
    with pytest.raises(Interrupted):
        write(atlas, first, tmp_path / "a")  # type: ignore[arg-type]
    assert not (tmp_path / "a" / "pool.parquet").exists()
    second, whole = Counting(encoder), Counting(encoder)
    write(atlas, second, tmp_path / "a")  # type: ignore[arg-type]
    write(atlas, whole, tmp_path / "b")  # type: ignore[arg-type]
    assert (second.calls, whole.calls) == (3, 6)
    names = [sorted(path.name for path in (tmp_path / name / "pool").iterdir()) for name in ("a", "b")]
    assert names[0] == names[1] and len(names[0]) == 6
    for path in (tmp_path / "b" / "pool").iterdir():
        assert path.read_bytes() == (tmp_path / "a" / "pool" / path.name).read_bytes()


def test_what_changed_is_embedded_anew_and_nothing_else(
    atlas: AtlasCells, encoder: FittedEncoder, tmp_path: Path
) -> None:
    write(atlas, encoder, tmp_path)

    def blocks(**given: object) -> int:
        counting = Counting(encoder)
        write(atlas, counting, tmp_path, **given)  # type: ignore[arg-type]
        return counting.calls

    assert blocks() == 0
    assert blocks(pairs=100) == 2, "the last, short block and a further one"
    (tmp_path / "pool" / "cell-valid-00000.safetensors").write_bytes(b"cut off")
    assert blocks(pairs=100) == 1
    assert blocks(pairs=100, space="log1p") == 7
    assert blocks(pairs=100, seed=1) == 7


def test_a_changed_block_is_refused(atlas: AtlasCells, encoder: FittedEncoder, tmp_path: Path) -> None:
    pool = write(atlas, encoder, tmp_path)
    path = tmp_path / "pool" / "mixture-train-00001.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(PathomixError, match="mixture-train-00001"):
        pool.rows("mixture", "train")


def test_profiles_with_nothing_to_embed_are_left_out_and_counted(
    atlas: AtlasCells, encoder: FittedEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counts = atlas.counts.copy().tolil()
    empty = int(atlas.rows("valid")[0])
    counts[empty] = 0
    broken = AtlasCells(counts.tocsr(), atlas.genes, atlas.ids, atlas.classes, atlas.labels, atlas.part, 2)
    pool = write(broken, encoder, tmp_path, pure_cells=10**6)
    assert empty not in pool.rows("cell", "valid").mixtures.numbers
    assert read_table(tmp_path / "pool.parquet", POOL)["lost"].sum() == 1
    assert "1 of 460 mixtures and cells have nothing to embed" in caplog.text


def test_counts_are_asked_for_where_they_are_mixed(atlas: AtlasCells, encoder: FittedEncoder) -> None:
    without = AtlasCells(
        atlas.counts, atlas.genes, atlas.ids, atlas.classes, atlas.labels, atlas.part, 2, are_counts=False
    )
    with pytest.raises(PathomixError, match="space: cp10k"):
        Mixer(without, encoder, MixingSettings(space="counts"))
    Mixer(without, encoder, MixingSettings())
