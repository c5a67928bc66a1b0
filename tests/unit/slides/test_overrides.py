"""The overrides table: what it may hold, and every way of getting it wrong."""

from __future__ import annotations

import pytest

from pathomix.core.errors import PathomixError
from pathomix.slides.overrides import Override, check_known, read_overrides

HEADER = "slide_id\tmpp\tmasker\texclude\tnote\n"


@pytest.fixture
def table(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "overrides.tsv"
        path.write_text(text, encoding=encoding)
        return path

    return write


def test_cells_are_read_and_empty_ones_change_nothing(table):
    found = read_overrides(table(HEADER + "a\t0.25\t\t\theader says 0.5\nb\t\tcolour\t\n\nc\t\t\tmouse, not man\t\n"))
    assert found == {
        "a": Override(mpp=0.25, note="header says 0.5"),
        "b": Override(masker="colour"),
        "c": Override(exclude="mouse, not man"),
    }
    assert found["a"].changes == {"mpp": 0.25} and found["c"].changes == {"exclude": "mouse, not man"}


def test_columns_may_be_left_out_reordered_and_saved_by_a_spreadsheet(table):
    found = read_overrides(table("exclude\tslide_id\r\nbroken glass\ta\r\n", encoding="utf-8-sig"))
    assert found == {"a": Override(exclude="broken glass")}
    assert read_overrides(table("slide_id\n")) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column slide_id"),
        ("slide\tmpp\n", "unknown or repeated columns: slide; the header is slide_id mpp"),
        ("slide_id\tmpp\tmpp\n", "unknown or repeated columns"),
        ("mpp\n0.5\n", "no column slide_id"),
        (HEADER + "a\t0.5\na\t0.25\n", "a slide stands twice: a"),
        (HEADER + "a\t0,25\n", "mpp '0,25' of a is no positive number"),
        (HEADER + "a\t-1\n", "mpp '-1' of a"),
        (HEADER + "a\tnan\n", "mpp 'nan' of a"),
        (HEADER + "a\tinf\n", "mpp 'inf' of a"),
        (HEADER + "a\t\t\t\tlooks odd\n", "a line changes nothing: a"),
        (HEADER + "\t0.5\n", "line 2: no slide_id"),
        (HEADER + "a\t0.5\t\t\t\tmore\n", "line 2: more cells than columns"),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(table, text, message):
    with pytest.raises(PathomixError, match=message.replace("?", r"\?")) as error:
        read_overrides(table(text))
    assert "overrides.tsv" in str(error.value)


def test_a_table_that_cannot_be_read(table, tmp_path):
    with pytest.raises(PathomixError, match=r"absent\.tsv: cannot be read"):
        read_overrides(tmp_path / "absent.tsv")
    path = tmp_path / "latin.tsv"
    path.write_bytes((HEADER + "a\t\t\tgrün\n").encode("latin-1"))
    with pytest.raises(PathomixError, match=r"latin\.tsv: cannot be read"):
        read_overrides(path)


def test_unknown_slides_are_refused_and_near_ones_named(tmp_path):
    overrides = {"TCGA-A1-DX1": Override(mpp=0.5), "known": Override(mpp=0.5)}
    with pytest.raises(PathomixError, match="did you mean TCGA-A1-DX2") as error:
        check_known(overrides, ["known", "TCGA-A1-DX2", "else"], tmp_path / "o.tsv")
    assert error.value.offending == ["TCGA-A1-DX1"]
    check_known(overrides, ["known", "TCGA-A1-DX1"], tmp_path / "o.tsv")
