"""What Python code means, as text that comments, formatting and the names of local variables leave alone.

Two files of equal parts do the same. Left out, because nothing that runs depends on them: comments, docstrings, layout,
the package version, the order of neighbouring imports, imports for type checkers alone, annotations of functions and of
what is inside them, and how a function calls its own variables. Kept: names and order of arguments (they are keywords),
annotations in the body of a class (data classes read them) and of functions with decorators this module does not know.
Standard library only: the runner imports this. The text is the same under Python 3.11 and later.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_CONTEXT = ("ctx", "type_comment")
_SILENT_FIELDS: Mapping[type[ast.AST], Sequence[str]] = {
    ast.AnnAssign: ("annotation",),
    ast.FunctionDef: ("type_comment", "returns"),
    ast.AsyncFunctionDef: ("type_comment", "returns"),
    ast.arg: ("annotation", "type_comment"),
}
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_IMPORTS = (ast.Import, ast.ImportFrom)
# Importing from these does nothing but bind names, and the names are seen where they are used.
_SILENT_MODULES = {"__future__", "typing", "collections.abc"}
# Decorators that never look at a function's annotations.
_BLIND = {
    "abstractmethod", "cache", "cached_property", "classmethod", "contextmanager", "inference_mode", "lru_cache",
    "no_grad", "property", "staticmethod",
}  # fmt: skip
# Functions that see the names of local variables.
_REFLECTION = {"locals", "vars", "eval", "exec", "dir"}
_NOTHING: Mapping[str, str] = {}


def parts(tree: ast.Module) -> dict[str, str]:
    """Text of the meaning of each part of a module, in the order of the file.

    Returns:
        By kind and qualified name: ``function f``, ``class C`` (its body without its methods), ``method C.m``,
        ``value NAME``, ``imports``, ``statements``; a second one of a name is marked ``#2``.
    """
    found: dict[str, str] = {}
    for name, text in _module_parts(tree.body):
        number = 1
        while (name if number == 1 else f"{name} #{number}") in found:
            number += 1
        found[name if number == 1 else f"{name} #{number}"] = text
    return found


def runs(statements: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Statements that do something when the code runs: no docstring, no version, nothing for type checkers alone."""
    return [statement for statement in statements if not _is_silent(statement)]


def for_type_checkers(statement: ast.AST) -> bool:
    """Whether this is ``if TYPE_CHECKING:``."""
    return isinstance(statement, ast.If) and isinstance(statement.test, ast.Name) and (
        statement.test.id == "TYPE_CHECKING" and not statement.orelse
    )  # fmt: skip


def _is_silent(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)
    if isinstance(statement, ast.ImportFrom):
        return not statement.level and statement.module in _SILENT_MODULES
    if isinstance(statement, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id == "__version__" for target in statement.targets)
    return for_type_checkers(statement)


def _module_parts(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    imports: list[ast.stmt] = []
    for statement in runs(body):
        if isinstance(statement, _IMPORTS):
            imports.append(statement)
            continue
        if imports:
            yield "imports", _imports_text(imports)
            imports = []
        if isinstance(statement, _FUNCTIONS):
            yield f"function {statement.name}", _function_text(statement)
        elif isinstance(statement, ast.ClassDef):
            yield from _class_parts(statement, statement.name)
        else:
            yield _statement_name(statement), _text(statement)
    if imports:
        yield "imports", _imports_text(imports)


def _statement_name(statement: ast.stmt) -> str:
    targets: Sequence[ast.expr] = ()
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        targets = [statement.target]
    names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    return f"value {', '.join(names)}" if names else "statements"


def _class_parts(node: ast.ClassDef, name: str) -> Iterator[tuple[str, str]]:
    """The class with its methods as bare names in their places, then each method."""
    body = runs(node.body)
    methods = [item for item in body if isinstance(item, _FUNCTIONS)]
    out = ["class("]
    for group in ("decorator_list", "bases", "keywords", "type_params"):
        out.append(f"{group}=")
        _write_field(getattr(node, group, []), out, _NOTHING, ast.ClassDef)
    for item in body:
        if isinstance(item, _FUNCTIONS):
            out.append(f"def {item.name};")
        else:
            _write(item, out, _NOTHING, in_class=True)
    yield f"class {name}", "".join(out)
    for method in methods:
        yield f"method {name}.{method.name}", _function_text(method)


def _imports_text(statements: Iterable[ast.stmt]) -> str:
    """Neighbouring imports, one line per name, sorted where no name is bound twice."""
    lines: list[str] = []
    bound: list[str] = []
    for statement in statements:
        origin = "." * statement.level + (statement.module or "") if isinstance(statement, ast.ImportFrom) else ""
        marker = "from" if isinstance(statement, ast.ImportFrom) else "import"
        for alias in statement.names if isinstance(statement, _IMPORTS) else ():
            lines.append(f"{marker} {origin} {alias.name} as {alias.asname};")
            bound.append(alias.asname or alias.name)
    return "".join(sorted(lines) if len(set(bound)) == len(bound) and "*" not in bound else lines)


def _text(node: ast.AST) -> str:
    out: list[str] = []
    _write(node, out, _NOTHING)
    return "".join(out)


def _function_text(node: _Function) -> str:
    out: list[str] = []
    _write(node, out, local_names(node))
    return "".join(out)


def _write(node: ast.AST, out: list[str], names: Mapping[str, str], *, in_class: bool = False) -> None:
    """Append the text of a node; `names` says what local variables are called instead."""
    if isinstance(node, ast.AnnAssign) and node.value and not in_class:
        node = ast.Assign([node.target], node.value)
    kind = type(node)
    if kind is ast.Name:
        name: str = node.id  # type: ignore[attr-defined]
        out.append(f"${names.get(name, name)} ")
        return
    if kind is ast.Constant:
        out.append(f"{node.value!r} ")  # type: ignore[attr-defined]
        return
    if kind in _FUNCTIONS:
        names = names or local_names(node)  # type: ignore[arg-type]
        if _reads_annotations(node):  # type: ignore[arg-type]
            out.extend(f"{ast.dump(part)} " for part in _annotations(node))  # type: ignore[arg-type]
    silent = _CONTEXT if in_class and kind is ast.AnnAssign else _SILENT_FIELDS.get(kind, _CONTEXT)
    out.append(f"{kind.__name__}(")
    for field in kind._fields:
        value = None if field in silent else getattr(node, field, None)
        if value is not None and value != []:
            out.append(f"{field}=")
            _write_field(runs(value) if field == "body" and isinstance(value, list) else value, out, names, kind)
    out.append(")")


def _write_field(value: object, out: list[str], names: Mapping[str, str], kind: type[ast.AST]) -> None:
    if isinstance(value, ast.AST):
        _write(value, out, names)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, ast.AST):
                _write(item, out, names, in_class=kind is ast.ClassDef)
            else:
                out.append(f"{item!r} ")
        out.append(";")
    else:
        out.append(f"{value!r} ")


def _annotations(node: _Function) -> Iterator[ast.expr]:
    arguments = [part for part in ast.walk(node.args) if isinstance(part, ast.arg)]
    yield from (part.annotation for part in arguments if part.annotation)
    if node.returns:
        yield node.returns


def _reads_annotations(node: _Function) -> bool:
    return not all(_decorator_name(decorator) in _BLIND for decorator in node.decorator_list)


def _decorator_name(node: ast.expr) -> str:
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


# local variables


def local_names(function: _Function) -> dict[str, str]:
    """Names of variables that belong to the function (or to what is defined in it) alone, and what to call them.

    A name is in here only if every occurrence of it in the whole function is bound inside the function, so calling
    all of them something else changes nothing. What is not certain is left out: arguments, names declared global or
    nonlocal, imported, caught or matched ones, and all names of a function that defines a class or looks at its own
    variables by name.
    """
    found: dict[str, None] = {}
    other: set[str] = set()
    try:
        _scan_function(function, frozenset(), found, other)
    except _TooClever:
        return {}
    own = [name for name in found if name not in other and not name.startswith("__")]
    return {name: f"%{number}" for number, name in enumerate(own)}


class _TooClever(Exception):
    """The function sees the names of its own variables, or defines a class."""


def _scan_function(node: _Function, bound: frozenset[str], found: dict[str, None], other: set[str]) -> None:
    """Collect names stored in a function (`found`) and names that mean something outside of it (`other`)."""
    for outside in (*node.decorator_list, node.args, *getattr(node, "type_params", [])):
        _scan(outside, bound, found, other)
    if node.returns is not None:
        _scan(node.returns, bound, found, other)
    inside = bound | _stored(node.body)
    for statement in node.body:
        _scan(statement, inside, found, other)


def _scan(node: ast.AST, bound: frozenset[str], found: dict[str, None], other: set[str]) -> None:
    if isinstance(node, ast.Name):
        if node.id in _REFLECTION:
            raise _TooClever
        if isinstance(node.ctx, ast.Load):
            if node.id not in bound:
                other.add(node.id)
        else:
            found.setdefault(node.id)
    elif isinstance(node, _FUNCTIONS):
        other.add(node.name)
        _scan_function(node, bound, found, other)
    elif isinstance(node, ast.ClassDef):
        raise _TooClever
    elif isinstance(node, _COMPREHENSIONS):
        first, *later = node.generators
        _scan(first.iter, bound, found, other)
        inside = bound | _stored([generator.target for generator in node.generators])
        values = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        for part in (first.target, *first.ifs, *later, *values):
            _scan(part, inside, found, other)
    else:
        other.update(_other_names(node))
        for child in ast.iter_child_nodes(node):
            _scan(child, bound, found, other)


def _other_names(node: ast.AST) -> Iterable[str]:
    """Names a node binds or declares without a `Name`."""
    if isinstance(node, ast.Global | ast.Nonlocal):
        return node.names
    if isinstance(node, ast.arg):
        return (node.arg,)
    if isinstance(node, ast.alias):
        return ((node.asname or node.name).partition(".")[0],)
    found = (getattr(node, field, None) for field in ("name", "rest"))
    return [name for name in found if isinstance(name, str)]


def _stored(nodes: Sequence[ast.AST]) -> frozenset[str]:
    """Names stored by these nodes themselves: not by functions or comprehensions in them."""
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                found.add(node.id)
        elif not isinstance(node, (*_FUNCTIONS, *_COMPREHENSIONS, ast.Lambda, ast.ClassDef)):
            waiting.extend(ast.iter_child_nodes(node))
    return frozenset(found)
