from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.core.errors import PathomixError
from pathomix.text.hashing import HashingEncoder

TEXT = "cancer location: {}; overall stage: {}; survival status: patient {}"
SITES = ("breast", "brain", "kidney")
STAGES = ("stage one", "stage three")
ENDINGS = ("died before 12 months", "died between 12 and 30 months", "alive beyond 30 months")


def cosine(encoder: HashingEncoder, one: str, other: str) -> float:
    a, b = encoder.encode([one, other])
    return float(a @ b)


@pytest.mark.parametrize("seed", range(5))
def test_shared_words_are_closer(seed: int) -> None:
    """Of all pairs of texts, changing a field lowers the similarity: same site and survival beat same site alone."""
    encoder = HashingEncoder(seed=seed)
    combinations = list(itertools.product(SITES, STAGES, ENDINGS))
    vectors = encoder.encode([TEXT.format(*c) for c in combinations])
    gram = vectors @ vectors.T
    by_shared: dict[int, list[float]] = {}
    for (i, a), (j, b) in itertools.combinations(enumerate(combinations), 2):
        by_shared.setdefault(sum(x == y for x, y in zip(a, b, strict=True)), []).append(gram[i, j])
    assert np.mean(by_shared[0]) < np.mean(by_shared[1]) < np.mean(by_shared[2])
    for i, (site, stage, ending) in enumerate(combinations):
        same = [gram[i, j] for j, (s, t, e) in enumerate(combinations) if s == site and e == ending and t != stage]
        neither = [gram[i, j] for j, (s, _, e) in enumerate(combinations) if s != site and e != ending]
        assert min(same) > max(neither)


def test_different_words_are_nearly_orthogonal_and_word_order_counts() -> None:
    encoder = HashingEncoder()
    assert abs(cosine(encoder, "alpha beta gamma", "quartz nymph vow")) < 0.25
    assert 0.5 < cosine(encoder, "died before therapy", "therapy before died") < 0.999
    assert cosine(encoder, "carcinoma", "carcinomas") > cosine(encoder, "carcinoma", "melanoma") > 0.05
    assert cosine(encoder, "Stage  One;", "stage one") == pytest.approx(1, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.from_regex(r"[a-z0-9]{1,8}( [a-z0-9]{1,8}){0,12}", fullmatch=True), min_size=1, max_size=6))
def test_unit_vectors_that_do_not_depend_on_neighbours(texts: list[str]) -> None:
    encoder = HashingEncoder(width=64)
    together = encoder.encode(texts)
    assert together.dtype == np.float32 and together.shape == (len(texts), 64)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_array_equal(HashingEncoder(width=64).encode([text])[0], row)


def test_the_same_bytes_on_every_machine() -> None:
    vectors = HashingEncoder().encode([TEXT.format(*c) for c in itertools.product(SITES, STAGES, ENDINGS)])
    assert (
        hashlib.sha256(vectors.astype("<f4").tobytes()).hexdigest()
        == "f7c6c8ec186b0d448317d7aaec30ad43ef9c6185299ffffb19ad5dc4a1e6d877"
    )


def test_seed_and_width_are_part_of_the_identity() -> None:
    made = [HashingEncoder(), HashingEncoder(seed=1), HashingEncoder(width=256)]
    assert len({e.digest for e in made}) == len({e.identity for e in made}) == 3
    assert abs(float(made[0].encode(["breast"])[0] @ made[1].encode(["breast"])[0])) < 0.3


def test_bad_inputs() -> None:
    with pytest.raises(PathomixError, match=r"a text without words: '; :'"):
        HashingEncoder().encode(["fine", "; :"])
    with pytest.raises(PathomixError, match="width 4"):
        HashingEncoder(width=4)
    assert HashingEncoder(width=32).encode([]).shape == (0, 32)
