"""Folders and cohorts whose names a shell would run: refused with a sentence, or handled as any other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.conftest import Snakemake, copy_repository, planned, runner

# As commands of an unquoted path would show themselves: by files with these names.
FOLDER = "a b;touch pwned1;$(touch pwned2)'q"
RESULTS = "results/c d;touch pwned3;`touch pwned4`'$(touch pwned5)"
TOKENS = {"GDC_TOKEN": "planted-gdc-7f3a91c0", "HF_TOKEN": "planted-hub-5e82d64b"}


def configuration(root: Path, **changes: Any) -> dict[str, Any]:
    """The miniature with one clinical row, so that a run ends soon."""
    config: dict[str, Any] = yaml.safe_load((root / "tests/workflow/config.yaml").read_text())
    for section in ("atlases", "expression_encoders", "smoothing", "regions", "explanations", "representations",
                    "slide_encoders", "texts", "encoders"):  # fmt: skip
        del config[section]
    cohort = {"patients": 24, "classes": ["Acinar carcinoma", "Solid carcinoma"]}
    config["simulation"] = {"seed": 1, "cohorts": {"sim_a": cohort}, "atlas": {"cells": 50}}
    config["cohorts"] = {"sim_a": {"description": "config/cohorts/simulated.yaml"}}
    config["splits"] = {"cv": {"scheme": "stratified_kfold", "folds": 2, "valid_fraction": 0.2}}
    config["methods"] = {"clinical": {"method": "clinical"}}
    config["studies"] = {
        "small": {"cohorts": ["sim_a"], "scheme": "cv", "methods": ["clinical"], "tasks": ["survival"],
                  "kaplan_meier": "clinical"},
    }  # fmt: skip
    return config | changes


def prepared(root: Path, folder: Path, config: dict[str, Any]) -> Snakemake:
    """A copy of the repository with a configuration `own.yaml`, and Snakemake in it."""
    copy_repository(root, folder)
    (folder / "own.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return runner(root, folder)


@pytest.mark.parametrize("name", ["a b;c", "a;touch pwned", "$(touch pwned)", "a'b", "../a", "a/b", "-rf", "", "a*"])
def test_such_a_cohort_is_refused(root: Path, tmp_path: Path, name: str) -> None:
    schema = yaml.safe_load((root / "config/schemas/config.schema.yaml").read_text())
    config = configuration(root, cohorts={name: {"description": "config/cohorts/simulated.yaml"}})
    config["studies"]["small"]["cohorts"] = [name]
    from jsonschema import Draft202012Validator

    said = [error.message for error in Draft202012Validator(schema).iter_errors(config)]
    assert len(said) == 1 and repr(name) in said[0] and "does not match" in said[0]


@pytest.mark.slow
def test_the_refusal_reaches_the_user(root: Path, tmp_path: Path) -> None:
    config = configuration(root, cohorts={"a b;c": {"description": "config/cohorts/simulated.yaml"}})
    refused = prepared(root, tmp_path / "copy", config)("-n", "--configfile", "own.yaml", check=False)
    said = refused.stdout + refused.stderr
    assert refused.returncode and "'a b;c' does not match" in said and "Traceback" not in said


@pytest.mark.slow
def test_from_raw_files_to_tables_in_folders_that_a_shell_would_run(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, secret in TOKENS.items():
        monkeypatch.setenv(name, secret)
    folder = tmp_path / FOLDER
    config = configuration(root, results=RESULTS)
    snakemake = prepared(root, folder, config)
    targets = [f"{RESULTS}/tables/small/survival.csv", f"{RESULTS}/acquired/sim_a/slides-0.tsv"]
    shown = snakemake("-n", "-p", "--configfile", "own.yaml", "--", *targets)
    assert {"fetch_slides", "split_cohort", "fit_method", "make_tables"} <= set(planned(shown))
    done = snakemake("--cores", "1", "-p", "--configfile", "own.yaml", "--", *targets)
    assert all((folder / target).stat().st_size for target in targets)
    assert "clinical" in (folder / targets[0]).read_text()

    inside = [path for path in tmp_path.rglob("*") if path.is_file() and folder / "tests" not in path.parents]
    assert not [path for path in inside if path.name.startswith("pwned")]
    assert not list(root.glob("pwned*"))
    # The tokens of the hosts were there all the time: they are in no log, no output, no record of Snakemake.
    assert any(path.suffix == ".log" for path in inside)
    for secret in TOKENS.values():
        assert secret not in shown.stdout + shown.stderr + done.stdout + done.stderr
        assert not [path for path in inside if secret.encode() in path.read_bytes()]


STAND_IN = """#!{python}
import os, sys
with open({record!r}, "a") as stream:
    stream.write(repr(sys.argv) + ("" if sys.stdin.isatty() else repr(sys.stdin.read())) + "\\n")
sys.exit(1)
"""


@pytest.mark.slow
def test_no_token_is_in_what_slurm_is_given(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, programs = tmp_path / "calls", tmp_path / "bin"
    programs.mkdir()
    for name in ("sbatch", "srun", "squeue", "sinfo", "scontrol", "sacct", "sacctmgr", "scancel"):
        (programs / name).write_text(STAND_IN.format(python=sys.executable, record=str(record)))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    for name, secret in TOKENS.items():
        monkeypatch.setenv(name, secret)
    config = configuration(root)
    snakemake = prepared(root, tmp_path / "copy", config)
    target = f"{config['results']}/raw/simulated/sim_a/clinical.tsv"
    common = ("--profile", "slurm", "--retries", "0", "--sdm", "env-modules", "--configfile", "own.yaml")
    site = ("--default-resources", "slurm_partition=main")
    done = snakemake(*common, *site, "--verbose", "--", target, check=False)
    calls = record.read_text()
    submitted = [line for line in calls.splitlines() if "sbatch" in line and "simulate_tables" in line]
    assert submitted, done.stderr[-3000:]
    logs = [path for path in (tmp_path / "copy" / ".snakemake").rglob("*") if path.is_file()]
    assert logs
    for secret in TOKENS.values():
        assert secret not in calls + done.stdout + done.stderr
        assert not [path for path in logs if secret.encode() in path.read_bytes()]


def test_stand_in_records_what_it_is_given(tmp_path: Path) -> None:
    program, record = tmp_path / "sbatch", tmp_path / "calls"
    program.write_text(STAND_IN.format(python=sys.executable, record=str(record)))
    program.chmod(0o755)
    done = subprocess.run([str(program), "--wrap", "secret"], input="also", text=True, check=False)
    assert done.returncode == 1 and "secret" in record.read_text() and "also" in record.read_text()
