"""What the configuration says of cohorts: which are simulated, described or united, and what they are made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pathomix.cohort.cases import CASE_FILES
from pathomix.cohort.description import input_paths, read_description
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
        self.simulation: dict[str, Any] = config["simulation"]
        entries: Mapping[str, Any] = config["cohorts"]
        self.unions: dict[str, list[str]] = {n: list(e["union"]) for n, e in entries.items() if "union" in e}
        self.described = {name: self._filled(entry) for name, entry in entries.items() if "union" not in entry}
        for name, members in self.unions.items():
            check_known(members, self.described, f"cohorts.{name}.union", "cohorts")
        for entry in self.described.values():
            read_description(root / entry["description"])
        if self.simulation:
            Simulation.from_dict(self.simulation)

    def _filled(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        filled = {"root": self.data, **entry}
        for key in ("root", "slide_root"):
            if key in filled:
                filled[key] = filled[key].format(results=self.results, data=self.data)
        return filled

    def with_paths(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """An entry of the configuration with ``{data}`` in the paths of the user's files written out."""
        paths = {key: entry[key].format(data=self.data) for key in _OWN_FILES if entry.get(key)}
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
        return f"--endpoint {endpoint}" if endpoint else ""

    def simulated_tables(self) -> list[str]:
        """Raw files the simulation writes, slides aside."""
        raw = f"{self.results}/raw/simulated"
        own = [f"{raw}/{cohort}/{file}" for cohort in self.simulation.get("cohorts", {}) for file in RAW_FILES]
        return [*own, f"{raw}/gene_sets.gmt", f"{raw}/atlas.h5ad"]

    def raw_inputs(self, cohort: str) -> list[str]:
        """Raw tables a described cohort is built from.

        Raises:
            PathomixError: The data folder is absent.
        """
        root = Path(self.described[cohort]["root"])
        if not self.is_simulated(cohort) and not root.is_dir():
            raise PathomixError(
                f"cohort {cohort}: the folder with its tables does not exist",
                offending=[root],
                remedy="run with --config data=FOLDER; config/README.md says how to fill it",
            )
        description = read_description(self._root / self.described[cohort]["description"])
        return [str(path) for path in input_paths(description, cohort, root).values()]

    def files(self, cohort: str, names: tuple[str, ...] = CASE_FILES) -> list[str]:
        """Artefacts of a cohort or union, by default those that make its cases."""
        return [f"{self.results}/cohort/{cohort}/{name}" for name in names]

    def member_files(self, union: str) -> list[str]:
        """Artefacts a union is made from."""
        return [file for member in self.unions[union] for file in self.files(member, COHORT_FILES)]

    def member_options(self, union: str, path: str) -> str:
        """Command-line options naming each member and its path; `path` contains ``{member}``."""
        return " ".join(f"--member {m} {path.format(member=m)}" for m in self.unions[union])

    def slide_root(self, cohort: str) -> str:
        """Folder the slide paths of a cohort are relative to."""
        entry = self.described[cohort]
        return str(entry.get("slide_root", entry["root"]))

    def slide_inputs(self, cohort: str, shard: str) -> list[str]:
        """What has to exist before a shard of slides can be read."""
        return [f"{self.results}/raw/simulated/{cohort}/slides-{shard}.tsv"] if self.is_simulated(cohort) else []
