from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from aiohttp import web

from pathomix.acquire.download import FetchErrors
from pathomix.acquire.hub import HubClient, fetch_weights
from pathomix.acquire.part import part_path
from pathomix.acquire.pins import Pin, read_pins, write_pin
from pathomix.acquire.tokens import Token
from pathomix.acquire.weights import (
    Missing,
    MissingWeightsError,
    Registry,
    missing_weights,
    read_registry,
    require_weights,
)
from pathomix.core.errors import PathomixError
from pathomix.slides.encoders.entries import names, spec_of
from pathomix.slides.tissue_parameters import ARTEFACT_NETWORKS, TISSUE_NETWORKS

from .conftest import NO_TIME

SECRET = "hf_secret0"
CONTENT = np.random.default_rng(0).bytes(400_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LICENCE = "nobody's"


@dataclass
class Hub:
    """What the two hosts saw: method-free list of (host, path, Authorization, Range)."""

    url: str = ""
    seen: list[tuple[str, str, str, str]] = field(default_factory=list)
    cut: int = 0
    content: bytes = CONTENT


@contextmanager
def serving(applications: list[web.Application]) -> Iterator[list[str]]:
    """Run applications, each on a free port of this machine."""
    addresses: Future[list[str]] = Future()
    stop = threading.Event()

    async def run() -> None:
        urls, runners = [], []
        for application in applications:
            runners.append(web.AppRunner(application, access_log=None, shutdown_timeout=0.1))
            await runners[-1].setup()
            site = web.TCPSite(runners[-1], "127.0.0.1", 0)
            await site.start()
            urls.append(site.name)
        addresses.set_result(urls)
        while not stop.is_set():
            await asyncio.sleep(0.01)
        for runner in runners:
            await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        yield addresses.result(timeout=10)
    finally:
        stop.set()
        thread.join()


@contextmanager
def hub_of(**changes: Any) -> Iterator[Hub]:
    """A hub with an open and a gated repository, whose files lie on another host."""
    hub = Hub(**changes)
    store: list[str] = []

    def note(request: web.Request, host: str) -> None:
        headers = request.headers
        hub.seen.append((host, request.path, headers.get("Authorization", ""), headers.get("Range", "")))

    async def resolve(request: web.Request) -> web.StreamResponse:
        note(request, "hub")
        given = request.headers.get("Authorization", "")
        if request.match_info["group"] == "gated" and given != f"Bearer {SECRET}":
            status = 403 if given else 401
            return web.Response(status=status, text="Access to model gated/model is restricted.")
        if request.match_info["file"] == "absent.bin":
            raise web.HTTPNotFound(text="Entry not found")
        raise web.HTTPFound(f"{store[0]}/blob/{request.match_info['file']}?signature=s3cret")

    async def blob(request: web.Request) -> web.StreamResponse:
        note(request, "store")
        begin = int(request.headers["Range"].removeprefix("bytes=").rstrip("-")) if "Range" in request.headers else 0
        body, whole = hub.content[begin:], len(hub.content)
        headers = {"ETag": f'"{hashlib.sha256(hub.content).hexdigest()}"', "Content-Length": str(len(body))}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{whole - 1}/{whole}"
        response = web.StreamResponse(status=206 if begin else 200, headers=headers)
        await response.prepare(request)
        if hub.cut and not begin:
            await response.write(body[: hub.cut])
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(body)
        return response

    first, second = web.Application(), web.Application()
    first.router.add_get("/{group}/{name}/resolve/main/{file}", resolve)
    second.router.add_get("/blob/{file}", blob)
    with serving([first, second]) as urls:
        hub.url = urls[0]
        store.append(urls[1])
        yield hub


def write_registry(path: Path, hub: str, **changes: dict[str, Any]) -> Registry:
    """Three weights of one file each; `changes` are laid over their entries, and `files` over their file."""
    entries: dict[str, Any] = {
        "open": {"title": "Open", "hub": "open/model", "selects": {"model": "open"}},
        "closed": {"title": "Closed", "hub": "gated/model", "gated": True, "access": "write to them"},
        "folder": {"title": "Folder", "page": "https://drive.org/x", "by_hand": "browsers only"},
    }
    for name, entry in entries.items():
        change = dict(changes.get(name, {}))
        files = {"file": f"{name}.bin", "sha256": None, **change.pop("files", {})}
        entry |= {"use": "test", "licence": LICENCE, "evidence": "made up", "files": [files], **change}
    path.write_text(yaml.safe_dump({"hub": hub, "weights": entries}, sort_keys=False))
    return read_registry(path)


def fetched(registry: Registry, folder: Path, *wanted: str, token: str | None = None) -> dict[str, Any]:
    secret = Token(token, "$HF_TOKEN") if token else None
    with HubClient(registry.hub, secret, NO_TIME) as client:
        return dict(fetch_weights(registry.chosen(wanted), registry, folder, folder / "pins.yaml", client))


# the registry of the repository


def test_the_registry_says_of_every_tile_encoder_what_the_encoder_says(root: Path) -> None:
    registry = read_registry(root / "resources/weights.yaml")
    checked = 0
    for model in names():
        spec = spec_of(model)
        if not spec.hub:
            continue
        weight = registry.weights[model]
        assert weight.selects["model"] == model
        assert (weight.title, weight.licence.partition(",")[0], weight.gated) == (
            spec.title, spec.licence.partition(",")[0], spec.gated,
        )  # fmt: skip
        assert [file.file for file in weight.files] == [spec.file] and weight.page == spec.address
        checked += 1
    assert checked == 12


def test_every_network_of_the_tissue_stage_is_registered(root: Path) -> None:
    registry = read_registry(root / "resources/weights.yaml")
    for network, source in {**TISSUE_NETWORKS, **ARTEFACT_NETWORKS}.items():
        assert registry.weights[network].files[0].file in source


def test_every_file_can_be_fetched_or_says_how_to_get_it(root: Path) -> None:
    registry = read_registry(root / "resources/weights.yaml")
    for weight in registry.weights.values():
        assert weight.licence and weight.evidence and weight.page.startswith("https://")
        for file in weight.files:
            assert weight.reason_by_hand(file) or registry.address(weight, file).startswith("https://")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"files": {"file": "../x"}}, "not a file name"),
        ({"files": {"sha256": "abc"}}, "not 8 to 64 hexadecimal"),
        ({"files": {"colour": "red"}}, "unknown parameters: colour"),
        ({"gated": True, "access": ""}, "nothing says how to ask"),
        ({"hub": ""}, "nothing says where open.bin is"),
    ],
)
def test_a_malformed_registry_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(PathomixError, match=said):
        write_registry(tmp_path / "r.yaml", "https://hub.org", open=change)


def test_no_registry(tmp_path: Path) -> None:
    with pytest.raises(PathomixError, match="no registry of weights"):
        read_registry(tmp_path / "none.yaml")
    with pytest.raises(PathomixError, match=r"no weights of this name: nope; use open, closed, folder"):
        write_registry(tmp_path / "r.yaml", "https://hub.org").chosen(["open", "nope"])


# what a configuration lacks


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return write_registry(tmp_path / "r.yaml", "https://hub.org")


def test_what_is_there_is_not_missing(tmp_path: Path, registry: Registry) -> None:
    entries = {
        "encoders.a": {"model": "open", "weights": "own/x.bin"},
        "texts.b": {"weights": "data/weights/folder", "tokenizer": "own/t.json"},
        "texts.c": {"weights": "own", "tokenizer": ""},
        "encoders.d": {"seed": 0},
    }
    for name in ("own/x.bin", "data/weights/folder/folder.bin", "own/t.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert missing_weights(entries, tmp_path, registry) == []
    (tmp_path / "own/t.json").unlink()
    (tmp_path / "data/weights/folder/folder.bin").rename(tmp_path / "data/weights/folder/other.bin")
    found = missing_weights(entries, tmp_path, registry)
    assert [(m.key, m.lacking) for m in found] == [("texts.b.weights", ("folder.bin",)), ("texts.b.tokenizer", ())]


def test_one_message_per_file_says_name_licence_whom_to_ask_and_where_to_put_it(
    tmp_path: Path, registry: Registry
) -> None:
    entries = {
        "encoders.a": {"weights": "d/weights/closed/closed.bin"},
        "encoders.b": {"weights": "d/weights/closed/closed.bin"},
        "slide_encoders.c": {"model": "open", "weights": "mine/open.pt", "optional": True},
        "texts.d": {"weights": "elsewhere.bin"},
    }
    found = missing_weights(entries, tmp_path, registry)
    assert [m.path for m in found] == ["d/weights/closed/closed.bin", "mine/open.pt", "elsewhere.bin"]
    text = str(found[0])
    for part in ("encoders.a.weights", "Closed", LICENCE, "https://hub.org/gated/model", "write to them", "$HF_TOKEN"):
        assert part in text
    assert "fetch_weights.py closed --output-dir d`" in text
    assert "set slide_encoders.c.weights to what it fetched" in str(found[1])
    assert "correct texts.d.weights" in str(found[2])
    with pytest.raises(MissingWeightsError) as caught:
        require_weights(entries, tmp_path, registry)
    assert [m.path for m in caught.value.missing] == ["d/weights/closed/closed.bin", "elsewhere.bin"]
    assert str(caught.value).count("\n  ") == 2
    require_weights({"c": entries["slide_encoders.c"]}, tmp_path, registry)


@pytest.mark.parametrize(
    ("path", "can"),
    [
        ("d/weights/open/open.bin", True),
        ("d/weights/open", True),
        ("d/weights/closed/closed.bin", False),
        ("d/weights/folder", False),
        ("mine.bin", False),
    ],
)
def test_what_a_rule_may_fetch_by_itself(tmp_path: Path, registry: Registry, path: str, can: bool) -> None:
    (found,) = missing_weights({"e": {"model": "open", "weights": path}}, tmp_path, registry)
    assert found.is_open is can


def test_a_file_that_one_entry_needs_is_not_optional(tmp_path: Path, registry: Registry) -> None:
    may, must = {"weights": "x", "optional": True}, {"weights": "x"}
    for entries in ({"a": may, "b": must}, {"b": must, "a": may}):
        assert [(m.key, m.optional) for m in missing_weights(entries, tmp_path, registry)] == [("b.weights", False)]


def test_what_a_person_has_to_fetch(tmp_path: Path, registry: Registry) -> None:
    (found,) = missing_weights({"e": {"weights": "data/weights/folder"}}, tmp_path, registry)
    assert found == Missing("e.weights", "data/weights/folder", (), registry.weights["folder"])
    assert found.todo == "put it there by hand (https://drive.org/x): browsers only"


# fetching


def test_fetched_once_pinned_and_used_without_a_network(tmp_path: Path) -> None:
    with hub_of() as hub:
        registry = write_registry(tmp_path / "r.yaml", hub.url)
        found = fetched(registry, tmp_path, "open")
    assert (tmp_path / "weights/open/open.bin").read_bytes() == CONTENT
    assert found["weights/open/open.bin"].digest == SHA256
    pins = read_pins(tmp_path / "pins.yaml")
    assert pins == {"weights/open/open.bin": Pin(f"{hub.url}/open/model/resolve/main/open.bin", len(CONTENT), SHA256)}
    assert fetched(registry, tmp_path, "open") == found  # the hub is gone


def test_the_token_goes_to_the_hub_only(tmp_path: Path) -> None:
    with hub_of() as hub:
        registry = write_registry(tmp_path / "r.yaml", hub.url)
        fetched(registry, tmp_path, "closed", token=SECRET)
    assert [(host, authorization) for host, _, authorization, _ in hub.seen] == [
        ("hub", f"Bearer {SECRET}"),
        ("store", ""),
    ]


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("hf_other", 403)])
def test_no_access_is_one_sentence_and_the_others_are_fetched(tmp_path: Path, token: str | None, status: int) -> None:
    with hub_of() as hub:
        registry = write_registry(tmp_path / "r.yaml", hub.url)
        with pytest.raises(FetchErrors) as caught:
            fetched(registry, tmp_path, "closed", "open", token=token)
    (error,) = caught.value.failures.values()
    target = tmp_path / "weights/closed/closed.bin"
    for part in ("Closed", LICENCE, str(status), "restricted", f"{hub.url}/gated/model", "write to them", str(target)):
        assert part in str(error)
    assert "$HF_TOKEN" in str(error) and "hf_other" not in str(error)
    assert sum(host == "hub" and "gated" in path for host, path, _, _ in hub.seen) == 1  # not asked again
    assert not target.exists() and not part_path(target).exists()
    assert (tmp_path / "weights/open/open.bin").read_bytes() == CONTENT


def test_a_cut_connection_is_continued(tmp_path: Path) -> None:
    with hub_of(cut=150_000) as hub:
        registry = write_registry(tmp_path / "r.yaml", hub.url)
        fetched(registry, tmp_path, "open")
    assert (tmp_path / "weights/open/open.bin").read_bytes() == CONTENT
    assert [range_ for host, _, _, range_ in hub.seen if host == "store"] == ["", "bytes=150000-"]


def test_what_an_earlier_run_left_is_continued(tmp_path: Path) -> None:
    target = tmp_path / "weights/open/open.bin"
    target.parent.mkdir(parents=True)
    part_path(target).write_bytes(CONTENT[:100_000])
    with hub_of() as hub:
        fetched(write_registry(tmp_path / "r.yaml", hub.url, open={"files": {"sha256": SHA256}}), tmp_path, "open")
    assert target.read_bytes() == CONTENT and not part_path(target).exists()
    assert hub.seen[-1][3] == "bytes=100000-"
    assert not (tmp_path / "pins.yaml").exists()  # what is published needs no pin


@pytest.mark.parametrize("sha256", ["0" * 64, "0" * 8])
def test_another_content_than_published_gets_no_name(tmp_path: Path, sha256: str) -> None:
    with hub_of() as hub:
        registry = write_registry(tmp_path / "r.yaml", hub.url, open={"files": {"sha256": sha256}})
        with pytest.raises(FetchErrors, match="sha256"):
            fetched(registry, tmp_path, "open")
    assert not (tmp_path / "weights/open/open.bin").exists() and not read_pins(tmp_path / "pins.yaml")


def test_the_first_digits_are_enough_to_accept(tmp_path: Path) -> None:
    with hub_of() as hub:
        fetched(write_registry(tmp_path / "r.yaml", hub.url, open={"files": {"sha256": SHA256[:8]}}), tmp_path, "open")
    assert read_pins(tmp_path / "pins.yaml")["weights/open/open.bin"].sha256 == SHA256


def test_a_file_that_changed_since_it_was_pinned(tmp_path: Path) -> None:
    with hub_of() as hub:
        registry = write_registry(tmp_path / "r.yaml", hub.url)
        fetched(registry, tmp_path, "open")
        (tmp_path / "weights/open/open.bin").unlink()
        hub.content = b"another"
        with pytest.raises(FetchErrors, match=rf"has changed: pinned 400000 bytes, sha256 {SHA256}; now 7 bytes"):
            fetched(registry, tmp_path, "open")
    assert not (tmp_path / "weights/open/open.bin").exists()


def test_an_absent_file_is_not_called_gated(tmp_path: Path) -> None:
    with hub_of() as hub:
        registry = write_registry(tmp_path / "r.yaml", hub.url, open={"files": {"file": "absent.bin"}})
        with pytest.raises(FetchErrors, match=r"404 Not Found \(Entry not found\); check the name"):
            fetched(registry, tmp_path, "open")


def test_files_that_come_by_hand(tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(FetchErrors, match=r"cannot fetch it; put it there by hand \(https://drive.org/x\): browsers"):
        fetched(registry, tmp_path, "folder")
    target = tmp_path / "weights/folder/folder.bin"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"one")
    assert fetched(registry, tmp_path, "folder")["weights/folder/folder.bin"].size == 3
    target.write_bytes(b"another")
    with pytest.raises(FetchErrors, match=r"delete the entry weights/folder/folder.bin from"):
        fetched(registry, tmp_path, "folder")
    assert target.read_bytes() == b"another"


def test_a_gated_file_put_there_by_hand_needs_no_token(tmp_path: Path) -> None:
    target = tmp_path / "weights/closed/closed.bin"
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    with hub_of() as hub:
        fetched(write_registry(tmp_path / "r.yaml", hub.url), tmp_path, "closed")
    assert hub.seen == [] and read_pins(tmp_path / "pins.yaml")["weights/closed/closed.bin"].sha256 == SHA256


def test_a_pin_of_another_hub_is_not_believed(tmp_path: Path, registry: Registry) -> None:
    write_pin(tmp_path / "pins.yaml", "weights/open/open.bin", Pin("https://mirror.org/open.bin", 1, SHA256))
    with pytest.raises(FetchErrors, match=r"pinned from https://mirror.org/open.bin, now asked for from"):
        fetched(registry, tmp_path, "open")


def test_a_token_does_not_travel_unencrypted() -> None:
    with pytest.raises(PathomixError, match=r"\$HF_TOKEN would travel unencrypted") as caught:
        HubClient("http://hub.org", Token(SECRET, "$HF_TOKEN"))
    assert SECRET not in str(caught.value)


def test_the_script_lists_fetches_and_tells_by_its_exit_code(tmp_path: Path, root: Path) -> None:
    def run(*arguments: str, token: str = "") -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if k != "HF_TOKEN"} | {"PYTHONPATH": str(root / "src")}
        environment |= {"HF_TOKEN": token} if token else {}
        script = str(root / "workflow_scripts/fetch_weights.py")
        options = ("--registry", str(tmp_path / "r.yaml"), "--pins", str(tmp_path / "pins.yaml"))
        command = [sys.executable, script, *arguments, *options, "--output-dir", str(tmp_path)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    with hub_of() as hub:
        write_registry(tmp_path / "r.yaml", "https://hub.org")
        listed = run()
        refused = run("closed", "--hub", hub.url)
        allowed = run("closed", "--hub", hub.url, token=SECRET)
    assert listed.returncode == 0 and [line.split()[:2] for line in listed.stdout.splitlines()] == [
        ["open", "open"], ["closed", "gated"], ["folder", "by"],
    ]  # fmt: skip
    assert refused.returncode == 1 and "ask for access at" in refused.stderr and "Traceback" not in refused.stderr
    assert allowed.returncode == 0 and SHA256 in allowed.stdout and SECRET not in allowed.stdout + allowed.stderr
