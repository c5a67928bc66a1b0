"""A local archive that stands in for the public ones, or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pathomix.core.parameters import filled
from pathomix.simulate.archive.faults import Faults


@contextmanager
def served(folder: Path | None, faults: Mapping[str, Any], otherwise: str) -> Iterator[str]:
    """Address of the archive in a folder while it is served, or `otherwise` where there is no folder."""
    if folder is None:
        yield otherwise
    else:
        # The server's library is loaded only where there is something to serve.
        from pathomix.simulate.archive.server import serve

        with serve(folder, filled(Faults, faults, "archive faults")) as url:
            yield url
