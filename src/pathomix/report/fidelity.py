"""The fidelity profiles as a table: where released code, paper and good practice part (design section 6)."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from pathomix.core.files import write_text
from pathomix.methods import path_gptomic_switches
from pathomix.representations import modaltune_settings

PROFILES = modaltune_settings.PROFILES
_TABLES = {"ModalTune": modaltune_settings.profile_table, "Path-GPTomic": path_gptomic_switches.profile_table}
# Nobody released code of Path-GPTomic.
_NOTHING = "-"


def write_profiles(output_dir: str | os.PathLike[str]) -> None:
    """Write ``profiles.csv`` and ``profiles.md``: per switch its value in each profile, and what it is about."""
    parts = [table().reset_index().assign(method=method) for method, table in _TABLES.items()]
    table = pd.concat(parts)[["method", "switch", *PROFILES, "sentence"]].astype(object)
    table = table.where(table.notna(), _NOTHING)
    folder = Path(output_dir)
    write_text(folder / "profiles.csv", table.to_csv(index=False, lineterminator="\n"))
    lines = ["| method | switch | " + " | ".join(PROFILES) + " | |", "|:--|:--|" + ":-:|" * len(PROFILES) + ":--|"]
    for row in table.astype(str).to_dict("records"):
        cells = [row["method"], f"`{row['switch']}`", *(row[p] for p in PROFILES), row["sentence"]]
        lines.append("| " + " | ".join(cells) + " |")
    write_text(folder / "profiles.md", "\n".join(lines) + "\n")


def read_profiles(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Rows of ``profiles.csv`` as text."""
    rows = pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")
    return [{str(name): str(value) for name, value in row.items()} for row in rows]
