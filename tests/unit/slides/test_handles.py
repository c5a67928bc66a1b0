"""At most a few slides open at a time, per process."""

from __future__ import annotations

import multiprocessing

import pytest

from pathomix.core.errors import PathomixError
from pathomix.slides.handles import MAX_HANDLES, HandleCache
from pathomix.slides.scale import Scale

HALF = Scale(0.5, 0.5, "header")


def test_the_slide_not_used_for_longest_is_closed_first(zoo):
    names = ["coarse.tiff", "coarse_one_level.tiff", "no_mpp.tiff"]
    with HandleCache(2) as handles:
        first, second = (handles.open(zoo / name, HALF) for name in names[:2])
        assert handles.open(zoo / names[0], HALF) is first
        third = handles.open(zoo / names[2], HALF)
        assert second._backend is None and first._backend is not None
        assert handles.open(zoo / names[0], Scale(0.25, 0.25, "table")).scale.x == 0.25  # another scale, another slide
        assert first._backend is None and third._backend is not None
    assert third._backend is None
    assert MAX_HANDLES == 4 == HandleCache().capacity


def test_a_slide_that_failed_serves_again(zoo):
    with HandleCache() as handles:
        slide = handles.open(zoo / "damaged.tiff", HALF)
        with pytest.raises(PathomixError, match="reading"):
            slide.read(0, 0, 0, 1024, 1024)
        again = handles.open(zoo / "damaged.tiff", HALF)
        assert again is slide and again.read(0, 0, 0, 16, 16).shape == (16, 16, 3)
    with HandleCache() as handles, pytest.raises(PathomixError, match="no such file"):
        handles.open(zoo / "absent.tiff", HALF)


def _child(handles, path, parents, queue):
    slide = handles.open(path, HALF)
    queue.put((slide is not parents, len(handles._open), slide.read(0, 0, 0, 4, 4).shape))


def test_a_forked_process_opens_its_own(zoo):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with HandleCache() as handles:
        slide = handles.open(zoo / "coarse.tiff", HALF)
        process = context.Process(target=_child, args=(handles, zoo / "coarse.tiff", slide, queue))
        process.start()
        assert queue.get(timeout=60) == (True, 1, (4, 4, 3))
        process.join()
        assert slide.read(0, 0, 0, 4, 4).shape == (4, 4, 3)
