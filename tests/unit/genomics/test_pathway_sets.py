from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathomix.core.errors import PathomixError
from pathomix.genomics.pathway_sets import plain_name, select_sets, statistics, wanted_sets
from pathomix.genomics.symbols import AliasTable


def gmt(path, **sets):
    path.write_text("".join("\t".join([name, "", *genes]) + "\n" for name, genes in sets.items()))
    return path


@pytest.fixture
def files(tmp_path):
    one = gmt(tmp_path / "r.gmt", Cell_cycle=["A", "B", "C"], Repair=["D", "E"], Signals=["F", "G", "H", "I"])
    return [one, gmt(tmp_path / "h.gmt", HALLMARK_HYPOXIA=["A", "D"], HALLMARK_OTHER=["Z"])]


def test_sets_of_several_files_restricted_to_measured_genes(files):
    sets, report = select_sets(files, {}, None, "ABCDEF")
    assert sets == {
        "Cell_cycle": ("A", "B", "C"),
        "HALLMARK_HYPOXIA": ("A", "D"),
        "Repair": ("D", "E"),
        "Signals": ("F",),
    }
    assert (report["pathways_in"], report["pathways_kept"], report["memberships"]) == (5, 4, 8)
    assert report["pathways_left_out_for_too_few_genes"] == ["HALLMARK_OTHER"]
    assert report["mean_coverage"] == pytest.approx((1 + 1 + 1 + 0.25) / 4)


def test_selection_by_coverage_and_size(files):
    assert set(select_sets(files, {"min_coverage": 0.9}, None, "ABCDEF")[0]) == {
        "Cell_cycle", "HALLMARK_HYPOXIA", "Repair",
    }  # fmt: skip
    assert set(select_sets(files, {"min_genes": 2, "max_genes": 2}, None, "ABCDEF")[0]) == {
        "HALLMARK_HYPOXIA", "Repair",
    }  # fmt: skip
    with pytest.raises(PathomixError, match=r"no pathway is left of 5 \(1 genes measured, 0 of them in pathways\): Q"):
        select_sets(files, {}, None, ["Q"])


def test_sets_like_a_published_table(files, tmp_path):
    like = tmp_path / "like.csv"
    rows = {"A": "1,0,1,0", "B": "1,0,0,0", "D": "0,1,1,0", "E": "0,1,0,0", "F": "0,1,0,0", "Y": "0,0,0,1"}
    like.write_text("gene,cell cycle,mending,Hypoxia,gone\n" + "".join(f"{g},{cells}\n" for g, cells in rows.items()))
    sets, report = select_sets(files, {"min_overlap": 0.5}, like, "ABCDEFGHI")
    assert sets == {"cell cycle": ("A", "B", "C"), "Hypoxia": ("A", "D"), "mending": ("D", "E")}
    assert (report["wanted"], report["found_by_name"], report["found_by_genes"]) == (4, 2, 1)
    assert report["not_found"] == ["gone"]
    matches = {row["pathway"]: row for row in report["matches"]}
    assert matches["mending"]["set"] == "Repair" and matches["mending"]["overlap"] == pytest.approx(2 / 3, abs=1e-4)
    assert matches["cell cycle"]["genes_wanted"] == 2 and matches["cell cycle"]["genes"] == 3
    assert set(select_sets(files, {"min_overlap": 0.7}, like, "ABCDEFGHI")[0]) == {"cell cycle", "Hypoxia"}


def test_genes_of_another_name(files):
    aliases = AliasTable(["A2", "B"], [("A", "A2")])
    sets, report = select_sets(files, {}, None, ["A2", "B"], aliases)
    assert sets == {"Cell_cycle": ("A2", "B"), "HALLMARK_HYPOXIA": ("A2",)}
    assert report["genes_found_by_another_name"] == {"A": "A2"}


def test_one_name_in_two_files(files, tmp_path):
    again = gmt(tmp_path / "x.gmt", Repair=["D", "Q"])
    with pytest.raises(PathomixError, match=r"in another file with other genes: Repair"):
        select_sets([*files, again], {}, None, "ABCDEF")
    assert select_sets([*files, gmt(tmp_path / "y.gmt", Repair=["E", "D"])], {}, None, "ABCDEF")[0]["Repair"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HALLMARK_P53_PATHWAY", "p53 pathway"),
        ("REACTOME_TLR6_TLR2", "Toll"),
        ("LPS-binding (CD14)", "LPS_binding_CD14"),
    ],
)
def test_names(one, other):
    assert (plain_name(one) == plain_name(other)) == (other != "Toll")


def test_statistics():
    found = statistics({"a": ["X"], "b": ["X", "Y", "Z"]})
    assert (found["genes"], found["memberships"], found["smallest"], found["largest"]) == (3, 4, 1, 3)
    assert (found["median_genes"], found["pathways_with_one_gene"], found["most_pathways_of_a_gene"]) == (2.0, 1, 2)


SETS = st.dictionaries(st.sampled_from(list("abcdef")), st.sets(st.sampled_from("XYZUVW"), min_size=1), max_size=6)


@given(SETS, SETS, st.sampled_from([0.3, 0.5, 1.0]))
def test_a_set_stands_for_one_pathway_and_the_overlap_is_what_it_says(sets, wanted, least):
    found, rows = wanted_sets({k: sorted(v) for k, v in sets.items()}, {k: sorted(v) for k, v in wanted.items()}, least)
    used = [row["set"] for row in rows if row["set"] is not None]
    assert len(used) == len(set(used)) == len(found) and [row["pathway"] for row in rows] == list(wanted)
    for row in rows:
        if row["set"] is None:
            free = [v for k, v in sets.items() if k not in used]
            assert all(len(v & wanted[row["pathway"]]) / len(v | wanted[row["pathway"]]) < least for v in free)
            continue
        a, b = sets[row["set"]], wanted[row["pathway"]]
        assert row["overlap"] == pytest.approx(len(a & b) / len(a | b), abs=1e-4)
        assert row["by"] == ("name" if row["set"] == row["pathway"] else "genes")
        assert row["by"] == "name" or row["overlap"] >= least
