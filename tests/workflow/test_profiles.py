"""What the profile for Slurm relies on, read from the profile and the rules."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.conftest import copy_repository, planned, runner

ROOT = Path(__file__).resolve().parents[2]
PROFILE: dict[str, Any] = yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text())
RULES = {
    name: text
    for file in sorted((ROOT / "rules").glob("*.smk"))
    for name, text in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)*)", file.read_text(), flags=re.MULTILINE)
}
ARRAYS = [name.strip() for name in PROFILE["slurm-array-jobs"].split(",")]


def resources(rule: str) -> dict[str, str]:
    """Names and expressions of what a rule asks for."""
    block = re.search(r"^    resources:\n((?:        .*\n)+)", RULES[rule], flags=re.MULTILINE)
    assert block, f"{rule} asks for nothing"
    return dict(re.findall(r"^        (\w+)=(.*),$", block.group(1), flags=re.MULTILINE))


def test_the_name_that_users_type_leads_to_the_profile() -> None:
    assert (ROOT / "slurm").is_symlink()
    assert (ROOT / "slurm").resolve() == ROOT / "profiles" / "slurm"


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_books_memory_that_grows_and_a_time(rule: str) -> None:
    asked = resources(rule)
    assert re.fullmatch(r"memory\(\d+\)", asked["mem_mb"])
    assert int(asked["runtime"]) >= 10
    assert "retries:" not in RULES[rule], "a retry inside a job keeps the memory of the first attempt"
    assert PROFILE["retries"] >= 1


@pytest.mark.parametrize("rule", ARRAYS)
def test_jobs_of_an_array_are_all_of_one_size(rule: str) -> None:
    asked = resources(rule)
    assert not [name for name, value in asked.items() if "wildcards" in value]
    assert not set(asked) & set(PROFILE["resources"]), "the plugin loses jobs that Snakemake holds back"


def test_nothing_holds_jobs_of_an_array_back() -> None:
    assert PROFILE["jobs"] >= 10_000
    assert PROFILE["max-jobs-per-timespan"] == f"{PROFILE['jobs']}/1s"


def test_partitions_of_the_template_take_every_job() -> None:
    partitions = yaml.safe_load((ROOT / "profiles" / "slurm" / "partitions.yaml").read_text())["partitions"]
    days = {name: int(entry["max_runtime"].removesuffix("d")) for name, entry in partitions.items()}
    for rule in RULES:
        asked = resources(rule)
        most = int(asked["mem_mb"][len("memory(") : -1]) * (1 + PROFILE["retries"])
        fitting = {
            name
            for name, entry in partitions.items()
            if entry["max_mem_mb"] >= most and days[name] * 1440 >= int(asked["runtime"])
        }
        assert "long" in fitting, rule
        assert "gpu" not in asked or "gpu" in fitting, rule


def test_the_literal_command_plans_what_a_local_run_plans(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Snakemake asks conda for its version even to plan.
    monkeypatch.setenv("PATH", f"{root / 'tests' / 'stand_in' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    snakemake = runner(root, copy_repository(root, tmp_path))
    config = ("--configfile", "tests/workflow/config.yaml")
    assert planned(snakemake("--profile", "slurm", "-n", *config)) == planned(snakemake("-n", *config))
