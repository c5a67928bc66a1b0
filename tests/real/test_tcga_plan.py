"""The whole of TCGA is planned from locks alone, without network: every rule of the chain, slides by shards."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from tests.real.locks import write_locks
from tests.workflow.conftest import copy_repository, planned, runner


def test_both_papers_are_planned_from_the_locks(root: Path, shared_data: Path, tmp_path: Path) -> None:
    folder = copy_repository(root, tmp_path / "copy")
    counts = write_locks(shared_data, tmp_path / "locks")
    config = (folder / "config/config.yaml").read_text()
    (folder / "data/atlas").mkdir(parents=True)
    (folder / "data/atlas/human.h5ad").touch()  # the user's choice of cells
    snakemake = runner(root, folder)
    acquire = json.dumps({"locks": str(tmp_path / "locks")})
    jobs = planned(
        snakemake("-n", "--cores", "1", "--configfile", "config/config.yaml", "--config", f"acquire={acquire}")
    )

    entries = yaml.safe_load(config)["cohorts"]
    locked = {name: Path(entry["description"]).stem for name, entry in entries.items() if "description" in entry}
    shards = {name: 1 for name in locked}
    for name, lock in locked.items():
        while shards[name] * 50 < counts[lock]:
            shards[name] *= 2
    assert jobs["build_cohort"] == len(locked) == 8
    for rule in ("fetch_slides", "segment_tissue", "cut_tiles", "embed_tiles"):
        assert jobs[rule] == sum(shards.values()), rule
    assert {
        "fetch_file",
        "fetch_weights",
        "unite_cohorts",
        "train_representation",
        "train_smoother",
        "fit_method",
        "write_report",
    } <= set(jobs)
    assert sum(jobs.values()) < 3000

    refused = snakemake("-n", "--cores", "1", "--configfile", "config/config.yaml", check=False)
    said = refused.stdout + refused.stderr
    assert refused.returncode and "its slides are not locked" in said
    assert re.search(r"lock_slides\.py --projects TCGA-\w+.* --output resources/locks/tcga_\w+\.slides\.tsv", said)
