"""Edits a user makes, and exactly the rules that run again for each.

What changed itself is written down here; all that reads its outputs, and nothing else, has to follow. The page
`docs/invalidation.md` is made of the same rows.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pathomix.workflow.dry_run import Job, parse_plan
from pathomix.workflow.why import causes_of, own_reasons, sentence
from tests.workflow.conftest import Snakemake, runner

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "tests/workflow/config.yaml"
RESULTS = "results/miniature"
REPORT = f"{RESULTS}/report/index.html"
CLINICAL = f"{RESULTS}/acquired/raw/xena/sim_a/clinical.tsv"
LOCK = f"{RESULTS}/locks/sim_a.slides.tsv"
COX = "src/pathomix/losses/cox.py"
PAGE = "docs/invalidation.md"
# Just enough of conda for a plan: Snakemake asks it for its version and to make folders.
CONDA = """#!/bin/sh
case "$1 $2" in
"info --json") echo '{"conda_prefix": "@", "platform": "linux-64"}' ;;
"--version "*) echo "conda 25.1.0" ;;
"config --get") echo '{"get": {"channel_priority": "strict"}}' ;;
"env create" | "create "*) while [ $# -gt 0 ]; do [ "$1" = --prefix ] && mkdir -p "$2"; shift; done ;;
esac
"""
Changes = tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Edit:
    """One edit.

    Attributes:
        name: What the user does.
        changes: File, what stands there, what will stand there; nothing there: the end of it, or a new file.
        own: Rules that run again for a reason of their own, with how many jobs.
        told: What one of the reasons says.
    """

    name: str
    changes: Changes
    own: dict[str, int] = field(default_factory=dict)
    told: str = ""


def like(name: str, *edits: tuple[str, str]) -> str:
    """Text of a tracked file with pieces replaced."""
    text = (ROOT / name).read_text()
    for old, new in edits:
        assert old in text, f"{old!r} is no longer in {name}"
        text = text.replace(old, new)
    return text


TWIN = like("config/cohorts/simulated.yaml", ("{name}", "sim_a"))
NEW_STUDY = """  twins:
    cohorts: [twin]
    scheme: cv
    methods: [clinical, abmil]
    tasks: [survival]
    kaplan_meier: clinical
"""
RULE = "threads: {}\n    resources:\n        mem_mb=memory({}),\n        runtime={},\n        gpu=lambda"
COLOURED = {
    "contact_sheet": 2, "draw_splits": 1, "plot_balance": 1, "plot_forest": 4, "plot_kaplan_meier": 4,
    "plot_smoothing": 1, "plot_calibration": 4, "plot_training": 4, "plot_attribution": 1,
}  # fmt: skip
EDITS = [
    Edit("a comment", ((COX, "def cox_loss(", "# why it is so\ndef cox_loss("),)),
    Edit("a docstring", ((COX, "Negative log partial likelihood of", "The negative log partial likelihood of"),)),
    Edit("a local variable renamed", ((COX, "happened", "died"),)),
    Edit("a type annotation", ((COX, "event: Tensor, mode: CoxMode", "event: Tensor | None, mode: CoxMode"),)),
    Edit("imports in another order", ((COX, "import torch\nfrom torch import Tensor\n",
                                       "from torch import Tensor\nimport torch\n"),)),
    Edit("the README", (("README.md", "", "\nA word more.\n"),)),
    Edit("a comment in the configuration", ((CONFIG, "methods:\n", "methods:  # rows\n"),)),
    Edit("threads, memory and time of a rule",
         (("rules/methods.smk", RULE.format(1, 4000, 480), RULE.format(2, 8000, 960)),)),
    Edit("code, configuration and tables touched", ((COX, "", ""), (CONFIG, "", ""), (CLINICAL, "", ""))),
    Edit("an argument renamed (a keyword of its callers)", ((COX, "theta: Tensor, group", "risk: Tensor, group"),),
         {"fit_method": 5}, "src/pathomix/losses/cox.py, function _efron_correction changed"),
    Edit("the Cox loss", ((COX, "total = -(", "total = -2 * ("),),
         {"fit_method": 5}, "src/pathomix/losses/cox.py, function cox_loss changed"),
    Edit("a constant of the text loss", (("src/pathomix/losses/text_alignment.py", "_SCALE = 10.0", "_SCALE = 11.0"),),
         {"train_representation": 3}, "src/pathomix/losses/text_alignment.py, value _SCALE changed"),
    Edit("a constant of the tissue code", (("src/pathomix/slides/tissue.py", "", "\n_NEW_CONSTANT = 1\n"),),
         {"segment_tissue": 2}, "src/pathomix/slides/tissue.py, value _NEW_CONSTANT is new"),
    Edit("a colour of the figures", (("src/pathomix/report/style.py", '"#0072B2", "#D55E00"', '"#0072B3", "#D55E00"'),),
         COLOURED, "src/pathomix/report/style.py, value _PALETTE changed"),
    Edit("a pin of an environment", (("envs/smoothing.yaml", "- numpy =", "- numpy =1"),),
         {"fit_expression_encoder": 1}, "envs/smoothing.yaml: numpy ="),
    Edit("a key of one method", ((CONFIG, "s_mlp, blocks: [expression], epochs: 2",
                                  "s_mlp, blocks: [expression], epochs: 3"),),
         {"fit_method": 1}, "parameters.epochs: 2 → 3"),
    Edit("a seed more in one study", ((CONFIG, "kaplan_meier: late_fusion",
                                       "kaplan_meier: late_fusion\n    seeds: [0, 1]"),),
         {"fit_method": 5}, "seeds: 0 → 0,1"),
    Edit("more bootstrap draws", ((CONFIG, "bootstrap: 200", "bootstrap: 201"),),
         {"evaluate_study": 4}, "parameters.bootstrap: 200 → 201"),
    Edit("a row renamed", ((CONFIG, "s_mlp: {method", "s_mlp: {label: S-MLP, method"),),
         {"make_tables": 1, "plot_forest": 1, "plot_kaplan_meier": 1, "plot_calibration": 1, "plot_training": 1},
         "s_mlp.label: s_mlp → S-MLP"),
    Edit("one more slide", ((LOCK, "", "a\tb\tc\t1\tSIM-A\tSIMU-A4-0002\td\te\tPrimary Tumor\n"),),
         {"build_cohort": 1, "fetch_slides": 1}, f"the content of input {LOCK} changed"),
    Edit("one slide replaced by its archive", ((LOCK, "bec3237f1085ef22", "0ec3237f1085ef22"),),
         {"build_cohort": 1, "fetch_slides": 1}, f"the content of input {LOCK} changed"),
    Edit("one patient's outcome corrected", ((CLINICAL, "Dead\t970", "Dead\t971"),),
         {"build_cohort": 1}, f"the content of input {CLINICAL} changed"),
    Edit("a new method: one file, one line, one row",
         (("src/pathomix/methods/again.py", "", like("src/pathomix/methods/clinical.py")),
          ("src/pathomix/methods/registry.py", '    "abmil"',
           '    "again": "pathomix.methods.again:Clinical",\n    "abmil"'),
          (CONFIG, "\nstudies:\n", "\n  again: {method: again}\n\nstudies:\n"),
          (CONFIG, "[clinical, ridge_genes, s_mlp", "[clinical, again, ridge_genes, s_mlp")),
         {"fit_method": 1, "evaluate_study": 1, "plot_training": 1},
         "runs/small/again/sim_a/cv.parquet is not there"),
    Edit("a new cohort with a study of its own",
         (("config/cohorts/twin.yaml", "", TWIN),
          (CONFIG, "  pan: {union", "  twin: {description: config/cohorts/twin.yaml}\n  pan: {union"),
          (CONFIG, "studies:\n", f"studies:\n{NEW_STUDY}")),
         {"build_cohort": 1, "split_cohort": 1, "fetch_slides": 1, "segment_tissue": 1, "cut_tiles": 1,
          "embed_tiles": 1, "index_features": 1, "fit_method": 2, "evaluate_study": 1, "make_tables": 1,
          "plot_forest": 1, "plot_kaplan_meier": 1, "draw_splits": 1, "contact_sheet": 1, "probe_site": 1,
          "plot_calibration": 1, "plot_training": 1},
         "runs/twins/clinical/twin/cv.parquet is not there"),
]  # fmt: skip


@contextmanager
def edited(folder: Path, changes: Changes) -> Iterator[None]:
    """The folder with changes in it, then as it was: contents and times."""
    before = {name: (folder / name).read_bytes() if (folder / name).is_file() else None for name, _, _ in changes}
    times = {name: (folder / name).stat() for name, content in before.items() if content is not None}
    try:
        for name, old, new in changes:
            path = folder / name
            text = path.read_text() if path.is_file() else ""
            assert old in text, f"{old!r} is no longer in {name}"
            path.write_text(text.replace(old, new) if old else text + new)
            later = time.time() + 60
            os.utime(path, (later, later))
        yield
    finally:
        for name, content in before.items():
            if content is None:
                (folder / name).unlink()
            else:
                (folder / name).write_bytes(content)
                os.utime(folder / name, ns=(times[name].st_atime_ns, times[name].st_mtime_ns))


def plan_of(snakemake: Snakemake, *options: str) -> list[Job]:
    done = snakemake("-n", "-p", "--quiet", "host", "--sdm", "conda", *options, "--configfile", CONFIG)
    return parse_plan(done.stdout + done.stderr)


def followers(roots: Sequence[Job], jobs: Sequence[Job]) -> set[tuple[str, ...]]:
    """Outputs of the jobs and of all that reads what they write, directly or not."""
    found = {job.outputs for job in roots}
    grew = True
    while grew:
        written = {path for outputs in found for path in outputs}
        more = {job.outputs for job in jobs if written & set(job.inputs)} - found
        found |= more
        grew = bool(more)
    return found


@dataclass
class Deployed:
    """A finished run under conda, its jobs, and what each edit made of it."""

    folder: Path
    snakemake: Snakemake
    jobs: list[Job]
    rows: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def deployed(
    root: Path, finished: tuple[Path, Snakemake], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    """A copy of the finished run that Snakemake remembers as made in conda environments."""
    base = tmp_path_factory.mktemp("deployed")
    conda = base / "conda"
    (conda / "bin").mkdir(parents=True)
    (conda / "bin" / "activate").write_text(":\n")
    (conda / "bin" / "conda").write_text(CONDA.replace("@", str(conda)))
    (conda / "bin" / "conda").chmod(0o755)
    folder = base / "checkout"
    shutil.copytree(finished[0], folder, symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(conda / "bin"), prepend=os.pathsep)
        snakemake = runner(root, folder)
        snakemake("--touch", "--cores", "1", "--sdm", "conda", "--configfile", CONFIG)
        yield Deployed(folder, snakemake, plan_of(snakemake, "--forceall"))


def row(edit: Edit, jobs: Sequence[Job], own: dict[str, int], everything: int) -> str:
    """A line of the page."""
    itself = ", ".join(f"{rule} ({count})" for rule, count in sorted(own.items()))
    rules = Counter(job.rule for job in jobs)
    after = ", ".join(sorted(rules.keys() - own.keys()))
    return f"| {edit.name} | {itself or 'nothing'} | {after or 'nothing'} | {len(jobs)} of {everything} |"


def page(rows: dict[str, str]) -> str:
    """The page `docs/invalidation.md`."""
    return "\n".join(
        [
            "# What runs again",
            "",
            "Made by `tests/workflow/test_edits.py` on the miniature configuration of the tests: what a user edits,",
            "the rules whose jobs run again because of the edit itself (with how many), the rules that follow because",
            "they read what those write, and the jobs in all; of jobs in a row the first is named.",
            "`python -m pathomix.why FILE` tells it of one file.",
            "",
            "Rules follow by files, not by patients: a corrected outcome is a new cohort table, so all that reads the",
            "cohort follows. Segmentation, tiles, features and mixtures of cells are kept by the content they were",
            "made from: such a job finds its results there and only writes its index anew.",
            "",
            "| edit | changed itself | follows | jobs |",
            "|---|---|---|---|",
            *(rows[edit.name] for edit in EDITS),
            "",
        ]
    )


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_an_edit_reruns_what_it_means(deployed: Deployed, edit: Edit) -> None:
    folder, snakemake = deployed.folder, deployed.snakemake
    with edited(folder, edit.changes):
        jobs = plan_of(snakemake)
        reasons = {job: list(own_reasons(job, folder, RESULTS)) for job in jobs}
        answer = sentence(REPORT, causes_of(REPORT, jobs, folder, RESULTS))
    own = [job for job in jobs if reasons[job]]
    deployed.rows[edit.name] = row(edit, jobs, Counter(job.rule for job in own), len(deployed.jobs))
    print(deployed.rows[edit.name], answer, sep="\n", end="\n\n")
    assert Counter(job.rule for job in own) == edit.own
    planned = {job.outputs for job in jobs}
    known = {job.outputs for job in jobs}
    graph = [*jobs, *(job for job in deployed.jobs if job.outputs not in known)]
    assert planned == followers(own, graph), "what reads changed outputs, and nothing else"
    assert any(edit.told in reason for job in own for reason in reasons[job]) or not edit.own
    assert ("up to date" in answer) == (not jobs)


def test_the_page_is_of_these_rows(deployed: Deployed, root: Path, tmp_path: Path) -> None:
    if len(deployed.rows) < len(EDITS):
        pytest.skip("not every edit was tried in this run")
    made = tmp_path / Path(PAGE).name
    made.write_text(page(deployed.rows))
    told = (root / PAGE).read_text() if (root / PAGE).is_file() else ""
    assert told == made.read_text(), f"copy {made} to {PAGE}"
