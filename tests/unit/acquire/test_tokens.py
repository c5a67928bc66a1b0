from __future__ import annotations

from pathlib import Path

import pytest

from pathomix.acquire.tokens import read_token
from pathomix.core.errors import PathomixError

SECRET = "eyJhbGciOi.secret-part_42"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token.txt"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


def test_environment_goes_before_file(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setenv("MY_TOKEN", f"{SECRET}X\r\n")
    token = read_token("MY_TOKEN", file)
    assert token is not None and (token.secret, token.source) == (SECRET + "X", "$MY_TOKEN")
    monkeypatch.delenv("MY_TOKEN")
    token = read_token("MY_TOKEN", file)
    assert token is not None and (token.secret, token.source) == (SECRET, str(file))
    assert read_token("MY_TOKEN") is None


def test_not_shown(file: Path) -> None:
    token = read_token(None, file)
    assert SECRET not in f"{token} {token!r}" and str(file) in repr(token)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_file_that_others_can_read_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(PathomixError, match=f"others .* `chmod 600 {file}`"):
        read_token(None, file)


@pytest.mark.parametrize("text", ["first\nsecond-secret", "first\r\nsecond-secret", "sec ret", "gehéim", "", " \n"])
def test_malformed_is_refused_without_being_quoted(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MY_TOKEN", text)
    with pytest.raises(PathomixError, match=r"\$MY_TOKEN") as caught:
        read_token("MY_TOKEN")
    assert not any(word in str(caught.value) for word in ("secret", "ret;", "geh"))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PathomixError, match="no such token file"):
        read_token(None, tmp_path / "none")
