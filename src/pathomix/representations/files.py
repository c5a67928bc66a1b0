"""Which files a job of a representation depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pathomix.cohort.cases import CASE_FILES
from pathomix.core.files import file_digest


def input_digests(
    cohort_dir: Path, features: Sequence[Path], texts: Sequence[Path], slide_encoder: Mapping[str, Any]
) -> dict[str, str]:
    """Name to sha256 of every input but the splits; paths do not enter, so that moving files changes nothing.

    Args:
        cohort_dir: Folder with the artefacts of the cohort.
        features: Feature indices, one per cohort.
        texts: Tables of label texts, one per cohort; each holds the digest of its embeddings.
        slide_encoder: Parameters of the slide encoder; its `weights` are a file or a folder.
    """
    files = {name: cohort_dir / name for name in CASE_FILES}
    files |= {f"features{number or ''}": path for number, path in enumerate(features)}
    files |= {f"texts{number or ''}": path for number, path in enumerate(texts)}
    if slide_encoder.get("weights"):
        weights = Path(slide_encoder["weights"])
        found = sorted(path for path in weights.rglob("*") if path.is_file()) if weights.is_dir() else [weights]
        files |= {f"weights/{path.relative_to(weights).as_posix()}": path for path in found}
    return {name: file_digest(path) for name, path in files.items()}


def without_paths(slide_encoder: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a slide encoder as they enter content keys: the weights count by their content."""
    return {key: value for key, value in slide_encoder.items() if key != "weights"}
