"""The GDC: which slides a project has, what is known of its cases, where a file is."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from pathomix.acquire.http import Client, Patience, json_of, shown
from pathomix.acquire.lock import Lock, LockedSlide
from pathomix.acquire.nested import flat_rows
from pathomix.acquire.tokens import Token
from pathomix.core.errors import PathomixError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

URL = "https://api.gdc.cancer.gov"
SLIDE_FIELDS = (
    "file_id", "file_name", "md5sum", "file_size", "data_format", "access", "experimental_strategy",
    "cases.submitter_id", "cases.case_id", "cases.project.project_id", "cases.samples.sample_type",
    "cases.samples.submitter_id",
)  # fmt: skip
CLINICAL_FIELDS = (
    "submitter_id", "project.project_id", "primary_site", "disease_type", "demographic.gender",
    "demographic.vital_status", "demographic.days_to_death", "diagnoses.age_at_diagnosis",
    "diagnoses.days_to_last_follow_up", "diagnoses.primary_diagnosis", "diagnoses.morphology",
    "diagnoses.tumor_grade", "diagnoses.ajcc_pathologic_stage", "diagnoses.ajcc_pathologic_t",
    "diagnoses.ajcc_pathologic_n", "diagnoses.ajcc_pathologic_m",
)  # fmt: skip
SAMPLE_FIELDS = ("submitter_id", "project.project_id", "samples.submitter_id", "samples.sample_type")
_PAGE = 2000
_IDS = 500


def gdc_client(
    token: Token | None = None, url: str = URL, patience: Patience | None = None, variable: str = "GDC_TOKEN"
) -> Client:
    """A client whose token goes to this archive only and whose refusals say what to do; `variable` holds the token."""
    if token is None:
        renew = f"the file is controlled: put a token that allows it into ${variable}"
    else:
        renew = f"the token in {token.source} does not allow this or has expired (after 30 days): download a new one"
    remedies = {
        401: renew,
        403: renew,
        404: "the file was withdrawn or superseded: lock the slides again (workflow_scripts/lock_slides.py)",
    }
    return Client(token, url, patience, remedies)


class Gdc:
    """Searches of the archive.

    Args:
        client: Shared HTTP client.
        url: Base address.
        page: Hits asked for at once.
        name: What locks call the archive; default: its address.
    """

    def __init__(self, client: Client, url: str = URL, page: int = _PAGE, name: str | None = None) -> None:
        self.client, self.url, self.page = client, url.rstrip("/"), page
        self.name = name or self.url

    def data_url(self, file_id: str) -> str:
        """Address of a file's content."""
        return f"{self.url}/data/{file_id}"

    def status(self) -> dict[str, str]:
        """``data_release`` and the date (``retrieved``, ISO) by the server's clock."""
        response = self.client.get(f"{self.url}/status")
        content = json_of(response)
        date = response.headers.get("Date")
        return {
            "data_release": str(content.get("data_release", "not told")),
            "retrieved": parsedate_to_datetime(date).date().isoformat() if date else "not told",
        }

    def hits(
        self, endpoint: str, filters: Mapping[str, Any] | None, fields: Sequence[str], sort: str
    ) -> Iterator[dict[str, Any]]:
        """All hits of a search, page by page, by POST (a long GET would be refused).

        Args:
            endpoint: ``files``, ``cases`` or ``projects``.
            filters: The archive's filter object, None for all.
            fields: Fields to return; one that a hit lacks is left out of it.
            sort: E.g. ``file_id:asc``; without an order, pages may overlap.

        Raises:
            PathomixError: Pages end before the total or overlap, or the total changes on the way.
        """
        address, start, expected = f"{self.url}/{endpoint}", 0, None
        seen: set[str] = set()
        while expected is None or start < expected:
            query: dict[str, Any] = {"fields": ",".join(fields), "from": start, "size": self.page, "sort": sort}
            if filters is not None:
                query["filters"] = filters
            page, total = self._page(address, query)
            seen |= {str(hit.get("id")) for hit in page}
            whole = len(seen) == start + len(page)
            if expected not in (None, total) or not whole or (not page and start < total):
                raise PathomixError(
                    f"{shown(address)}: {expected or total} hits at first, now {total}; {len(page)} from {start} on"
                    + ("" if whole else ", some of them a second time"),
                    remedy="the archive is changing: try again later",
                )
            expected = total
            start += len(page)
            log.info("%s: %d of %d", shown(address), start, total)
            yield from page

    def _page(self, address: str, query: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
        content = json_of(self.client.post(address, query))
        for key, warning in (content.get("warnings") or {}).items():
            log.warning("%s: %s: %s", shown(address), key, warning)
        try:
            return content["data"]["hits"], int(content["data"]["pagination"]["total"])
        except (KeyError, TypeError, ValueError):
            raise PathomixError(
                f"{shown(address)}: the answer has no hits and total", remedy="check the address of the archive"
            ) from None

    def require_projects(self, projects: Sequence[str]) -> None:
        """Refuse a project that the archive does not have.

        Raises:
            PathomixError: Names the nearest known ones.
        """
        known = [hit.get("project_id", "") for hit in self.hits("projects", None, ["project_id"], "project_id:asc")]
        unknown = [project for project in projects if project not in known]
        if unknown or not projects:
            near = {name for p in unknown for name in difflib.get_close_matches(p.upper(), known, n=3)}
            raise PathomixError(
                "unknown project" if unknown else "no project is named",
                offending=unknown,
                remedy=f"use the archive's own ids (near: {', '.join(sorted(near)) or ', '.join(sorted(known)[:5])})",
            )

    def slide_filters(self, projects: Sequence[str], data_format: str = "SVS") -> dict[str, Any]:
        """Open diagnostic slides of some projects."""
        wanted = {
            "cases.project.project_id": list(projects),
            "data_format": [data_format],
            "data_type": ["Slide Image"],
            "experimental_strategy": ["Diagnostic Slide"],
            "access": ["open"],
        }
        content = [{"op": "in", "content": {"field": f, "value": v}} for f, v in wanted.items()]
        return {"op": "and", "content": content}

    def lock(
        self, projects: Sequence[str], note: str = "", data_format: str = "SVS", exclude: Iterable[str] = ()
    ) -> Lock:
        """All diagnostic slides of some projects.

        Args:
            projects: E.g. ``["TCGA-LUAD", "TCGA-LUSC"]``.
            note: Kept in the header.
            data_format: Of the slide files.
            exclude: File ids to leave out.

        Raises:
            PathomixError: A project is unknown or has no such slide, or a hit lacks what a lock needs.
        """
        self.require_projects(projects)
        filters, left_out = self.slide_filters(projects, data_format), set(exclude)
        hits = list(self.hits("files", filters, SLIDE_FIELDS, "file_id:asc"))
        slides = _unrepeated([_slide(hit) for hit in hits if hit["id"] not in left_out])
        empty = sorted(set(projects) - {slide.project for slide in slides})
        if empty:
            raise PathomixError(
                f"no open diagnostic slide of format {data_format}", offending=empty, remedy="leave these projects out"
            )
        header = {"source": self.name, **self.status(), "projects": sorted(projects), "filters": filters, "note": note}
        return Lock(tuple(sorted(slides, key=lambda slide: slide.slide_id)), header)

    def superseded(self, file_ids: Sequence[str]) -> dict[str, str]:
        """Old file id to its latest one, for those that are not the latest themselves."""
        result: dict[str, str] = {}
        for start in range(0, len(file_ids), _IDS):
            body = {"ids": list(file_ids[start : start + _IDS])}
            for entry in json_of(self.client.post(f"{self.url}/files/versions", body)):
                latest = entry.get("latest_id")
                if latest and latest != entry.get("id"):
                    result[str(entry["id"])] = str(latest)
        return result

    def clinical(self, projects: Sequence[str], fields: Sequence[str] = CLINICAL_FIELDS) -> pd.DataFrame:
        """One row per case, columns as the fields are called; an absent field is empty.

        Where a case has several diagnoses that differ in a field, its cell holds all of them, joined by ``|``, and a
        warning names the case: nothing is chosen silently.
        """
        return self._cases(projects, fields, None)

    def biospecimen(self, projects: Sequence[str], fields: Sequence[str] = SAMPLE_FIELDS) -> pd.DataFrame:
        """One row per sample of each case."""
        return self._cases(projects, fields, "samples")

    def _cases(self, projects: Sequence[str], fields: Sequence[str], each: str | None) -> pd.DataFrame:
        import pandas as pd  # the downloads of this room do not need it

        self.require_projects(projects)
        filters = {"op": "in", "content": {"field": "project.project_id", "value": list(projects)}}
        names = list(dict.fromkeys(["submitter_id", *fields]))
        rows: list[dict[str, str]] = []
        for hit in self.hits("cases", filters, names, "submitter_id:asc"):
            for row, several in flat_rows(hit, names, each):
                if several:
                    log.warning("%s: several values of %s", row["submitter_id"], ", ".join(several))
                rows.append(row)
        frame = pd.DataFrame(rows, columns=names, dtype=object)
        return frame.sort_values(names, ignore_index=True)


def _slide(hit: Mapping[str, Any]) -> LockedSlide:
    """A lock entry of a hit.

    Raises:
        PathomixError: It lacks a name, md5, size, or belongs to no or several cases.
    """
    cases = hit.get("cases") or []
    missing = [key for key in ("file_name", "md5sum", "file_size") if not hit.get(key)]
    if missing or len(cases) != 1 or not cases[0].get("submitter_id") or not cases[0].get("project"):
        what = f"lacks {', '.join(missing)}" if missing else f"belongs to {len(cases)} cases, or to one without a name"
        raise PathomixError(
            f"file {hit.get('id')} {what}", remedy=f"leave it out: lock_slides.py --exclude {hit.get('id')}"
        )
    samples = cases[0].get("samples") or [{}]
    name = str(hit["file_name"])
    return LockedSlide(
        file_id=str(hit.get("file_id") or hit["id"]),
        file_name=name,
        md5=str(hit["md5sum"]).lower(),
        size=int(hit["file_size"]),
        project=str(cases[0]["project"].get("project_id", "")),
        patient_id=str(cases[0]["submitter_id"]),
        slide_id=name.partition(".")[0],
        sample_id="|".join(sorted({str(s.get("submitter_id", "")) for s in samples})),
        sample_type="|".join(sorted({str(s.get("sample_type", "")) for s in samples})),
    )


def _unrepeated(slides: Iterable[LockedSlide]) -> list[LockedSlide]:
    """One entry per slide; the same bytes under two file ids are one slide.

    Raises:
        PathomixError: Two files of different content claim to be one slide.
    """
    kept: dict[str, LockedSlide] = {}
    for slide in sorted(slides, key=lambda s: (s.slide_id, s.file_id)):
        other = kept.setdefault(slide.slide_id, slide)
        if other is slide:
            continue
        if (other.md5, other.size, other.patient_id) != (slide.md5, slide.size, slide.patient_id):
            raise PathomixError(
                f"slide {slide.slide_id}: two files of different content",
                offending=[other.file_id, slide.file_id],
                remedy=f"choose: lock_slides.py --exclude {slide.file_id}",
            )
        log.warning("slide %s: file %s has the same bytes as %s", slide.slide_id, slide.file_id, other.file_id)
    return list(kept.values())
