"""The line of a slide in the log."""

from __future__ import annotations

from pathomix.slides.engine.speed import Speed, difference


def test_line():
    speed = Speed(2, wall=4.0, decode=4.0, read=1000, waited=2.5, blocked=1.0)
    speed.busy, speed.encoded = {"a": 0.5, "b": 0.5}, {"a": 1000, "b": 250}
    assert speed.line() == "seconds=4.00 read=500/s encode[a]=2000/s encode[b]=500/s busy=25% limit=reading"
    speed.waited = 0.5
    assert speed.limit == "encoding"


def test_a_slide_that_could_not_be_opened_has_no_speed():
    assert Speed(busy={"a": 0.0}, encoded={"a": 0}).line() == "seconds=0.00 read=- encode[a]=- busy=0% limit=encoding"


def test_difference():
    assert difference({"a": 3.0, "b": 1.0}, {"a": 1.0}) == {"a": 2.0, "b": 1.0}
