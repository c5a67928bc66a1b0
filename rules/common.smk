"""Helpers the rules share; everything that can be tested without Snakemake lives in pathomix.workflow."""

import os
import re
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from pathomix.acquire.weights import read_registry
from pathomix.workflow.cohorts import COHORT_FILES
from pathomix.workflow.needs import check_weights, weight_targets
from pathomix.workflow.plan import ORACLES, Plan, as_json


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
