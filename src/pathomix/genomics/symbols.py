"""Gene symbols of a table brought to their approved form, with a report of what was renamed (spec scgpt 4.4)."""

from __future__ import annotations

import csv
import gzip
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pathomix.core.errors import PathomixError

# Names of the columns in HGNC's complete set, and in tables of pairs (alias, approved).
_HGNC = ("symbol", "alias_symbol", "prev_symbol")
_PAIRS = ("symbol", "approved.symbol")
_ENTREZ = re.compile(r"\|\d+$")


class AliasTable:
    """Which approved symbol an alias or a previous symbol stands for.

    Args:
        approved: Approved symbols.
        pairs: (alias or previous symbol, approved symbol); a name of several genes is ambiguous.
        label: The file, for errors.
    """

    def __init__(self, approved: Iterable[str], pairs: Iterable[tuple[str, str]], label: str = "aliases") -> None:
        self.label = label
        self.approved = frozenset(approved)
        self._stands_for: dict[str, set[str]] = {}
        for alias, symbol in pairs:
            if alias and symbol:
                self._stands_for.setdefault(alias, set()).add(symbol)

    @classmethod
    def read(cls, path: str | Path) -> AliasTable:
        """Read HGNC's complete set (`symbol`, `alias_symbol`, `prev_symbol`; several separated by ``|``) or pairs.

        Pairs are a table with the columns `Symbol` and `Approved.Symbol`. Text or gzip, comma or tab by the ending;
        every cell is text, so that the symbol ``NA`` survives.

        Raises:
            PathomixError: The file cannot be read, or its columns are of neither form.
        """
        rows = _rows(Path(path))
        header = [cell.strip().lower() for cell in next(rows, [])]
        if set(_HGNC) <= set(header):
            symbol, *others = (header.index(name) for name in _HGNC)
            table = [(row[symbol], row[place]) for row in rows for place in others]
            approved = {own for own, _ in table}
            pairs = ((name.strip(), own) for own, names in table for name in names.split("|"))
            return cls(approved, pairs, str(path))
        if set(_PAIRS) <= set(header):
            alias, symbol = (header.index(name) for name in _PAIRS)
            found = [(row[alias], row[symbol]) for row in rows]
            # Some tables of pairs join the genes of an ambiguous name into one cell.
            split = [(name, own.strip()) for name, owns in found for own in owns.split("///")]
            return cls({own for _, own in split if own}, split, str(path))
        raise PathomixError(
            f"{path}: not a table of gene aliases", offending=header[:8],
            remedy=f"give columns {', '.join(_HGNC)} (HGNC's complete set), or Symbol and Approved.Symbol",
        )  # fmt: skip

    def meanings(self, name: str) -> frozenset[str]:
        """Approved symbols a name may stand for; only itself where it is one."""
        return frozenset({name}) if name in self.approved else frozenset(self._stands_for.get(name, ()))

    def rename(self, names: Sequence[str]) -> tuple[list[str], Mapping[str, Any]]:
        """Approved symbols of a table's genes.

        An Entrez id after ``|`` is cut off. A name is changed when it stands for one gene and this gene is not in the
        table under its own name; ambiguous names and names of genes that are there stay as they are. Several names of
        one gene become the same symbol: what happens then is the table's rule for repeated symbols.

        Args:
            names: Gene names; empty or ``?`` where there is none.

        Returns:
            The symbols, empty where there was no name, and a report: counts by what happened (`approved`, `alias`,
            `ambiguous`, `target_present`, `unknown`, `unnamed`), `renamed` (old to new), `ambiguous_names` (to what
            they may stand for), `left` (names whose gene is there already), `united` (new symbol to its old names).
        """
        symbols = [_ENTREZ.sub("", name.strip()) for name in names]
        present = set(symbols)
        renamed: dict[str, str] = {}
        ambiguous: dict[str, list[str]] = {}
        left: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for symbol in symbols:
            meanings = self.meanings(symbol)
            if symbol in ("", "?"):
                counts["unnamed"] += 1
            elif symbol in self.approved:
                counts["approved"] += 1
            elif not meanings:
                counts["unknown"] += 1
            elif len(meanings) > 1:
                counts["ambiguous"] += 1
                ambiguous[symbol] = sorted(meanings)
            elif (target := next(iter(meanings))) in present:
                counts["target_present"] += 1
                left[symbol] = target
            else:
                counts["alias"] += 1
                renamed[symbol] = target
        united: dict[str, list[str]] = {}
        for old, new in sorted(renamed.items()):
            united.setdefault(new, []).append(old)
        report = {
            "aliases": Path(self.label).name,
            **{status: counts[status] for status in _STATUS},
            "renamed": dict(sorted(renamed.items())),
            "ambiguous_names": dict(sorted(ambiguous.items())),
            "left": dict(sorted(left.items())),
            "united": {new: old for new, old in united.items() if len(old) > 1},
        }
        return ["" if symbol == "?" else renamed.get(symbol, symbol) for symbol in symbols], report

    def matched(self, genes: Iterable[str], measured: Collection[str]) -> dict[str, str]:
        """Genes of a gene set to the measured gene they are: themselves, or the one gene of the same meaning.

        Args:
            genes: Symbols of gene sets, of whatever year.
            measured: Symbols of the table.

        Returns:
            Only the genes that are measured.
        """
        by_meaning: dict[str, set[str]] = {}
        for name in measured:
            meanings = self.meanings(name)
            if len(meanings) == 1:
                by_meaning.setdefault(next(iter(meanings)), set()).add(name)
        result = {}
        for gene in genes:
            meanings = self.meanings(gene)
            others = by_meaning.get(next(iter(meanings)), set()) if len(meanings) == 1 else set()
            if gene in measured:
                result[gene] = gene
            elif len(others) == 1:
                result[gene] = next(iter(others))
        return result


_STATUS = ("approved", "alias", "ambiguous", "target_present", "unknown", "unnamed")


def _rows(path: Path) -> Iterator[list[str]]:
    plain = path.name.lower().removesuffix(".gz")
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as stream:
            width = 0
            for row in csv.reader(stream, delimiter="," if plain.endswith(".csv") else "\t"):
                width = width or len(row)
                if row and len(row) != width:
                    raise PathomixError(
                        f"{path}: a line has {len(row)} cells, the header has {width}", offending=row[:2],
                        remedy="fetch the file again",
                    )  # fmt: skip
                if row:
                    yield row
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise PathomixError(f"{path}: cannot be read ({error})", remedy="fetch the file again") from error
