from __future__ import annotations

import gzip
import hashlib
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pathomix.acquire import download, part
from pathomix.acquire.download import FetchErrors, Wanted, WrongContentError, fetch, fetch_all
from pathomix.acquire.http import Client, RemoteError
from pathomix.acquire.lock import HEADER_KEYS, Lock, LockedSlide, write_lock
from pathomix.core.errors import PathomixError
from pathomix.simulate.archive.faults import ALWAYS, Faults
from pathomix.simulate.archive.server import Seen, serve

from .conftest import LocalArchive

XENA = "/download/TCGA.AAA.sampleMap%2FHiSeqV2.gz"


def arguments(slide: dict[str, Any], url: str) -> dict[str, Any]:
    return {"url": f"{url}/data/{slide['id']}", "size": slide["file_size"], "md5": slide["md5sum"]}


def begun(target: Path, content: bytes) -> None:
    part.part_path(target).write_bytes(content)


RECOVERED = {
    "nothing": (Faults(), 1),
    "cut, resumed": (Faults(cut_after=100_000), 4),
    "cut once, ranges ignored": (Faults(cut_after=100_000, cuts=2, ignore_range=True), 3),
    "range without its bounds": (Faults(cut_after=100_000, cuts=1, bare_range=True), 3),
    "wrong bytes once": (Faults(wrong_bytes=1), 2),
    "503 then success": (Faults(unavailable=2), 3),
    "429 then success": (Faults(too_many=2, retry_after="0"), 3),
    "slow": (Faults(delay_s=0.001), 1),
}
REFUSED = {
    "cut always at once": (Faults(cut_after=1), "after .* tries"),
    "cut always, ranges ignored": (Faults(cut_after=100_000, ignore_range=True), "after .* tries"),
    "wrong bytes always": (Faults(wrong_bytes=ALWAYS), "expected md5 {md5}, got [0-9a-f]{{32}}, twice"),
    "503 always": (Faults(unavailable=ALWAYS), "503 Service Unavailable"),
    "429 always": (Faults(too_many=ALWAYS, retry_after="0"), "429 Too Many Requests"),
    "forbidden": (Faults(forbidden=("{id}",)), "403 Forbidden .*access"),
    "superseded": (Faults(superseded=("{id}",)), "404 Not Found"),
}


@pytest.mark.parametrize("fault", RECOVERED)
def test_recovers(archive: LocalArchive, client: Client, tmp_path: Path, fault: str) -> None:
    faults, requests = RECOVERED[fault]
    slide, journal, target = archive.slides[0], list[Seen](), tmp_path / "x.svs"
    with serve(archive.folder, faults, journal=journal) as url:
        found = fetch(target=target, client=client, **arguments(slide, url))
    assert target.read_bytes() == archive.path(slide).read_bytes()
    assert (found.size, found.digest) == (slide["file_size"], slide["md5sum"])
    assert len(journal) == requests
    assert sorted(p.name for p in tmp_path.iterdir()) == [".x.svs.verified.json", "x.svs"]


@pytest.mark.parametrize("fault", REFUSED)
def test_refuses(archive: LocalArchive, client: Client, tmp_path: Path, fault: str) -> None:
    faults, sentence = REFUSED[fault]
    slide, target = archive.slides[0], tmp_path / "x.svs"
    named = {k: tuple(t.format(**slide) for t in v) for k, v in vars(faults).items() if isinstance(v, tuple)}
    with (
        serve(archive.folder, Faults(**{**vars(faults), **named})) as url,
        pytest.raises(PathomixError, match=sentence.format(md5=slide["md5sum"])) as caught,
    ):
        fetch(target=target, client=client, **arguments(slide, url))
    assert slide["id"] in str(caught.value)
    assert not target.exists()


def test_resumes_at_the_byte_it_has(archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    slide, journal, target = archive.slides[1], list[Seen](), tmp_path / "x.svs"
    begun(target, archive.path(slide).read_bytes()[:123_456])
    with serve(archive.folder, journal=journal) as url:
        fetch(target=target, client=client, **arguments(slide, url))
    assert [(seen.range, seen.status) for seen in journal] == [("bytes=123456-", 206)]
    assert target.read_bytes() == archive.path(slide).read_bytes()


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"x" * 400_000])
def test_wrong_part_is_fetched_anew(archive: LocalArchive, client: Client, tmp_path: Path, content: bytes) -> None:
    slide, target = archive.slides[1], tmp_path / "x.svs"
    begun(target, content)
    with serve(archive.folder) as url:
        fetch(target=target, client=client, **arguments(slide, url))
    assert target.read_bytes() == archive.path(slide).read_bytes()


def test_whole_part_needs_no_request(archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    slide, target = archive.slides[1], tmp_path / "x.svs"
    begun(target, archive.path(slide).read_bytes())
    fetch(target=target, client=client, **arguments(slide, "http://127.0.0.1:9"))
    assert target.read_bytes() == archive.path(slide).read_bytes()


def test_416_with_all_bytes_is_done(archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    slide, journal, target = archive.slides[1], list[Seen](), tmp_path / "x.svs"
    begun(target, archive.path(slide).read_bytes())
    with serve(archive.folder, journal=journal) as url:
        fetch(f"{url}/data/{slide['id']}", target, client=client, md5=slide["md5sum"])
    assert [seen.status for seen in journal] == [416]
    assert target.read_bytes() == archive.path(slide).read_bytes()


def test_other_size_than_locked(archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    slide = archive.slides[0]
    with serve(archive.folder) as url, pytest.raises(RemoteError, match="expected 7 bytes, the server offers 300001"):
        fetch(f"{url}/data/{slide['id']}", tmp_path / "x", client=client, size=7, md5=slide["md5sum"])


def test_file_that_is_there_costs_neither_request_nor_pass(
    archive: LocalArchive, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide, target = archive.slides[0], tmp_path / "x.svs"
    with serve(archive.folder) as url:
        fetch(target=target, client=client, **arguments(slide, url))
    monkeypatch.setattr("pathomix.acquire.verified.file_digest", lambda *a: pytest.fail("hashed again"))
    fetch(target=target, client=client, **arguments(slide, "http://127.0.0.1:9"))


@pytest.mark.parametrize("damaged", [b"short", b"y" * 300_001])
def test_damaged_file_is_replaced(archive: LocalArchive, client: Client, tmp_path: Path, damaged: bytes) -> None:
    slide, target = archive.slides[0], tmp_path / "x.svs"
    target.write_bytes(damaged)
    with serve(archive.folder) as url:
        fetch(target=target, client=client, **arguments(slide, url))
    assert target.read_bytes() == archive.path(slide).read_bytes()


def test_part_of_an_older_version_is_not_continued(own_archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    # No checksum is known, so only the server can tell that its file has changed since the part was begun.
    target, remote = tmp_path / "x.gz", own_archive.folder / "matrix.gz"
    remote.write_bytes(b"a" * 200_000)
    with serve(own_archive.folder, Faults(cut_after=100_000)) as url, pytest.raises(RemoteError):
        client.patience = type(client.patience)(attempts=1)
        fetch(url + XENA, target, client=client)
    assert part.part_path(target).stat().st_size == 100_000
    remote.write_bytes(b"b" * 200_000)
    os.utime(remote, ns=(1, 1))
    with serve(own_archive.folder) as url:
        fetch(url + XENA, target, client=client)
    assert target.read_bytes() == b"b" * 200_000


def test_part_of_the_same_version_is_continued(own_archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    target, remote, journal = tmp_path / "x.gz", own_archive.folder / "matrix.gz", list[Seen]()
    remote.write_bytes(os.urandom(250_000))
    with serve(own_archive.folder, Faults(cut_after=100_000), journal=journal) as url:
        fetch(url + XENA, target, client=client)
    assert target.read_bytes() == remote.read_bytes()
    assert [seen.range for seen in journal] == ["", "bytes=100000-", "bytes=200000-"]


def test_one_failure_among_many(archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    bad = archive.slides[2]
    with serve(archive.folder, Faults(forbidden=(bad["id"],))) as url:
        wanted = [Wanted(s["file_name"], target=tmp_path / s["file_name"], **arguments(s, url)) for s in archive.slides]
        with pytest.raises(FetchErrors, match=r"1 of 5 files could not be fetched:\n .*403 Forbidden") as caught:
            fetch_all(wanted, client)
    assert list(caught.value.failures) == [bad["file_name"]] and bad["file_name"] in str(caught.value)
    for slide in archive.slides:
        assert (tmp_path / slide["file_name"]).exists() == (slide is not bad)


def test_two_jobs_for_one_file(archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    slide, journal = archive.slides[0], list[Seen]()
    with serve(archive.folder, Faults(delay_s=0.02), journal=journal) as url:
        threads = [
            threading.Thread(target=fetch, kwargs={"target": tmp_path / "x", "client": client, **arguments(slide, url)})
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(journal) == 1 and (tmp_path / "x").read_bytes() == archive.path(slide).read_bytes()
    assert not part.part_path(tmp_path / "x").exists()


def test_check_comes_before_the_name(archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    def check(path: Path) -> None:
        assert gzip.decompress(path.read_bytes()).startswith(b"sample") and not target.exists()
        raise PathomixError("not what it was", remedy="look")

    target = tmp_path / "x.gz"
    with serve(archive.folder) as url, pytest.raises(PathomixError, match="not what it was"):
        fetch(url + XENA, target, client=client, check=check)
    assert not list(tmp_path.iterdir())


def test_wrong_twice_says_what_came(archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    slide, journal = archive.slides[0], list[Seen]()
    with serve(archive.folder, journal=journal) as url, pytest.raises(WrongContentError) as caught:
        fetch(f"{url}/data/{slide['id']}", tmp_path / "x", client=client, md5="0" * 32)
    assert (caught.value.size, caught.value.digest) == (slide["file_size"], slide["md5sum"])
    assert len(journal) == 2 and not list(tmp_path.iterdir())


def test_no_room_is_said_before_anything_is_fetched(client: Client, tmp_path: Path) -> None:
    wanted = [Wanted(name, "http://127.0.0.1:9/x", tmp_path / name, size=10**17, md5="0" * 32) for name in "ab"]
    with pytest.raises(PathomixError, match="200,000,000,000,000,000 more bytes are needed"):
        fetch_all(wanted, client)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    try:
        made = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_disk_full_in_mid_file(
    archive: LocalArchive, client: Client, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide, target = archive.slides[0], small_disk / "x.svs"

    def filled_later(folder: Path, needed: int) -> None:
        part.require_space(folder, needed)
        (small_disk / "filler").write_bytes(b"x" * 300_000)

    monkeypatch.setattr(download, "require_space", filled_later)
    with serve(archive.folder) as url, pytest.raises(PathomixError, match="No space left on device") as caught:
        fetch(target=target, client=client, **arguments(slide, url))
    kept, said = part.part_path(target).read_bytes(), str(caught.value)
    assert str(part.part_path(target)) in said and f"{300_001 - len(kept):,} more bytes" in said
    assert kept and archive.path(slide).read_bytes().startswith(kept) and not target.exists()
    (small_disk / "filler").unlink()
    monkeypatch.undo()
    with serve(archive.folder) as url:
        fetch(target=target, client=client, **arguments(slide, url))
    assert target.read_bytes() == archive.path(slide).read_bytes()


def test_limit_of_file_size(archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    slide, before = archive.slides[0], resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with (
            serve(archive.folder) as url,
            pytest.raises(PathomixError, match="File too large: 100,001 more"),
        ):
            fetch(target=tmp_path / "x", client=client, **arguments(slide, url))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert part.part_path(tmp_path / "x").stat().st_size == 200_000


def test_killed_ten_times(own_archive: LocalArchive, root: Path, tmp_path: Path) -> None:
    """`kill -9` at random moments; what is left is never a wrong file under its name, and the end is right."""
    content = random.Random(0).randbytes(3_000_000)
    slide = {**own_archive.slides[0], "file_size": len(content), "md5sum": hashlib.md5(content).hexdigest()}
    own_archive.path(slide).write_bytes(content)
    locked = LockedSlide(slide["id"], "x.svs", slide["md5sum"], len(content), "P", "TCGA-AA-0001", "x", "", "")
    write_lock(Lock((locked,), dict.fromkeys(HEADER_KEYS, "")), tmp_path / "lock.tsv")
    target, journal = tmp_path / "raw" / "P" / "x.svs", list[Seen]()
    moments, killed = random.Random(1), 0
    with serve(own_archive.folder, Faults(delay_s=0.06), journal=journal) as url:
        command = [sys.executable, str(root / "workflow_scripts" / "fetch_slides.py"), "--lock", tmp_path / "lock.tsv",
                   "--gdc", url, "--output-dir", tmp_path / "raw", "--index", tmp_path / "index.tsv"]  # fmt: skip
        for _ in range(10):
            asked = len(journal)
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:
                # From the request on, so that the moment falls into the download and not into the imports.
                while len(journal) == asked and job.poll() is None:
                    time.sleep(0.01)
                time.sleep(moments.uniform(0, 0.4))
                killed += job.poll() is None
                job.kill()
            assert not target.exists() or target.read_bytes() == content
            assert not (tmp_path / "index.tsv").exists() or target.exists()
        subprocess.run(command, check=True, capture_output=True)
    starts = [int(seen.range.removeprefix("bytes=").rstrip("-") or 0) for seen in journal]
    assert killed >= 5 and len(set(starts)) >= 3 and starts == sorted(starts)
    assert target.read_bytes() == content and not part.part_path(target).exists()
    assert (tmp_path / "index.tsv").read_text().splitlines()[1] == f"x\tP/x.svs\t{slide['md5sum']}\t{len(content)}"
