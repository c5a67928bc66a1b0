from __future__ import annotations

from pathlib import Path

import pytest

from pathomix.acquire.atlas import atlas_url, find_atlas
from pathomix.acquire.download import fetch
from pathomix.acquire.http import Client, RemoteError
from pathomix.core.errors import PathomixError
from pathomix.simulate.archive.server import serve

from .conftest import LocalArchive

VERSION = "a97bb1f2-04fb-51fc-86b7-6f358e78947e"


def test_lookup_and_fetch(archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    with serve(archive.folder) as url:
        for version in (VERSION, None):
            found = find_atlas(client, "d1", version, api=url)
        assert (found.version_id, found.size, found.cell_count, found.title) == (VERSION, 200_000, 7, "Cells")
        assert found.url == atlas_url(VERSION, url)
        fetch(found.url, tmp_path / "a.h5ad", client=client, size=found.size)
    assert (tmp_path / "a.h5ad").read_bytes() == (archive.folder / "atlas.h5ad").read_bytes()


def test_unknown(archive: LocalArchive, client: Client) -> None:
    with serve(archive.folder) as url:
        with pytest.raises(PathomixError, match=f"no version x; it has: {VERSION}"):
            find_atlas(client, "d1", "x", api=url)
        with pytest.raises(RemoteError, match="404"):
            find_atlas(client, "d2", api=url)


def test_address() -> None:
    assert atlas_url(VERSION) == f"https://datasets.cellxgene.cziscience.com/{VERSION}.h5ad"
    with pytest.raises(PathomixError, match="dataset_version_id"):
        atlas_url("../x")
