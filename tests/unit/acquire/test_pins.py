from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pathomix.acquire.download import Fetched, WrongContentError
from pathomix.acquire.pinned import fetch_pinned
from pathomix.acquire.pins import Pin, read_pins, write_pin
from pathomix.core.errors import PathomixError

URL = "https://hub.org/x"


def test_first_fetch_pins_later_ones_hold(tmp_path: Path) -> None:
    pins, asked = tmp_path / "locks" / "pins.yaml", []

    def get(sha256: str | None) -> Fetched:
        asked.append(sha256)
        return Fetched(tmp_path / "x", 3, "a" * 64)

    for _ in range(2):
        fetch_pinned("x", URL, tmp_path / "x", pins, get)
    assert asked == [None, "a" * 64] and read_pins(pins) == {"x": Pin(URL, 3, "a" * 64)}


def test_changed_file_shows_both_pins(tmp_path: Path) -> None:
    def get(sha256: str | None) -> Fetched:
        error = WrongContentError("wrong", remedy="")
        error.size, error.digest = 4, "b" * 64
        raise error

    write_pin(tmp_path / "pins.yaml", "x", Pin(URL, 3, "a" * 64))
    before = (tmp_path / "pins.yaml").read_bytes()
    with pytest.raises(PathomixError) as caught:
        fetch_pinned("x", URL, tmp_path / "x", tmp_path / "pins.yaml", get)
    said = str(caught.value)
    assert f"pinned 3 bytes, sha256 {'a' * 64}; now 4 bytes, sha256 {'b' * 64}" in said
    assert f"delete the entry x from {tmp_path / 'pins.yaml'}" in said
    assert (tmp_path / "pins.yaml").read_bytes() == before


def test_other_address(tmp_path: Path) -> None:
    write_pin(tmp_path / "pins.yaml", "x", Pin(URL, 3, "a" * 64))
    with pytest.raises(PathomixError, match=f"pinned from {URL}, now asked for from https://other"):
        fetch_pinned("x", "https://other", tmp_path / "x", tmp_path / "pins.yaml", lambda s: pytest.fail("fetched"))


def test_pins_of_many_jobs_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "pins.yaml"
    threads = [
        threading.Thread(target=write_pin, args=(path, f"n{k:02d}", Pin(URL, k + 1, f"{k:064x}"))) for k in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(read_pins(path)) == [f"n{k:02d}" for k in range(12)]
    assert [p.name for p in path.parent.iterdir()] == ["pins.yaml"]


@pytest.mark.parametrize(
    "text", ["[1]", "x: 1", "x: {url: u, size: 3}", "x: {url: u, size: 3, sha256: short}", "x: [", "x: {a: 1}"]
)
def test_malformed(tmp_path: Path, text: str) -> None:
    (tmp_path / "pins.yaml").write_text(text)
    with pytest.raises(PathomixError, match=r"pins.yaml"):
        read_pins(tmp_path / "pins.yaml")
