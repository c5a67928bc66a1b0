"""Parameters of sections, methods and encoders as tables, from the dataclasses that hold them (read, not imported)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_PLACES = {
    "Slides and tile encoders": [
        "slides/tissue_parameters.py",
        "slides/encoders/parameters.py",
        "slides/engine/parameters.py",
    ],
    "Texts and slide encoders": ["text/parameters.py", "foundation/parameters.py"],
    "Atlases, expression encoders and smoothing": [
        "atlas/parameters.py",
        "scgpt/parameters.py",
        "smoothing/parameters.py",
        "smoothing/*_encoder.py",
    ],
    "Methods": ["methods/*.py"],
    "Representations": ["representations/*.py"],
    "Simulation": ["simulate/parameters.py"],
}
_ATTRIBUTE = re.compile(r"^ {4}(\w+)(?: \([^)]*\))?: (.*)$")


def parameter_tables(package: Path) -> str:
    """Markdown: a table per dataclass of parameters, below the heading of its part."""
    lines: list[str] = []
    for heading, patterns in _PLACES.items():
        lines += [f"## {heading}", ""]
        paths = [path for pattern in patterns for path in sorted(package.glob(pattern))]
        found = [(path, node) for path in paths for node in _dataclasses(path)]
        bases = {node.name: node for _, node in found}
        for path, node in found:
            if "parameters" in path.name or node.name.endswith("Settings"):
                lines += _table(node, path.relative_to(package).as_posix(), bases)
    return "\n".join(lines)


def _dataclasses(path: Path) -> Iterator[ast.ClassDef]:
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef) and "dataclass" in " ".join(map(ast.unparse, node.decorator_list)):
            yield node


def _table(node: ast.ClassDef, where: str, known: Mapping[str, ast.ClassDef]) -> list[str]:
    fields = [one for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]
    if not fields:
        return []
    words = ast.get_docstring(node) or ""
    meaning = _meanings(node, known)
    bases = [f"`{ast.unparse(base)}`" for base in node.bases]
    also = f" Also takes the parameters of {' and '.join(bases)}." if bases else ""
    lines = [
        f"### `{node.name}` in `{where}`",
        "",
        _cell(" ".join(words.partition("Attributes:")[0].split())) + also,
        "",
    ]
    lines += ["| parameter | default | what it is |", "|---|---|---|"]
    for field in fields:
        assert isinstance(field.target, ast.Name)
        default = f"`{_default(field.value)}`" if field.value is not None else "required"
        lines.append(f"| `{field.target.id}` | {_cell(default)} | {_cell(meaning.get(field.target.id, ''))} |")
    return [*lines, ""]


def _default(value: ast.expr) -> str:
    """Default as code; of `field(...)` what it makes."""
    if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("field"):
        made = {word.arg: word.value for word in value.keywords}
        if "default" in made:
            return ast.unparse(made["default"])
        factory = made.get("default_factory")
        if isinstance(factory, ast.Lambda):
            return ast.unparse(factory.body)
        empty = {"dict": "{}", "list": "[]"}
        return empty.get(ast.unparse(factory), f"{ast.unparse(factory)}()") if factory is not None else ""
    return ast.unparse(value)


def _meanings(node: ast.ClassDef, known: Mapping[str, ast.ClassDef]) -> dict[str, str]:
    """Name to explanation, of the section `Attributes` (Google style) of the class and of what it inherits from."""
    words = ast.get_docstring(node) or ""
    found: dict[str, str] = {}
    current = ""
    for line in words.partition("Attributes:\n")[2].splitlines():
        if line and not line.startswith(" "):
            break
        match = _ATTRIBUTE.match(line)
        if match:
            current = match.group(1)
            found[current] = match.group(2)
        elif current and line.strip():
            found[current] += f" {line.strip()}"
    inherited = [known[name] for base in node.bases if (name := ast.unparse(base)) in known and name != node.name]
    return {name: text for base in inherited for name, text in _meanings(base, known).items()} | found


def _cell(text: str) -> str:
    return (
        text.replace("|", r"\|").replace("``", "`").replace("<", "&lt;")
        if "`" not in text
        else text.replace("|", r"\|")
    )
