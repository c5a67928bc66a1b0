"""What Snakemake remembers of how a file was made."""

from __future__ import annotations

import ast
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METADATA = ".snakemake/metadata"
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Made:
    """How a file was made.

    Attributes:
        inputs: Files the job read.
        command: Its shell command.
        environment: Text of its conda environment, empty where it had none.
        checksums: ``algorithm:digest`` of the inputs that were small enough to be read.
    """

    inputs: tuple[str, ...]
    command: str
    environment: str
    checksums: Mapping[str, str]


def read_made(root: Path, file: str) -> Made | None:
    """Read Snakemake's record of a file, None where there is none.

    Args:
        root: The folder Snakemake runs in.
        file: Path as Snakemake names it.
    """
    name = base64.urlsafe_b64encode(file.encode()).decode()
    # A long name is cut into folders whose names begin with @.
    pieces = [name[start : start + _LONGEST_NAME - 1] for start in range(0, len(name), _LONGEST_NAME - 1)]
    path = root.joinpath(METADATA, *(f"@{piece}" for piece in pieces[:-1]), pieces[-1])
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return Made(
            tuple(content.get("input") or ()),
            content.get("shellcmd") or "",
            base64.b64decode(content.get("conda_env") or "").decode(),
            content.get("input_checksums") or {},
        )
    except (OSError, ValueError, AttributeError):
        return None


def parameter_changes(reason: str) -> tuple[list[str], list[str]]:
    """Values of parameters before and now, of Snakemake's sentence on parameters that changed.

    Values that both have are not told; nothing is found in other sentences.
    """
    told = reason.partition("exclusive params before and now across all output: before: ")[2]
    places = [place for place in range(len(told)) if told.startswith(" now: ", place)]
    for place in places:
        before, now = _values(told[:place]), _values(_first_list(told[place + len(" now: ") :]))
        if before is not None and now is not None:
            return before, now
    return [], []


def _first_list(text: str) -> str:
    """The values at the start of a text that goes on with Snakemake's next sentence."""
    return text.partition(" ; Software environment")[0]


def _values(text: str) -> list[str] | None:
    if text.strip() == "<nothing exclusive>":
        return []
    try:
        return [str(value) for value in ast.literal_eval(f"[{text.strip()}]")]
    except (ValueError, SyntaxError):
        return None
