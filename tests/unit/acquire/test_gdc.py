from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pathomix.acquire.gdc import Gdc, gdc_client
from pathomix.acquire.http import Client
from pathomix.acquire.lock import HEADER_KEYS, write_lock
from pathomix.acquire.tokens import Token
from pathomix.core.errors import PathomixError
from pathomix.simulate.archive.faults import Faults
from pathomix.simulate.archive.server import Seen, serve

from .conftest import NO_TIME, LocalArchive


@pytest.fixture
def gdc(archive: LocalArchive, client: Client) -> Iterator[Gdc]:
    with serve(archive.folder) as url:
        yield Gdc(client, url, page=2)


@contextmanager
def changed(archive: LocalArchive, client: Client, change: Callable[[dict[str, Any]], object]) -> Iterator[Gdc]:
    path = archive.folder / "archive.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with serve(archive.folder) as url:
        yield Gdc(client, url, page=2)


def test_lock_of_several_projects(archive: LocalArchive, gdc: Gdc) -> None:
    lock = gdc.lock(["TCGA-BBB", "TCGA-AAA"], note="why")
    # The controlled slide is not among them.
    assert [s.file_id for s in lock.slides] == [s["id"] for s in archive.slides]
    first = lock.slides[0]
    assert (first.md5, first.size) == (archive.slides[0]["md5sum"], archive.slides[0]["file_size"])
    assert (first.project, first.patient_id, first.slide_id) == ("TCGA-AAA", "TCGA-AA-0001", "TCGA-AA-0001-01Z-00-DX1")
    assert (first.sample_id, first.sample_type) == ("TCGA-AA-0001-01Z", "Primary Tumor")
    assert set(lock.header) == set(HEADER_KEYS) and lock.header["projects"] == ["TCGA-AAA", "TCGA-BBB"]
    assert lock.header["data_release"] == "Data Release 1" and lock.header["retrieved"] == "2026-01-01"
    assert len(gdc.lock(["TCGA-AAA"]).slides) == 3


def test_pages_are_posted(archive: LocalArchive, client: Client) -> None:
    journal: list[Seen] = []
    with serve(archive.folder, journal=journal) as url:
        hits = list(Gdc(client, url, page=2).hits("files", None, ["file_id"], "file_id:asc"))
    assert [hit["file_id"] for hit in hits] == sorted(hit["file_id"] for hit in hits) and len(hits) == 6
    assert [(seen.method, seen.path) for seen in journal] == [("POST", "/files")] * 3


def test_pages_without_order_are_noticed(own_archive: LocalArchive, client: Client) -> None:
    said = r"7 hits at first.*second time.*try again later"
    with (
        changed(own_archive, client, lambda c: c["files"].append(c["files"][0])) as gdc,
        pytest.raises(PathomixError, match=said),
    ):
        list(gdc.hits("files", None, ["file_id"], "file_id:asc"))


def test_total_that_changes_is_noticed(gdc: Gdc, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = iter([([{"id": "a"}, {"id": "b"}], 5), ([{"id": "c"}, {"id": "d"}], 4)])
    monkeypatch.setattr(gdc, "_page", lambda *a: next(pages))
    with pytest.raises(PathomixError, match="5 hits at first, now 4"):
        list(gdc.hits("files", None, ["file_id"], "file_id:asc"))


def test_pages_that_end_early_are_noticed(gdc: Gdc, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = iter([([{"id": "a"}], 3), ([], 3)])
    monkeypatch.setattr(gdc, "_page", lambda *a: next(pages))
    with pytest.raises(PathomixError, match="3 hits at first, now 3; 0 from 1 on"):
        list(gdc.hits("files", None, ["file_id"], "file_id:asc"))


def test_unknown_project_and_project_without_slides(gdc: Gdc) -> None:
    with pytest.raises(PathomixError, match=r"unknown project: tcga-aab; .*TCGA-AAA"):
        gdc.lock(["TCGA-AAA", "tcga-aab"])
    with pytest.raises(PathomixError, match="no open diagnostic slide of format SVS: TCGA-CCC"):
        gdc.lock(["TCGA-AAA", "TCGA-CCC"])
    with pytest.raises(PathomixError, match="no project is named"):
        gdc.lock([])


def test_warnings_are_shown(gdc: Gdc, caplog: pytest.LogCaptureFixture) -> None:
    list(gdc.hits("files", None, ["file_id", "no_such_field"], "file_id:asc"))
    assert "unrecognized values: [no_such_field]" in caplog.text


def test_absent_fields_are_empty(own_archive: LocalArchive, client: Client) -> None:
    with changed(own_archive, client, lambda c: c["files"][0]["cases"][0].pop("samples")) as gdc:
        first = gdc.lock(["TCGA-AAA"]).slides[0]
    assert (first.sample_id, first.sample_type) == ("", "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.pop("md5sum"), "lacks md5sum"),
        (lambda f: f["cases"].append(f["cases"][0]), "belongs to 2 cases"),
        (lambda f: f.update(md5sum="short"), "md5 is not 32"),
    ],
)
def test_files_that_cannot_be_locked(
    own_archive: LocalArchive, client: Client, tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    with changed(own_archive, client, lambda c: change(c["files"][0])) as gdc:
        with pytest.raises(PathomixError, match=said):
            write_lock(gdc.lock(["TCGA-AAA"]), tmp_path / "x.tsv")
        assert len(gdc.lock(["TCGA-AAA"], exclude=[own_archive.slides[0]["id"]]).slides) == 2


def test_one_slide_under_two_ids(own_archive: LocalArchive, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    def again(content: dict[str, Any], **changes: str) -> None:
        content["files"].append({**content["files"][0], "id": "zz", "file_id": "zz", **changes})

    with changed(own_archive, client, again) as gdc:
        assert [s.file_id for s in gdc.lock(["TCGA-AAA"]).slides] == [s["id"] for s in own_archive.slides[:3]]
    assert "same bytes" in caplog.text
    with (
        changed(own_archive, client, lambda c: c["files"][-1].update(md5sum="f" * 32)) as gdc,
        pytest.raises(PathomixError, match=r"two files of different content: .*, zz; .*--exclude zz"),
    ):
        gdc.lock(["TCGA-AAA"])


def test_superseded(archive: LocalArchive, client: Client) -> None:
    ids = [s["id"] for s in archive.slides]
    with serve(archive.folder, Faults(superseded=(ids[1],))) as url:
        found = Gdc(client, url).superseded(ids)
    assert list(found) == [ids[1]] and found[ids[1]] not in ids


def test_clinical(gdc: Gdc, caplog: pytest.LogCaptureFixture) -> None:
    frame = gdc.clinical(["TCGA-AAA", "TCGA-BBB"])
    assert list(frame["submitter_id"]) == ["TCGA-AA-0001", "TCGA-AA-0002", "TCGA-AA-0004"]
    assert list(frame["diagnoses.age_at_diagnosis"]) == ["20000", "21000|22000", ""]
    assert list(frame["diagnoses.tumor_grade"]) == ["G1", "", ""] and (frame["diagnoses.morphology"] == "").all()
    assert "TCGA-AA-0002: several values of diagnoses.age_at_diagnosis" in caplog.text
    assert len(gdc.clinical(["TCGA-BBB"], ["demographic.gender"])) == 1


def test_biospecimen(gdc: Gdc) -> None:
    frame = gdc.biospecimen(["TCGA-AAA"])
    assert list(frame["samples.submitter_id"]) == [f"TCGA-AA-000{n}-{k}A" for n in (1, 2) for k in ("01", "11")]
    assert list(frame["samples.sample_type"]) == ["Primary Tumor", "Solid Tissue Normal"] * 2


def test_other_service(gdc: Gdc, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "post", lambda address, content: client.get(f"{gdc.url}/status"))
    with pytest.raises(PathomixError, match="no hits and total"):
        list(gdc.hits("files", None, ["file_id"], "file_id:asc"))


def test_refusals_say_what_to_do(archive: LocalArchive, tmp_path: Path) -> None:
    with serve(archive.folder) as url:
        other = url.replace("127.0.0.1", "localhost")
        controlled = f"{url}/data/00000009-0000-5000-8000-000000000000"
        with gdc_client(None, url, NO_TIME, "MY_TOKEN") as client:
            with pytest.raises(PathomixError, match=r"403 .*put a token that allows it into \$MY_TOKEN"):
                client.get(controlled)
            with pytest.raises(PathomixError, match=r"404 .*lock the slides again"):
                client.get(f"{url}/data/none")
            with pytest.raises(PathomixError, match=r"404 .*the archive does not have it"):
                client.get(f"{other}/data/none")
        with (
            gdc_client(Token("old", "$MY_TOKEN"), url, NO_TIME) as client,
            pytest.raises(PathomixError, match=r"403 .*the token in \$MY_TOKEN does not allow this or has expired"),
        ):
            client.get(controlled)
