"""Compare the package with golden sets: ``python tests/golden/check.py DIR [DIR ...]``.

Every folder with a `config.json` at or below the given ones is a set. Its checker is the one registered for the
longest prefix of the folder's name. One line per tensor, then ``N passed, M failed``; exit code 1 when a tensor fails
or there is nothing to check.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src")]

from checking import CHECKERS, GoldenSet, Result  # noqa: E402

for module in sorted((HERE / "checkers").glob("*.py")):
    importlib.import_module(f"checkers.{module.stem}")


def sets_below(folders: Iterable[Path]) -> list[Path]:
    """Folders with a `config.json`, sorted, each once."""
    return sorted({config.parent.resolve() for folder in folders for config in folder.rglob("config.json")})


def check_set(path: Path) -> Iterator[Result]:
    """Results of one set; an exception in its checker is one failed line, never the end of the run."""
    golden = GoldenSet(path)
    prefixes = [prefix for prefix in CHECKERS if golden.name.startswith(prefix)]
    if not prefixes:
        yield Result(golden.name, "*", float("nan"), float("nan"), "unsupported", "no implementation exists yet")
        return
    try:
        yield from CHECKERS[max(prefixes, key=len)](golden)
        for name in sorted(set(golden.tensors) - golden.seen):
            yield golden.unsupported(name, "the checker does not know this tensor")
    except Exception as error:
        yield Result(golden.name, "*", float("inf"), 0.0, "fail", f"{type(error).__name__}: {error}")


def main(arguments: list[str]) -> int:
    """Print all lines; the exit code."""
    paths = sets_below(Path(argument) for argument in arguments)
    if not paths:
        print(f"no golden set (a folder with config.json) below {' '.join(arguments) or 'nothing'}")
        return 1
    passed = failed = 0
    for path in paths:
        for result in check_set(path):
            print(result, flush=True)
            passed += result.status == "pass"
            failed += result.status == "fail"
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
