"""What an import did with every row: steps with counts, warnings, and the rows that could not be used."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

_log = logging.getLogger(__name__)


@dataclass
class ImportLog:
    """Collects the content of ``report.json`` and ``quarantine.tsv``.

    Attributes:
        steps: In order; each has `step`, `file` and counts.
        warnings: Facts that do not stop the import but that a user should know.
        quarantined: One entry per row or value that was not used: patient_id, file, reason.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    quarantined: list[tuple[str, str, str]] = field(default_factory=list)

    def step(self, step: str, file: str, **counts: Any) -> None:
        """Record one step."""
        self.steps.append({"step": step, "file": file, **counts})
        _log.info("%s (%s): %s", step, file, ", ".join(f"{key} {value}" for key, value in counts.items()))

    def warn(self, text: str) -> None:
        """Record a fact the user should know."""
        self.warnings.append(text)
        _log.warning(text)

    def quarantine(self, patients: Iterable[str], file: str, reason: str) -> None:
        """Record rows that are not used."""
        entries = [(patient, file, reason) for patient in patients]
        self.quarantined.extend(entries)
        if entries:
            _log.warning("%s: %d not used, %s (see quarantine.tsv)", file, len(entries), reason)

    def quarantine_table(self) -> pd.DataFrame:
        """Quarantined entries, sorted, without repetition."""
        return pd.DataFrame(sorted(set(self.quarantined)), columns=["patient_id", "file", "reason"])
