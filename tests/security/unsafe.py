"""What of a Python file may run code of others or write where it should not, found in its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple


class Finding(NamedTuple):
    """A place and what is wrong with it."""

    line: int
    what: str


# Modules whose readers run code that the file holds; only their exceptions are of use.
_CODE_IN_FILES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
_HARMLESS = {"pickle.UnpicklingError", "pickle.PickleError", "pickle.PicklingError"}
_NEVER = {
    "eval": "runs text as code", "exec": "runs text as code", "compile": "makes code of text",
    "builtins.eval": "runs text as code", "builtins.exec": "runs text as code",
    "os.system": "goes through a shell", "os.popen": "goes through a shell",
    "subprocess.getoutput": "goes through a shell", "subprocess.getstatusoutput": "goes through a shell",
    "asyncio.create_subprocess_shell": "goes through a shell",
    "tempfile.mktemp": "somebody else can make the file first",
    "yaml.load": "use yaml.safe_load", "yaml.load_all": "use yaml.safe_load_all",
    "yaml.full_load": "use yaml.safe_load", "yaml.unsafe_load": "use yaml.safe_load",
    "yaml.unsafe_load_all": "use yaml.safe_load_all", "yaml.full_load_all": "use yaml.safe_load_all",
    "pandas.read_pickle": "runs code that the file holds", "numpy.core.multiarray.load": "use numpy.load",
    "torch.hub.load": "runs code of a repository", "torch.hub.load_state_dict_from_url": "is not pinned",
    "torch.jit.load": "runs code that the file holds", "torch.package.PackageImporter": "runs code that the file holds",
    "ssl._create_unverified_context": "believes any certificate", "shutil.unpack_archive": "writes outside its folder",
    "urllib.request.urlretrieve": "is not verified",
}  # fmt: skip
# Methods of archives, of loaders and of requests: the object is not known, its method's name is.
_EXTRACTING = {"extractall", "extract"}
_LOADED_TRUSTING = {"allow_pickle": "numpy.load with pickle", "trust_remote_code": "code of a model's folder is run"}


def findings(source: str) -> list[Finding]:
    """Everything unsafe in a file, in the order of its lines."""
    tree = ast.parse(source)
    names = dict(_imported(tree))
    found = [Finding(node.lineno, f"import of {name}") for node, name in _pickles(tree)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found += [Finding(node.lineno, what) for what in _of_call(node, names)]
        elif isinstance(node, ast.Attribute):
            called = _dotted(node, names)
            if called.split(".")[0] in _CODE_IN_FILES and "." in called and called not in _HARMLESS:
                found.append(Finding(node.lineno, f"{called} runs code that a file holds"))
    return sorted(set(found))


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Name in the file, and what it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _pickles(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Imports of loaders that run code; a bare ``import pickle`` is judged by what of it is used."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in _CODE_IN_FILES:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((node, name) for name in whole if name not in _HARMLESS)


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """A name with its attributes, the first by what was imported as it; empty for anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value, names)
        return f"{before}.{node.attr}" if before else ""
    return ""


def _is(call: ast.Call, keyword: str, value: object) -> bool:
    return any(k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value == value for k in call.keywords)


def _of_call(call: ast.Call, names: dict[str, str]) -> Iterator[str]:
    called = _dotted(call.func, names)
    last = call.func.attr if isinstance(call.func, ast.Attribute) else called.rpartition(".")[2]
    if called in _NEVER:
        yield f"{called}: {_NEVER[called]}"
    if called in ("torch.load", "torch.serialization.load") and not _is(call, "weights_only", True):
        yield "torch.load without weights_only=True"
    if last in _EXTRACTING and not _is(call, "filter", "data"):
        yield f"{last}: an archive is unpacked without filter='data'"
    given = {k.arg: k.value for k in call.keywords}
    for keyword in ("shell", *_LOADED_TRUSTING):
        if keyword in given and not _is(call, keyword, False):
            yield f"{keyword}: {_LOADED_TRUSTING.get(keyword, 'goes through a shell')}"
    if "verify" in given and _is(call, "verify", False):
        yield "verify=False believes any certificate"
