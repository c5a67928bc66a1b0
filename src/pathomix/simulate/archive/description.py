"""What a local archive holds: the description in ``archive.json``."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pathomix.core.errors import PathomixError

FILE = "archive.json"
_NAMES = uuid.UUID("6f5d1f1a-3c0b-5c55-9a59-8f2f4f2b7c11")


@dataclass(frozen=True)
class Archive:
    """A description, read.

    Attributes:
        folder: Folder of the description.
        root: Folder of the files.
        content: ``data_release``, ``date``, ``projects``, ``files``, ``cases`` (documents as the GDC has them),
            ``datasets`` (Xena path to file below the root), ``tables`` (to file beside the description), ``atlases``.
    """

    folder: Path
    root: Path
    content: dict[str, Any]

    def file(self, relative: str) -> Path:
        """A file below the root."""
        return self.root / relative

    def dataset(self, name: str) -> Path | None:
        """File of a Xena path, None where there is none."""
        if name in self.content["tables"]:
            return self.folder / str(self.content["tables"][name])
        return self.file(self.content["datasets"][name]) if name in self.content["datasets"] else None


def stable_id(*parts: str) -> str:
    """A UUID that depends on nothing but the names given."""
    return str(uuid.uuid5(_NAMES, "/".join(parts)))


def read_archive(folder: Path) -> Archive:
    """Read the description in a folder.

    Raises:
        PathomixError: There is none.
    """
    path = folder / FILE
    if not path.is_file():
        raise PathomixError(f"{path} is absent", remedy="run workflow_scripts/describe_archive.py first")
    content = json.loads(path.read_text(encoding="utf-8"))
    return Archive(folder.resolve(), (folder / content["root"]).resolve(), content)
