from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from pathomix.acquire.part import Part, part_path, require_space
from pathomix.core.errors import PathomixError


def test_digest_goes_on_where_another_run_stopped(tmp_path: Path) -> None:
    target, moved = tmp_path / "sub" / "x.svs", []
    with Part(target, "md5") as part:
        part.append(b"first ", None)
    assert not target.exists() and part_path(target).read_bytes() == b"first "
    with Part(target, "md5", moved.append) as part:
        assert part.size == 6
        part.append(b"second", None)
        assert part.hexdigest == hashlib.md5(b"first second").hexdigest()
        part.publish()
    assert target.read_bytes() == b"first second" and moved == [6, 6]
    assert [path.name for path in target.parent.iterdir()] == ["x.svs"]


def test_restart_and_discard(tmp_path: Path) -> None:
    target, moved = tmp_path / "x.svs", []
    with Part(target, "sha256", moved.append) as part:
        part.begin('"tag"')
        part.append(b"wrong", None)
        assert part.validator == '"tag"'
        part.restart()
        part.append(b"ok", None)
        assert part.hexdigest == hashlib.sha256(b"ok").hexdigest() and sum(moved) == 2
        part.discard()
    assert not list(tmp_path.iterdir())


def test_nothing_leaves_nothing(tmp_path: Path) -> None:
    with Part(tmp_path / "x", "md5"):
        pass
    assert not list(tmp_path.iterdir())


def test_one_at_a_time(tmp_path: Path) -> None:
    target = tmp_path / "x.svs"
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        with Part(target, "md5") as part:
            order.append(f"second finds {part.size}")

    with Part(target, "md5") as part:
        thread = threading.Thread(target=lambda: (entered.set(), second()))
        thread.start()
        entered.wait()
        thread.join(timeout=0.2)
        assert thread.is_alive()
        part.append(b"all", None)
        part.publish()
        order.append("first is done")
    thread.join()
    # What the second one waited for has another name now; it must not go on in that file.
    assert order == ["first is done", "second finds 0"] and target.read_bytes() == b"all"


def test_space(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "there", 1)
    with pytest.raises(
        PathomixError, match=rf"{tmp_path}: no space left: 1,\d+,.* more bytes are needed, [\d,]+ are free"
    ):
        require_space(tmp_path / "not" / "there", 10**18)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PathomixError, match="cannot be written"), Part(tmp_path / "file" / "x", "md5"):
        pass
