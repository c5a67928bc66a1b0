"""What planning costs at the scale of TCGA: dry-run, re-check of a finished plan, jobs with and without groups.

Slides, sizes and patients are made up by a seeded generator; nothing is downloaded, and no job runs: the outputs of the
finished plan are empty files with Snakemake's records of them (`snakemake --touch`).

Usage: python -m benchmarks.scale [--slides 11000 100000] [--slides-per-job 50] [--skip-finished] [--profile]
"""

from __future__ import annotations

import argparse
import os
import pstats
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from pathomix.core.locks import LOCK_COLUMNS
from pathomix.workflow.dry_run import Job, parse_plan

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "config", "envs", "locks", "profiles", "resources", "rules", "src", "workflow_scripts")
EXTRA = "synthetic_kirc"
"""The ninth cohort, described like `pg_kirc`; with the union of the configuration there are ten names."""
SEEDS = [0, 1, 2]
# Issue 8, on two cores: dry-run, its memory, a finished plan looked at again.
LIMITS = {"dry-run": 20.0, "again": 60.0}
LIMIT_MB = 600


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        wall_s: Seconds until it ended.
        processor_s: Seconds of processor time of it and its children.
        peak_mb: Largest resident set of one process, in MB.
        text: What it printed.
    """

    wall_s: float
    processor_s: float
    peak_mb: float
    text: str


def write_plan(folder: Path, slides: int, slides_per_job: int, seed: int = 0) -> tuple[list[str], int]:
    """Copy the workflow and lay a plan of made-up slides into it; returns its cohorts and the number of slides.

    Args:
        folder: Folder to make.
        slides: Slides of all cohorts together.
        slides_per_job: Slides one job handles.
        seed: Seed of the sizes of the cohorts.
    """
    folder.mkdir(parents=True)
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    config: dict[str, Any] = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    described = [name for name, entry in config["cohorts"].items() if "description" in entry]
    kirc = (ROOT / "config/cohorts/tcga_kirc.yaml").read_text()
    (folder / f"config/cohorts/{EXTRA}.yaml").write_text(kirc.replace("lock: tcga_kirc", f"lock: {EXTRA}"))
    config["cohorts"][EXTRA] = {**config["cohorts"]["pg_kirc"], "description": f"config/cohorts/{EXTRA}.yaml"}
    config["slides"]["slides_per_job"] = slides_per_job
    methods = list(config["methods"])
    config["studies"]["everything"] = {
        "title": "All methods on all cohorts", "cohorts": [*described, EXTRA], "scheme": "mc15", "methods": methods,
        "tasks": ["survival", "subtype"], "seeds": SEEDS, "kaplan_meier": methods[0], "reference": methods[0],
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    locks = dict.fromkeys(Path(config["cohorts"][name]["description"]).stem for name in [*described, EXTRA])
    shares = np.random.default_rng(seed).dirichlet(np.full(len(locks), 4.0))
    counts = dict(zip(locks, np.maximum(1, np.round(shares * slides)).astype(int).tolist(), strict=True))
    for name, count in counts.items():
        _write_lock(folder / "resources/locks", name, count)
    (folder / "data/atlas").mkdir(parents=True)
    (folder / "data/atlas/human.h5ad").touch()
    return [*described, EXTRA], sum(counts.values())


def _write_lock(folder: Path, name: str, count: int) -> None:
    """A lock of slides that do not exist; its note says so."""
    slides = pd.DataFrame({"slide_id": [f"MADE-{name.upper()}-{i:06d}-01Z-00-DX1" for i in range(count)]})
    slides["file_name"] = slides["slide_id"] + ".svs"
    slides["file_id"] = [str(uuid.uuid5(uuid.NAMESPACE_URL, file)) for file in slides["file_name"]]
    slides["patient_id"] = slides["slide_id"].str.removesuffix("-01Z-00-DX1")
    slides["sample_id"] = slides["patient_id"] + "-01A"
    fixed = {"md5": "", "size": 1_000_000_000, "project": "MADE-UP", "sample_type": "Primary Tumor"}
    slides.assign(**fixed)[list(LOCK_COLUMNS)].to_csv(
        folder / f"{name}.slides.tsv", sep="\t", index=False, lineterminator="\n"
    )
    beside = {
        "source": "benchmarks.scale", "data_release": "none", "retrieved": "never", "projects": ["MADE-UP"],
        "filters": {}, "note": "made up, to measure plans: no such slides",
    }  # fmt: skip
    (folder / f"{name}.slides.yaml").write_text(yaml.safe_dump(beside, sort_keys=False))


def measured(folder: Path, *arguments: str) -> Cost:
    """Run Snakemake in a folder.

    Raises:
        RuntimeError: It failed.
    """
    command = [str(ROOT / ".venv/runner/bin/snakemake"), "--cores", "2", "--configfile", "config.yaml", *arguments]
    before = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        started = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(started.pid, 0)
        # The process is gone: without this `Popen` would look for it once more.
        started.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - before
        output.seek(0)
        text = output.read()
    if started.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {started.returncode}\n{text[-3000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)


def finish(folder: Path, jobs: list[Job]) -> None:
    """Make every output of a plan exist, all of one age, with Snakemake's record of it."""
    now = time.time()
    for file in {file for job in jobs for file in (*job.inputs, *job.outputs)}:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (now, now))
    measured(folder, "--touch", "--forceall", "--quiet", "all")


def grouped(folder: Path, jobs: list[Job]) -> int:
    """Submissions of a plan under `group-components` and `groups` of the Slurm profile; jobs of one level together."""
    profile = yaml.safe_load((folder / "profiles/slurm/config.yaml").read_text())
    groups = dict(entry.split("=") for entry in profile.get("groups", []))
    size = {name: int(count) for name, _, count in (e.partition("=") for e in profile.get("group-components", []))}
    per_group = Counter(groups[job.rule] for job in jobs if job.rule in groups)
    alone = sum(job.rule not in groups for job in jobs)
    return alone + sum(-(-count // size.get(name, 1)) for name, count in per_group.items())


def report(slides: int, options: argparse.Namespace) -> None:
    """Measure one plan and print it."""
    with tempfile.TemporaryDirectory(prefix="scale_") as name:
        folder = Path(name) / "plan"
        cohorts, written = write_plan(folder, slides, options.slides_per_job)
        print(f"\n{written} slides, {len(cohorts)} cohorts and a union, {options.slides_per_job} a job, "
              f"{len(SEEDS)} seeds, 15 folds; load {os.getloadavg()[0]:.1f}")  # fmt: skip
        dry = measured(folder, "-n", "-p", "--quiet", "host")
        jobs = parse_plan(dry.text)
        _row("dry-run", dry)
        for rule, count in Counter(job.rule for job in jobs).most_common():
            print(f"    {rule:24s} {count:6d}")
        print(f"    {'all':24s} {len(jobs):6d}   submissions with the profile's groups: {grouped(folder, jobs)}")
        if options.profile:
            _profile(folder)
        if not options.skip_finished:
            finish(folder, jobs)
            again = measured(folder, "-n", "--quiet", "host")
            if parse_plan(again.text):
                raise RuntimeError(f"the finished plan is not finished\n{again.text[-3000:]}")
            _row("again", again)


def _row(name: str, cost: Cost) -> None:
    print(f"  {name:8s} {cost.wall_s:6.1f} s wall, {cost.processor_s:6.1f} s of processor (wanted {LIMITS[name]:.0f}), "
          f"{cost.peak_mb:5.0f} MB (wanted {LIMIT_MB})")  # fmt: skip


def _profile(folder: Path) -> None:
    """The functions a dry-run spends its time in."""
    file = folder / "dry_run.prof"
    code = (
        "import cProfile, sys\nfrom snakemake.cli import main\n"
        "sys.argv = ['snakemake', '-n', '--quiet', 'host', '--cores', '2', '--configfile', 'config.yaml']\n"
        "profile = cProfile.Profile()\ntry:\n    profile.runcall(main)\n"
        f"finally:\n    profile.dump_stats({str(file)!r})"
    )
    python = ROOT / ".venv/runner/bin/python"
    subprocess.run([python, "-c", code], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    pstats.Stats(str(file)).sort_stats(pstats.SortKey.CUMULATIVE).print_stats(45)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--slides", type=int, nargs="+", default=[11_000, 100_000])
    arguments.add_argument("--slides-per-job", type=int, default=50)
    arguments.add_argument("--skip-finished", action="store_true", help="the dry-run alone")
    arguments.add_argument("--profile", action="store_true", help="print where the dry-run spends its time")
    chosen = arguments.parse_args()
    if not (ROOT / ".venv/runner/bin/snakemake").is_file():
        sys.exit("no runner environment; `make test` installs it")
    for number in chosen.slides:
        report(number, chosen)
