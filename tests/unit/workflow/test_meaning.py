"""The text of a part follows what the code does: the compiler is asked where names are concerned."""

from __future__ import annotations

import ast
import types
from pathlib import Path

import pytest

from pathomix.workflow.meaning import local_names, parts

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def meaning(text: str) -> dict[str, str]:
    return parts(ast.parse(text))


class Rename(ast.NodeTransformer):
    """Call variables something else, wherever a `Name` names one."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.copy_location(ast.Name(self.names.get(node.id, node.id), node.ctx), node)


def compiled(code: types.CodeType, names: dict[str, str]) -> tuple[object, ...]:
    """All of a code object that runs; variables by their new names. Cells are sorted by name, so these are sets."""
    constants = [compiled(c, names) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    cells = {names.get(name, name) for name in (*code.co_cellvars, *code.co_freevars)}
    plain = [names.get(name, name) for name in code.co_varnames if names.get(name, name) not in cells]
    # Where there are cells, their numbers follow their names.
    body = code.co_code if not cells else len(code.co_code)
    return body, code.co_names, constants, cells, plain, code.co_argcount, code.co_flags, code.co_name


def source_files(root: Path) -> list[Path]:
    return sorted([*(root / "src").rglob("*.py"), *(root / "workflow_scripts").glob("*.py")])


def test_renaming_what_local_names_tells_leaves_the_compiled_code_of_the_whole_library_as_it_is(root: Path) -> None:
    renamed = 0
    for path in source_files(root):
        text = path.read_text()
        for node in ast.parse(text).body:
            functions = [node] if isinstance(node, FUNCTIONS) else []
            functions += [i for i in node.body if isinstance(i, FUNCTIONS)] if isinstance(node, ast.ClassDef) else []
            for function in functions:
                names = {old: f"zz_{new[1:]}" for old, new in local_names(function).items()}
                before = compile(ast.Module([function], []), str(path), "exec")
                after = compile(ast.fix_missing_locations(Rename(names).visit(ast.Module([function], []))), "", "exec")
                assert compiled(before, names) == compiled(after, names), f"{path}: {function.name}"
                renamed += len(names)
    assert renamed > 1000, "the check would be empty"


F = "def f(a, b=1):\n    total = a + b\n    for item in range(total):\n        total += item\n    return total\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (F, F.replace("total", "whole").replace("item", "part")),
        (F, F.replace("def f(a, b=1):", "def f(a: int, b: float = 1) -> float:")),
        (F, F.replace("total = a", "total: float = a")),
        (F, F.replace(":\n    total", ':\n    """Doc."""\n    # why\n    total', 1)),
        ("def f(x):\n    return [y * x for y in x]\n", "def f(x):\n    return [z * x for z in x]\n"),
        ("def f(x):\n    def g():\n        return n\n    n = x\n    return g\n",
         "def f(x):\n    def g():\n        return m\n    m = x\n    return g\n"),
        ("import os\nfrom a import b\n", "from a import b\nimport os\n"),
        ("from a import b, c\n", "from a import c\nfrom a import b\n"),
        ("X = 1\n", "from __future__ import annotations\nfrom typing import Any\nX: Any = 1\n"),
        ("X = 1\n", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nX = 1\n"),
        ("class A:\n    x: int = 1\n", 'class A:\n    """Doc."""\n\n    x: int = 1\n'),
        ("__version__ = '1'\nX = 1\n", "__version__ = '2'\nX = 1\n"),
    ],
)  # fmt: skip
def test_what_means_the_same(before: str, after: str) -> None:
    assert meaning(before) == meaning(after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (F, F.replace("b=1", "b=2")),
        (F, F.replace("b", "c")),
        (F, F.replace("total += item", "item += total")),
        (F, F.replace("range(total)", "range(item)")),
        # a name that is local in one place and global in another must not hide behind its number
        ("def f(y):\n    return [x for x in y], x\n", "def f(y):\n    return [z for z in y], z\n"),
        ("def f(y):\n    return [x for x in x]\n", "def f(y):\n    return [z for z in z]\n"),
        ("def f():\n    global n\n    n = 1\n", "def f():\n    global m\n    m = 1\n"),
        ("def f():\n    n = 1\n    return locals()\n", "def f():\n    m = 1\n    return locals()\n"),
        ("def f():\n    n = 1\n    return f'{n=}'\n", "def f():\n    m = 1\n    return f'{m=}'\n"),
        ("def f():\n    class A:\n        n = 1\n    return A\n",
         "def f():\n    class A:\n        m = 1\n    return A\n"),
        ("def f():\n    n = 1\n    def g(n):\n        return n\n    return g\n",
         "def f():\n    m = 1\n    def g(m):\n        return m\n    return g\n"),
        ("def f():\n    import a\n    return a.x\n", "def f():\n    import b\n    return b.x\n"),
        ("def f(o):\n    n = 1\n    return o.n\n", "def f(o):\n    m = 1\n    return o.m\n"),
        ("def f(g):\n    n = 1\n    return g(n=n)\n", "def f(g):\n    m = 1\n    return g(m=m)\n"),
        ("def f(k=lambda n: n):\n    return k\n", "def f(k=lambda m: m):\n    return k\n"),
        ("from a import b\nfrom c import b\n", "from c import b\nfrom a import b\n"),
        ("from . import b\n", "from .. import b\n"),
        ("import a\nX = a.x\nimport b\n", "import b\nX = a.x\nimport a\n"),
        ("class A:\n    x: int\n", "class A:\n    x: float\n"),
        ("@register\ndef f(x: int):\n    return x\n", "@register\ndef f(x: float):\n    return x\n"),
        ("X = 1\n", "X = 1.0\n"), ("X = 1\n", "X = True\n"), ("X = 'a'\n", "X = b'a'\n"), ("X = 'a'\n", "X = a\n"),
        ("class A(B):\n    pass\n", "class A(C):\n    pass\n"),
        ("class A(B):\n    pass\n", "@B\nclass A:\n    pass\n"),
        ("class A:\n    def f(self):\n        pass\n    x = 1\n",
         "class A:\n    x = 1\n    def f(self):\n        pass\n"),
        ("f(x, *y)\n", "f(*x, y)\n"), ("{**a, 'b': 1}\n", "{'b': 1, **a}\n"), ("a < b < c\n", "(a < b) < c\n"),
        ("if a:\n    b()\nelse:\n    c()\n", "if a:\n    b()\nc()\n"), ("x[1:]\n", "x[:1]\n"), ("x[::1]\n", "x[:1]\n"),
    ],
)  # fmt: skip
def test_what_means_something_else(before: str, after: str) -> None:
    assert list(meaning(before).items()) != list(meaning(after).items())


def test_parts_have_the_names_a_reader_would_use() -> None:
    text = (
        "import os\nLIMIT: int = 3\na, b = 1, 2\nprint(a)\n\n\nclass C(B):\n    x = 1\n\n"
        "    def m(self):\n        return 1\n\n\ndef f():\n    pass\n\n\ndef f():\n    return 2\n"
    )
    assert list(meaning(text)) == [
        "imports", "value LIMIT", "value a, b", "statements", "class C", "method C.m", "function f", "function f #2",
    ]  # fmt: skip


def test_a_change_is_told_of_the_part_it_is_in_alone() -> None:
    before = meaning("class C:\n    def m(self):\n        return 1\n\n    def n(self):\n        return 1\n")
    after = meaning("class C:\n    def m(self):\n        return 2\n\n    def n(self):\n        return 1\n")
    assert {name for name in before if before[name] != after[name]} == {"method C.m"}
