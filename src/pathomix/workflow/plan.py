"""What the configuration asks for: jobs' parameters, inputs and the final targets. No science, no heavy imports."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pathomix.core.errors import PathomixError
from pathomix.methods.registry import METHODS
from pathomix.workflow.acquisition import AcquisitionPlan
from pathomix.workflow.codes import Codes
from pathomix.workflow.cohorts import CohortPlan
from pathomix.workflow.expression import ExpressionPlan
from pathomix.workflow.gpus import GpuPlan
from pathomix.workflow.regions import RegionPlan
from pathomix.workflow.reported import Report
from pathomix.workflow.settings import check_known, check_parameters, parameter_names
from pathomix.workflow.slides import SlidePlan
from pathomix.workflow.tuning import TuningPlan
from pathomix.workflow.vectors import VectorPlan

log = logging.getLogger(__name__)

# Keys of a method's entry that say how the row looks and what it is fed, not how it is fitted.
_ROW_KEYS = (
    "label", "group", "encoder", "representation", "source", "token", "expression_vectors", "regions", "seeds",
    "tuning",
)  # fmt: skip
_SITE_PROBE = ("pathomix.evaluate.site_probe", "Settings")
_HEATMAPS = ("pathomix.slides.heatmap", "HeatmapParameters")
ORACLES = ("oracle", "oracle_image", "oracle_expression", "oracle_alterations", "oracle_clinical")


def as_json(parameters: Mapping[str, Any], *, sort: bool = True) -> str:
    """Parameters as one canonical JSON argument; `sort` is off where the order of the keys means something."""
    return json.dumps(parameters, sort_keys=sort, separators=(",", ":"))


class Explained(NamedTuple):
    """What an explanation reads: index of the model, index and folder of the probe's run, splits and texts.

    `other_models` and `other_probes` are of the row's other seeds, by which stability is judged.
    """

    representation: str
    models: str
    runs: str
    probe: str
    splits: str
    texts: list[str]
    foreign: bool
    other_models: list[str]
    other_probes: list[str]
    entry: dict[str, Any]


class Plan:
    """The validated configuration, asked by the rules.

    Args:
        config: Snakemake's configuration after schema validation.
        root: The repository.

    Raises:
        PathomixError: A name in the configuration refers to nothing, or a needed folder is absent.
    """

    def __init__(self, config: Mapping[str, Any], root: Path) -> None:
        self.root = root
        self.config = config
        self.source = root / "src"
        self._codes = Codes(root)
        self.cohorts = CohortPlan(config, root)
        self.results: str = self.cohorts.results
        schemes: dict[str, dict[str, Any]] = config["splits"]
        self.splits = {name: {k: v for k, v in entry.items() if k != "inner"} for name, entry in schemes.items()}
        self.inner_splits = {name: entry["inner"] for name, entry in schemes.items() if "inner" in entry}
        self.methods: dict[str, Any] = config["methods"]
        self._evaluation: dict[str, Any] = config["evaluation"]
        self.explanations: dict[str, Any] = config["explanations"]
        self.heatmaps: dict[str, Any] = config["heatmaps"]
        self.site_probe: dict[str, Any] = config["site_probe"]
        self.title: str = config["title"]
        self.slides = SlidePlan(config, root, self.cohorts)
        self.acquisition = AcquisitionPlan(config, self.cohorts)
        self.vectors = VectorPlan(config, root, self.cohorts)
        self.expression = ExpressionPlan(config, root, self.cohorts)
        self.regions = RegionPlan(config, root, self.cohorts)
        self.tuning = TuningPlan(config, root)
        self.gpus = GpuPlan(config, root)
        self._check()
        absent = {n: self.vectors.absent(e) or self.expression.absent(e) for n, e in self.methods.items()}
        self.left_out = {name: why for name, why in absent.items() if why}
        for name, why in self.left_out.items():
            log.warning("row %s is left out: %s", name, why)
        self.studies = {name: self._present(name, entry) for name, entry in config["studies"].items()}
        reported: list[str] = config.get("report", list(self.studies))
        check_known(reported, self.studies, "report", "studies")
        self.report = Report(self, reported)

    def _present(self, name: str, study: Mapping[str, Any]) -> dict[str, Any]:
        """The study without the rows that are left out."""
        gone = [study[key] for key in ("kaplan_meier", "reference") if study.get(key) in self.left_out]
        if gone:
            raise PathomixError(
                f"study {name} draws or compares with a row that is left out",
                offending=gone,
                remedy=f"name another row; {self.left_out[gone[0]]}",
            )
        return {**study, "methods": [method for method in study["methods"] if method not in self.left_out]}

    def _check(self) -> None:
        for study, entry in self.config["studies"].items():
            check_known(entry["cohorts"], self.cohorts.names, f"studies.{study}.cohorts", "cohorts")
            check_known(entry["methods"], self.methods, f"studies.{study}.methods", "methods")
            check_known([entry["scheme"]], self.splits, f"studies.{study}.scheme", "splits")
            named = [entry[key] for key in ("kaplan_meier", "reference") if key in entry]
            check_known(named, entry["methods"], f"studies.{study}", "its methods")
        for name, entry in self.methods.items():
            key = f"methods.{name}"
            if "encoder" in entry:
                check_known([entry["encoder"]], self.slides.encoders, f"{key}.encoder", "encoders")
            if "slide_encoder" in entry:
                check_known([entry["slide_encoder"]], self.vectors.slide_encoders, key, "slide_encoders")
            self._check_vectors(entry, key)
            self._check_method(self.method_parameters(name), key)
        check_parameters(self.heatmaps, parameter_names(self.source, *_HEATMAPS), "heatmaps")
        check_parameters(self.site_probe, parameter_names(self.source, *_SITE_PROBE), "site_probe")
        for name, entry in self.explanations.items():
            key = f"explanations.{name}"
            check_known([entry["study"]], self.config["studies"], f"{key}.study", "studies")
            study = self.config["studies"][entry["study"]]
            probes = [method for method in study["methods"] if "representation" in self.methods[method]]
            check_known([entry["method"]], probes, f"{key}.method", "methods, as a probe of the study")
            check_known([entry["cohort"]], study["cohorts"], f"{key}.cohort", "the study's cohorts")

    def _check_vectors(self, entry: Mapping[str, Any], key: str) -> None:
        if "representation" in entry:
            known = self.vectors.representations
            check_known([entry["representation"]], known, f"{key}.representation", "representations")
        if "source" in entry:
            check_known([entry["source"]], self.cohorts.names, f"{key}.source", "cohorts")
        if "expression_vectors" in entry:
            named = [entry["expression_vectors"]]
            check_known(named, self.expression.names, f"{key}.expression_vectors", "expression_encoders or smoothing")
        if "regions" in entry:
            check_known([entry["regions"]], self.regions.names, f"{key}.regions", "regions")
        if entry.get("method") == "probe" and "representation" not in entry:
            raise PathomixError(f"configuration key {key}: the probe reads nothing", remedy="name its `representation`")

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

    # code and parameters

    def code(self, script: str, modules: Iterable[str] = (), data: Iterable[Path] = ()) -> str:
        """Digest of everything the named script reaches."""
        return self._codes.digest(script, modules, data)

    def method_code(self, method: str) -> str:
        """Digest of the fitting script and of the one method (and its components) it will load."""
        entry = self.method_parameters(method)
        modules = _method_modules(entry)
        if "slide_encoder" in entry:
            modules.add(self.vectors.architecture(entry["slide_encoder"]))
        return self.code("fit_method", modules=modules)

    def method_parameters(self, method: str) -> dict[str, Any]:
        """What the method itself reads of its configuration entry."""
        entry = {key: value for key, value in self.methods[method].items() if key not in _ROW_KEYS}
        if "slide_encoder" in entry:
            entry["slide_encoder"] = self.vectors.slide_encoder(entry["slide_encoder"])
        if "image_encoder" in entry:
            entry["image_encoder"] = self.cohorts.with_paths(entry["image_encoder"])
        return entry

    def evaluation_of(self, study: str) -> dict[str, Any]:
        """Parameters of a study's evaluation."""
        entry = self.studies[study]
        return {**self._evaluation, "reference": entry.get("reference", ""), "patients": entry["patients"]}

    # files

    def method_weights(self, method: str) -> list[str]:
        """Weights of the encoders that a method tunes."""
        entry = self.method_parameters(method)
        encoders = [entry[key] for key in ("slide_encoder", "image_encoder") if key in entry]
        return [file for encoder in encoders for file in self.cohorts.given_files(encoder)]

    def measured(self, cohort: str, scheme: str) -> list[str]:
        """Expression of a cohort, where the scheme asks who has some."""
        entry = self.splits[scheme]
        asked = entry["scheme"] == "holdout" and "expression" in entry.get("require", ["expression"])
        return [f"{self.results}/cohort/{cohort}/expression.h5ad"] if asked else []

    def features(self, method: str, cohort: str) -> list[str]:
        """Feature indices a method reads, if it reads tiles: one per member of a union."""
        encoder = self.methods[method].get("encoder")
        members = self.cohorts.members(cohort) if encoder else []
        return [f"{self.results}/features/{encoder}/{member}.parquet" for member in members]

    def expression_vectors(self, method: str, cohort: str) -> list[str]:
        """Embedded expression a method reads, if it reads any."""
        name = self.methods[method].get("expression_vectors")
        return [self.expression.vectors(name, cohort)] if name else []

    def region_files(self, method: str, cohort: str) -> list[str]:
        """Regions of interest a method reads, if it reads any."""
        name = self.methods[method].get("regions")
        return self.regions.regions_of(name, cohort) if name else []

    def token_option(self, method: str) -> str:
        """Command-line option that picks one of a representation's vectors, empty for the general one."""
        token = self.methods[method].get("token")
        return shlex.join(["--token", token]) if token else ""

    def seeds(self, study: str, method: str) -> list[int]:
        """Seeds of a row: its own where it names some (nothing random in it: one), else the study's."""
        seeds: list[int] = self.methods[method].get("seeds", self.studies[study]["seeds"])
        return seeds

    def embeddings(self, study: str, method: str, cohort: str) -> list[str]:
        """Vectors a probe reads, one file per seed."""
        entry, where = self.methods[method], self.studies[study]
        if "representation" not in entry:
            return []
        return self.vectors.embeddings(entry, cohort, where["scheme"], self.seeds(study, method))

    def explained(self, name: str) -> Explained:
        """What an explanation reads."""
        entry = self.explanations[name]
        cohort, method = entry["cohort"], self.methods[entry["method"]]
        representation, source = method["representation"], method.get("source", cohort)
        scheme = self.studies[entry["study"]]["scheme"]
        runs = f"{self.results}/runs/{entry['study']}/{entry['method']}/{cohort}/{scheme}"
        others = [seed for seed in self.seeds(entry["study"], entry["method"]) if seed != entry["seed"]]
        (models,) = self.vectors.models(method, cohort, scheme, [entry["seed"]])
        return Explained(
            representation,
            models,
            f"{runs}.parquet",
            f"{runs}-{entry['fold']}/seed{entry['seed']}",
            f"{self.results}/splits/{cohort}/{scheme}.parquet",
            self.vectors.prompts(representation, cohort, scheme),
            self.vectors.foreign(source, cohort),
            self.vectors.models(method, cohort, scheme, others),
            [f"{runs}-{entry['fold']}/seed{seed}" for seed in others],
            entry,
        )

    def explained_slides(self, name: str) -> dict[str, list[str]]:
        """Slide tables of an explanation's cohorts, and where the paths in each start from."""
        members = self.cohorts.members(self.explanations[name]["cohort"])
        return {
            "tables": [f"{self.results}/cohort/{member}/slides.parquet" for member in members],
            "roots": [self.cohorts.slide_root(member) for member in members],
        }

    def explanation_title(self, name: str) -> str:
        """Row and cohort of an explanation, in words."""
        entry = self.explanations[name]
        return f"{self.methods[entry['method']].get('label', name)} on {entry['cohort']}"

    # studies

    def study_cells(self, study: str, cohort: str | None = None) -> list[str]:
        """Run indices of a study (of one cohort): one per method, and the oracles of simulated cohorts."""
        entry = self.studies[study]
        cohorts = entry["cohorts"] if cohort is None else [cohort]
        cells = [(method, name) for method in entry["methods"] for name in cohorts]
        if "survival" in entry["tasks"]:
            cells += [(oracle, name) for oracle in ORACLES for name in cohorts if self.cohorts.is_simulated(name)]
        return [f"{self.results}/runs/{study}/{m}/{c}/{entry['scheme']}.parquet" for m, c in cells]

    def labels(self, study: str) -> dict[str, dict[str, str]]:
        """Row labels and groups of a study's methods, in the order of its rows."""
        entries = {name: self.methods[name] for name in self.studies[study]["methods"]}
        return {n: {"label": e.get("label", n), "group": e.get("group", "")} for n, e in entries.items()}

    def published(self, study: str) -> dict[str, Any]:
        """Published values a study shows beside its rows, of the rows that are run."""
        given = self.studies[study].get("published", {})
        rows = {row: name for row, name in given.get("rows", {}).items() if row not in self.left_out}
        return {**given, "rows": rows} if given else {}

    def colour_order(self, study: str) -> list[str]:
        """Methods of the configuration up to the study's last: a method's place is its colour in every figure."""
        names = list(self.methods)
        return names[: 1 + max(map(names.index, self.studies[study]["methods"]))]

    def trained_by(self, study: str, cohort: str) -> dict[str, list[str]]:
        """Indices of the representations that rows of a study read, one per seed."""
        rows = {name: self.methods[name] for name in self.studies[study]["methods"]}
        scheme = self.studies[study]["scheme"]
        return {
            name: self.vectors.models(row, cohort, scheme, self.seeds(study, name))
            for name, row in rows.items()
            if "representation" in row
        }

    def tuning_caption(self, study: str) -> str:
        """How the rows of a study were tuned, in words; empty where none was."""
        entry = self.studies[study]
        return self.tuning.caption(entry["methods"], entry["scheme"])

    def published_files(self, study: str) -> list[str]:
        """Files of published values a study reads."""
        given = self.published(study)
        return [given["file"]] if given else []

    def balance_cells(self, study: str, cohort: str) -> list[str]:
        """Run indices of the study's rows that log how their modalities are balanced."""
        entry = self.studies[study]
        rows = [name for name in entry["methods"] if self.methods[name]["method"] == "path_gptomic"]
        return [f"{self.results}/runs/{study}/{name}/{cohort}/{entry['scheme']}.parquet" for name in rows]


def _method_modules(entry: Mapping[str, Any]) -> set[str]:
    modules = {METHODS[entry["method"]].partition(":")[0]}
    for component in entry.get("components", []):
        modules |= _method_modules(component)
    return modules
