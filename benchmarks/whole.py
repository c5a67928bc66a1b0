"""Wall time and peak memory of the README's two commands on a bare clone of HEAD.

Usage: python -m benchmarks.whole
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]


def tree_memory(process: psutil.Process) -> int:
    """Sum of the unique set sizes (bytes) of a process and all its descendants."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_full_info().uss
        except psutil.Error:
            continue
    return total


def measure(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command; return seconds and peak memory in GB."""
    peak = 0
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        done = threading.Event()

        def sample() -> None:
            nonlocal peak
            root = psutil.Process(process.pid)
            while not done.wait(0.5):
                try:
                    peak = max(peak, tree_memory(root))
                except psutil.Error:
                    return

        watcher = threading.Thread(target=sample)
        watcher.start()
        code = process.wait()
        done.set()
        watcher.join()
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}")
    return time.perf_counter() - start, peak / 1e9


def main() -> None:
    """Clone, then measure installation, demo, second demo and tests."""
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "pathomix"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        steps = {
            "installation": ["make", ".venv/rules/.ready", ".venv/runner/.ready"],
            "make demo, after installation": ["make", "demo"],
            "make demo, again": ["make", "demo"],
            "installation of the test tools": ["make", ".venv/rules/.ready-dev"],
            "make test, after installation": ["make", "test"],
        }
        print("| step | wall (s) | peak memory (GB) |\n|---|---|---|")
        for name, command in steps.items():
            seconds, gigabytes = measure(command, clone)
            print(f"| {name} | {seconds:.0f} | {gigabytes:.1f} |", flush=True)


if __name__ == "__main__":
    main()
