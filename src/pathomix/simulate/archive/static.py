"""The parts of a local archive that are static objects: Xena tables, and CELLxGENE with its list of versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from pathomix.simulate.archive.content import Source, send, with_changed_header
from pathomix.simulate.archive.description import Archive
from pathomix.simulate.archive.faults import Counts, Faults

_XML = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'


class StaticHandlers:
    """Handlers over one archive."""

    def __init__(self, archive: Archive, faults: Faults, counts: Counts) -> None:
        self.archive, self.faults, self.counts = archive, faults, counts
        self.atlases: list[dict[str, Any]] = archive.content["atlases"]

    def routes(self) -> list[web.RouteDef]:
        """All routes; the slash inside a data set may be escaped or not."""
        curation = "/curation/v1"
        return [
            web.get("/download/{dataset:.+}", self.dataset),
            web.get(f"{curation}/collections", self.collections),
            web.get(f"{curation}/collections/{{id}}", self.collection),
            web.get(f"{curation}/datasets", self.versions),
            web.get(f"{curation}/datasets/{{id}}/versions", self.versions),
            web.get("/{version:[0-9a-f-]{36}}.h5ad", self.atlas),
        ]

    async def dataset(self, request: web.Request) -> web.StreamResponse:
        """A Xena table."""
        name = request.match_info["dataset"]
        if name in self.faults.forbidden:
            return _xml(403, "AccessDenied", "Access Denied")
        path = self.archive.dataset(name)
        if path is None:
            return _xml(404, "NoSuchKey", "The specified key does not exist.")
        source = Source(path)
        if name in self.faults.changed_columns:
            source = with_changed_header(source)
        return await send(request, source, self.faults, self.counts, {})

    async def collections(self, request: web.Request) -> web.Response:
        """One collection that holds everything."""
        return web.json_response([self._collection(request)])

    async def collection(self, request: web.Request) -> web.Response:
        """That collection."""
        return web.json_response(self._collection(request))

    async def versions(self, request: web.Request) -> web.Response:
        """Versions of a data set, or all data sets."""
        wanted = request.match_info.get("id")
        found = [_entry(a, request) for a in self.atlases if wanted in (None, a["dataset_id"])]
        if not found and wanted is not None:
            return web.json_response({"detail": "Dataset not found", "status": 404, "title": "Not Found"}, status=404)
        return web.json_response(found)

    async def atlas(self, request: web.Request) -> web.StreamResponse:
        """The h5ad of a version."""
        version = request.match_info["version"]
        for entry in self.atlases:
            if entry["dataset_version_id"] == version:
                return await send(request, Source(self.archive.file(entry["path"])), self.faults, self.counts, {})
        return _xml(403, "AccessDenied", "Access Denied")

    def _collection(self, request: web.Request) -> dict[str, Any]:
        return {
            "collection_id": "simulated",
            "name": "Simulated",
            "description": "",
            "datasets": [_entry(a, request) for a in self.atlases],
        }


def _entry(atlas: Mapping[str, Any], request: web.Request) -> dict[str, Any]:
    url = f"{request.scheme}://{request.host}/{atlas['dataset_version_id']}.h5ad"
    shown = {key: value for key, value in atlas.items() if key not in ("path", "filesize")}
    return {**shown, "assets": [{"filetype": "H5AD", "filesize": atlas["filesize"], "url": url}]}


def _xml(status: int, code: str, message: str) -> web.Response:
    return web.Response(status=status, text=_XML.format(code=code, message=message), content_type="application/xml")
