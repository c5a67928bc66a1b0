"""Lines about a run, from records as Snakemake makes them, and from Snakemake itself."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pathomix.workflow import summary
from pathomix.workflow.summary import LOGGER, RunWatch, duration, read_quarantines, watch

SNAKEFILE = """
import logging
from collections import Counter
from pathomix.workflow.summary import LOGGER, watch

RUN = {}


def finish(succeeded):
    logging.getLogger(LOGGER).info(
        RUN["watch"].summary(succeeded=succeeded, quarantines=["lost.quarantine.tsv"], page="index.html")
    )


onstart:
    jobs = Counter(job.rule.name for job in workflow.dag.needrun_jobs() if job.rule.name != "all")
    standing = len(workflow.dag.jobs) - len(list(workflow.dag.needrun_jobs()))
    RUN["watch"] = watch(jobs, standing, terse=bool(workflow.output_settings.quiet))


onsuccess:
    finish(True)


onerror:
    finish(False)


rule all:
    input: "index.html"
    localrule: True


rule cut:
    output: "{name}.cut"
    log: "logs/cut/{name}.log"
    shell: "touch {output}"


rule fit:
    input: "{name}.cut"
    output: "{name}.fit"
    log: "logs/fit/{name}.log"
    shell: "echo told > {log}; test ! -e {wildcards.name}.bad; touch {output}"


rule report:
    input: expand("{name}.fit", name=["a", "b"])
    output: "index.html"
    log: "logs/report.log"
    shell: "touch {output}"
"""


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What goes to Snakemake's logger while the test runs."""
    logger = logging.getLogger(LOGGER)
    lines: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not hasattr(record, "event"):
                lines.append(record.getMessage())

    before, level = list(logger.handlers), logger.level
    logger.addHandler(Ear())
    logger.setLevel(logging.INFO)
    yield lines
    logger.handlers[:] = before
    logger.setLevel(level)


def tell(event: str, **about: object) -> None:
    logging.getLogger(LOGGER).info(None, extra={"event": event, **about})


def run_job(rule: str, job: int) -> None:
    tell("job_info", jobid=job, rule_name=rule)
    tell("job_finished", job_id=job)


def end_of(watching: RunWatch, folder: Path, succeeded: bool = True) -> str:
    return watching.summary(succeeded=succeeded, quarantines=[], page=folder / "index.html")


def test_a_line_when_the_last_job_of_a_rule_is_done_and_none_before(said: list[str]) -> None:
    watch({"cut": 2, "fit": 1}, 0, terse=False)
    run_job("cut", 1)
    assert said == []
    run_job("cut", 2)
    run_job("fit", 3)
    assert said == ["cut done (2 jobs, 0 s); 1 of 2 stages", "fit done (1 job, 0 s); 2 of 2 stages"]


def test_a_long_stage_says_now_and_then_how_far_it_is(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "_EVERY_S", 0.0)
    watch({"cut": 3, "fit": 1}, 0, terse=False)
    run_job("cut", 1)
    assert said == ["cut: 1 of 3 jobs; 1 of 4 jobs in all"]


def test_a_failed_job_is_told_with_its_log_and_what_is_left(said: list[str], tmp_path: Path) -> None:
    watching = watch({"cut": 1, "fit": 2}, 5, terse=False)
    run_job("cut", 1)
    tell("job_info", jobid=2, rule_name="fit")
    tell("job_error", jobid=2, rule_name="fit", log=["logs/fit/a.log", "slurm/9.log"])
    assert said[-1] == "fit: a job failed, read logs/fit/a.log and slurm/9.log"
    text = end_of(watching, tmp_path, succeeded=False)
    assert "stopped after" in text and "ran         1 job: cut 1\n" in text and "reused      5 jobs" in text
    assert "failed      fit: read logs/fit/a.log and slurm/9.log\n" in text
    assert "not done    2 jobs: fit 2; the same command goes on from here" in text
    assert "report      not made yet" in text


def test_a_job_that_came_through_at_its_second_attempt_has_not_failed(said: list[str], tmp_path: Path) -> None:
    watching = watch({"fit": 1}, 0, terse=False)
    tell("job_info", jobid=2, rule_name="fit")
    tell("job_error", jobid=2, rule_name="fit", log=[])
    run_job("fit", 2)
    text = end_of(watching, tmp_path)
    assert "failed" not in text and "not done" not in text and "ran         1 job: fit 1" in text


def test_jobs_of_a_failed_group_are_named_with_the_log_of_the_group(said: list[str]) -> None:
    watching = watch({"fit": 2}, 0, terse=False)
    jobs = [{"rule_name": "fit", "jobid": job, "log": [f"{job}.log"]} for job in (1, 2)]
    tell("group_error", job_error_info=jobs, aux_logs=["group.log"])
    assert [failure.logs for failure in watching.failures.values()] == [("1.log", "group.log"), ("2.log", "group.log")]


def test_quarantine_counts_a_slide_once_and_ignores_lists_that_are_empty_or_not_there(tmp_path: Path) -> None:
    head = "slide_id\tpatient_id\tstage\treason\n"
    (tmp_path / "a.tsv").write_text(f"{head}S1\tP1\ttissue\tno mpp\nS2\tP2\ttissue\tcut off\n")
    (tmp_path / "b.tsv").write_text(f"{head}S1\tP1\ttissue\tno mpp\n")
    (tmp_path / "c.tsv").write_text("patient_id\tfile\treason\nP1\tclinical\tno time\nP1\texpression\ttwice\n")
    (tmp_path / "empty.tsv").write_text(head)
    found = read_quarantines([tmp_path / f"{name}.tsv" for name in ("a", "b", "c", "empty", "absent")])
    assert (found.slides, found.rows) == (2, 2)
    assert list(found.files.values()) == [2, 1, 2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (90061, "25 h 1 min"),
    ],
)
def test_durations_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_by_snakemake_itself(root: Path, tmp_path: Path) -> None:
    program = root / ".venv" / "runner" / "bin" / "snakemake"
    if not program.is_file():
        pytest.skip("no runner environment; `make test` installs it")
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "lost.quarantine.tsv").write_text("slide_id\treason\nS1\tno mpp\n")
    (tmp_path / "b.bad").touch()

    def run() -> str:
        done = subprocess.run(
            [program, "--cores", "1", "--keep-going", "--quiet", "host", "reason", "rules"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(root / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stderr

    stopped = run()
    assert "cut done (2 jobs, " in stopped and "fit: a job failed, read logs/fit/b.log" in stopped
    assert "ran         3 jobs: cut 2, fit 1" in stopped and "reused      nothing" in stopped
    assert "failed      fit: read logs/fit/b.log" in stopped
    assert "not done    2 jobs: fit 1, report 1; the same command" in stopped
    assert "quarantined slides: 1, rows of tables: 0; the reasons:" in stopped and "report      not made yet" in stopped
    assert "Finished jobid" not in stopped and "steps" not in stopped
    (tmp_path / "b.bad").unlink()
    finished = run()
    assert "ran         2 jobs: fit 1, report 1" in finished and "reused      3 jobs" in finished
    assert "report      index.html" in finished and "failed" not in finished
    logs = sorted((tmp_path / ".snakemake" / "log").iterdir())
    assert "Finished jobid" in logs[-1].read_text() and "reused      3 jobs" in logs[-1].read_text()
