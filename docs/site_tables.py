"""Rules and table contracts, from the rule files, the scripts and the schemas in the code."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

_RULE = re.compile(r"^rule (\w+):\n((?:(?: .*)?\n)*)", re.MULTILINE)
_OUTPUT = re.compile(r"^    output:\n((?: {8}.*\n)*)", re.MULTILINE)
_STRING = re.compile(r'f?"([^"\n]*)"')
_SCHEMA = re.compile(r"((?:^#.*\n)*)^([A-Z_]+) = TableSchema\(", re.MULTILINE)


def rule_table(root: Path) -> str:
    """Markdown table of all rules: what each does, what it writes, and its environment."""
    lines = ["| rule | what it does | writes |", "|---|---|---|"]
    for path in sorted((root / "rules").glob("*.smk")):
        for name, body in _RULE.findall(path.read_text("utf-8")):
            script = re.search(r"workflow_scripts/\w+\.py", body)
            does = _first_line(root / script.group(0)) if script else ""
            lines.append(f"| `{name}` | {does} | {'<br>'.join(_outputs(body)) or 'by the configuration'} |")
    return "\n".join(lines)


def _first_line(script: Path) -> str:
    words = ast.get_docstring(ast.parse(script.read_text("utf-8")))
    return (words or "").partition("\n")[0].replace("|", r"\|")


def _outputs(body: str) -> Iterator[str]:
    block = _OUTPUT.search(body)
    for text in _STRING.findall(block.group(1) if block else ""):
        if "/" in text:
            path = re.sub(r"\{+R\}+/", "", text)
            path = path.replace("{RAW}", "raw/simulated")
            path = re.sub(r"\{+plan\.(?:\w+\.)*(\w+)\}+", r"<\1>", path)
            path = re.sub(r"\{+(\w+)\}+", r"<\1>", path)
            yield f"`{path}`"


def schema_tables(source: Path) -> str:
    """Markdown: every table contract with its key, its columns and what is said above it in the code."""
    lines: list[str] = []
    for path in sorted(source.glob("pathomix/**/*.py")):
        for comment, name in _SCHEMA.findall(path.read_text("utf-8")):
            module = ".".join(path.relative_to(source).with_suffix("").parts)
            schema = getattr(importlib.import_module(module), name)
            words = [line.removeprefix("#").removeprefix(" ") for line in comment.splitlines()]
            lines += [f"## {schema.name}", "", f"Version {schema.version}; `{name}` in `{module}`."]
            lines += [f"Key: {', '.join(f'`{column}`' for column in schema.key)}.", ""]
            lines += ["```text", *words, "```", ""] if words else []
            lines += ["| column | type | values |", "|---|---|---|"]
            lines += [
                f"| `{name}` | {_type(column.dtype)} | {_values(column)} |" for name, column in schema.columns.items()
            ]
            if schema.extra_prefixes:
                named = [f"`{prefix}…`" if prefix else "of any name" for prefix in schema.extra_prefixes]
                lines += [f"| {', '.join(named)} | | further columns |"]
            lines.append("")
    return "\n".join(lines)


def _type(dtype: str) -> str:
    return "text" if dtype in ("str", "object") else dtype


def _values(column: object) -> str:
    allowed = getattr(column, "allowed", None)
    above = getattr(column, "above", None)
    parts = [", ".join(f"`{value}`" for value in allowed)] if allowed else []
    parts += [f"above {above:g}"] if above is not None else []
    parts += ["may be missing"] if getattr(column, "nullable", False) else []
    return "; ".join(parts)
