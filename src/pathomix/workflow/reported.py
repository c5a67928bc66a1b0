"""What the report shows: figures, tables and lists of the reported studies, and the final targets."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathomix.workflow.plan import Plan


class Report:
    """The reported part of a plan, asked by the rules.

    Args:
        plan: The validated configuration.
        studies: Names of the studies the report shows, in its order.
    """

    def __init__(self, plan: Plan, studies: list[str]) -> None:
        self._plan = plan
        self._results = plan.results
        self.studies = studies

    def rows(self) -> Iterator[tuple[str, str]]:
        """Study and method of every reported row."""
        for study in self.studies:
            for method in self._plan.studies[study]["methods"]:
                yield study, method

    def cells(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Configuration entry of the method, and cohort, of every reported cell."""
        for study, method in self.rows():
            for cohort in self._plan.studies[study]["cohorts"]:
                yield self._plan.methods[method], cohort

    def _member_cells(self) -> Iterator[tuple[dict[str, Any], str]]:
        for entry, cohort in self.cells():
            for member in self._plan.cohorts.members(cohort):
                yield entry, member

    # figures and galleries

    def figures(self, study: str) -> list[str]:
        """Figures of a study the report shows."""
        folder = f"{self._results}/figures/{study}"
        entry = self._plan.studies[study]
        kinds = ["kaplan_meier", "training"] if "survival" in entry["tasks"] else ["training"]
        curves = [f"{kind}_{cohort}" for kind in kinds for cohort in entry["cohorts"]]
        curves += ["calibration"] if "survival" in entry["tasks"] else []
        balances = [f"balance_{cohort}" for cohort in entry["cohorts"] if self._plan.balance_cells(study, cohort)]
        names = [*(f"forest_{task}" for task in entry["tasks"]), *curves, *balances]
        return [f"{folder}/{name}.png" for name in names]

    def smoothed_cohorts(self, smoothing: str) -> list[str]:
        """Cohorts of the reported rows that read the smoothed vectors."""
        read = {cohort for entry, cohort in self.cells() if entry.get("expression_vectors") == smoothing}
        cohorts = self._plan.cohorts
        return [cohort for cohort in [*cohorts.unions, *cohorts.described] if cohort in read]

    def _smoothing_figures(self) -> list[str]:
        used = [name for name in self._plan.expression.smoothing if self.smoothed_cohorts(name)]
        folder = f"{self._results}/figures/smoothing"
        return [f"{folder}/{name}/{figure}.png" for name in used for figure in ("validation", "patients")]

    def _splits(self) -> list[tuple[str, str]]:
        """Cohort and scheme of every split that reported studies use."""
        entries = [self._plan.studies[study] for study in self.studies]
        return list(dict.fromkeys((cohort, entry["scheme"]) for entry in entries for cohort in entry["cohorts"]))

    def audits(self) -> list[str]:
        """Audits of the reported splits."""
        return [f"{self._results}/splits/{cohort}/{scheme}.audit.json" for cohort, scheme in self._splits()]

    def split_figures(self) -> list[str]:
        """Figures of the reported splits."""
        return [f"{self._results}/figures/splits/splits_{c}_{s}.png" for c, s in self._splits()]

    def _pictured_cohorts(self) -> list[str]:
        """Cohorts whose slides reported rows read."""
        cut = self._plan.regions.cut
        read = {
            member
            for entry, member in self._member_cells()
            if {"encoder", "representation"} & set(entry) or entry.get("regions") in cut
        }
        return [cohort for cohort in self._plan.cohorts.described if cohort in read]

    def galleries(self) -> dict[str, list[str]]:
        """Figures of the report that belong to no study, by kind."""
        sheets = [f"{self._results}/figures/slides/{cohort}/page-001.png" for cohort in self._pictured_cohorts()]
        bars = [f"{self._results}/explanations/{name}/attribution.png" for name in self._plan.explanations]
        made = {"splits": self.split_figures(), "slides": sheets, "smoothing": self._smoothing_figures()}
        return {**made, "attribution": bars}

    # tables and lists

    def site_probes(self) -> list[str]:
        """Site probes of every encoder on the cohorts whose tiles reported rows read."""
        pairs = {(entry["encoder"], member) for entry, member in self._member_cells() if "encoder" in entry}
        folder = f"{self._results}/evaluation/site_probe"
        return [f"{folder}/{encoder}/{cohort}.parquet" for encoder, cohort in sorted(pairs)]

    @cached_property
    def quarantines(self) -> list[str]:
        """Quarantine lists of every cohort and of every encoder in use."""
        named = {member for _, member in self._member_cells()}
        # Simulated cohorts no study uses yet are still built, so that the whole shoebox is there.
        used = sorted(named | set(self._plan.cohorts.simulation.get("cohorts", {})))
        features = {(entry["encoder"], member) for entry, member in self._member_cells() if "encoder" in entry}
        lists = {f"{self._results}/features/{encoder}/{member}.quarantine.tsv" for encoder, member in features}
        regions = {(entry["regions"], member) for entry, member in self._member_cells() if "regions" in entry}
        lists |= {f"{self._results}/regions/{name}/{member}.quarantine.tsv" for name, member in regions}
        return [*(f"{self._results}/cohort/{cohort}/quarantine.tsv" for cohort in used), *sorted(lists)]

    @property
    def _profiled(self) -> bool:
        """Whether a row has fidelity profiles."""
        methods = self._plan.methods.values()
        return self._plan.vectors.profiled or any(entry["method"] == "path_gptomic" for entry in methods)

    def tables(self) -> list[str]:
        """Tables in long form of every reported study, of both tasks whether or not it asks for them."""
        return [f"{self._results}/tables/{s}/{task}.csv" for s in self.studies for task in ("survival", "subtype")]

    @property
    def published(self) -> list[str]:
        """Every file of published values: the certificate tells of all of them, whether or not a study answers."""
        folder = self._plan.root / "resources" / "published"
        return [path.relative_to(self._plan.root).as_posix() for path in sorted(folder.glob("*.csv"))]

    def sources(self) -> list[str]:
        """Files outside the results that reported artefacts are made from: descriptions, raw tables, locks, pins."""
        cohorts = self._plan.cohorts
        members = list(dict.fromkeys(member for _, member in self._member_cells()))
        descriptions = [cohorts.described[member]["description"] for member in members]
        raw = [file for member in members for file in cohorts.raw_inputs(member)]
        raw += [self._plan.acquisition.pins] if self._plan.acquisition.pins else []
        outside = [file for file in raw if not Path(file).is_relative_to(self._results)]
        return list(dict.fromkeys([*descriptions, *outside]))

    # the page

    @property
    def templates(self) -> list[Path]:
        """Templates the report package reads: code by another name."""
        return sorted((self._plan.source / "pathomix" / "report" / "templates").glob("*"))

    def study_options(self) -> str:
        """The page's study options: name, folders of tables and figures, scores."""
        r = self._results
        return " ".join(
            shlex.join(["--study", s, f"{r}/tables/{s}", f"{r}/figures/{s}", f"{r}/evaluation/{s}/scores.parquet"])
            for s in self.studies
        )

    def inputs(self) -> dict[str, list[str]]:
        """Everything the page reads, by kind."""
        r, studies = self._results, self.studies
        return {
            "tables": self.tables(),
            "figures": [figure for study in studies for figure in self.figures(study)],
            **self.galleries(),
            "published": self.published,
            "locks": ["locks/rules.txt", "locks/runner.txt"],
            "probes": self.site_probes(),
            "leaks": [f"{r}/evaluation/{study}/declared_leaks.tsv" for study in studies],
            "scores": [f"{r}/evaluation/{study}/scores.parquet" for study in studies],
            "quarantines": self.quarantines,
            "profiles": [f"{r}/tables/profiles.csv"] if self._profiled else [],
            "oracles": [file for file in self._plan.cohorts.simulated_tables() if file.endswith("oracle.json")],
        }

    def targets(self) -> list[str]:
        """Everything `snakemake` makes without a target on the command line."""
        names = self._plan.explanations
        explained = [f"{self._results}/explanations/{name}/heatmaps/heatmaps.parquet" for name in names]
        made = [f"{self._results}/report/index.html", f"{self._results}/ro-crate-metadata.json"]
        return [*made, *self.quarantines, *explained]
