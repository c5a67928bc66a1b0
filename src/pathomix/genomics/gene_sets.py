"""Readers of gene-set files and their restriction to measured genes."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from pathomix.core.errors import PathomixError

GeneSets = dict[str, tuple[str, ...]]


class Matcher(Protocol):
    """Finds genes under other names; `symbols.AliasTable` does."""

    def matched(self, genes: Iterable[str], measured: Collection[str]) -> dict[str, str]:
        """Genes to the measured gene they are; only those that are measured."""


class ByName:
    """Genes are their names."""

    def matched(self, genes: Iterable[str], measured: Collection[str]) -> dict[str, str]:
        """Genes that are measured, each to itself."""
        return {gene: gene for gene in genes if gene in measured}


def read_gmt(path: str | Path) -> GeneSets:
    """GMT: one set per line, name, description, then gene symbols, separated by tabs.

    Raises:
        PathomixError: A line has fewer than three fields, or a name is repeated.
    """
    result: GeneSets = {}
    for number, cells in enumerate(_rows(path, "\t"), start=1):
        genes = tuple(dict.fromkeys(cell for cell in cells[2:] if cell))
        if not genes:
            raise PathomixError(
                f"{path}: line {number} holds no gene", remedy="GMT lines are name, description, gene, gene, ..."
            )
        _add(result, cells[0], genes, path)
    return result


def read_membership(path: str | Path) -> GeneSets:
    """0/1 table, genes in rows (first column), pathways in columns.

    Raises:
        PathomixError: A cell is neither 0 nor 1, a gene or a pathway is repeated.
    """
    rows = _rows(path, ",")
    names = next(rows, [])[1:]
    members: list[list[str]] = [[] for _ in names]
    seen: set[str] = set()
    for gene, *cells in rows:
        if gene in seen:
            raise PathomixError(f"{path}: a gene has two rows", offending=[gene], remedy="keep one row per gene")
        seen.add(gene)
        if len(cells) != len(names) or not set(cells) <= _ZERO | _ONE:
            raise PathomixError(f"{path}: cells other than 0 and 1", offending=[gene], remedy="correct this gene's row")
        for place in [place for place, cell in enumerate(cells) if cell in _ONE]:
            members[place].append(gene)
    result: GeneSets = {}
    for name, genes in zip(names, members, strict=True):
        _add(result, name, tuple(genes), path)
    return result


def read_signatures(path: str | Path) -> GeneSets:
    """One ragged column of symbols per pathway, the pathway's name on top.

    Raises:
        PathomixError: A pathway is repeated, or a row is longer than the header.
    """
    rows = _rows(path, ",")
    names = next(rows, [])
    members: list[list[str]] = [[] for _ in names]
    for number, cells in enumerate(rows, start=2):
        if len(cells) > len(names):
            raise PathomixError(f"{path}: line {number} is longer than the header", remedy="correct this line")
        for place, cell in enumerate(cells):
            if cell:
                members[place].append(cell)
    result: GeneSets = {}
    for name, genes in zip(names, members, strict=True):
        _add(result, name, tuple(dict.fromkeys(genes)), path)
    return result


_ZERO, _ONE = {"0", "0.0"}, {"1", "1.0"}
READERS = {"gmt": read_gmt, "membership": read_membership, "signatures": read_signatures}


def read_measured(
    path: str | Path, kind: str, measured: Collection[str], aliases: Matcher | None = None
) -> tuple[GeneSets, Mapping[str, Any]]:
    """Read gene sets and keep of each only the measured genes, in sorted order; sets without any are left out.

    Args:
        path: File, plain or gzip-compressed.
        kind: `gmt`, `membership` or `signatures`.
        measured: Gene symbols of the cohort's table.
        aliases: Finds genes of the sets that the table has under another name; None matches names as they are.

    Returns:
        The sets, and their coverage as counts and lists for a report.

    Raises:
        PathomixError: The file is not understood, or no set holds a measured gene.
    """
    sets, genes = READERS[kind](path), set(measured)
    wanted = {gene for members in sets.values() for gene in members}
    known = (aliases or ByName()).matched(wanted, genes)
    kept = {name: tuple(sorted({known[g] for g in members if g in known})) for name, members in sorted(sets.items())}
    result = {name: members for name, members in kept.items() if members}
    if not result:
        raise PathomixError(
            f"{path}: no gene of the table is in any pathway ({len(genes)} measured, {len(wanted)} in pathways)",
            offending=sorted(genes)[:3] + sorted(wanted)[:3],
            remedy="use gene symbols on both sides (Ensembl ids do not match), or another `pathways.path`",
        )
    sizes = [len(members) for members in result.values()]
    coverage = {
        "pathways_in": len(sets),
        "pathways_kept": len(result),
        "pathways_without_measured_gene": sorted(set(kept) - set(result)),
        "pathways_with_one_gene": sum(size == 1 for size in sizes),
        "median_genes": float(median(sizes)),
        "genes_in_pathways": len(wanted),
        "genes_in_pathways_measured": len(known),
        "measured_genes_in_no_pathway": len(genes - set(known.values())),
    }
    if aliases is not None:
        coverage["genes_found_by_another_name"] = {old: new for old, new in sorted(known.items()) if old != new}
    return result, coverage


def _rows(path: str | Path, delimiter: str) -> Iterator[list[str]]:
    opened = gzip.open if str(path).endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as stream:
            for row in csv.reader(stream, delimiter=delimiter):
                if any(row):
                    yield list(map(str.strip, row))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise PathomixError(f"{path}: cannot be read ({error})", remedy="fetch the gene-set file again") from error


def _add(result: GeneSets, name: str, genes: tuple[str, ...], path: str | Path) -> None:
    if not name or name in result:
        raise PathomixError(f"{path}: a pathway is unnamed or repeated", offending=[repr(name)], remedy="rename it")
    result[name] = genes
