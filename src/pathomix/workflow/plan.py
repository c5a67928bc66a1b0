"""What the configuration asks for: jobs' parameters, inputs and the final targets. No science, no heavy imports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pathomix.cohort.description import input_paths, read_description
from pathomix.core.errors import PathomixError
from pathomix.methods.registry import METHODS
from pathomix.simulate.parameters import Parameters as Simulation
from pathomix.workflow.digest import code_digest
from pathomix.workflow.settings import check_parameters, parameter_names

_COHORT_FILES = (
    "patients.parquet",
    "slides.parquet",
    "expression.h5ad",
    "alterations.h5ad",
    "pathways.json",
    "given_splits.parquet",
    "quarantine.tsv",
    "report.json",
)
_CASE_FILES = ("patients.parquet", "expression.h5ad", "alterations.h5ad", "pathways.json")
_RAW_FILES = (
    "clinical.tsv",
    "slides.tsv",
    "expression.tsv.gz",
    "copy_number.tsv.gz",
    "mutation.tsv.gz",
    "truth.parquet",
    "oracle.json",
)
# Keys of a method's entry that say how the row looks and what it is fed, not how it is fitted.
_ROW_KEYS = ("label", "group", "encoder")
_SLIDE_PARAMETERS = {
    "tissue": ("pathomix.slides.segment", "TissueParameters"),
    "tiles": ("pathomix.slides.tiles", "TileParameters"),
}
_ENCODER_PARAMETERS = ("pathomix.slides.encoders", "EncoderParameters")
_ORACLES = ("oracle", "oracle_image", "oracle_expression", "oracle_alterations", "oracle_clinical")


def as_json(parameters: Mapping[str, Any], *, sort: bool = True) -> str:
    """Parameters as one canonical JSON argument; `sort` is off where the order of the keys means something."""
    return json.dumps(parameters, sort_keys=sort, separators=(",", ":"))


class Plan:
    """The validated configuration, asked by the rules.

    Args:
        config: Snakemake's configuration after schema validation.
        root: The repository.

    Raises:
        PathomixError: A name in the configuration refers to nothing, or a needed folder is absent.
    """

    case_files = _CASE_FILES
    cohort_files = _COHORT_FILES
    oracles = _ORACLES

    def __init__(self, config: Mapping[str, Any], root: Path) -> None:
        self.root = root
        self.config = config
        self.source = root / "src"
        self.results: str = config["results"].rstrip("/")
        self.data: str = config["data"].rstrip("/")
        self.simulation: dict[str, Any] = config["simulation"]
        self.splits: dict[str, Any] = config["splits"]
        self.encoders: dict[str, Any] = config["encoders"]
        self.methods: dict[str, Any] = config["methods"]
        self.studies: dict[str, Any] = config["studies"]
        self.evaluation: dict[str, Any] = config["evaluation"]
        self.title: str = config["title"]
        self.tissue: dict[str, Any] = config["slides"]["tissue"]
        self.tiles: dict[str, Any] = config["slides"]["tiles"]
        self.shards: int = config["slides"]["shards"]
        self.max_lost_share: float = config["slides"]["max_lost_share"]
        self.cohorts = {name: self._cohort(entry) for name, entry in config["cohorts"].items()}
        self._check()

    def _cohort(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        filled = {"root": self.data, **entry}
        filled["root"] = filled["root"].format(results=self.results, data=self.data)
        return filled

    def _check(self) -> None:
        for study, entry in self.studies.items():
            self._known(entry["cohorts"], self.cohorts, f"studies.{study}.cohorts", "cohorts")
            self._known(entry["methods"], self.methods, f"studies.{study}.methods", "methods")
            self._known([entry["scheme"]], self.splits, f"studies.{study}.scheme", "splits")
            self._known([entry["kaplan_meier"]], entry["methods"], f"studies.{study}.kaplan_meier", "methods")
        for name, entry in self.methods.items():
            if "encoder" in entry:
                self._known([entry["encoder"]], self.encoders, f"methods.{name}.encoder", "encoders")
            self._check_method(self.method_parameters(name), f"methods.{name}")
        for section, where in _SLIDE_PARAMETERS.items():
            check_parameters(self.config["slides"][section], parameter_names(self.source, *where), f"slides.{section}")
        for name, entry in self.encoders.items():
            check_parameters(entry, parameter_names(self.source, *_ENCODER_PARAMETERS), f"encoders.{name}")
        for entry in self.cohorts.values():
            read_description(self.root / entry["description"])
        if self.simulation:
            Simulation.from_dict(self.simulation)

    def _check_method(self, entry: Mapping[str, Any], key: str) -> None:
        if entry.get("method") not in METHODS:
            raise PathomixError(
                f"configuration key {key}.method is {entry.get('method')!r}",
                remedy=f"use one of {', '.join(METHODS)}",
            )
        known = parameter_names(self.source, METHODS[entry["method"]].partition(":")[0], "Settings")
        check_parameters(entry, known | {"method"}, key)
        for number, component in enumerate(entry.get("components", [])):
            self._check_method(component, f"{key}.components[{number}]")

    @staticmethod
    def _known(names: Iterable[str], known: Iterable[str], key: str, section: str) -> None:
        unknown = [name for name in names if name not in known]
        if unknown:
            raise PathomixError(
                f"configuration key {key} names what is not defined",
                offending=unknown,
                remedy=f"define it under `{section}` (known: {', '.join(known)})",
            )

    # code and parameters

    def code(self, script: str, modules: Iterable[str] = (), data: Iterable[Path] = ()) -> str:
        """Digest of everything the named script reaches."""
        path = self.root / "workflow_scripts" / f"{script}.py"
        return code_digest(path, self.source, modules=modules, data=data)

    def method_code(self, method: str) -> str:
        """Digest of the fitting script and of the one method (and its components) it will load."""
        return self.code("fit_method", modules=sorted(_method_modules(self.methods[method])))

    def method_parameters(self, method: str) -> dict[str, Any]:
        """What the method itself reads of its configuration entry."""
        return {key: value for key, value in self.methods[method].items() if key not in _ROW_KEYS}

    def endpoint_option(self, cohort: str) -> str:
        """Command-line option that picks the endpoint, empty for the description's default."""
        endpoint = self.cohorts[cohort].get("endpoint")
        return f"--endpoint {endpoint}" if endpoint else ""

    # files

    def is_simulated(self, cohort: str) -> bool:
        """Whether the cohort's raw files are made by the workflow."""
        return cohort in self.simulation.get("cohorts", {})

    def simulated_tables(self) -> list[str]:
        """Raw files the simulation writes, slides aside."""
        raw = f"{self.results}/raw/simulated"
        own = [f"{raw}/{cohort}/{file}" for cohort in self.simulation.get("cohorts", {}) for file in _RAW_FILES]
        return [*own, f"{raw}/gene_sets.gmt", f"{raw}/atlas.h5ad"]

    def cohort_inputs(self, cohort: str) -> list[str]:
        """Raw tables a cohort is built from.

        Raises:
            PathomixError: The data folder is absent.
        """
        root = Path(self.cohorts[cohort]["root"])
        if not self.is_simulated(cohort) and not root.is_dir():
            raise PathomixError(
                f"cohort {cohort}: the folder with its tables does not exist",
                offending=[root],
                remedy="run with --config data=FOLDER; config/README.md says how to fill it",
            )
        description = read_description(self.root / self.cohorts[cohort]["description"])
        return [str(path) for path in input_paths(description, cohort, root).values()]

    def slide_root(self, cohort: str) -> str:
        """Folder the slide paths of a cohort are relative to."""
        return self.cohorts[cohort].get("slide_root", self.cohorts[cohort]["root"])

    def slide_inputs(self, cohort: str, shard: str) -> list[str]:
        """What has to exist before a shard of slides can be read."""
        return [f"{self.results}/raw/simulated/{cohort}/slides-{shard}.tsv"] if self.is_simulated(cohort) else []

    def features(self, method: str, cohort: str) -> list[str]:
        """Feature index a method reads, if it reads tiles."""
        encoder = self.methods[method].get("encoder")
        return [f"{self.results}/features/{encoder}/{cohort}.parquet"] if encoder else []

    # targets

    def study_cells(self, study: str, cohort: str | None = None) -> list[str]:
        """Run indices of a study (of one cohort): one per method, and the oracles of simulated cohorts."""
        entry = self.studies[study]
        cohorts = entry["cohorts"] if cohort is None else [cohort]
        cells = [(method, name) for method in entry["methods"] for name in cohorts]
        if "survival" in entry["tasks"]:
            cells += [(oracle, name) for oracle in _ORACLES for name in cohorts if self.is_simulated(name)]
        return [f"{self.results}/runs/{study}/{m}/{c}/{entry['scheme']}.parquet" for m, c in cells]

    def labels(self, study: str) -> dict[str, dict[str, str]]:
        """Row labels and groups of a study's methods, in the order of its rows."""
        entries = {name: self.methods[name] for name in self.studies[study]["methods"]}
        return {n: {"label": e.get("label", n), "group": e.get("group", "")} for n, e in entries.items()}

    def report_figures(self, study: str) -> list[str]:
        """Figures of a study the report shows."""
        folder = f"{self.results}/figures/{study}"
        entry = self.studies[study]
        curves = [f"kaplan_meier_{cohort}" for cohort in entry["cohorts"]] if "survival" in entry["tasks"] else []
        return [f"{folder}/{name}.png" for name in [*(f"forest_{task}" for task in entry["tasks"]), *curves]]

    def report_studies(self) -> str:
        """The report's study options: name, folders of tables and figures, scores."""
        r = self.results
        return " ".join(
            f"--study {s} {r}/tables/{s} {r}/figures/{s} {r}/evaluation/{s}/scores.parquet" for s in self.studies
        )

    @property
    def templates(self) -> list[Path]:
        """Templates the report package reads: code by another name."""
        return sorted((self.source / "pathomix" / "report" / "templates").glob("*"))

    def report_inputs(self) -> dict[str, list[str]]:
        """Everything the report reads, by kind."""
        return {
            "tables": [f"{self.results}/tables/{s}/{t}.csv" for s, e in self.studies.items() for t in e["tasks"]],
            "figures": [figure for study in self.studies for figure in self.report_figures(study)],
            "scores": [f"{self.results}/evaluation/{study}/scores.parquet" for study in self.studies],
            "quarantines": self.quarantines,
            "oracles": [file for file in self.simulated_tables() if file.endswith("oracle.json")],
        }

    @cached_property
    def quarantines(self) -> list[str]:
        """Quarantine lists of every cohort and of every encoder in use."""
        used = {cohort for entry in self.studies.values() for cohort in entry["cohorts"]} | set(self._embedded_only())
        lists = [f"{self.results}/cohort/{cohort}/quarantine.tsv" for cohort in sorted(used)]
        return lists + [index.replace(".parquet", ".quarantine.tsv") for index in self._feature_indices()]

    def _embedded_only(self) -> list[str]:
        """Simulated cohorts no study uses yet are still built, so that the whole shoebox is there."""
        return list(self.simulation.get("cohorts", {}))

    def _feature_indices(self) -> list[str]:
        indices = {
            index
            for entry in self.studies.values()
            for method in entry["methods"]
            for cohort in [*entry["cohorts"], *self._embedded_only()]
            for index in self.features(method, cohort)
        }
        return sorted(indices)

    def targets(self) -> list[str]:
        """Everything `snakemake` makes without a target on the command line."""
        return [f"{self.results}/report/index.html", *self.quarantines]


def _method_modules(entry: Mapping[str, Any]) -> set[str]:
    modules = {METHODS[entry["method"]].partition(":")[0]}
    for component in entry.get("components", []):
        modules |= _method_modules(component)
    return modules
