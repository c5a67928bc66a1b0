"""One screen of text: a table with colours on a terminal that can, plain columns elsewhere."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TextIO

_WIDTH = 110
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"}


def show_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO | None = None) -> None:
    """Print a table; a first column of ``ok``, ``warn``, ``fail``, ``skip`` is coloured."""
    out = stream or sys.stdout
    if out.isatty() and find_spec("rich"):
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left", box=None, show_header=any(header))
        for name in header:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
        Console(file=out).print(table)
        return
    print(plain_table(title, header, rows), file=out)


def plain_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table as text, its last column wrapped."""
    lines = [list(header), *map(list, rows)] if any(header) else [list(row) for row in rows]
    widths = [max((len(line[i]) for line in lines), default=0) for i in range(len(header) - 1)]
    indent = sum(widths) + 2 * len(widths)
    shown = [title] if title else []
    for line in lines:
        left = "".join(f"{cell:<{width}}  " for cell, width in zip(line, widths, strict=False))
        wrapped = textwrap.wrap(line[-1], max(40, _WIDTH - indent), break_long_words=False, break_on_hyphens=False)
        shown += [f"{left if not i else ' ' * indent}{part}".rstrip() for i, part in enumerate(wrapped or [""])]
    return "\n".join(shown) + "\n"
