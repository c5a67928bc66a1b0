"""Access tokens: read from the environment or a private file, never printed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from pathomix.core.errors import PathomixError


@dataclass(frozen=True)
class Token:
    """A secret text and where it came from; its repr and str hold the source only.

    Attributes:
        secret: The text that is sent.
        source: What the user calls it, e.g. ``$GDC_TOKEN``.
    """

    secret: str = field(repr=False)
    source: str


def read_token(environment: str | None, file: Path | None = None) -> Token | None:
    """The token of an environment variable, else of a file; None where neither is given or the variable is not set.

    Args:
        environment: Name of the variable.
        file: Text file whose permissions let nobody but its owner read it.

    Raises:
        PathomixError: The file is missing or open to others, or the token is empty, of several lines, or not ASCII.
    """
    if environment and environment in os.environ:
        return _checked(os.environ[environment], f"${environment}")
    if file is None:
        return None
    if not file.is_file():
        raise PathomixError(f"{file}: no such token file", remedy="download a token from the archive's web site")
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise PathomixError(f"{file}: others on this machine can read the token", remedy=f"run `chmod 600 {file}`")
    try:
        return _checked(file.read_text(encoding="utf-8"), str(file))
    except UnicodeDecodeError:
        raise PathomixError(f"{file}: not a text file", remedy="download the token again") from None


def _checked(text: str, source: str) -> Token:
    secret = text.strip()
    if not secret:
        raise PathomixError(f"the token in {source} is empty", remedy="download a token again, or unset it")
    # A line break inside would end the header; the library's own message for that quotes the whole value.
    if any(not "!" <= character <= "~" for character in secret):
        raise PathomixError(
            f"the token in {source} holds a line break, a space or another character that a header cannot carry",
            remedy="give the token as one line, as it was downloaded",
        )
    return Token(secret, source)
