"""The parameters a component accepts, read from its dataclass without importing it.

The runner environment has no torch; still a misspelt parameter has to be refused before the first job.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pathomix.core.errors import PathomixError


@cache
def parameters_of(source: Path, module: str, name: str) -> Mapping[str, ast.expr | None]:
    """Annotated fields of class `name` in `module` and of the classes of the package it inherits from.

    Args:
        source: The folder that holds the package.
        module: Dotted module name.
        name: Name of the class.

    Returns:
        Field to its default as written; None where it has none.

    Raises:
        LookupError: There is no such class.
    """
    tree = ast.parse(source.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if name not in classes:
        raise LookupError(f"no class {name} in {module}")
    origin = {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    fields: dict[str, ast.expr | None] = {}
    for base in reversed(classes[name].bases):
        if isinstance(base, ast.Name):
            where, original = origin.get(base.id, (module, base.id))
            fields |= parameters_of(source, where, original)
    for statement in classes[name].body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            fields[statement.target.id] = statement.value
    return fields


def parameter_names(source: Path, module: str, name: str) -> set[str]:
    """Names of the fields; see `parameters_of`."""
    return set(parameters_of(source, module, name))


def check_parameters(given: Mapping[str, Any], known: Iterable[str], key: str) -> None:
    """Refuse parameters outside `known`; `key` is where in the configuration they stand.

    Raises:
        PathomixError: Unknown parameters, all of them named.
    """
    allowed = sorted(known)
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        raise PathomixError(
            f"configuration key {key}: unknown parameters", offending=unknown, remedy=f"use {', '.join(allowed)}"
        )


def check_known(names: Iterable[Any], known: Iterable[str], key: str, section: str) -> None:
    """Refuse names that are not defined; `key` is where they stand, `section` where they should be defined.

    Raises:
        PathomixError: Unknown names, all of them named.
    """
    defined = list(known)
    unknown = [name for name in names if name not in defined]
    if unknown:
        raise PathomixError(
            f"configuration key {key} names what is not defined",
            offending=unknown,
            remedy=f"define it under `{section}` (known: {', '.join(defined)})",
        )
