"""Bad configuration is refused before any job is planned, by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import runner


def test_the_literal_slurm_command_finds_its_profile(root: Path) -> None:
    # Where conda is absent, Snakemake stops after reading the profile; that it read it is the point here.
    done = runner(root, root)("--profile", "slurm", "-n", "--configfile", "tests/workflow/config.yaml", check=False)
    assert "Using profile slurm " in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ({"colour": "blue"}, "colour"),
        ({"slides": {"tissue": {"sharpness": 1}}}, "sharpness"),
        ({"methods": {"s_mlp": {"dropuot": 0.5}}}, "dropuot"),
        ({"methods": {"s_mlp": {"method": "s_mlpp"}}}, "s_mlpp"),
        ({"studies": {"small": {"methods": ["absent"]}}}, "absent"),
        ({"studies": {"small": {"cohorts": ["nowhere"]}}}, "nowhere"),
        ({"splits": {"cv": {"scheme": "by_moon_phase"}}}, "by_moon_phase"),
        ({"simulation": {"seeed": 1}}, "seeed"),
        ({"encoders": {"demo": {"timmm": "x"}}}, "timmm"),
    ],
)
def test_unknown_names_are_errors(root: Path, tmp_path: Path, override: dict[str, object], named: str) -> None:
    extra = tmp_path / "override.yaml"
    extra.write_text(yaml.safe_dump(override))
    snakemake = runner(root, root)
    done = snakemake("-n", "--configfile", "tests/workflow/config.yaml", str(extra), check=False)
    assert done.returncode != 0
    assert named in done.stdout + done.stderr
