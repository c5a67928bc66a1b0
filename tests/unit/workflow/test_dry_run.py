"""Jobs as Snakemake's dry-run tells them; counting them is tested with the estimate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pathomix.core.errors import PathomixError
from pathomix.workflow.dry_run import Job, parse_plan, planned_jobs

TOLD = """Building DAG of jobs...
Job stats:
job           count
----------  -------
fit_method        1
total             2

\x1b[32m[Sat Nov 21 20:18:45 2026]\x1b[0m
rule fit_method:
    input: r/a.parquet, r/b c.parquet
    output: r/cv.parquet, r/cv.json
    log: r/logs/cv.log
    jobid: 6
    benchmark: r/benchmarks/cv.tsv
    reason: Updated input files: r/a.parquet
    wildcards: study=small, method=snn
    resources: tmpdir=/tmp, runtime=240, gpu=2, mem_mb=2000
Shell command: python fit.py --parameters '{"a":"rule x:"}' > r/logs/cv.log 2>&1

[Sat Nov 21 20:18:45 2026]
rule fetch:
    output: r/d
    jobid: 7
    reason: Missing output files: r/d
    resources: tmpdir=/tmp

[Sat Nov 21 20:18:45 2026]
localrule all:
    input: r/cv.parquet
    jobid: 0
    reason: Input files updated by another job: r/cv.parquet
"""
JOBS = [
    Job(
        "fit_method",
        ("r/a.parquet", "r/b c.parquet"),
        ("r/cv.parquet", "r/cv.json"),
        "r/benchmarks/cv.tsv",
        "Updated input files: r/a.parquet",
        "study=small, method=snn",
        'python fit.py --parameters \'{"a":"rule x:"}\' > r/logs/cv.log 2>&1',
        2,
    ),
    Job("fetch", (), ("r/d",), reason="Missing output files: r/d"),
]


def test_every_job_but_the_target() -> None:
    assert parse_plan(TOLD) == JOBS
    assert parse_plan("Nothing to be done (all requested files are present and up to date).") == []


def fake(checkout: Any, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    command = checkout.root / "bin/snakemake"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")


def test_what_snakemake_is_asked(checkout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(checkout, monkeypatch, f"printf '%s\\n' \"$@\" > asked\ncat <<'E'\n{TOLD}\nE")
    assert planned_jobs(checkout.root, [Path("a.yaml")], ["data=x"], profile="slurm", targets=["r/d"]) == JOBS
    assert (checkout.root / "asked").read_text().split() == [
        *("-n", "--nolock", "-p", "--quiet", "host", "--configfile", "a.yaml", "--config", "data=x"),
        *("--profile", "slurm", "--", "r/d"),
    ]


def test_a_plan_that_fails_is_no_empty_plan(checkout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(checkout, monkeypatch, "echo 'MissingRuleException: no rule makes r/d'; exit 1")
    with pytest.raises(PathomixError, match=r"MissingRuleException: no rule makes r/d; mend that"):
        planned_jobs(checkout.root, [Path("a.yaml")], targets=["r/d"])
