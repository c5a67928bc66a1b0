"""The GDC's part of a local archive: search, data, manifest, versions, status."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from pathomix.simulate.archive.content import Source, send
from pathomix.simulate.archive.description import Archive, stable_id
from pathomix.simulate.archive.documents import BadQueryError, Document, matches, ordered, own_path, selected, values
from pathomix.simulate.archive.faults import Counts, Faults

_DEFAULT_SIZE = 10
_NEVER_SHOWN = ("path",)


class GdcHandlers:
    """Handlers over one archive.

    Args:
        archive: What there is.
        faults: What goes wrong.
        counts: Shared counters of faults.
        tokens: Tokens that open controlled files.
    """

    def __init__(self, archive: Archive, faults: Faults, counts: Counts, tokens: Sequence[str]) -> None:
        self.archive, self.faults, self.counts, self.tokens = archive, faults, counts, tokens
        self.documents: dict[str, list[Document]] = {k: archive.content[k] for k in ("files", "cases", "projects")}
        self.files: dict[str, Document] = {str(doc["id"]): doc for doc in self.documents["files"]}

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        result = [web.get("/status", self.status), web.post("/files/versions", self.versions)]
        for endpoint in self.documents:
            result += [web.get(f"/{endpoint}", self.search), web.post(f"/{endpoint}", self.search)]
        result += [web.get("/data/{ids}", self.data), web.post("/data", self.data)]
        return [*result, web.get("/manifest/{ids}", self.manifest), web.post("/manifest", self.manifest)]

    async def status(self, request: web.Request) -> web.Response:
        """Data release and version; the date is the description's, so that a lock is the same every day."""
        content = {
            "commit": "simulated",
            "data_release": self.archive.content["data_release"],
            "status": "OK",
            "tag": "simulated",
            "version": 1,
        }
        return web.json_response(content, headers={"Date": self.archive.content["date"]})

    async def search(self, request: web.Request) -> web.Response:
        """Filtered, sorted, cut to a page, fields selected."""
        endpoint = request.path.strip("/")
        query: dict[str, Any] = dict(request.query)
        if request.method == "POST":
            query.update(await _body(request))
        filters = query.get("filters")
        try:
            filters = json.loads(filters) if isinstance(filters, str) and filters else filters
            start, size = int(query.get("from", 0)), int(query.get("size", _DEFAULT_SIZE))
        except ValueError as error:
            raise BadQueryError(f"not understood: {error}") from None
        found = [doc for doc in self.documents[endpoint] if not filters or matches(doc, filters, endpoint)]
        if query.get("return_type") == "manifest":
            return _manifest(found)
        sort = str(query.get("sort", ""))
        # Without an order the archive promises none.
        found = ordered(found, sort, endpoint) if sort else found[::-1]
        page = found[start : start + size]
        fields = [name for key in ("fields", "expand") for name in _listed(query.get(key)) if name]
        unknown = [name for name in fields if not self._known(name, endpoint)]
        hits = [selected(doc, fields or _top_level(doc), endpoint) for doc in page]
        pagination = {
            "count": len(page),
            "total": len(found),
            "size": size,
            "from": start,
            "sort": sort,
            "page": start // max(size, 1) + 1,
            "pages": -(-len(found) // max(size, 1)),
        }
        warnings = {"fields": f"unrecognized values: [{', '.join(unknown)}]"} if unknown else {}
        return web.json_response({"data": {"hits": hits, "pagination": pagination}, "warnings": warnings})

    async def data(self, request: web.Request) -> web.StreamResponse:
        """One file with ranges, several as one archive."""
        ids = await _ids(request)
        documents = [self._allowed(request, identity) for identity in ids]
        if self.faults.redirect_to and self.faults.concern(request.path):
            raise web.HTTPFound(f"{self.faults.redirect_to}/data/{','.join(ids)}?signature=secret")
        if len(documents) > 1 or "compress" in request.query:
            return self._bundle(documents, packed="tarfile" not in request.query)
        document = documents[0]
        path = self.archive.file(document["path"])
        name = str(document["file_name"])
        headers = {"Content-Disposition": f"attachment; filename={name}", "Content-MD5": str(document["md5sum"])}
        return await send(request, Source(path), self.faults, self.counts, headers)

    async def manifest(self, request: web.Request) -> web.Response:
        """Table of files."""
        return _manifest([self._existing(identity) for identity in await _ids(request)])

    async def versions(self, request: web.Request) -> web.Response:
        """Latest version of each id."""
        entries = []
        for identity in (await _body(request)).get("ids", []):
            gone = self._gone(self._existing(str(identity)))
            entries.append({"id": identity, "latest_id": stable_id("newer", str(identity)) if gone else identity})
        return web.json_response(entries)

    def _known(self, field: str, endpoint: str) -> bool:
        path = own_path(field, endpoint)
        return path[0] not in _NEVER_SHOWN and any(
            next(values(doc, path), None) is not None for doc in self.documents[endpoint]
        )

    def _existing(self, identity: str) -> Document:
        if identity not in self.files:
            raise _refused(web.HTTPNotFound, f"file {identity} not found")
        return self.files[identity]

    def _gone(self, document: Document) -> bool:
        return document["id"] in self.faults.superseded or document["file_name"] in self.faults.superseded

    def _allowed(self, request: web.Request, identity: str) -> Document:
        document = self._existing(identity)
        if self._gone(document):
            raise _refused(web.HTTPNotFound, f"file {identity} not found")
        named = identity in self.faults.forbidden or document["file_name"] in self.faults.forbidden
        controlled = document["access"] == "controlled" and request.headers.get("X-Auth-Token") not in self.tokens
        if named or controlled:
            raise _refused(web.HTTPForbidden, "You don't have access to the data requested, or your token has expired")
        return document

    def _bundle(self, documents: Sequence[Document], packed: bool) -> web.Response:
        """A tar of ``UUID/filename`` members with a manifest; no length, no checksum, no ranges."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as bundle:
            for document in documents:
                bundle.add(self.archive.file(document["path"]), f"{document['id']}/{document['file_name']}")
            text = _manifest_text(documents).encode()
            member = tarfile.TarInfo("MANIFEST.txt")
            member.size = len(text)
            bundle.addfile(member, io.BytesIO(text))
        content = gzip.compress(stream.getvalue()) if packed else stream.getvalue()
        kind = "application/gzip" if packed else "application/x-tar"
        response = web.Response(body=content, content_type=kind)
        response.enable_chunked_encoding()
        return response


def _refused(kind: type[web.HTTPError], message: str) -> web.HTTPError:
    return kind(text=json.dumps({"message": message}), content_type="application/json")


def _top_level(document: Document) -> list[str]:
    return [key for key, value in document.items() if key not in _NEVER_SHOWN and not isinstance(value, list | Mapping)]


def _listed(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else str(value or "").split(",")


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        content = await request.json()
    except ValueError:
        raise BadQueryError("the body is not JSON") from None
    if not isinstance(content, dict):
        raise BadQueryError("the body is not an object")
    return content


async def _ids(request: web.Request) -> list[str]:
    if request.method != "POST":
        return request.match_info["ids"].split(",")
    ids = (await _body(request)).get("ids")
    listed = [ids] if isinstance(ids, str) else ids
    if not isinstance(listed, list) or not listed:
        raise BadQueryError("ids must be a list of file ids")
    return [str(identity) for identity in listed]


def _manifest(documents: Sequence[Document]) -> web.Response:
    return web.Response(text=_manifest_text(documents), content_type="text/tab-separated-values")


def _manifest_text(documents: Sequence[Document]) -> str:
    lines = ["id\tfilename\tmd5\tsize\tstate"]
    lines += ["\t".join(str(d[k]) for k in ("id", "file_name", "md5sum", "file_size", "state")) for d in documents]
    return "\n".join(lines) + "\n"
