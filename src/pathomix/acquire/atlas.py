"""CELLxGENE Discover: where the h5ad of a data set's version is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pathomix.acquire.http import Client, json_of
from pathomix.core.errors import PathomixError

API = "https://api.cellxgene.cziscience.com"
ASSETS = "https://datasets.cellxgene.cziscience.com"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class AtlasFile:
    """One version of a data set.

    Attributes:
        version_id: Pins the content.
        url: Of its h5ad.
        size: Bytes.
        title: As the archive calls it.
        cell_count: Cells.
        citation: How to cite it.
    """

    version_id: str
    url: str
    size: int
    title: str
    cell_count: int
    citation: str


def atlas_url(version_id: str, assets: str = ASSETS) -> str:
    """Address of the h5ad of a version.

    Raises:
        PathomixError: Not an identifier of a version.
    """
    if not _UUID.fullmatch(version_id):
        raise PathomixError(
            f"{version_id!r} is not the id of a version of a data set",
            remedy="copy `dataset_version_id` from the archive (36 characters)",
        )
    return f"{assets.rstrip('/')}/{version_id}.h5ad"


def find_atlas(client: Client, dataset_id: str, version_id: str | None = None, api: str = API) -> AtlasFile:
    """Look up a version of a data set; without `version_id`, the newest, whose id is then to be pinned.

    Raises:
        PathomixError: The data set has no such version (names those it has), or the version has no h5ad.
    """
    entries: list[dict[str, Any]] = json_of(client.get(f"{api.rstrip('/')}/curation/v1/datasets/{dataset_id}/versions"))
    chosen = [e for e in entries if version_id in (None, e.get("dataset_version_id"))]
    if not chosen:
        raise PathomixError(
            f"data set {dataset_id} has no version {version_id}; it has",
            offending=[e.get("dataset_version_id") for e in entries],
            remedy="name one of these",
        )
    entry = chosen[0]
    assets = [a for a in entry.get("assets") or [] if a.get("filetype") == "H5AD"]
    if not assets:
        raise PathomixError(f"version {entry.get('dataset_version_id')} has no h5ad", remedy="name another version")
    return AtlasFile(
        version_id=str(entry["dataset_version_id"]),
        url=str(assets[0]["url"]),
        size=int(assets[0]["filesize"]),
        title=str(entry.get("title", "")),
        cell_count=int(entry.get("cell_count") or 0),
        citation=str(entry.get("citation", "")),
    )
