"""The real slide: its scale whatever the table says, its pixels, and what an interrupted download of it does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest

from pathomix.core.errors import PathomixError
from pathomix.slides.handles import HandleCache
from pathomix.slides.reader import open_slide
from pathomix.slides.scale import Scale

SIZE = (2220, 2967)


@pytest.fixture
def svs(shared_data: Path) -> Path:
    return shared_data / "slides" / "CMU-1-Small-Region.svs"


def test_scale_and_pixels_are_those_of_the_file(svs: Path) -> None:
    with open_slide(svs) as slide, openslide.OpenSlide(svs) as reference:
        assert slide.scale == Scale(0.499, 0.499, "header") and slide.dimensions == SIZE
        assert set(slide.stated_scales) == {"header", "vendor", "comment"}
        assert set(slide.stated_scales.values()) == {(0.499, 0.499)}
        expected = np.asarray(reference.read_region((700, 900), 0, (300, 200)).convert("RGB"))
        np.testing.assert_array_equal(slide.read(700, 900, 0, 300, 200), expected)


def test_a_table_of_another_opinion_is_named_and_loses(svs: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_slide(svs, 0.25) as slide:
        assert slide.scale.source == "header" and slide.scale_conflict == (pytest.approx(0.499), 0.25)
    assert "0.499" in caplog.text and "0.25" in caplog.text
    with open_slide(svs, 0.25, override_mpp=0.25) as slide:
        assert slide.scale == Scale(0.25, 0.25, "override")


@pytest.mark.parametrize("mpp", [None, 0.5])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_svs_is_refused_also_where_its_first_page_could_be_read(
    svs: Path, tmp_path: Path, share: float, mpp: float | None
) -> None:
    whole = svs.read_bytes()
    part = tmp_path / "part.svs"
    part.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(PathomixError, match=r"part\.svs: OpenSlide cannot open it .* cut off") as error:
        open_slide(part, mpp)
    assert "fetch the file again" in error.value.remedy


def test_a_slide_that_opens_and_cannot_be_read_spoils_no_other(svs: Path, shared_data: Path) -> None:
    with HandleCache() as handles:
        good = handles.open(svs, Scale(0.499, 0.499, "header"))
        bad = handles.open(shared_data / "slides" / "edge_synthetic" / "unreadable.svs", Scale(0.499, 0.499, "header"))
        before = good.read(0, 0, 0, 64, 64)
        for _ in range(2):
            with pytest.raises(PathomixError, match=r"unreadable\.svs: reading 16 x 16 pixels"):
                bad.read(0, 0, 0, 16, 16)
        np.testing.assert_array_equal(good.read(0, 0, 0, 64, 64), before)
