"""The whole demo by ``snakemake --profile slurm`` on a copy of the repository: every table equals a local run's."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import site
from tests.workflow.conftest import copy_repository, runner

pytestmark = [pytest.mark.slow, pytest.mark.slurm]
CONFIG = ("--configfile", "config/demo.yaml")
RESULTS = Path("results/demo")


def test_the_demo_equals_a_local_run(
    root: Path, cluster: Cluster, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    user = site(root, cluster, tmp_path / "cluster")
    jobs = user.plans(*CONFIG)
    earlier = max([job.number for job in cluster.jobs()], default=0)
    try:
        user.run(*CONFIG)
    finally:
        shutil.rmtree(user.folder / ".snakemake" / "conda", ignore_errors=True)
    ran = [job for job in cluster.jobs() if job.number > earlier]
    del jobs["all"]  # On the host that submits.
    assert Counter(job.rule for job in ran) == jobs
    assert {job.state for job in ran} == {"COMPLETED"}
    assert {job.rule for job in ran if job.gpus} >= {"embed_tiles", "train_representation", "embed_cohort"}
    # Jobs that are ready at the same moment are one array: which, depends on how soon their inputs are made.
    assert {job.array for job in ran} - {""}

    local = copy_repository(root, tmp_path / "local")
    runner(root, local)("--profile", "profiles/local", "--cores", "2", *CONFIG)
    names = [
        path.relative_to(local)
        for pattern in ("tables/**/*.*", "runs/**/predictions.parquet")
        for path in sorted((local / RESULTS).glob(pattern))
    ]
    assert len(names) > 100
    assert [name for name in names if (local / name).read_bytes() != (user.folder / name).read_bytes()] == []
