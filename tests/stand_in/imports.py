"""Import scripts and modules in the environment whose interpreter runs this, and say what could not be imported.

Usage: ``P/bin/python -I imports.py < request``. The request is JSON: `source` (a folder put on the path, as the rules'
PYTHONPATH is), `scripts` (files that are executed, but not as ``__main__``) and `names` (pairs of a module and an
attribute or submodule of it, which may be empty). Prints ``{"failed": {what: why}}``. Standard library only, so that it
runs in any environment.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path


def import_script(path: Path) -> None:
    """Execute a file as a module of its own."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)


def import_name(module: str, attribute: str) -> None:
    """What ``from module import attribute`` does (``import module`` where the attribute is empty)."""
    found = importlib.import_module(module)
    if attribute and not hasattr(found, attribute):
        importlib.import_module(f"{module}.{attribute}")


def main() -> None:
    request = json.load(sys.stdin)
    sys.path.insert(0, request["source"])
    failed: dict[str, str] = {}
    for script in request["scripts"]:
        try:
            import_script(Path(script))
        except Exception as error:
            failed[Path(script).name] = f"{type(error).__name__}: {error}"
    for module, attribute in request["names"]:
        try:
            import_name(module, attribute)
        except Exception as error:
            failed[f"{module}.{attribute}".strip(".")] = f"{type(error).__name__}: {error}"
    print(json.dumps({"failed": failed}))


if __name__ == "__main__":
    main()
