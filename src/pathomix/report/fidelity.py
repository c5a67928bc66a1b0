"""The fidelity profiles as a table: where released code, paper and good practice part (design section 6)."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from pathomix.core.files import write_text
from pathomix.representations.modaltune_settings import PROFILES, profile_table


def write_profiles(output_dir: str | os.PathLike[str]) -> None:
    """Write ``profiles.csv`` and ``profiles.md``: per switch its value in each profile, and what it is about."""
    table = profile_table().reset_index()
    folder = Path(output_dir)
    write_text(folder / "profiles.csv", table.to_csv(index=False, lineterminator="\n"))
    lines = ["| switch | " + " | ".join(PROFILES) + " | |", "|:--|" + ":-:|" * len(PROFILES) + ":--|"]
    for row in table.astype(str).to_dict("records"):
        lines.append("| " + " | ".join([f"`{row['switch']}`", *(row[p] for p in PROFILES), row["sentence"]]) + " |")
    write_text(folder / "profiles.md", "\n".join(lines) + "\n")


def read_profiles(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Rows of ``profiles.csv`` as text."""
    rows = pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")
    return [{str(name): str(value) for name, value in row.items()} for row in rows]
