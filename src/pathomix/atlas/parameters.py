"""Parameters of one atlas of the configuration. Light imports only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice, filled

_AUTO, _LAYER = "auto", "layers/"
_PLACES = (_AUTO, "X", "raw")
_SCALES = ("counts", "log_normalised", "linear")
_UNMAPPED = ("drop", "refuse")


@dataclass(frozen=True)
class AtlasParameters:
    """What is read of a labelled AnnData file and which of its cells are kept (spec path_gptomic 2.1).

    Attributes:
        label_key: Column of ``obs`` with the cell types.
        label_map: Class to the labels it takes in: a mapping, or the path of a YAML file with that mapping under
            `classes`. None: labels are classes.
        classes: The classes in their order. None: the order of the map, without a map the sorted labels.
        only: Column of ``obs`` to the values that are kept, e.g. ``{is_primary_data: true, disease: normal}``. Values
            are compared as text.
        unmapped: A cell whose label belongs to no class: ``drop`` or ``refuse``.
        group_key: Column of ``obs`` with the donor (or data set). None: cells are split one by one.
        min_cells_per_class: A class with fewer cells after quality control is dropped.
        max_cells_per_class: Of a class with more cells this many are drawn.
        valid_fraction: Share of the cells in the valid part.
        counts: Where the values are: ``auto`` (raw, X, layers/counts, in this order), ``X``, ``raw`` or
            ``layers/<name>``.
        scale: ``counts``: found, or recovered from normalised counts, or refused. ``log_normalised``: natural log1p of
            expression without counts, undone. ``linear``: normalised expression (TPM, counts per 10,000) as it is.
        gene_key: Column of ``var`` with the gene symbols. None: the index.
        min_genes: Genes a cell must express.
        min_counts: Counts a cell must have; of counts only.
        max_mitochondrial_share: Largest share (0 to 1) of mitochondrial genes in a cell's expression.
        mitochondrial_prefix: Symbols of mitochondrial genes begin with this, in any case.
        seed: Of sampling and of the parts.

    Raises:
        PathomixError: A value outside its choices or range.
    """

    label_key: str
    label_map: str | Mapping[str, Any] | None = None
    classes: tuple[str, ...] | None = None
    only: Mapping[str, Any] | None = None
    unmapped: str = "drop"
    group_key: str | None = None
    min_cells_per_class: int = 500
    max_cells_per_class: int = 20000
    valid_fraction: float = 0.2
    counts: str = _AUTO
    scale: str = "counts"
    gene_key: str | None = None
    min_genes: int = 0
    min_counts: float = 0.0
    max_mitochondrial_share: float = 1.0
    mitochondrial_prefix: str = "MT-"
    seed: int = 0

    def __post_init__(self) -> None:
        choice(self.unmapped, _UNMAPPED, "unmapped")
        choice(self.scale, _SCALES, "scale")
        if not self.counts.startswith(_LAYER):
            choice(self.counts, (*_PLACES, f"{_LAYER}<name>"), "counts")
        ranges = {
            "valid_fraction is not between 0 and 1": 0 < self.valid_fraction < 1,
            "min_cells_per_class is below 2, one cell for either part": self.min_cells_per_class >= 2,
            "max_cells_per_class is below min_cells_per_class": self.max_cells_per_class >= self.min_cells_per_class,
            "max_mitochondrial_share is not between 0 and 1": 0 <= self.max_mitochondrial_share <= 1,
            "min_genes is negative": self.min_genes >= 0,
            "min_counts is negative": self.min_counts >= 0,
            "mitochondrial_prefix is empty": bool(self.mitochondrial_prefix),
            "min_counts needs counts, and scale says there are none": self.scale == "counts" or not self.min_counts,
        }
        wrong = [fact for fact, holds in ranges.items() if not holds]
        if wrong:
            raise PathomixError(f"atlas: {'; '.join(wrong)}", remedy="correct these parameters")
        if self.classes is not None and (len(set(self.classes)) < len(self.classes) or len(self.classes) < 2):
            raise PathomixError(
                "atlas: classes are fewer than two, or one stands twice", offending=self.classes, remedy="correct them"
            )

    @classmethod
    def of(cls, given: Mapping[str, Any], name: str) -> AtlasParameters:
        """From the configuration entry of the atlas `name`."""
        return filled(cls, given, f"atlas {name}")
