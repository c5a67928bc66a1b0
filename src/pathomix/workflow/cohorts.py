"""What the configuration says of cohorts: which are simulated, described or united, and what they are made from."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pathomix.cohort.cases import CASE_FILES
from pathomix.cohort.description import input_paths, lock_files, read_description
from pathomix.core.errors import PathomixError
from pathomix.simulate.parameters import Parameters as Simulation
from pathomix.workflow.settings import check_known

COHORT_FILES = (
    "patients.parquet",
    "slides.parquet",
    "expression.h5ad",
    "alterations.h5ad",
    "pathways.json",
    "given_splits.parquet",
    "quarantine.tsv",
    "report.json",
)
RAW_FILES = (
    "clinical.tsv",
    "slides.tsv",
    "expression.tsv.gz",
    "copy_number.tsv.gz",
    "mutation.tsv.gz",
    "truth.parquet",
    "oracle.json",
)
# Keys of an entry that name the user's own files.
FETCHED = "raw/"
"""Files below this folder are fetched by rules; all others are the user's."""
_PATHS = ("root", "slide_root")
_OWN_FILES = ("weights", "tokenizer", "aliases")


class CohortPlan:
    """Cohorts and unions of a configuration.

    Args:
        config: Validated configuration.
        root: The repository.

    Raises:
        PathomixError: A union names what is not a described cohort, or a description cannot be understood.
    """

    def __init__(self, config: Mapping[str, Any], root: Path) -> None:
        self._root = root
        self.results: str = config["results"].rstrip("/")
        self.data: str = config["data"].rstrip("/")
        self.locks: str = self.filled(config["acquire"]["locks"])
        self.simulation: dict[str, Any] = config["simulation"]
        self._slides: Mapping[str, Any] = config["slides"]
        entries: Mapping[str, Any] = config["cohorts"]
        self.unions: dict[str, list[str]] = {n: list(e["union"]) for n, e in entries.items() if "union" in e}
        default = self.filled(config["acquire"]["folder"])
        self.described = {
            name: {"root": default, **{k: self.filled(v) if k in _PATHS else v for k, v in entry.items()}}
            for name, entry in entries.items()
            if "union" not in entry
        }
        for name, members in self.unions.items():
            check_known(members, self.described, f"cohorts.{name}.union", "cohorts")
        self._descriptions = {name: read_description(root / e["description"]) for name, e in self.described.items()}
        self._shards = {name: self._count_shards(name) for name in self.described}
        if self.simulation:
            Simulation.from_dict(self.simulation)

    def filled(self, path: str) -> str:
        """A path of the configuration with ``{data}`` and ``{results}`` written out."""
        return path.format(data=self.data, results=self.results).rstrip("/")

    def with_paths(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """An entry of the configuration with the paths of the user's files written out."""
        paths = {key: self.filled(entry[key]) for key in _OWN_FILES if entry.get(key)}
        return {**entry, **paths}

    def given_files(self, entry: Mapping[str, Any]) -> list[str]:
        """The user's own files an entry names; a folder counts by its files, not by its date."""
        found = []
        for name in (entry[key] for key in _OWN_FILES if entry.get(key)):
            folder = self._root / name
            inside = [path for path in sorted(folder.rglob("*")) if path.is_file()] if folder.is_dir() else []
            found += [str(Path(name) / path.relative_to(folder)) for path in inside] or [name]
        return found

    @property
    def names(self) -> list[str]:
        """Described cohorts and unions."""
        return [*self.described, *self.unions]

    def members(self, cohort: str) -> list[str]:
        """The described cohorts a cohort consists of: itself, or the members of a union."""
        return self.unions.get(cohort, [cohort])

    def is_simulated(self, cohort: str) -> bool:
        """Whether the cohort's raw files are made by the workflow."""
        return cohort in self.simulation.get("cohorts", {})

    def endpoint_option(self, cohort: str) -> str:
        """Command-line option that picks the endpoint, empty for the description's default."""
        endpoint = self.described[cohort].get("endpoint")
        return shlex.join(["--endpoint", endpoint]) if endpoint else ""

    def simulated_tables(self) -> list[str]:
        """Raw files the simulation writes, slides aside."""
        raw = f"{self.results}/raw/simulated"
        own = [f"{raw}/{cohort}/{file}" for cohort in self.simulation.get("cohorts", {}) for file in RAW_FILES]
        return [*own, f"{raw}/gene_sets.gmt", f"{raw}/atlas.h5ad"]

    def raw_inputs(self, cohort: str) -> list[str]:
        """Raw tables a described cohort is built from.

        Raises:
            PathomixError: The data folder or the slide lock is absent.
        """
        root = Path(self.described[cohort]["root"])
        if not self.is_simulated(cohort):
            self._check_present(cohort, root)
        return [str(path) for path in input_paths(self._descriptions[cohort], cohort, root, locks=self.locks).values()]

    def _check_present(self, cohort: str, root: Path) -> None:
        for lock in self.lock_paths(cohort):
            if not (self._root / lock).is_file():
                projects = " ".join(self.described[cohort].get("projects", ["PROJECT ..."]))
                table = self.lock_paths(cohort)[0]
                raise PathomixError(
                    f"cohort {cohort}: its slides are not locked",
                    offending=[lock],
                    remedy=f"python workflow_scripts/lock_slides.py --projects {projects} --output {table}",
                )
        fetched = (FETCHED, "locks/", "resources/")
        own = [path for path in self.description_inputs(cohort) if not path.startswith(fetched)]
        if own and not (self._root / root).is_dir():
            raise PathomixError(
                f"cohort {cohort}: the folder with its tables does not exist",
                offending=[root],
                remedy="run with --config data=FOLDER; config/README.md says how to fill it",
            )

    def files(self, cohort: str, names: tuple[str, ...] = CASE_FILES) -> list[str]:
        """Artefacts of a cohort or union, by default those that make its cases."""
        return [f"{self.results}/cohort/{cohort}/{name}" for name in names]

    def member_files(self, union: str) -> list[str]:
        """Artefacts a union is made from."""
        return [file for member in self.unions[union] for file in self.files(member, COHORT_FILES)]

    def member_options(self, union: str, path: str) -> str:
        """Command-line options naming each member and its path; `path` contains ``{member}``."""
        return " ".join(shlex.join(["--member", m, path.format(member=m)]) for m in self.unions[union])

    def shards(self, cohort: str) -> int:
        """Number of shards of a cohort's slides."""
        return self._shards[cohort]

    def _count_shards(self, cohort: str) -> int:
        """As `slides.shards` says, or by the length of the lock.

        With `slides.slides_per_job` and a lock that says how many slides there are: a power of two, so that a few
        slides more do not deal all of them out anew. Else `slides.shards`.
        """
        wanted = self._slides.get("slides_per_job")
        lock = next((self._root / path for path in self.lock_paths(cohort)), None)
        if not wanted or lock is None or not lock.is_file():
            return int(self._slides["shards"])
        slides = len(lock.read_text(encoding="utf-8").splitlines()) - 1
        return 1 << max(0, math.ceil(math.log2(max(1, slides) / wanted)))

    def lock_paths(self, cohort: str) -> list[str]:
        """Slide lock of a cohort and what stands beside it, relative to the repository; empty without a lock."""
        return [f"{self.locks}/{file}" for file in lock_files(self._descriptions[cohort], cohort)]

    def description_inputs(self, cohort: str) -> list[str]:
        """Files a cohort's description names, as it names them."""
        return list(input_paths(self._descriptions[cohort], cohort, ""))

    def slide_root(self, cohort: str) -> str:
        """Folder the slide paths of a cohort are relative to."""
        entry = self.described[cohort]
        return str(entry.get("slide_root", entry["root"]))
