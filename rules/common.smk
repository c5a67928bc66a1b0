"""Helpers the rules share; everything that can be tested without Snakemake lives in pathomix.workflow."""

import logging
import os
import re
import shlex
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from pathomix.acquire.weights import read_registry
from pathomix.core.files import file_digest, sweep
from pathomix.workflow.cohorts import COHORT_FILES
from pathomix.workflow.digest import RECORD
from pathomix.workflow.needs import check_weights, weight_targets
from pathomix.workflow.plan import ORACLES, Plan, as_json
from pathomix.workflow.scheduling import check_folder, lift_own_limit
from pathomix.workflow.summary import LOGGER, watch


def alternatives(names):
    """A wildcard constraint that matches exactly these names (nothing at all when there are none)."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def option(name, values):
    """A command-line option with its values, nothing where there are none."""
    values = list(values)
    return f"{name} {shlex.join(values)}" if values else ""


def folders(files):
    """Folders that files lie in."""
    return [str(Path(file).parent) for file in files]


def memory(megabytes):
    """Memory that grows with each attempt of a job."""
    return lambda wildcards, attempt: megabytes * attempt


def executor_name():
    """Name of Snakemake's executor plug-in, None in a dry-run."""
    return workflow.executor_plugin and workflow.executor_plugin.name


def run_command():
    """Start of a command line that runs this configuration; folders of this machine stay out of it."""
    files = [os.path.relpath(path) for path in workflow.configfiles]
    return shlex.join(
        [
            "snakemake",
            "--profile",
            "profiles/local",
            "--cores",
            "8",
            "--configfile",
            *files,
        ]
    )


RUN = {}


def watch_run():
    """From now on one line per finished rule. A quiet profile wants those only, not three lines per job."""
    left = list(workflow.dag.needrun_jobs())
    planned = Counter(job.rule.name for job in left if job.rule.name != "all")
    reused = len(workflow.dag.jobs) - len(left)
    RUN["watch"] = watch(planned, reused, terse=bool(workflow.output_settings.quiet))


def tell_summary(succeeded):
    """Say what ran, what was reused, what failed, what was set aside, and where the report is."""
    text = RUN["watch"].summary(
        succeeded=succeeded,
        quarantines=plan.report.quarantines,
        page=f"{R}/report/index.html",
    )
    logging.getLogger(LOGGER).info(text)
