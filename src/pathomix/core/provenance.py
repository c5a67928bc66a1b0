"""What every artefact carries: schema version, hashes of its inputs, parameters, package version."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pathomix import __version__
from pathomix.core.files import file_digest

METADATA_KEY = "pathomix"


@dataclass(frozen=True)
class Provenance:
    """Lineage of one artefact.

    Attributes:
        artifact: Name of the contract (design section 4), e.g. ``patients``.
        schema_version: Version of that contract.
        inputs: Input name to sha256 of its content.
        parameters: The parameters the step read.
        version: Package version.
    """

    artifact: str
    schema_version: int = 1
    inputs: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__

    @classmethod
    def of(
        cls,
        artifact: str,
        inputs: Mapping[str, str | os.PathLike[str]] | None = None,
        parameters: Mapping[str, Any] | None = None,
        schema_version: int = 1,
    ) -> Provenance:
        """Hash the input files and keep the parameters."""
        hashes = {name: file_digest(path) for name, path in (inputs or {}).items()}
        return cls(artifact, schema_version, hashes, dict(parameters or {}))

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, for JSON, HDF5 attributes and AnnData ``uns``."""
        return {
            "artifact": self.artifact,
            "schema_version": self.schema_version,
            "inputs": dict(self.inputs),
            "parameters": dict(self.parameters),
            "version": self.version,
        }

    def to_json(self) -> str:
        """JSON with sorted keys."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """Inverse of `to_json`."""
        return cls(**json.loads(text))
