from __future__ import annotations

from pathlib import Path

import pytest

from pathomix.acquire.download import FetchErrors
from pathomix.acquire.http import Client
from pathomix.acquire.pins import read_pins
from pathomix.acquire.requests import Request, fetch_requests, parse_request
from pathomix.core.errors import PathomixError
from pathomix.simulate.archive.faults import Faults
from pathomix.simulate.archive.server import Seen, serve

from .conftest import LocalArchive

VERSION = "a97bb1f2-04fb-51fc-86b7-6f358e78947e"
REQUESTS = {
    "xena/expression.gz": "TCGA.AAA.sampleMap/HiSeqV2.gz",
    "xena/survival.txt": "survival/AAA_survival.txt",
    "xena/all.gz": "pancanatlas:EB++Adjusted.gz",
    "sets.gmt": "https://sets.org/download/gene_sets/sets.gmt",
    "atlas/a.h5ad": f"cellxgene:{VERSION}",
}


def test_forms() -> None:
    hub = "https://tcga-xena-hub.s3.us-east-1.amazonaws.com"
    assert parse_request("a", "x/y.gz") == Request("a", f"{hub}/download/x%2Fy.gz", "x/y.gz", hub)
    assert parse_request("a", "gdc:y.gz").hub == "https://gdc-hub.s3.us-east-1.amazonaws.com"
    assert parse_request("a", "https://h.org/z") == Request("a", "https://h.org/z")
    assert parse_request("a", f"cellxgene:{VERSION}").url.endswith(f"/{VERSION}.h5ad")


@pytest.mark.parametrize("target", ["/etc/x", "a/../../x", "", "."])
def test_targets_stay_in_their_folder(target: str) -> None:
    with pytest.raises(PathomixError, match="not a path inside the folder"):
        parse_request(target, "x")


@pytest.mark.parametrize("source", ["ftp://x", "nohub:x"])
def test_sources_that_are_not_known(source: str) -> None:
    with pytest.raises(PathomixError, match=r"is not understood.*hubs: tcga"):
        parse_request("a", source)


def test_all_kinds_through_a_mirror(own_archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    raw, pins, journal = tmp_path / "raw", tmp_path / "pins.yaml", list[Seen]()
    with serve(own_archive.folder, journal=journal) as url:
        found = fetch_requests(REQUESTS, raw, pins, client, mirror=url)
        count = len(journal)
        fetch_requests(REQUESTS, raw, pins, client, mirror=url)
    assert set(found) == set(REQUESTS) == set(read_pins(pins)) and len(journal) == count == 5
    assert (raw / "sets.gmt").read_bytes() == (own_archive.folder / "sets.gmt").read_bytes()
    # The pin of a simulated file must not look like that of a public one.
    assert {pin.url.partition(":")[0] for pin in read_pins(pins).values()} == {"local archive"}
    with pytest.raises(FetchErrors, match=r"pinned from local archive:/download/TCGA.AAA"):
        fetch_requests(REQUESTS, raw, pins, client)


def test_remote_file_that_changed(own_archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    raw, pins = tmp_path / "raw", tmp_path / "pins.yaml"
    with serve(own_archive.folder) as url:
        fetch_requests(REQUESTS, raw, pins, client, mirror=url)
    old = read_pins(pins)["sets.gmt"]
    (raw / "sets.gmt").unlink()
    (own_archive.folder / "sets.gmt").write_text("SET\tnow another\n")
    with serve(own_archive.folder) as url, pytest.raises(FetchErrors) as caught:
        fetch_requests(REQUESTS, raw, pins, client, mirror=url)
    said = str(caught.value)
    assert list(caught.value.failures) == ["sets.gmt"]
    assert f"pinned {old}; now 16 bytes, sha256 " in said and read_pins(pins)["sets.gmt"] == old
    assert not (raw / "sets.gmt").exists()


@pytest.mark.parametrize("kept", [False, True])
def test_changed_columns_are_never_pinned(archive: LocalArchive, client: Client, tmp_path: Path, kept: bool) -> None:
    raw, pins = tmp_path / "raw", tmp_path / "pins.yaml"
    if kept:  # put there by hand, without a pin
        (raw / "xena").mkdir(parents=True)
        (raw / "xena/survival.txt").write_text("sample\tdays\n")
    faults = Faults(changed_columns=("survival/AAA_survival.txt",))
    with (
        serve(archive.folder, faults) as url,
        pytest.raises(FetchErrors, match=r"changed columns.*lacks: _PATIENT, OS"),
    ):
        fetch_requests(REQUESTS, raw, pins, client, mirror=url)
    assert set(REQUESTS) - set(read_pins(pins)) == {"xena/survival.txt"}
    assert (raw / "xena/survival.txt").exists() == kept


def test_without_pins_nothing_is_held_to(own_archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    request = {"sets.gmt": "gene_sets/sets.gmt"}
    for text in ("SET\tfirst\n", "SET\tsecond\n"):
        (own_archive.folder / "sets.gmt").write_text(text)
        (tmp_path / "raw" / "sets.gmt").unlink(missing_ok=True)
        with serve(own_archive.folder) as url:
            fetch_requests(request, tmp_path / "raw", None, client, mirror=url)
        assert (tmp_path / "raw" / "sets.gmt").read_text() == text
