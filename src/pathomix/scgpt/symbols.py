"""Gene names of a table to genes of the vocabulary, with a report of what happened to each (spec scgpt 4.4)."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.scgpt.vocabulary import Vocabulary

log = logging.getLogger(__name__)

_ENSEMBL = re.compile(r"^(ENS[A-Z]*G\d+)(?:\.\d+)?(_PAR_Y)?$")
_ENTREZ = re.compile(r"\|\d+$")

STATUS = ("matched", "alias", "unnamed", "pseudoautosomal_copy", "unknown", "ambiguous", "target_present", "collision")
"""What can happen to a name; only the first two reach the model."""


class Names:
    """Which approved symbols a name may stand for: aliases and previous symbols, or Ensembl ids.

    Args:
        pairs: (name, approved symbol); a name in several pairs with different symbols is ambiguous.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._approved: dict[str, set[str]] = {}
        self._names: dict[str, set[str]] = {}
        for name, symbol in pairs:
            self._approved.setdefault(name, set()).add(symbol)
            self._names.setdefault(symbol, set()).add(name)

    @classmethod
    def read(cls, path: str | os.PathLike[str], name: str, symbol: str, separator: str = ",") -> Names:
        """Read two columns of a table of text, plain or gzip; every cell is text, so that the symbol ``NA`` survives.

        Args:
            path: The table, with a header.
            name: Column of aliases or ids.
            symbol: Column of approved symbols.
            separator: Between columns.

        Raises:
            PathomixError: The file cannot be read or lacks a column.
        """
        try:
            table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
        except (OSError, ValueError) as error:
            raise PathomixError(f"{path}: cannot be read as a table ({error})", remedy="correct the path") from error
        absent = [column for column in (name, symbol) if column not in table]
        if absent:
            raise PathomixError(
                f"{path}: columns are missing", offending=absent, remedy=f"name two of {list(table.columns)}"
            )
        named = table[(table[name] != "") & (table[symbol] != "")]
        return cls(zip(named[name], named[symbol], strict=True))

    def approved(self, name: str) -> set[str]:
        """Approved symbols the name may stand for; itself where it is one."""
        own = {name} if name in self._names else set()
        return self._approved.get(name, set()) | own

    def candidates(self, name: str, usable: Callable[[str], bool]) -> set[str]:
        """Usable symbols of the gene the name stands for: the approved one, or else names that mean only this gene.

        Several where the name is ambiguous, none where nothing usable is known.
        """
        approved = self.approved(name)
        if len(approved) != 1:
            return approved
        (symbol,) = approved
        if usable(symbol):
            return approved
        return {other for other in self._names[symbol] if usable(other) and self.approved(other) == approved}


@dataclass(frozen=True)
class Harmonised:
    """The genes of a table in terms of a vocabulary.

    Attributes:
        report: One row per name in the order given: `name`, `symbol` (cleaned), `gene` (of the vocabulary, or empty),
            `status` (`STATUS`), `summed` (whether several columns have this gene).
        columns: int64 [n], columns of the table that reach the model.
        tokens: int64 [n], their ids; repeated where columns are to be summed.
        coverage: Share of the names, unnamed ones and copies left out, that reach the model.
    """

    report: pd.DataFrame
    columns: NDArray[np.int64]
    tokens: NDArray[np.int64]
    coverage: float

    def counts(self) -> dict[str, int]:
        """Names by status, zero ones too, and how many columns are summed into another."""
        found = Counter(self.report["status"])
        summed = len(self.tokens) - len(np.unique(self.tokens))
        return {status: found[status] for status in STATUS} | {"summed": summed}


def harmonise(
    names: Sequence[str],
    vocabulary: Vocabulary,
    *,
    aliases: Names | None = None,
    ensembl: Names | None = None,
    min_coverage: float = 0.1,
) -> Harmonised:
    """Match the gene names of a table.

    Version suffixes of Ensembl ids and Entrez ids after ``|`` are cut off; copies of pseudo-autosomal genes on the Y
    chromosome and ``?`` are dropped. Then: Ensembl id to symbol, exact match, and for what is left the alias table. An
    alias is used only when it stands for one gene, this gene is not in the table under its own name, and no other
    column claims it. Case counts.

    Args:
        names: Gene names, one per column of the table.
        vocabulary: Of the model.
        aliases: Aliases and previous symbols.
        ensembl: Ensembl ids without version.
        min_coverage: Least share of names that have to match; below a half is logged.

    Raises:
        PathomixError: A name is no text, or fewer names match than `min_coverage`.
    """
    strange = [f"column {place}: {name!r}" for place, name in enumerate(names) if not isinstance(name, str)]
    if strange:
        raise PathomixError(
            "gene names are not text",
            offending=strange,
            remedy="read the table so that the symbol NA stays text (pandas: keep_default_na=False)",
        )
    cleaned = [_cleaned(name, ensembl) for name in names]
    rows = [
        (symbol, status or ("matched" if symbol in vocabulary else "unknown"), symbol) for symbol, status in cleaned
    ]
    genes = [symbol if status == "matched" else "" for symbol, status, _ in rows]
    statuses = [status for _, status, _ in rows]
    if aliases is not None:
        _resolve([symbol for symbol, _ in cleaned], genes, statuses, aliases, vocabulary)
    used = np.array([place for place, gene in enumerate(genes) if gene], dtype=np.int64)
    tokens = vocabulary.gene_ids(genes[place] for place in used)
    repeated = {gene for gene, count in Counter(filter(None, genes)).items() if count > 1}
    report = pd.DataFrame({
        "name": list(names), "symbol": [symbol for symbol, _ in cleaned], "gene": genes, "status": statuses,
        "summed": [gene in repeated for gene in genes],
    })  # fmt: skip
    named = sum(status not in ("unnamed", "pseudoautosomal_copy") for status in statuses)
    result = Harmonised(report, used, tokens, len(used) / named if named else 0.0)
    _check_coverage(result, min_coverage)
    return result


def _cleaned(name: str, ensembl: Names | None) -> tuple[str, str]:
    """Symbol a name stands for, and its status where it is already settled."""
    symbol = _ENTREZ.sub("", name.strip())
    if symbol in ("", "?"):
        return symbol, "unnamed"
    match = _ENSEMBL.match(symbol)
    if match is None:
        return symbol, ""
    if match.group(2):
        return symbol, "pseudoautosomal_copy"
    approved = ensembl.approved(match.group(1)) if ensembl is not None else set()
    if len(approved) > 1:
        return symbol, "ambiguous"
    return (approved.pop() if approved else match.group(1)), ""


def _resolve(
    symbols: Sequence[str], genes: list[str], statuses: list[str], aliases: Names, vocabulary: Vocabulary
) -> None:
    """Settle unknown symbols by the alias table, in place."""
    present = set(genes)
    claims: dict[str, set[str]] = {}
    targets: dict[int, str] = {}
    for place, symbol in enumerate(symbols):
        if statuses[place] != "unknown":
            continue
        found = aliases.candidates(symbol, vocabulary.__contains__)
        if len(found) > 1:
            statuses[place] = "ambiguous"
        elif found and (target := next(iter(found))) in vocabulary:
            targets[place] = target
            claims.setdefault(target, set()).add(symbol)
    for place, target in targets.items():
        if target in present:
            statuses[place] = "target_present"
        elif len(claims[target]) > 1:
            statuses[place] = "collision"
        else:
            statuses[place], genes[place] = "alias", target


def _check_coverage(result: Harmonised, least: float) -> None:
    counts = ", ".join(f"{count} {status}" for status, count in result.counts().items() if count)
    lost = result.report.loc[result.report["gene"] == "", "name"]
    if not len(result.columns) or result.coverage < least:
        raise PathomixError(
            f"{result.coverage:.1%} of the gene names are in the vocabulary, less than {least:.0%} ({counts})",
            offending=lost,
            remedy="give gene symbols in their own case, a table of aliases, or for Ensembl ids a table of symbols",
        )
    if result.coverage < 0.5:
        log.warning("only %.1f%% of the gene names are in the vocabulary (%s)", 100 * result.coverage, counts)
