"""Running the workflow in order to disturb it: who is at work, what is killed when, and what files are left."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

# What says when and how fast a run was, or is Snakemake's own; docs/determinism.md lists the same.
EXEMPT = re.compile(r"(logs|benchmarks)/|.*\.verified\.json$")
# What a finished run leaves nowhere: temporary files, half downloads, half feature files.
ORPHAN = re.compile(r"\..+\.writing(\.[^.]*)?|.+\.part(\.version)?|.+\.partial|.*\.tmp")
VICTIMS = ("controller", "shell", "worker", "machine")
_LONGEST_S = 1800.0
_LOOK_S = 0.02


def artefacts(results: Path) -> dict[str, str]:
    """Digest of every file that has to be the same in every run, by its path below the results folder."""
    found = {}
    for path in sorted(p for p in results.rglob("*") if p.is_file()):
        name = path.relative_to(results).as_posix()
        if not EXEMPT.match(name):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def orphans(results: Path) -> list[str]:
    """Files that nobody will ever finish."""
    return sorted(str(p.relative_to(results)) for p in results.rglob("*") if ORPHAN.fullmatch(p.name))


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Names that one of two runs lacks, or that differ."""
    return [
        f"{name}: {before.get(name, 'absent')[:16]} became {after.get(name, 'absent')[:16]}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


@dataclass(frozen=True)
class Site:
    """A checkout in which the workflow runs.

    Attributes:
        folder: The checkout.
        program: Snakemake.
        python: Folder of the rules' programs.
        options: Targets, configuration and what every call says.
        results: Results folder.
    """

    folder: Path
    program: Path
    python: Path
    options: tuple[str, ...]
    results: Path

    def start(self, *options: str, before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
        """Snakemake in a session of its own, not waited for; `said` has its words."""
        path = f"{self.python}{os.pathsep}{os.environ['PATH']}"
        command = [str(self.program), *self.options, *options]
        with (self.folder / "said.log").open("a") as said:
            return subprocess.Popen(
                command, cwd=self.folder, env={**os.environ, "PATH": path}, text=True, stdout=said,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=before,
            )  # fmt: skip

    def run(self, *options: str, before: Callable[[], None] | None = None) -> int:
        """Snakemake to its end; its exit status."""
        return self.start("--cores", "1", *options, before=before).wait(_LONGEST_S)

    def finish(self, *options: str) -> None:
        """What a user does after a crash: remove the lock of the dead controller, and start again.

        Raises:
            AssertionError: The run fails.
        """
        assert self.run("--unlock") == 0, self.said()
        assert self.run(*options) == 0, self.said()

    def said(self) -> str:
        """The last things Snakemake and the jobs' logs said."""
        return (self.folder / "said.log").read_text(errors="replace")[-6000:]

    def copy(self, target: Path) -> Site:
        """The same checkout elsewhere, with its results, their times and Snakemake's notes."""
        shutil.copytree(self.folder, target, symlinks=True)
        return Site(target, self.program, self.python, self.options, target / self.results.relative_to(self.folder))


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        victim: One of `VICTIMS`; ``machine`` is all of them at once.
        passed: Jobs that are let start before.
        delay: Seconds after the start of the job; None is the moment in which it writes.
    """

    victim: str
    passed: int
    delay: float | None

    def __str__(self) -> str:
        moment = "while it writes" if self.delay is None else f"after {self.delay:.2f} s"
        return f"{self.victim} in job {self.passed + 1} of the round, {moment}"


def kills(count: int, most_passed: int, seed: int) -> list[Kill]:
    """A seeded plan in which every victim has its turns, half of them while something is written."""
    draw = random.Random(seed)
    victims = [VICTIMS[number % len(VICTIMS)] for number in range(count)]
    draw.shuffle(victims)
    return [
        Kill(victim, draw.randint(0, most_passed), None if number % 2 else draw.uniform(0.0, 0.8))
        for number, victim in enumerate(victims)
    ]


@dataclass
class Round:
    """A run that is about to be disturbed.

    Attributes:
        site: Where.
        kill: What is to happen.
        options: Snakemake's options.
        seen: Workers that have started, in order.
        session: Session of the run's processes.
    """

    site: Site
    kill: Kill
    options: Sequence[str] = ("--cores", "1")
    seen: list[psutil.Process] = field(default_factory=list)
    session: int = 0

    def play(self) -> str | None:
        """Start, kill, and wait for the controller; the command line of the job that was hit, None if none was."""
        controller = self.site.start(*self.options)
        self.session = controller.pid
        try:
            hit = self._strike(controller)
            controller.wait(_LONGEST_S)
        finally:
            if controller.poll() is None:
                _end(_session(controller.pid))
        return hit

    def _strike(self, controller: subprocess.Popen[str]) -> str | None:
        place = self.kill.passed
        while controller.poll() is None:
            self.seen += [p for p in _workers(controller.pid) if p not in self.seen]
            if len(self.seen) <= place:
                time.sleep(_LOOK_S)
                continue
            worker = self.seen[place]
            name = _script(worker)
            self._await(worker)
            victims = self._victims(controller.pid, worker)
            if victims:
                _end(victims)
                return name
            place += 1  # it had finished: the next one
        return None

    def _await(self, worker: psutil.Process) -> None:
        end = time.monotonic() + (_LONGEST_S if self.kill.delay is None else self.kill.delay)
        while time.monotonic() < end and _lives(worker):
            if self.kill.delay is None and _writes(worker, self.site.results):
                return
            time.sleep(_LOOK_S / 10)

    def _victims(self, session: int, worker: psutil.Process) -> list[psutil.Process]:
        if not _lives(worker):
            return []
        alive = _session(session)
        if self.kill.victim == "machine":
            return alive
        if self.kill.victim == "controller":
            return [p for p in alive if p.pid == session]
        # A shell may have become the worker: then the two are one.
        shell = [p for p in alive if p.pid != session and worker in p.children()]
        return shell if shell and self.kill.victim == "shell" else [worker]


def wait_for_the_orphaned(sites: Sequence[int]) -> None:
    """Wait until no process of these sessions lives: jobs outlive a controller that was killed."""
    end = time.monotonic() + _LONGEST_S
    while any(_session(session) for session in sites) and time.monotonic() < end:
        time.sleep(0.1)


def _session(number: int) -> list[psutil.Process]:
    found = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(pid) == number:
                found.append(psutil.Process(pid))
    return [process for process in found if _lives(process)]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _workers(session: int) -> Iterator[psutil.Process]:
    for process in _session(session):
        if _script(process):
            yield process


def _script(process: psutil.Process) -> str:
    """Name of the workflow script that this process runs; empty for others."""
    try:
        line = process.cmdline()
    except psutil.Error:
        return ""
    script = line[1] if len(line) > 1 else ""
    return Path(script).stem if script.startswith("workflow_scripts/") else ""


def _writes(process: psutil.Process, results: Path) -> bool:
    """Whether a process has a temporary or partial file open."""
    for link in Path(f"/proc/{process.pid}/fd").glob("*"):
        try:
            target = link.readlink()
        except OSError:
            continue
        if target.is_relative_to(results) and ORPHAN.fullmatch(target.name):
            return True
    return False


def _end(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def at_work(session: int) -> bool:
    """Whether a workflow script runs in this session."""
    return any(True for _ in _workers(session))
