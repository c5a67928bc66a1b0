"""Pathways from public GMT files: which sets are used, and how near they come to a published table (modaltune 3.2).

The published 331 pathways are 281 of Reactome and 50 Hallmarks, of the releases of their time. Their table belongs to
its authors; who has a copy can ask for sets like it (`like`), with a report of what the present releases still hold.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from pathomix.core.errors import PathomixError
from pathomix.genomics.gene_sets import ByName, GeneSets, Matcher, read_gmt, read_membership


def select_sets(
    paths: Sequence[str | Path],
    selection: Mapping[str, Any],
    like: str | Path | None,
    measured: Collection[str],
    aliases: Matcher | None = None,
) -> tuple[GeneSets, Mapping[str, Any]]:
    """Gene sets of several GMT files, restricted to measured genes.

    Args:
        paths: GMT files, plain or gzip.
        selection: `min_overlap`, `min_coverage`, `min_genes`, `max_genes`; absent ones do not select.
        like: Membership table (genes x pathways) whose pathways are wanted; None takes all sets.
        measured: Gene symbols of the cohort's table.
        aliases: Table of aliases for both sides; None matches names as they are.

    Returns:
        Sets sorted by name (wanted ones under the name they have in `like`), their genes sorted; and a report: counts,
        coverage, what was left out and why, and per wanted pathway the set that stands for it.

    Raises:
        PathomixError: A file is not understood, two files hold different sets of one name, or no set is left.
    """
    matcher = aliases or ByName()
    genes = frozenset(measured)
    sets = _united(paths)
    matches: list[dict[str, Any]] = []
    if like is not None:
        sets, matches = wanted_sets(sets, read_membership(like), float(selection.get("min_overlap", 0.5)))
    known = matcher.matched({gene for members in sets.values() for gene in members}, genes)
    result: GeneSets = {}
    dropped: dict[str, list[str]] = {"coverage": [], "too_few_genes": [], "too_many_genes": []}
    coverage = {}
    for name, members in sorted(sets.items()):
        kept = tuple(sorted({known[gene] for gene in members if gene in known}))
        coverage[name] = sum(gene in known for gene in members) / len(members)
        reason = _unfit(len(kept), coverage[name], selection)
        if reason:
            dropped[reason].append(name)
        else:
            result[name] = kept
    if not result:
        raise PathomixError(
            f"no pathway is left of {len(sets)} ({len(genes)} genes measured, {len(known)} of them in pathways)",
            offending=sorted(genes)[:3] + sorted({gene for members in sets.values() for gene in members})[:3],
            remedy="use gene symbols on both sides, or relax `pathways.select`",
        )
    report = {
        "files": [Path(path).name for path in paths],
        "pathways_in": len(sets),
        "pathways_kept": len(result),
        **{f"pathways_left_out_for_{reason}": names for reason, names in dropped.items()},
        "genes_found_by_another_name": {old: new for old, new in sorted(known.items()) if old != new},
        **statistics(result),
        "mean_coverage": round(mean(coverage[name] for name in result), 4),
    }
    if like is not None:
        report |= _likeness(matches, Path(like).name)
    return result, report


def statistics(sets: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What describes a table of pathways: its genes, memberships and the sizes of its sets."""
    sizes = [len(members) for members in sets.values()]
    uses: dict[str, int] = {}
    for members in sets.values():
        for gene in members:
            uses[gene] = uses.get(gene, 0) + 1
    return {
        "pathways": len(sets),
        "genes": len(uses),
        "memberships": sum(sizes),
        "smallest": min(sizes),
        "median_genes": float(median(sizes)),
        "mean_genes": round(mean(sizes), 2),
        "largest": max(sizes),
        "pathways_with_one_gene": sum(size == 1 for size in sizes),
        "pathways_with_up_to_five_genes": sum(size <= 5 for size in sizes),
        "most_pathways_of_a_gene": max(uses.values()),
    }


def wanted_sets(
    sets: Mapping[str, Sequence[str]], wanted: Mapping[str, Sequence[str]], min_overlap: float
) -> tuple[GeneSets, list[dict[str, Any]]]:
    """The set that stands for each wanted pathway: of the same name, else of the most alike genes.

    Names compare without case, punctuation and the prefix of their collection. A set stands for one pathway only; of
    the rest, pairs are taken in falling order of their Jaccard overlap, down to `min_overlap`.

    Returns:
        Wanted name to the genes of the set found, and one row per wanted pathway: `pathway`, `set` (None where nothing
        is like it), `by` (name or genes), `genes_wanted`, `genes`, `overlap`.
    """
    pools = {name: frozenset(members) for name, members in sets.items()}
    targets = {pathway: frozenset(members) for pathway, members in wanted.items()}
    names: dict[str, list[str]] = {}
    for name in sets:
        names.setdefault(plain_name(name), []).append(name)
    chosen: dict[str, tuple[str, str]] = {}
    taken: set[str] = set()
    for pathway in wanted:
        same = names.get(plain_name(pathway), [])
        # Sets of one plain name in two collections: the more alike one.
        best = max(same, key=lambda name: _jaccard(pools[name], targets[pathway]), default=None)
        if best is not None and best not in taken:
            chosen[pathway] = (best, "name")
            taken.add(best)
    left = [pathway for pathway in wanted if pathway not in chosen]
    pairs = [
        (overlap, pathway, name)
        for pathway in left
        for name in sets
        if name not in taken and (overlap := _jaccard(pools[name], targets[pathway])) >= min_overlap
    ]
    for _, pathway, name in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if pathway not in chosen and name not in taken:
            chosen[pathway] = (name, "genes")
            taken.add(name)
    rows = []
    for pathway, members in targets.items():
        found, by = chosen.get(pathway, (None, None))
        shared = None if found is None else round(_jaccard(pools[found], members), 4)
        rows.append({
            "pathway": pathway, "set": found, "by": by, "genes_wanted": len(members),
            "genes": len(pools[found]) if found is not None else 0,
            "overlap": shared,
        })  # fmt: skip
    return {pathway: tuple(sets[name]) for pathway, (name, _) in chosen.items()}, rows


def plain_name(name: str) -> str:
    """A pathway's name without case, punctuation and the prefix of its collection."""
    text = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return re.sub(r"^(reactome|hallmark)_", "", text)


def _united(paths: Sequence[str | Path]) -> GeneSets:
    result: GeneSets = {}
    for path in paths:
        for name, genes in read_gmt(path).items():
            if name in result and set(result[name]) != set(genes):
                raise PathomixError(
                    f"{path}: a pathway of this name is in another file with other genes", offending=[name],
                    remedy="give files of different collections",
                )  # fmt: skip
            result[name] = genes
    return result


def _unfit(count: int, coverage: float, selection: Mapping[str, Any]) -> str | None:
    most = selection.get("max_genes")
    if coverage < float(selection.get("min_coverage", 0.0)):
        return "coverage"
    if count < int(selection.get("min_genes", 1)):
        return "too_few_genes"
    return "too_many_genes" if most is not None and count > int(most) else None


def _likeness(matches: Sequence[Mapping[str, Any]], like: str) -> dict[str, Any]:
    found = [row for row in matches if row["set"] is not None]
    return {
        "like": like,
        "wanted": len(matches),
        "found_by_name": sum(row["by"] == "name" for row in found),
        "found_by_genes": sum(row["by"] == "genes" for row in found),
        "not_found": [row["pathway"] for row in matches if row["set"] is None],
        "median_overlap": round(median(row["overlap"] for row in found), 4) if found else None,
        "matches": list(matches),
    }


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 0.0
