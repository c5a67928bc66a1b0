"""What the configuration says of slides: tissue, tilings, encoders, and which encoders share a decoding pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pathomix.core.errors import PathomixError
from pathomix.slides.encoders.entries import check_entry, modules_of, tiling_of
from pathomix.slides.tilings import tiling_name
from pathomix.workflow.cohorts import CohortPlan
from pathomix.workflow.settings import check_known, check_parameters, parameter_names

_TISSUE = ("pathomix.slides.tissue_parameters", "TissueParameters")
_TILES = ("pathomix.slides.tiles", "SelectionParameters")
_ENGINE = ("pathomix.slides.engine.parameters", "EngineParameters")


class SlidePlan:
    """Slide stages of a configuration.

    Args:
        config: Validated configuration.
        root: The repository.
        cohorts: Cohorts and unions.

    Attributes:
        tissue: Parameters of the tissue stage.
        tiles: Overlap and least tissue of every tiling.
        encoders: Tile encoders by name, paths written out.
        passes: Encoders that share one decoding of the slides, by name of the pass; every encoder is in one.
        tilings: Tile edge in pixels and µm per pixel of every tiling in use, by name.
        engine: Parameters of the embedding engine.
        max_lost_share: Largest share of a cohort's patients that may lose all their slides.

    Raises:
        PathomixError: An unknown parameter or encoder, or an encoder in two passes.
    """

    def __init__(self, config: Mapping[str, Any], root: Path, cohorts: CohortPlan) -> None:
        source = root / "src"
        section: Mapping[str, Any] = config["slides"]
        embedding: Mapping[str, Any] = config["embedding"]
        self._cohorts = cohorts
        self._r = cohorts.results
        weights = section["tissue"].get("masker_weights", {})
        self._masker_weights = {network: cohorts.filled(path) for network, path in weights.items()}
        self.tissue = {**section["tissue"], "masker_weights": self._masker_weights}
        self.tiles: dict[str, Any] = section["tiles"]
        self.max_lost_share: float = section["max_lost_share"]
        self._overrides = cohorts.filled(section.get("overrides", ""))
        self._imported: Mapping[str, str] = section["imported"]
        self.encoders = {name: cohorts.with_paths(entry) for name, entry in config["encoders"].items()}
        self.engine = {key: value for key, value in embedding.items() if key != "passes"}
        check_parameters(self.tissue, parameter_names(source, *_TISSUE), "slides.tissue")
        check_parameters(self.tiles, parameter_names(source, *_TILES), "slides.tiles")
        check_parameters(self.engine, parameter_names(source, *_ENGINE), "embedding")
        for name, entry in self.encoders.items():
            check_entry(name, entry)
        shapes = {name: tiling_of(entry) for name, entry in self.encoders.items()}
        self._tiling_of = {name: tiling_name(*shape) for name, shape in shapes.items()}
        self.tilings = {self._tiling_of[name]: shape for name, shape in shapes.items()}
        self.passes = self._filled_passes(embedding.get("passes", {}))
        check_known(self._imported, self.tilings, "slides.imported", "encoders, as the tiling of one")

    def _filled_passes(self, named: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """The named passes, and one for each encoder that is in none."""
        members = [encoder for encoders in named.values() for encoder in encoders]
        for name, encoders in named.items():
            check_known(encoders, self.encoders, f"embedding.passes.{name}", "encoders")
        twice = sorted({encoder for encoder in members if members.count(encoder) > 1})
        taken = sorted(set(named) & set(self.encoders) - set(members))
        if twice or taken:
            raise PathomixError(
                "embedding.passes: an encoder is in two passes, or a pass has the name of an encoder outside it",
                offending=[*twice, *taken],
                remedy="name each encoder once",
            )
        alone = {encoder: [encoder] for encoder in self.encoders if encoder not in members}
        return {**{name: list(encoders) for name, encoders in named.items()}, **alone}

    # tilings

    def tiling(self, encoder: str) -> str:
        """Name of the tiling an encoder reads."""
        return self._tiling_of[encoder]

    def imported(self, tiling: str) -> list[str]:
        """Pattern of the coordinate files that are taken instead of cutting, with ``{slide_id}`` in it."""
        pattern = self._imported.get(tiling)
        return [pattern.replace("{data}", self._cohorts.data)] if pattern else []

    # files

    def overrides(self) -> list[str]:
        """Table of what a person decided about single slides, if there is one."""
        return [self._overrides] if self._overrides else []

    def known_slides(self) -> list[str]:
        """Slide tables of all cohorts where there is a table of overrides, which may name any of their slides."""
        return [f"{self._r}/cohort/{cohort}/slides.parquet" for cohort in self._cohorts.described if self._overrides]

    def masker_weights(self) -> list[str]:
        """Weights of the tissue models, if there are some."""
        return list(self._masker_weights.values())

    def shards(self, cohort: str) -> range:
        """Numbers of a cohort's shards."""
        return range(self._cohorts.shards(cohort))

    def tissue_indices(self, cohort: str) -> list[str]:
        """Tissue indices of a cohort's shards."""
        return [f"{self._r}/slides/{cohort}/tissue-{shard}.parquet" for shard in self.shards(cohort)]

    def tile_indices(self, embedding: str, cohort: str, shard: str) -> list[str]:
        """Tile indices of one shard for every tiling of a pass."""
        tilings = sorted({self.tiling(encoder) for encoder in self.passes[embedding]})
        return [f"{self._r}/slides/{cohort}/tiles-{tiling}-{shard}.parquet" for tiling in tilings]

    def pass_encoders(self, embedding: str) -> dict[str, Any]:
        """Encoders of a pass."""
        return {name: self.encoders[name] for name in self.passes[embedding]}

    def pass_weights(self, embedding: str) -> list[str]:
        """Files with weights of a pass's encoders."""
        return [
            file for encoder in self.passes[embedding] for file in self._cohorts.given_files(self.encoders[encoder])
        ]

    def pass_modules(self, embedding: str) -> set[str]:
        """Modules imported by name to build a pass's encoders."""
        return {module for encoder in self.passes[embedding] for module in modules_of(self.encoders[encoder])}

    def pass_indices(self, encoder: str, cohort: str) -> list[str]:
        """Indices of the pass an encoder is in, one per shard."""
        embedding = next(name for name, encoders in self.passes.items() if encoder in encoders)
        return [f"{self._r}/features/passes/{embedding}/{cohort}-{shard}.parquet" for shard in self.shards(cohort)]
