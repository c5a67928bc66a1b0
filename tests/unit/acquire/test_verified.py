from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pathomix.acquire import verified


def test_hashed_once_until_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[Path] = []
    real = verified.file_digest
    monkeypatch.setattr(verified, "file_digest", lambda path, kind: (passes.append(path), real(path, kind))[1])
    path = tmp_path / "x"
    path.write_bytes(b"a")
    assert verified.noted_digest(path, "md5") is None
    for _ in range(3):
        assert verified.known_digest(path, "md5") == hashlib.md5(b"a").hexdigest()
    assert len(passes) == 1
    # Another kind of checksum is not known from this one.
    assert verified.known_digest(path, "sha256") == hashlib.sha256(b"a").hexdigest()
    path.write_bytes(b"b")
    os.utime(path, ns=(1, 1))
    assert verified.known_digest(path, "sha256") == hashlib.sha256(b"b").hexdigest()
    verified.note_path(path).write_text("[")
    assert verified.noted_digest(path, "sha256") is None


def test_file_that_cannot_be_noted_is_right_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "x").write_bytes(b"a")
    verified.note_path(tmp_path / "x").mkdir()
    assert verified.known_digest(tmp_path / "x", "md5") == hashlib.md5(b"a").hexdigest()
    assert "cannot be noted" in caplog.text
