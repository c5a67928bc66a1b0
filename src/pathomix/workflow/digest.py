"""Digest of the meaning of the code a rule reaches (design section 5), and a record of what stood behind it.

The digest covers the rule's script and every module below ``src/`` it imports, directly or not, as
`pathomix.workflow.meaning` reads them: comments, docstrings, formatting, names of local variables and modification
times do not count. A record keeps the digests of the single functions, so that `pathomix.workflow.why` can name the one
that changed. Light imports only: the runner imports this.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pathomix.core.files import file_digest, write_json
from pathomix.workflow.meaning import for_type_checkers, parts

RECORDS = ".code"
_PACKAGE = "pathomix"


@dataclass(frozen=True)
class Entries:
    """Where the code of a rule begins; paths relative to the repository.

    Attributes:
        script: The rule's script.
        modules: Modules imported by name at run time.
        data: Files the code reads from the repository.
    """

    script: str
    modules: tuple[str, ...] = ()
    data: tuple[str, ...] = ()


class Records:
    """What stood behind each digest, kept below the results of a run, one file per digest.

    Nothing is written before `keep`: a dry-run leaves no trace. The files are no one's input and change no digest.
    """

    def __init__(self) -> None:
        self._results: Path | None = None
        self._waiting: dict[str, tuple[Path, Entries]] = {}
        self._written: set[str] = set()

    def note(self, digest: str, root: Path, entries: Entries) -> None:
        """Remember a digest, on disk once `keep` has been called."""
        if digest not in self._written:
            self._waiting[digest] = (root, entries)
            if self._results is not None:
                self.keep(self._results)

    def keep(self, results: Path) -> None:
        """Write what has been noted, and from now on all that is noted, below a folder of results."""
        self._results = results
        while self._waiting:
            digest, (root, entries) = self._waiting.popitem()
            self._written.add(digest)
            path = results / RECORDS / f"{digest}.json"
            if not path.is_file():
                # Lists of pairs: the order of the parts is part of the meaning.
                files = {name: list(found.items()) for name, found in parts_of(root, entries).items()}
                write_json(path, {**asdict(entries), "files": files})


RECORD = Records()


def read_record(results: Path, digest: str) -> tuple[Entries, dict[str, dict[str, str]]] | None:
    """What stood behind a digest, as `parts_of` tells it; None where that was not recorded or cannot be read."""
    path = results / RECORDS / f"{digest}.json"
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        entries = Entries(content["script"], tuple(content["modules"]), tuple(content["data"]))
        return entries, {name: dict(found) for name, found in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def script_digest(root: Path, script: str, modules: Iterable[str] = (), data: Iterable[Path] = ()) -> str:
    """Digest of ``workflow_scripts/<script>.py`` of the repository at `root` and all it reaches.

    Args:
        root: The repository.
        script: Name of the rule's command-line script.
        modules: Modules imported by name at run time (registries), which no scan can see.
        data: Files the code reads from the repository (templates, for instance); their bytes count.

    Returns:
        16 hexadecimal characters.

    Raises:
        FileNotFoundError: A module is not there.
    """
    labels = sorted(_label(path, root) for path in data)
    entries = Entries(f"workflow_scripts/{script}.py", tuple(sorted(modules)), tuple(labels))
    digest = code_digest(root, entries)
    RECORD.note(digest, root, entries)
    return digest


def code_digest(root: Path, entries: Entries) -> str:
    """Digest of all that is reached from somewhere; see `script_digest`."""
    digest = hashlib.sha256()
    for path in _files(root, entries):
        digest.update(f"{_label(path, root)}\0{_read(path, root / 'src').digest}\0".encode())
    for name in entries.data:
        digest.update(f"{name}\0".encode() + (root / name).read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def parts_of(root: Path, entries: Entries) -> dict[str, dict[str, str]]:
    """Digests of the parts of each reached file, by its path and by kind and name of the part."""
    found = {_label(path, root): _read(path, root / "src").parts for path in _files(root, entries)}
    return found | {name: {"content": file_digest(root / name)[:16]} for name in entries.data}


def _files(root: Path, entries: Entries) -> list[Path]:
    source = root / "src"
    return reachable([root / entries.script, *(_file_of(name, source) for name in entries.modules)], source)


def reachable(entries: Iterable[Path], source: Path) -> list[Path]:
    """The entry files and every file below `source` they import when they run, sorted by path."""
    found: set[Path] = set()
    waiting = list(entries)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_read(path, source).imports)
    return sorted(found)


def _label(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


class _Summary(NamedTuple):
    """What is known of one file: what it imports, digests of its parts, the digest of all of them."""

    imports: tuple[Path, ...]
    parts: dict[str, str]
    digest: str


@cache
def _summary(path: Path, source: Path, stamp: tuple[int, int]) -> _Summary:
    """Read one file; `stamp` makes an edited file a new cache entry."""
    del stamp
    with _collector_at_rest():
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        imports = tuple(_imports(tree, path, source))
        found = {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in parts(tree).items()}
    return _Summary(imports, found, hashlib.sha256(repr(list(found.items())).encode()).hexdigest())


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """A syntax tree is many small objects without cycles: looking for cycles in it takes longer than to read it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _read(path: Path, source: Path) -> _Summary:
    status = path.stat()
    return _summary(path, source, (status.st_mtime_ns, status.st_size))


def _imports(tree: ast.Module, path: Path, source: Path) -> Iterator[Path]:
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _module_files(alias.name, source)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, path, source)
            for alias in node.names:
                yield from _module_files(f"{base}.{alias.name}", source)
        elif not for_type_checkers(node) and not isinstance(node, ast.expr):
            waiting.extend(ast.iter_child_nodes(node))


def _absolute(node: ast.ImportFrom, path: Path, source: Path) -> str:
    if not node.level:
        return node.module or ""
    package = path.relative_to(source).parent.parts
    kept = package[: len(package) - node.level + 1]
    return ".".join((*kept, *(node.module.split(".") if node.module else ())))


def _module_files(name: str, source: Path) -> Iterator[Path]:
    """Files Python executes for ``import name``: every package on the way, and the module; attributes are ignored."""
    parts_of_name = name.split(".")
    if parts_of_name[0] != _PACKAGE:
        return
    folder = source
    for part in parts_of_name:
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
