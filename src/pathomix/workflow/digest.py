"""Digest of the meaning of the code a rule reaches (design section 5).

The digest covers the syntax trees of the rule's script and of every module below ``src/`` it imports, directly or not.
Comments, docstrings, formatting and modification times do not count. Standard library only: the runner imports this.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

_PACKAGE = "pathomix"
_SCOPES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_digest(script: Path, source: Path, *, modules: Iterable[str] = (), data: Iterable[Path] = ()) -> str:
    """Digest of a script and all it reaches.

    Args:
        script: The rule's command-line script.
        source: The folder that holds the package (``src``).
        modules: Modules imported by name at run time (registries), which no scan can see.
        data: Files the code reads from the repository (templates, for instance); their bytes count.

    Returns:
        16 hexadecimal characters.
    """
    digest = hashlib.sha256()
    entries = [script, *(_file_of(name, source) for name in modules)]
    for path in reachable(entries, source):
        label = path.relative_to(source).as_posix() if path.is_relative_to(source) else path.name
        digest.update(f"{label}\0{_read(path, source)[1]}\0".encode())
    for path in sorted(data):
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def script_digest(root: Path, script: str, modules: Iterable[str] = (), data: Iterable[Path] = ()) -> str:
    """Digest of ``workflow_scripts/<script>.py`` of the repository at `root`; see `code_digest`."""
    path = root / "workflow_scripts" / f"{script}.py"
    return code_digest(path, root / "src", modules=sorted(modules), data=data)


def reachable(entries: Iterable[Path], source: Path) -> list[Path]:
    """The entry files and every file below `source` they import, sorted by path."""
    found: set[Path] = set()
    waiting = list(entries)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_read(path, source)[0])
    return sorted(found)


@cache
def _summary(path: Path, source: Path, stamp: tuple[int, int]) -> tuple[tuple[Path, ...], str]:
    """Imported files and normalised syntax tree of one file; `stamp` makes an edited file a new cache entry."""
    del stamp
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    imports = tuple(_imports(tree, path, source))
    for node in ast.walk(tree):
        if isinstance(node, _SCOPES):
            node.body = [statement for statement in node.body if not _is_silent(statement)]
    return imports, ast.dump(tree)


def _read(path: Path, source: Path) -> tuple[tuple[Path, ...], str]:
    status = path.stat()
    return _summary(path, source, (status.st_mtime_ns, status.st_size))


def _imports(tree: ast.Module, path: Path, source: Path) -> Iterator[Path]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _module_files(alias.name, source)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, path, source)
            for alias in node.names:
                yield from _module_files(f"{base}.{alias.name}", source)


def _absolute(node: ast.ImportFrom, path: Path, source: Path) -> str:
    if not node.level:
        return node.module or ""
    package = path.relative_to(source).parent.parts
    kept = package[: len(package) - node.level + 1]
    return ".".join((*kept, *(node.module.split(".") if node.module else ())))


def _module_files(name: str, source: Path) -> Iterator[Path]:
    """Files Python executes for ``import name``: every package on the way, and the module; attributes are ignored."""
    parts = name.split(".")
    if parts[0] != _PACKAGE:
        return
    folder = source
    for part in parts:
        module = folder / f"{part}.py"
        folder = folder / part
        if (folder / "__init__.py").is_file():
            yield folder / "__init__.py"
        elif module.is_file():
            yield module
            return
        else:
            return


def _file_of(name: str, source: Path) -> Path:
    path = source.joinpath(*name.split(".")).with_suffix(".py")
    if not path.is_file():
        raise FileNotFoundError(f"no module {name} below {source}")
    return path


def _is_silent(statement: ast.stmt) -> bool:
    """Docstrings and the package version: a release alone does not invalidate results."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)
    return isinstance(statement, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "__version__" for target in statement.targets
    )
