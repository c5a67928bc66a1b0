"""Gene names matched by planted cases and by the real vocabulary and alias table."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import pytest

from pathomix.core.errors import PathomixError
from pathomix.scgpt.symbols import STATUS, Harmonised, Names, harmonise
from pathomix.scgpt.vocabulary import Vocabulary

ALIASES = Names([
    ("TP53", "TP53"), ("P53", "TP53"), ("MUT", "MMUT"), ("AKA", "ONE"), ("AKA", "TWO"), ("OLD1", "NEW"),
    ("OLD2", "NEW"), ("PREVIOUS", "CURRENT"), ("BEFORE", "LATER"), ("EARLIER", "LATER"), ("NA", "XK"),
    ("SHARED", "FIRST"), ("SHARED", "SECOND"), ("IN_BOTH", "ONE"), ("IN_BOTH", "CURRENT"), ("ODD", "IN_BOTH"),
])  # fmt: skip
VOCABULARY = Vocabulary(
    ["TP53", "MMUT", "ONE", "TWO", "NEW", "PREVIOUS", "BEFORE", "EARLIER", "XK", "C1orf112", "SHARED"]
)


def settled(names: list[str], **tables: Names) -> dict[str, tuple[str, str]]:
    report = harmonise(names, VOCABULARY, min_coverage=0.0, **tables).report
    return {row.name: (row.gene, row.status) for row in report.itertuples(index=False)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("TP53", ("TP53", "matched")),
        ("TP53|7157", ("TP53", "matched")),
        ("tp53", ("", "unknown")),
        ("C1orf112", ("C1orf112", "matched")),
        ("MUT", ("MMUT", "alias")),
        ("AKA", ("", "ambiguous")),
        ("?|100130426", ("", "unnamed")),
        ("", ("", "unnamed")),
        ("NA", ("XK", "alias")),
        ("nan", ("", "unknown")),
        # The vocabulary is older than the table: its own symbol is an alias that means only this gene.
        ("CURRENT", ("PREVIOUS", "alias")),
        # Two of its symbols mean this gene.
        ("LATER", ("", "ambiguous")),
        # The vocabulary's symbol may mean another gene just as well.
        ("FIRST", ("", "unknown")),
        # An approved symbol that is also somebody's alias.
        ("IN_BOTH", ("", "ambiguous")),
    ],
)
def test_one_name(name: str, expected: tuple[str, str]) -> None:
    assert settled([name, "BEFORE"], aliases=ALIASES)[name] == expected


def test_an_alias_yields_to_the_gene_itself() -> None:
    assert settled(["P53", "TP53"], aliases=ALIASES) == {"P53": ("", "target_present"), "TP53": ("TP53", "matched")}


def test_two_old_names_of_one_gene_are_not_guessed() -> None:
    found = settled(["OLD1", "OLD2", "TP53"], aliases=ALIASES)
    assert found["OLD1"] == found["OLD2"] == ("", "collision")


def test_without_a_table_nothing_is_guessed() -> None:
    assert settled(["MUT", "TP53"])["MUT"] == ("", "unknown")


def test_ensembl_ids() -> None:
    ensembl = Names([("ENSG00000141510", "TP53"), ("ENSG00000000002", "ONE"), ("ENSG00000000002", "TWO"),
                     ("ENSG00000000003", "MUT")])  # fmt: skip
    names = [
        "ENSG00000141510.18",
        "ENSG00000182378.15_PAR_Y",
        "ENSG00000000002.1",
        "ENSG00000000003",
        "ENSG00000000009",
    ]
    assert list(settled(names, ensembl=ensembl, aliases=ALIASES).values()) == [
        ("TP53", "matched"), ("", "pseudoautosomal_copy"), ("", "ambiguous"), ("MMUT", "alias"), ("", "unknown"),
    ]  # fmt: skip


def test_columns_and_counts() -> None:
    found = harmonise(["X", "TWO", "TP53|1", "MUT", "TP53|2", "?"], VOCABULARY, aliases=ALIASES)
    assert found.columns.tolist() == [1, 2, 3, 4]
    assert found.tokens.tolist() == [3, 0, 1, 0]
    assert found.coverage == 4 / 5
    assert found.report["summed"].tolist() == [False, False, True, False, True, False]
    assert found.counts() == dict.fromkeys(STATUS, 0) | {
        "matched": 3, "alias": 1, "unknown": 1, "unnamed": 1, "summed": 1,
    }  # fmt: skip


def test_coverage_is_refused_and_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    names = ["TP53", "A", "B", "C"]
    with pytest.raises(PathomixError, match=r"25.0% of the gene names .* less than 30% \(1 matched, 3 unknown\): A, B"):
        harmonise(names, VOCABULARY, min_coverage=0.3)
    with caplog.at_level(logging.WARNING):
        harmonise(names, VOCABULARY)
    assert "only 25.0%" in caplog.text
    for nothing in (["A", "B"], [], ["?"]):
        with pytest.raises(PathomixError, match=r"0.0% of the gene names"):
            harmonise(nothing, VOCABULARY, min_coverage=0.0)


def test_a_lost_na_is_told() -> None:
    with pytest.raises(PathomixError, match=r"not text: column 1: nan; .*keep_default_na"):
        harmonise(["TP53", float("nan")], VOCABULARY)  # type: ignore[list-item]


def test_tables_are_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "aliases.tsv"
    path.write_text("old\tnew\nNA\tXK\nMUT\tMMUT\n\tTP53\n007\tONE\n")
    names = Names.read(path, "old", "new", "\t")
    assert (names.approved("NA"), names.approved("007"), names.approved("")) == ({"XK"}, {"ONE"}, set())
    with pytest.raises(PathomixError, match="columns are missing: previous;"):
        Names.read(path, "previous", "new", "\t")
    with pytest.raises(PathomixError, match="cannot be read"):
        Names.read(tmp_path / "absent.csv", "old", "new")


@pytest.fixture(scope="module")
def real(shared_data: Path) -> tuple[Vocabulary, Names]:
    with gzip.open(shared_data / "genes" / "scgpt_default_census_vocab.json.gz", "rt") as stream:
        by_id = sorted((place, gene) for gene, place in json.load(stream).items())
    aliases = Names.read(shared_data / "genes" / "hgnchelper_alias_table.csv.gz", "Symbol", "Approved.Symbol")
    return Vocabulary(gene for _, gene in by_id), aliases


def test_survpath_genes_in_the_real_vocabulary(real: tuple[Vocabulary, Names], shared_data: Path) -> None:
    folder = shared_data / "survpath" / "pathway_compositions"
    with gzip.open(folder / "xena_comps.csv.gz", "rt") as stream:
        genes = [line.split(",", 1)[0] for line in stream][1:]
    without = harmonise(genes, real[0])
    found: Harmonised = harmonise(genes, real[0], aliases=real[1])
    # Measured independently (shared data README, trap 9): 70 of 1577 are absent under their own name.
    assert (len(genes), without.counts()["unknown"]) == (1577, 70)
    by_name = found.report.set_index("name")["gene"]
    assert (by_name["MUT"], by_name["YARS"], by_name["ATP5F1"]) == ("MMUT", "YARS1", "ATP5PB")
    counts = found.counts()
    assert counts["alias"] > 55
    assert sum(counts[status] for status in STATUS) == 1577


def test_the_real_symbol_na(real: tuple[Vocabulary, Names]) -> None:
    found = harmonise(["NA", "TP53"], real[0], aliases=real[1])
    assert found.report["gene"].tolist() == ["XK", "TP53"]
    assert harmonise(["NA", "XK"], real[0], aliases=real[1]).report["status"].tolist() == ["target_present", "matched"]
