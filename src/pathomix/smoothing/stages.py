"""The stages between atlas and smoother: fit an encoder, fill the pool, train and examine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest, write_json
from pathomix.core.parameters import filled
from pathomix.core.provenance import Provenance
from pathomix.core.tables import write_table
from pathomix.scgpt.protocol import require_same_protocol
from pathomix.smoothing.cells import read_atlas
from pathomix.smoothing.encoders import build_encoder, read_encoder, write_encoder
from pathomix.smoothing.files import SMOOTHER_HISTORY, VALIDATION, TrainedSmoother, write_smoother
from pathomix.smoothing.parameters import MixingSettings, TrainingSettings
from pathomix.smoothing.pool import Mixer, Pool, Rows, write_pool
from pathomix.smoothing.train import fit_smoother
from pathomix.smoothing.validation import Held, validate

log = logging.getLogger(__name__)


def fit_encoder(
    atlas: Path,
    tables: Mapping[str, Sequence[str]],
    configuration: Mapping[str, Any],
    inputs: Mapping[str, str],
    output: Path,
) -> None:
    """Fit an expression encoder on an atlas and write it.

    Args:
        atlas: AnnData of the atlas.
        tables: Gene names by bulk table (cohort).
        configuration: Of `encoders.build_encoder`.
        inputs: Digests of the bulk tables.
        output: Encoder file to write.

    Raises:
        PathomixError: The atlas or the configuration cannot be used.
    """
    encoder = build_encoder(configuration).fit(read_atlas(atlas), list(tables.values()))
    write_encoder(output, encoder, {"atlas": file_digest(atlas), **inputs})


def mix_atlas(
    atlas: Path, encoder: Path, configuration: Mapping[str, Any], mixing: Mapping[str, Any], folder: Path, index: Path
) -> None:
    """Fill the pool of a smoother.

    Args:
        atlas: AnnData of the atlas.
        encoder: File of `fit_encoder`.
        configuration: Of the encoder.
        mixing: Fields of `MixingSettings`.
        folder: Receives the blocks.
        index: POOL table to write.

    Raises:
        PathomixError: Atlas, encoder or settings cannot be used.
    """
    mixer = _mixer(atlas, encoder, configuration, mixing)
    write_pool(mixer, folder, index, {"atlas": file_digest(atlas), "encoder": file_digest(encoder)})


def train_smoother(
    index: Path,
    training: Mapping[str, Any],
    online: Callable[[], Mixer] | None,
    outputs: Mapping[str, Path],
) -> None:
    """Train the smoother and examine it on held-out donors.

    Args:
        index: POOL table of `mix_atlas`.
        training: Fields of `TrainingSettings`.
        online: Gives the mixer, for a pool of the online mode.
        outputs: Files to write: `model`, `history`, `validation` (JSON) and `predictions` (VALIDATION table).

    Raises:
        PathomixError: The pool is damaged, or was filled for another mode or by another encoder.
    """
    settings = filled(TrainingSettings, training, "smoothing")
    pool = Pool(index)
    mixer: Mixer | None
    if pool.mode == "online":
        if online is None:
            raise PathomixError(f"{index}: filled for the online mode", remedy="give atlas and encoder as well")
        mixer = online()
        require_same_protocol(pool.protocol, mixer.encoder.protocol)
        train = mixer.epoch(0)
    else:
        mixer, train = None, pool.rows("mixture", "train")

    def epoch_rows(epoch: int) -> Rows:
        return train if mixer is None or epoch == 0 else mixer.epoch(epoch)

    held = Held(pool.rows("mixture", "valid"), pool.rows("cell", "valid"), train)
    model, history = fit_smoother(epoch_rows, held.mixtures, len(pool.classes), settings)
    report, predictions = validate(model, held, pool.classes, settings.loss)
    report |= {
        "mode": pool.mode,
        "donors_held_out": pool.donors_held_out,
        "training_mixtures": len(train.targets),
        "epochs": len(history),
        "best_epoch": int(history["epoch"][history["best"]].iloc[0]),
        "settings": asdict(settings),
    }
    smoother = TrainedSmoother(model, pool.classes, settings, pool.protocol)
    lineage = Provenance.of("smoothing", {"pool": index}, {"mode": pool.mode, **asdict(settings)})
    write_table(history, SMOOTHER_HISTORY, outputs["history"], lineage)
    write_table(predictions, VALIDATION, outputs["predictions"], lineage)
    write_json(outputs["validation"], report)
    write_smoother(outputs["model"], smoother, lineage.inputs)
    for when in ("before", "after"):
        log.info("%s smoothing, held-out donors: %s", when, report[when])


def online_mixer(
    atlas: Path, encoder: Path, configuration: Mapping[str, Any], mixing: Mapping[str, Any]
) -> Callable[[], Mixer]:
    """What `train_smoother` asks for in the online mode."""
    return lambda: _mixer(atlas, encoder, configuration, mixing)


def _mixer(atlas: Path, encoder: Path, configuration: Mapping[str, Any], mixing: Mapping[str, Any]) -> Mixer:
    settings = filled(MixingSettings, mixing, "smoothing")
    return Mixer(read_atlas(atlas), read_encoder(encoder, configuration), settings)
