"""The page of encoders."""

from pathomix.slides.encoders.describe import describe_encoders, page
from pathomix.slides.encoders.entries import names


def test_the_page_is_current(root):
    assert (root / "docs" / "encoders.md").read_text(encoding="utf-8") == page(), (
        "run: python -m pathomix.slides.encoders.describe > docs/encoders.md"
    )


def test_every_encoder_has_a_row():
    rows = describe_encoders()
    assert [row["model"] for row in rows] == [f"`{name}`" for name in names()]
    by_name = {row["model"]: row for row in rows}
    assert by_name["`gigapath`"]["transform"].startswith("resize none, centre 224")
    assert by_name["`conch_v1_5`"]["tile"] == "512 px at 0.5 µm/px"
    assert by_name["`conch_v1_5`"]["transform"].startswith("resize 448 bilinear;")
    assert by_name["`midnight_12k`"]["dim"] == "3072" and "open" in by_name["`midnight_12k`"]["access"]
    assert all("|" not in value and "\n" not in value for row in rows for value in row.values())
