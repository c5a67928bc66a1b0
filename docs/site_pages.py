"""The parts of the documentation that are made of the code, so that they cannot go stale.

A page asks for one by a line `<!-- made: NAME -->`, for the text of a file outside `docs/` by `<!-- text: PATH -->`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from site_parameters import parameter_tables
from site_schema import configuration_table
from site_tables import rule_table, schema_tables

_MADE = re.compile(r"^<!-- made: ([\w ]+) -->$", re.MULTILINE)
_TEXT = re.compile(r"^<!-- text: (\S+) -->$", re.MULTILINE)
_LINK = re.compile(r"(!?)\[([^\]\[]*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


class Site:
    """Fills pages.

    Args:
        root: The repository.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.docs = root, root / "docs"
        self.pages = {path.stem: path for path in sorted(self.docs.glob("*.md"))}
        # Files that are a page here: links to them lead to that page.
        self.texts = {
            match: name for name, path in self.pages.items() for match in _TEXT.findall(path.read_text("utf-8"))
        }
        self.makers: dict[str, Callable[[], str]] = {
            "configuration": lambda: configuration_table(root / "config/schemas/config.schema.yaml"),
            "parameters": lambda: parameter_tables(root / "src/pathomix"),
            "rules": lambda: rule_table(root),
            "tables": lambda: schema_tables(root / "src"),
            "more pages": self._more_pages,
            **{f"help {name}": lambda name=name: self._help(name) for name in ("doctor", "plan", "why")},
        }

    def filled(self, page: str, text: str) -> str:
        """Text of a page with its generated parts, and with links that hold on the site.

        Raises:
            FileNotFoundError: A link leads to a file that is not there.
            KeyError: A part is asked for that nobody makes.
        """
        text = self._linked(text, self.docs)
        text = _TEXT.sub(lambda match: self._text(match.group(1)), text)
        return _MADE.sub(lambda match: self.makers[match.group(1)](), text)

    def _text(self, name: str) -> str:
        path = self.root / name
        return self._linked(path.read_text("utf-8"), path.parent)

    def _linked(self, text: str, folder: Path) -> str:
        fenced = [match.span() for match in _FENCE.finditer(text)]

        def link(match: re.Match[str]) -> str:
            picture, words, target = match.groups()
            inside = any(begin <= match.start() < end for begin, end in fenced)
            if inside or target.startswith(("http:", "https:", "mailto:", "#")):
                return match.group(0)
            name, _, anchor = target.partition("#")
            path = Path(os.path.normpath(folder / name))
            if not path.exists():
                raise FileNotFoundError(f"{folder}: the link [{words}]({target}) leads nowhere")
            inner = path.relative_to(self.root).as_posix()
            if path.parent == self.docs and path.suffix == ".md":
                inner = path.name
            elif inner in self.texts:
                inner = f"{self.texts[inner]}.md"
            elif picture:
                inner = Path(os.path.relpath(path, self.docs)).as_posix()
            else:
                return words if inner in words else f"{words} (`{inner}`)"
            return f"{picture}[{words}]({inner}{'#' * bool(anchor)}{anchor})"

        return _LINK.sub(link, text)

    def _more_pages(self) -> str:
        """Pages that the index does not name: a new file appears by itself."""
        index = self.pages["index"].read_text("utf-8")
        named = set(re.findall(r"^(\w+)$", index, re.MULTILINE)) | {"index"}
        return "\n".join(["```{toctree}", ":caption: More", "", *sorted(set(self.pages) - named), "```"])

    def _help(self, module: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", f"pathomix.{module}", "--help"],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(self.root / "src"), "COLUMNS": "110"},
            capture_output=True,
            text=True,
            check=True,
        )
        return f"```text\n{done.stdout.rstrip()}\n```"
