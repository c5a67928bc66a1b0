"""Embedded mixtures and cells, in blocks that survive an interruption (spec path_gptomic 2.4)."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.core.files import content_key, file_digest
from pathomix.core.provenance import Provenance
from pathomix.core.tables import read_provenance, read_table, write_table
from pathomix.core.units import write_arrays
from pathomix.smoothing.cells import AtlasCells
from pathomix.smoothing.encoders import FittedEncoder
from pathomix.smoothing.files import POOL
from pathomix.smoothing.mixing import Mixtures, compositions, draw, in_space, mix, unmixed
from pathomix.smoothing.parameters import MixingSettings

log = logging.getLogger(__name__)

# Raise `version` when mixing, embedding or storing changes what a stored row means: blocks are kept across edits.
NUMERIC_POLICY = {"version": 1}
_REMEDY = "run mix_atlas again"


class Rows(NamedTuple):
    """Embedded profiles.

    Attributes:
        embeddings: float32 [n, dim].
        mixtures: What they are made of [n].
        labels: int64, class of each cell of `mixtures`, same shape.
        targets: float32 [n, classes], composition.
    """

    embeddings: NDArray[np.float32]
    mixtures: Mixtures
    labels: NDArray[np.int64]
    targets: NDArray[np.float32]


class Mixer:
    """Draws mixtures of an atlas and embeds them.

    Args:
        atlas: Labelled cells.
        encoder: Fitted.
        settings: How.

    Raises:
        PathomixError: Counts are to be mixed and the atlas has none.
    """

    def __init__(self, atlas: AtlasCells, encoder: FittedEncoder, settings: MixingSettings) -> None:
        if settings.space == "counts" and not atlas.are_counts:
            raise PathomixError("the atlas has no counts to mix", remedy="set `space: cp10k`")
        self.atlas, self.encoder, self.settings = atlas, encoder, settings
        self._pure: dict[str, NDArray[np.int64]] = {}

    def pure(self, part: str) -> NDArray[np.int64]:
        """Cells of a part that are embedded unmixed: all, or a random subset; rows of the atlas, sorted."""
        if part not in self._pure:
            rows = self.atlas.rows(part)
            digest = hashlib.sha256(f"cells/{self.settings.seed}/{part}".encode()).digest()
            order = np.random.default_rng(np.frombuffer(digest[:16], "<u4")).permutation(len(rows))
            self._pure[part] = np.sort(rows[order[: self.settings.pure_cells]])
        return self._pure[part]

    def mixtures(self, part: str, numbers: NDArray[np.int64]) -> Mixtures:
        """Mixtures of a part by number; held-out ones are of the cells that `pure` names."""
        rows = self.atlas.rows(part) if part == "train" else self.pure(part)
        return draw(numbers, rows, self.atlas.labels, self.settings, part)

    def embed(self, kind: str, part: str, mixtures: Mixtures) -> Rows:
        """Embed mixtures or cells; profiles with nothing to embed are left out.

        Args:
            kind: ``mixture`` or ``cell``.
            part: ``train`` or ``valid``.
            mixtures: What to embed.
        """
        atlas = self.atlas
        if kind == "cell":
            ids = [atlas.ids[row] for row in mixtures.numbers]
        else:
            ids = [f"{part}/{number}" for number in mixtures.numbers]
        profiles = mix(self._values, mixtures, self.settings.space)
        found = self.encoder.embed(profiles, ids, atlas.genes)
        kept = np.array([not problem for problem in found.problems])
        left = mixtures.take(kept)
        labels = atlas.labels[left.cells]
        return Rows(found.vectors[kept], left, labels, compositions(left, labels, len(atlas.classes)))

    def epoch(self, epoch: int) -> Rows:
        """Training mixtures of an epoch of the online mode; those of the first are the pool."""
        start, parts = epoch * self.settings.pairs, []
        for numbers in _blocks(self.settings.pairs, self.settings.block_size):
            parts.append(self.embed("mixture", "train", self.mixtures("train", start + numbers)))
        return joined(parts)

    @cached_property
    def _values(self) -> Any:
        return in_space(self.atlas.counts, self.settings.space)


def joined(parts: list[Rows]) -> Rows:
    """Rows one after the other."""
    mixtures = Mixtures(*(np.concatenate(columns) for columns in zip(*(part.mixtures for part in parts), strict=True)))
    embeddings, labels, targets = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("embeddings", "labels", "targets")
    )
    return Rows(embeddings, mixtures, labels, targets)


def write_pool(
    mixer: Mixer, folder: str | os.PathLike[str], index: str | os.PathLike[str], inputs: Mapping[str, str]
) -> None:
    """Draw and embed what the smoother is trained and examined on; blocks that are there are kept.

    Held-out mixtures and unmixed cells always, training mixtures in the ``pool`` mode.

    Args:
        mixer: Atlas, encoder and settings.
        folder: Of the blocks; below the folder of `index`.
        index: POOL table to write.
        inputs: Digests of atlas and encoder.
    """
    settings, folder, index = mixer.settings, Path(folder), Path(index)
    records = []
    for kind, part, mixtures in _work(mixer):
        for number, places in enumerate(_blocks(len(mixtures.numbers), settings.block_size)):
            path = folder / f"{kind}-{part}-{number:05d}.safetensors"
            block = mixtures.take(places)
            key = _key(mixer, inputs["atlas"], kind, part, block)
            rows = _stored_rows(path, key)
            if rows is None:
                found = mixer.embed(kind, part, block)
                _write_block(path, found, settings.storage, key)
                rows = len(found.targets)
                log.info("%s of part %s, block %d: %d embedded", kind, part, number, rows)
            records.append({
                "kind": kind, "part": part, "block": number, "rows": rows, "lost": len(places) - rows,
                "path": Path(os.path.relpath(path, index.parent)).as_posix(), "sha256": file_digest(path),
            })  # fmt: skip
    table = pd.DataFrame(records)
    _check_lost(table, mixer)
    facts = {
        "mode": settings.mode,
        "classes": list(mixer.atlas.classes),
        "donors_held_out": mixer.atlas.donors_held_out,
        "protocol": mixer.encoder.protocol,
    }
    write_table(table, POOL, index, Provenance("smoothing_pool", inputs=inputs, parameters=facts))


def _check_lost(table: pd.DataFrame, mixer: Mixer) -> None:
    lost = int(table["lost"].sum())
    if lost:
        log.warning("%d of %d mixtures and cells have nothing to embed and are left out", lost,
                    lost + int(table["rows"].sum()))  # fmt: skip
    kinds = table.groupby(["kind", "part"])["rows"].sum()
    if (kinds == 0).any():
        raise PathomixError(
            "nothing could be embedded",
            offending=["/".join(name) for name in kinds.index[kinds == 0]],
            remedy=f"check the {len(mixer.atlas.genes)} gene names of the atlas and `min_expression`",
        )


class Pool:
    """Stored mixtures and cells.

    Args:
        index: Table of `write_pool`.

    Attributes:
        classes: In the order of the targets.
        protocol: Of the embeddings.
        mode: They were made for.
        donors_held_out: Donors of the held-out cells, 0 where these are of the same donors as the others.
    """

    def __init__(self, index: str | os.PathLike[str]) -> None:
        self._path = Path(index)
        self._table = read_table(index, POOL)
        facts = read_provenance(index).parameters
        self.classes = tuple(facts["classes"])
        self.protocol: dict[str, Any] = facts["protocol"]
        self.mode = str(facts["mode"])
        self.donors_held_out = int(facts["donors_held_out"])

    def rows(self, kind: str, part: str) -> Rows:
        """All stored profiles of a kind and part.

        Raises:
            PathomixError: There are none, or a block is not the one that was indexed.
        """
        blocks = self._table[(self._table["kind"] == kind) & (self._table["part"] == part)]
        paths = [self._path.parent / name for name in blocks["path"]]
        digests = zip(paths, blocks["sha256"], strict=True)
        changed = [str(path) for path, digest in digests if not path.is_file() or file_digest(path) != digest]
        if changed or not paths:
            raise PathomixError(
                f"{self._path}: blocks ({kind}, {part}) are missing or not the ones indexed",
                offending=changed,
                remedy=_REMEDY,
            )
        return joined([_read_block(path) for path in paths])


def _work(mixer: Mixer) -> Iterator[tuple[str, str, Mixtures]]:
    """What a job embeds: kind, part and mixtures."""
    settings = mixer.settings
    for part in ("train", "valid"):
        yield "cell", part, unmixed(mixer.pure(part))
    yield "mixture", "valid", mixer.mixtures("valid", np.arange(settings.valid_pairs))
    if settings.mode == "pool":
        yield "mixture", "train", mixer.mixtures("train", np.arange(settings.pairs))


def _blocks(count: int, size: int) -> list[NDArray[np.int64]]:
    return [np.arange(start, min(start + size, count)) for start in range(0, count, size)]


def _key(mixer: Mixer, atlas: str, kind: str, part: str, block: Mixtures) -> str:
    """Content key of a block: what is mixed, of what, in which space, and how it is embedded and stored."""
    drawn = hashlib.sha256()
    for column in block:
        drawn.update(np.ascontiguousarray(column).tobytes())
    settings = mixer.settings
    return content_key(
        atlas=atlas, kind=kind, part=part, drawn=drawn.hexdigest(), space=settings.space, storage=settings.storage,
        protocol=mixer.encoder.protocol, numeric=NUMERIC_POLICY,
    )  # fmt: skip


def _write_block(path: Path, rows: Rows, storage: str, key: str) -> None:
    arrays: dict[str, NDArray[np.generic]] = {
        "embeddings": rows.embeddings.astype(storage), "labels": rows.labels, "targets": rows.targets,
        **rows.mixtures._asdict(),
    }  # fmt: skip
    if not np.isfinite(arrays["embeddings"]).all():
        raise PathomixError(f"{path}: embeddings are not finite in {storage}", remedy="set `storage: float32`")
    write_arrays(path, arrays, {"key": key})


def _stored_rows(path: Path, key: str) -> int | None:
    """Rows of a stored block with this key; None where there is none."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return len(file.get_tensor("targets")) if (file.metadata() or {}).get("key") == key else None
    except (OSError, safetensors.SafetensorError):
        return None


def _read_block(path: Path) -> Rows:
    arrays = safetensors.numpy.load_file(path)
    mixtures = Mixtures(arrays["numbers"], arrays["cells"], arrays["weights"])
    return Rows(arrays["embeddings"].astype(np.float32), mixtures, arrays["labels"], arrays["targets"])
