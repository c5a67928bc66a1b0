"""Engine parameters: what is refused, and what `auto` stands for."""

from __future__ import annotations

import pytest

from pathomix.core.errors import PathomixError
from pathomix.slides.engine.parameters import EngineParameters


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 0}, "batch_size is auto or a whole number from 1"),
        ({"workers": -1}, "workers is auto or a whole number from 0"),
        ({"workers": "many"}, "workers"),
        ({"prefetch": True}, "prefetch"),
        ({"precision": "float64"}, "precision is one of"),
        ({"device": "tpu"}, "device is one of"),
        ({"compile": "yes"}, "compile is true or false"),
        ({"block": 0}, "block is a whole number"),
        ({"max_bad_share": 2}, "max_bad_share lies between"),
    ],
)
def test_refused(values, message):
    with pytest.raises(PathomixError, match=message):
        EngineParameters(**values).checked()


def test_auto():
    auto = EngineParameters().checked()
    assert [auto.processes("cpu", n) for n in (1, 2, 3, 4, 8, 16)] == [0, 1, 1, 1, 2, 4]
    assert [auto.processes("cuda", n) for n in (1, 8)] == [1, 8]
    assert auto.regions(4) == 10
    given = EngineParameters(workers=3, prefetch=2)
    assert given.processes("cuda", 8) == 3 and given.regions(3) == 3
