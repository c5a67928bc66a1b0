"""The header of a slide lock, which acquisition writes and cohorts read."""

from __future__ import annotations

LOCK_COLUMNS = (
    "file_id", "file_name", "md5", "size", "project", "patient_id", "slide_id", "sample_id", "sample_type",
)  # fmt: skip
