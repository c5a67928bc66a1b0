from __future__ import annotations

from pathomix.acquire.nested import flat_rows

CASE = {"id": "c", "a": {"b": 1, "none": None}, "d": [{"x": "p", "y": 0}, {"x": "q"}, {"x": "p"}], "e": []}


def test_one_row_names_what_is_not_single() -> None:
    [(row, several)] = flat_rows(CASE, ["id", "a.b", "a.none", "a", "d.x", "d.y", "d.z", "nothing.at.all"])
    assert row == {
        "id": "c", "a.b": "1", "a.none": "", "a": "", "d.x": "p|q", "d.y": "0", "d.z": "", "nothing.at.all": "",
    }  # fmt: skip
    assert several == ["d.x"]


def test_a_row_per_entry() -> None:
    rows = [row for row, _ in flat_rows(CASE, ["id", "d.x", "d.y"], "d")]
    assert rows == [
        {"id": "c", "d.x": "p", "d.y": "0"}, {"id": "c", "d.x": "q", "d.y": ""}, {"id": "c", "d.x": "p", "d.y": ""},
    ]  # fmt: skip
    assert not list(flat_rows(CASE, ["id"], "e")) and not list(flat_rows(CASE, ["id"], "absent"))
