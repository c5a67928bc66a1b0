from __future__ import annotations

import gzip
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathomix.core.errors import PathomixError
from pathomix.genomics.symbols import AliasTable

HGNC = (
    "hgnc_id\tsymbol\tname\talias_symbol\tprev_symbol\n"
    '1\tMMUT\t"methyl; ""mut"""\t"MCM|MCM1"\tMUT\n'
    "2\tXK\tx\tX1K|NA\t\n"
    "3\tKMT2B\tx\tMLL2\tMLL4\n"
    "4\tKMT2D\tx\tMLL4|ALR\tMLL2\n"
    "5\tNA1\tx\t\t\n"
    "6\tGARS1\tx\tGARS\t\n"
)
PAIRS = "Symbol,Approved.Symbol,chromosome\nMMUT,MMUT,6\nMUT,MMUT,6\nNA,XK,X\nXK,XK,X\nMLL2,KMT2B,19\nMLL2,KMT2D,12\n"


@pytest.fixture(params=["tsv", "csv.gz"])
def table(request, tmp_path):
    path = tmp_path / f"t.{request.param}"
    path.write_bytes(HGNC.encode() if request.param == "tsv" else gzip.compress(PAIRS.encode()))
    return AliasTable.read(path)


def test_both_forms_say_the_same(table):
    assert table.meanings("MUT") == {"MMUT"} and table.meanings("MMUT") == {"MMUT"}
    assert table.meanings("MLL2") == {"KMT2B", "KMT2D"} and table.meanings("nothing") == frozenset()
    assert table.meanings("NA") == {"XK"} and "" not in table.approved  # NA is text, never "not known"


def test_renaming_and_its_report(table):
    names, report = table.rename(["MUT", "NA", "MLL2", "TP53", "XYZ|1234", "?", "", "?|777"])
    assert names == ["MMUT", "XK", "MLL2", "TP53", "XYZ", "", "", ""]
    assert report["renamed"] == {"MUT": "MMUT", "NA": "XK"}
    assert report["ambiguous_names"] == {"MLL2": ["KMT2B", "KMT2D"]}
    assert (report["unnamed"], report["unknown"], report["alias"], report["ambiguous"]) == (3, 2, 2, 1)
    assert report["united"] == {} and report["left"] == {}


def test_a_gene_that_is_there_under_its_own_name_is_not_taken_over(table):
    names, report = table.rename(["MUT", "MMUT", "NA"])
    assert names == ["MUT", "MMUT", "XK"] and report["left"] == {"MUT": "MMUT"} and report["target_present"] == 1


def test_two_names_of_one_gene_become_one_symbol(tmp_path):
    (tmp_path / "t.tsv").write_text(HGNC)
    names, report = AliasTable.read(tmp_path / "t.tsv").rename(["MUT", "MCM1", "GARS"])
    assert names == ["MMUT", "MMUT", "GARS1"] and report["united"] == {"MMUT": ["MCM1", "MUT"]}


def test_genes_of_sets_meet_measured_genes_from_either_year(table):
    assert table.matched(["MUT", "XK", "TP53", "MLL2"], ["MMUT", "NA", "KMT2D"]) == {"MUT": "MMUT", "XK": "NA"}
    assert table.matched(["MLL2"], ["MLL2"]) == {"MLL2": "MLL2"}  # as it stands, whatever it may mean


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "t.tsv").write_text("gene\tother\na\tb\n")
    with pytest.raises(PathomixError, match=r"not a table of gene aliases: gene, other; .*alias_symbol"):
        AliasTable.read(tmp_path / "t.tsv")
    (tmp_path / "t.tsv").write_text(HGNC + "7\tshort\n")
    with pytest.raises(PathomixError, match=r"a line has 2 cells, the header has 5: 7, short"):
        AliasTable.read(tmp_path / "t.tsv")
    (tmp_path / "t.tsv.gz").write_bytes(gzip.compress(HGNC.encode())[:40])
    with pytest.raises(PathomixError, match=re.escape("t.tsv.gz: cannot be read")):
        AliasTable.read(tmp_path / "t.tsv.gz")


SYMBOLS = st.sampled_from(["A", "B", "C", "D", "E", "F", "G"])


@given(st.sets(SYMBOLS), st.lists(st.tuples(SYMBOLS, SYMBOLS)), st.lists(SYMBOLS))
def test_renaming_never_gives_a_gene_to_another(approved, pairs, names):
    """By brute force: a symbol changes only to the one gene it may mean, and never onto a gene that was there."""
    table = AliasTable(approved, pairs)
    result, report = table.rename(names)
    for old, new in zip(names, result, strict=True):
        meant = {own for alias, own in pairs if alias == old}
        expected = next(iter(meant)) if old not in approved and len(meant) == 1 and not meant & set(names) else old
        assert new == expected
    kinds = ("approved", "alias", "ambiguous", "target_present", "unknown", "unnamed")
    assert sum(report[kind] for kind in kinds) == len(names)
