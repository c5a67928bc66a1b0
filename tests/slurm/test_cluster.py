"""``snakemake --profile slurm`` on a throw-away Slurm: killed in the middle, resumed, and equal to a local run."""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest

from tests.slurm.cluster import Cluster, Job
from tests.slurm.conftest import Site, site
from tests.workflow.conftest import copy_repository, runner

pytestmark = [pytest.mark.slow, pytest.mark.slurm]
CONFIG = ("--configfile", "tests/slurm/config.yaml")
RESULTS = Path("results/cluster")
TABLES = f"{RESULTS}/tables/small/survival.csv"
SHARDS = 3
# Jobs that the controller has seen end when it is killed: all slides are there, no tissue is known.
KILLED_AFTER = "fetch_slides"


@dataclass(frozen=True)
class Story:
    """A run that was killed, and the one that went on.

    Attributes:
        folder: The checkout.
        before: Slurm's jobs of the first run.
        after: Those of the second.
        planned: Rule to number of jobs, of both together.
        ended: Rule to number of jobs that the first run has seen end well.
    """

    folder: Path
    site: Site
    before: list[Job]
    after: list[Job]
    planned: dict[str, int]
    ended: Counter[str]

    @property
    def jobs(self) -> list[Job]:
        """Those of both."""
        return [*self.before, *self.after]


def ended(said: str) -> Counter[str]:
    """Rule to number of jobs that ended well, by what Snakemake says."""
    return Counter(re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", said))


def kill_in_the_middle(user: Site, *arguments: str) -> None:
    """Kill Snakemake, not its Slurm jobs, once all slides are fetched."""
    controller = user.start(*arguments)
    try:
        while ended(user.said())[KILLED_AFTER] < SHARDS:
            assert controller.poll() is None, user.said()[-6000:]
            time.sleep(0.2)
    finally:
        controller.kill()
        controller.wait()


@pytest.fixture(scope="module")
def story(root: Path, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    user = site(root, cluster, tmp_path_factory.mktemp("checkout") / "main")
    with (user.folder / "Snakefile").open("a") as stream:
        stream.write(f"\n\n{(root / 'tests/slurm/hungry.smk').read_text()}")
    template = str(user.folder / "profiles/slurm/partitions.yaml")
    user = replace(user, environment=user.environment | {"SNAKEMAKE_SLURM_PARTITIONS": template})
    targets = (TABLES, "hungry", *CONFIG)
    stages = user.plans(*targets)
    kill_in_the_middle(user, *targets)
    seen = ended(user.said())
    cluster.cancel()
    before = cluster.jobs()
    user.run("--unlock", *CONFIG)
    user.run(*targets)
    last = max(job.number for job in before)
    after = [job for job in cluster.jobs() if job.number > last]
    yield Story(user.folder, user, before, after, stages, seen)
    shutil.rmtree(user.folder / ".snakemake" / "conda", ignore_errors=True)


def test_the_run_was_killed_in_the_middle(story: Story) -> None:
    assert story.ended[KILLED_AFTER] == SHARDS
    assert not {"segment_tissue", "make_tables"} & set(story.ended)
    assert story.after


def test_nothing_that_had_ended_is_done_again(story: Story) -> None:
    whole = {rule for rule, count in story.ended.items() if count == story.planned[rule]}
    assert {"simulate_tables", "simulate_slides", "lock_slides", KILLED_AFTER} <= whole
    assert not whole & {job.rule for job in story.after}
    submitted = Counter(job.rule for job in story.after)
    assert all(submitted[rule] <= story.planned[rule] - count for rule, count in story.ended.items())


def test_nothing_is_left_to_do(story: Story) -> None:
    assert story.site.plans(TABLES, "hungry", *CONFIG) == {}


def test_what_it_makes_equals_a_local_run(story: Story, root: Path, tmp_path: Path) -> None:
    runner(root, copy_repository(root, tmp_path))("--profile", "profiles/local", "--cores", "2", TABLES, *CONFIG)
    here, there = tmp_path / RESULTS, story.folder / RESULTS
    names = [
        path.relative_to(here)
        for pattern in ("tables/**/*.*", "runs/**/predictions.parquet", "features/**/*.tsv")
        for path in sorted(here.glob(pattern))
    ]
    assert len(names) > 6
    assert [name for name in names if (here / name).read_bytes() != (there / name).read_bytes()] == []


def test_jobs_of_one_rule_that_are_ready_together_are_one_array(story: Story) -> None:
    tissue = [job for job in story.after if job.rule == "segment_tissue"]
    assert len(tissue) == SHARDS
    assert len({job.array for job in tissue} - {""}) == 1


def test_jobs_book_what_their_rule_asks_for(story: Story) -> None:
    booked = {job.rule: (job.memory, job.minutes) for job in story.jobs if not job.array}
    assert booked["simulate_tables"] == (2000, 30)
    assert booked["build_cohort"] == (4000, 30)
    assert booked["fit_method"] == (4000, 480)
    # An array needs a megabyte or so more, for its list of tasks.
    arrays = {job.rule: (job.memory // 100 * 100, job.minutes) for job in story.after if job.array}
    assert arrays["segment_tissue"] == (4000, 240)


def test_networks_ask_for_a_gpu_and_nothing_else_does(story: Story) -> None:
    asked = Counter((job.rule, job.gpus) for job in story.after if job.rule in ("embed_tiles", "fit_method"))
    assert asked == {("embed_tiles", 1): SHARDS, ("fit_method", 1): 1, ("fit_method", 0): 1}
    assert {job.rule for job in story.jobs if job.gpus} == {"embed_tiles", "fit_method"}


def test_jobs_go_to_the_partition_they_fit(story: Story) -> None:
    assert {(job.partition, job.gpus > 0) for job in story.jobs} == {("cpu", False), ("gpu", True)}


def test_a_job_killed_for_memory_gets_more(story: Story) -> None:
    hungry = [job for job in story.jobs if job.rule == "hungry" and job.state != "CANCELLED"]
    assert [(job.state, job.memory) for job in hungry][-2:] == [("FAILED", 200), ("COMPLETED", 400)]
    assert (story.folder / RESULTS / "hungry.txt").read_text() == "400\n"


def test_no_other_job_failed(story: Story) -> None:
    assert {job.rule for job in story.jobs if job.state not in ("COMPLETED", "CANCELLED")} == {"hungry"}


def test_a_bad_slide_is_quarantined_and_the_others_are_embedded(story: Story) -> None:
    lost = pd.read_csv(story.folder / RESULTS / "features/demo/sim_a.quarantine.tsv", sep="\t")
    assert len(lost) == 1
    slides = pd.read_parquet(story.folder / RESULTS / "features/demo/sim_a.parquet").set_index("slide_id")["status"]
    assert set(slides[slides != "done"].index) == set(lost["slide_id"])
    assert (slides == "done").sum() > 30


def test_rules_find_their_packages_in_environments_of_their_own(story: Story) -> None:
    # The shell that Snakemake was started from has none of them (`conftest.site`).
    made = [path for path in (story.folder / ".snakemake" / "conda").iterdir() if (path / "bin" / "python").exists()]
    assert len(made) >= 6
