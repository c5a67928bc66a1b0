"""What a job costs that has nothing to do: start of Python, imports of the rule's script, exit.

Everything a script imports is imported, also what it imports only when it begins to work; nothing is read or computed.
Beside it stands Python with NumPy and pandas alone, in the same run. Processor seconds are the figure to read on a
machine that does other things as well.

Usage: python -m benchmarks.startup [SCRIPT ...]
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LIMIT_S = 1.5
# Scripts of jobs that fit, apply or read networks; all others have no use for torch.
NETWORKS = {
    "embed_cohort", "embed_expression", "embed_tiles", "explain_representation", "fit_expression_encoder",
    "fit_method", "mix_atlas", "smooth_expression", "train_representation", "train_smoother", "write_texts",
}  # fmt: skip
HEAVY = ("torch", "scanpy", "anndata", "sklearn", "lifelines", "matplotlib", "cv2", "skimage", "tiatoolbox", "timm",
         "transformers", "scipy", "pandas", "pyarrow", "pydantic", "httpx")  # fmt: skip


class Start(NamedTuple):
    """Processor and wall seconds of one start, and the heavy packages it imported."""

    processor_s: float
    wall_s: float
    heavy: list[str]


def imports_of(script: Path) -> str:
    """Every import statement of a script, those inside functions as well, but for type checkers."""
    found = []
    waiting: list[ast.AST] = [ast.parse(script.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(ast.unparse(node))
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")):
            waiting.extend(ast.iter_child_nodes(node))
    own = [line for line in found if not line.startswith("from __future__")]
    return "\n".join(own)


def start(code: str) -> Start:
    """Run a few import statements in a Python of their own.

    Raises:
        RuntimeError: An import failed.
    """
    told = f"{code}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    before = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command, pipe = [sys.executable, "-c", told], subprocess.PIPE
    started = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)
    assert started.stdout and started.stderr
    said, failed = started.stdout.read(), started.stderr.read()
    _, status, usage = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode:
        raise RuntimeError(f"{code}\n{failed[-2000:]}")
    return Start(usage.ru_utime + usage.ru_stime, time.monotonic() - before, said.split())


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("scripts", nargs="*", help="names of workflow scripts; default: all")
    arguments.add_argument("--repeats", type=int, default=3, help="starts of each; the fastest counts")
    chosen = arguments.parse_args()
    scripts = chosen.scripts or sorted(path.stem for path in (ROOT / "workflow_scripts").glob("*.py"))
    print(f"load {os.getloadavg()[0]:.1f}; wanted: under {LIMIT_S} s where no network is run")
    measured = {
        "(python)": min(start("") for _ in range(chosen.repeats)),
        "(numpy, pandas)": min(start("import numpy, pandas") for _ in range(chosen.repeats)),
    }
    for name in scripts:
        code = imports_of(ROOT / "workflow_scripts" / f"{name}.py")
        measured[name] = min(start(code) for _ in range(chosen.repeats))
    for name, best in measured.items():
        slow = " OVER" if best.processor_s > LIMIT_S and name not in NETWORKS else ""
        torch = " TORCH FOR NOTHING" if "torch" in best.heavy and name not in NETWORKS else ""
        print(f"{name:24s} {best.processor_s:5.2f} s processor {best.wall_s:6.2f} s wall  "
              f"{' '.join(best.heavy)}{slow}{torch}")  # fmt: skip
