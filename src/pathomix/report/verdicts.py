"""When a published value counts as reproduced. Pure rules; nothing is read here.

With ours ``m``, its 95 % interval ``[l, u]`` (patient bootstrap), the published value ``v`` and its printed ± ``s`` (0
where none is printed; papers rarely define it, so it is taken as a range):

* reproduced: ``l <= v <= u`` and ``|m - v| <= (u - l) / 4``. A quarter of the interval's width is half its half-width,
  about one standard error (1.96 / 2) of our estimate.
* within noise: not that, but ``[v - s, v + s]`` and ``[l, u]`` meet.
* not reproduced: they do not meet.
* not run: there is no value of ours, or none with an interval; the reason says why.
"""

from __future__ import annotations

import math
from typing import NamedTuple

REPRODUCED, WITHIN_NOISE, NOT_REPRODUCED, NOT_RUN = "reproduced", "within noise", "not reproduced", "not run"
VERDICTS = (REPRODUCED, WITHIN_NOISE, NOT_REPRODUCED, NOT_RUN)
NO_INTERVAL = "our value has no interval, so nothing can be concluded"

# Decimal values as printed are compared: 0.82 - 0.80 is to be 0.02, not a rounding error more.
_ROUNDING = 1e-9


class Ours(NamedTuple):
    """A value computed here and its 95 % interval; NaN where missing."""

    mean: float
    lower: float
    upper: float


class Verdict(NamedTuple):
    """One of VERDICTS, with a reason where it needs one."""

    word: str
    reason: str = ""


def judge(published: float, spread: float, ours: Ours) -> Verdict:
    """Verdict on one published value.

    Args:
        published: As printed.
        spread: The ± as printed; NaN where there is none.
        ours: What was computed here.
    """
    if math.isnan(ours.mean):
        return Verdict(NOT_RUN, "no value could be computed")
    if math.isnan(ours.lower) or math.isnan(ours.upper):
        return Verdict(NOT_RUN, NO_INTERVAL)
    low, high = ours.lower - _ROUNDING, ours.upper + _ROUNDING
    inside = low <= published <= high
    if inside and abs(ours.mean - published) <= (ours.upper - ours.lower) / 4 + _ROUNDING:
        return Verdict(REPRODUCED)
    around = 0.0 if math.isnan(spread) else spread
    if published - around <= high and published + around >= low:
        return Verdict(WITHIN_NOISE)
    return Verdict(NOT_REPRODUCED, "ours is higher" if ours.mean > published else "ours is lower")
