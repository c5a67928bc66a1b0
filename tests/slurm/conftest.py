"""A throw-away Slurm, and a copy of the repository in which Snakemake is run on it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.slurm import cluster as slurm
from tests.workflow.conftest import copy_repository, planned

# Of profiles/slurm/partitions.yaml, the template.
PARTITIONS = ("cpu", "long", "gpu")
# The plugin looks at jobs 40 seconds after they are submitted unless told otherwise.
SOON = "--slurm-init-seconds-before-status-checks=2"


@dataclass(frozen=True)
class Site:
    """A user's checkout on the cluster.

    Attributes:
        folder: The checkout.
        environment: What the user's shell exports: the cluster's programs, a conda, Snakemake; no package of any rule.
        log: What Snakemake says.
    """

    folder: Path
    environment: dict[str, str]
    log: Path

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """``snakemake --profile slurm``, not waited for."""
        with self.log.open("ab") as stream:
            return subprocess.Popen(
                ["snakemake", "--profile", "slurm", *arguments, SOON],
                cwd=self.folder,
                env=self.environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def run(self, *arguments: str) -> None:
        """``snakemake --profile slurm``, to its end.

        Raises:
            AssertionError: It fails.
        """
        code = self.start(*arguments).wait()
        assert code == 0, f"snakemake {' '.join(arguments)} ended with {code}\n{self.said()[-6000:]}"

    def plans(self, *arguments: str) -> dict[str, int]:
        """Rule to number of jobs that ``snakemake --profile slurm`` would run."""
        command = ["snakemake", "--profile", "slurm", "-n", *arguments]
        return planned(
            subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=True)
        )

    def said(self) -> str:
        """Everything Snakemake has said so far."""
        return self.log.read_text(errors="replace")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Cluster]:
    """A running cluster."""
    if slurm.missing():
        pytest.skip(f"no {', '.join(slurm.missing())}; on Debian: apt-get install {slurm.PACKAGES}")
    made = slurm.Cluster(tmp_path_factory.mktemp("slurm"), PARTITIONS, cpus=max(2, os.cpu_count() or 2))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def site(root: Path, cluster: slurm.Cluster, folder: Path) -> Site:
    """A copy of the repository, and a shell in it."""
    runner = root / ".venv" / "runner" / "bin"
    if not (runner / "snakemake").is_file():
        pytest.skip("no runner environment; `make test` installs it")
    rules = root / ".venv" / "rules"
    rest = [part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != rules / "bin"]
    path = [str(cluster.programs), str(root / "tests" / "stand_in" / "bin"), str(runner), *rest]
    environment = {**os.environ, "PATH": os.pathsep.join(path), "STAND_IN_SOURCE": str(rules)}
    return Site(copy_repository(root, folder), environment, folder.with_suffix(".log"))
