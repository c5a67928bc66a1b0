"""Parameters of encoders: contradictions are refused, and what changes numbers is in the transform."""

import dataclasses

import pytest

from pathomix.core.errors import PathomixError
from pathomix.slides.encoders.parameters import EncoderParameters

GOOD = EncoderParameters("timm", timm="resnet18", seed=0, tile_size=64, mpp=1.0, input_size=32)


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"pooling": "median"}, "pooling is one of"),
        ({"stages": (0,)}, "stages need pooling"),
        ({"pooling": "mean"}, "stages need pooling"),
        ({"pooling": "cls", "stages": (1,)}, "stages need pooling"),
        ({"interpolation": "nearest"}, "interpolation is one of"),
        ({"weights": "x.pth"}, "exclude each other"),
        ({"pretrained": True}, "exclude each other"),
        ({"std": (1.0, 1.0, 0.0)}, "std above 0"),
        ({"mean": (1.0, 1.0)}, "three numbers"),
        ({"tile_size": 0}, "must be positive"),
        ({"mpp": -0.5}, "must be positive"),
        ({"mpp": float("nan")}, "must be positive"),
        ({"input_size": 0}, "must be positive"),
        ({"resize": 16}, "resize is 0 or at least input_size"),
        ({"seed": "0"}, "seed is a whole number"),
    ],
)
def test_contradictions_are_refused(changes, fact):
    with pytest.raises(PathomixError, match=fact) as error:
        dataclasses.replace(GOOD, **changes).checked("mine")
    assert "encoders.mine" in error.value.remedy


def test_several_faults_are_told_at_once():
    with pytest.raises(PathomixError, match=r"must be positive; pooling is one of"):
        dataclasses.replace(GOOD, pooling="median", input_size=0).checked("mine")


@pytest.mark.parametrize(
    "changes",
    [
        {"timm": "resnet34"},
        {"model_args": {"output_stride": 16}},
        {"resize": 40},
        {"input_size": 48},
        {"interpolation": "bilinear"},
        {"mean": (0.5, 0.5, 0.5)},
        {"std": (0.5, 0.5, 0.5)},
        {"pooling": "mean", "stages": (1,)},
    ],
)
def test_whatever_changes_numbers_is_in_the_transform(changes):
    assert dataclasses.replace(GOOD, **changes).transform != GOOD.transform


@pytest.mark.parametrize(
    "changes",
    [{"seed": None, "weights": "w.pth"}, {"tile_size": 32}, {"mpp": 2.0}, {"resize": 32}, {"model": "other"}],
)
def test_what_is_keyed_elsewhere_or_changes_nothing_is_not(changes):
    """Weights have their digest, tiles their coordinates; resizing to `input_size` is what 0 means."""
    assert dataclasses.replace(GOOD, **changes).transform == GOOD.transform
