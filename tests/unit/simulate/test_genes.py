from __future__ import annotations

import re

from pathomix.simulate.genes import (
    CELL_TYPES,
    GENES,
    MUTATED,
    OTHER_GENES,
    PATHWAYS,
    PATTERN_PATHWAYS,
    PROGNOSTIC,
    SEGMENTS,
)


def test_panel_is_about_four_hundred_symbols_without_repeats() -> None:
    assert 400 <= len(GENES) == len(set(GENES)) <= 500
    assert all(re.fullmatch(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)?", gene) for gene in GENES)


def test_pathways_vary_in_size_overlap_and_leave_genes_out() -> None:
    sizes = [len(genes) for genes in PATHWAYS.values()]
    members = [gene for genes in PATHWAYS.values() for gene in genes]
    assert 38 <= len(sizes) <= 46 and min(sizes) == 1 and sorted(sizes)[1] > 1
    assert all(len(set(genes)) == len(genes) for genes in PATHWAYS.values())
    assert len(set(members)) < len(members)
    assert len(set(OTHER_GENES) - set(members)) > 30


def test_everything_planted_is_measured() -> None:
    named = {*PROGNOSTIC, *(n for p in PATTERN_PATHWAYS for n in p), *(n for p in CELL_TYPES.values() for n in p)}
    assert named <= set(PATHWAYS)
    assert not set(PROGNOSTIC) & {n for p in PATTERN_PATHWAYS for n in p}
    assert set(MUTATED) <= set(GENES)
    assert {gene for genes, *_ in SEGMENTS.values() for gene in genes} <= set(GENES)
    assert len(CELL_TYPES) == 8
