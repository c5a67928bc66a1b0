from __future__ import annotations

import importlib

import numpy as np
import pytest

from pathomix.core.errors import PathomixError
from pathomix.text.encoders import build_encoder, unit_rows
from pathomix.text.registry import ENCODERS


@pytest.mark.parametrize("name", ENCODERS)
def test_every_registered_encoder_is_there(name: str) -> None:
    module, _, attribute = ENCODERS[name].partition(":")
    assert hasattr(getattr(importlib.import_module(module), attribute), "encode")


def test_build() -> None:
    encoder = build_encoder("hashing", {"width": 32})
    assert encoder.dim == 32 and encoder.encode(["a"]).shape == (1, 32)


@pytest.mark.parametrize(
    ("name", "settings", "fact"),
    [
        ("glove", {}, "unknown text encoder 'glove'"),
        ("hashing", {"weights": "x", "pooling": "cls"}, "does not read all parameters given: pooling, weights"),
        ("conch", {"weights": "x"}, "parameters are missing: tokenizer"),
        ("bert", {}, "parameters are missing: weights"),
    ],
)
def test_refused(name: str, settings: dict, fact: str) -> None:
    with pytest.raises(PathomixError, match=fact):
        build_encoder(name, settings)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_vector_without_direction_is_named(bad: float) -> None:
    vectors = np.ones((2, 3), np.float32)
    np.testing.assert_allclose(np.linalg.norm(unit_rows(vectors * 3, ["a", "b"], "x"), axis=1), 1, atol=1e-6)
    vectors[1] = bad
    with pytest.raises(PathomixError, match="some texts: 'b'"):
        unit_rows(vectors, ["a", "b"], "x")
