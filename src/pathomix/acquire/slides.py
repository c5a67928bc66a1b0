"""The slides of a lock, fetched by shards."""

from __future__ import annotations

import logging
from pathlib import Path

from pathomix.acquire.download import FetchErrors, Wanted, fetch_all
from pathomix.acquire.gdc import Gdc
from pathomix.acquire.http import RemoteError
from pathomix.acquire.lock import Lock, LockedSlide
from pathomix.core.files import shard_of, write_text

log = logging.getLogger(__name__)

INDEX_COLUMNS = ("slide_id", "path", "md5", "size")


def slide_path(slide: LockedSlide) -> Path:
    """Where a slide lies below the folder of slides."""
    return Path(slide.project) / slide.file_name


def fetch_slides(
    lock: Lock, gdc: Gdc, folder: Path, index: Path, shard: int = 0, shards: int = 1, parallel: int = 4
) -> None:
    """Fetch and verify the slides whose id falls into a shard, then write their index (`INDEX_COLUMNS`).

    Raises:
        FetchErrors: Some slides failed, after all others were fetched; there is no index then.
    """
    chosen = [slide for slide in lock.slides if shard_of(slide.slide_id, shards) == shard]
    wanted = [
        Wanted(s.slide_id, gdc.data_url(s.file_id), folder / slide_path(s), size=s.size, md5=s.md5) for s in chosen
    ]
    try:
        fetch_all(wanted, gdc.client, parallel)
    except FetchErrors as errors:
        _explain(errors, chosen, gdc)
        raise
    rows = ["\t".join(INDEX_COLUMNS)]
    rows += [f"{s.slide_id}\t{slide_path(s).as_posix()}\t{s.md5}\t{s.size}" for s in chosen]
    write_text(index, "\n".join(rows) + "\n")
    log.info("shard %d of %d: %d slides, %d bytes", shard, shards, len(chosen), sum(s.size for s in chosen))


def _explain(errors: FetchErrors, slides: list[LockedSlide], gdc: Gdc) -> None:
    """Say of slides that are gone by which file they were replaced."""
    gone = {
        slide.file_id: slide.slide_id
        for slide in slides
        if isinstance(error := errors.failures.get(slide.slide_id), RemoteError) and error.status == 404
    }
    if not gone:
        return
    try:
        latest = gdc.superseded(sorted(gone))
    except RemoteError as error:
        log.warning("whether newer versions exist is not known: %s", error.fact)
        return
    for old, new in sorted(latest.items()):
        errors.failures[gone[old]].fact += f"; file {old} is superseded by {new}"
