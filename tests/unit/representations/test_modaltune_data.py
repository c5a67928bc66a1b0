from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathomix.foundation.build import build_slide_encoder
from pathomix.foundation.layout import Layout
from pathomix.representations.measurements import GeneScaling
from pathomix.representations.modaltune_data import CaseInputs, Readers

CACHE = 1 << 24


@pytest.fixture(scope="module")
def encoder(planted):
    return build_slide_encoder(planted.SLIDE_ENCODER, planted.DIM)


@pytest.fixture(scope="module")
def cases(planted):
    return planted.planted(12)


def of_sizes(planted, sizes):
    cases = planted.planted(len(sizes))
    bags = {
        p: np.full((size, planted.DIM), i, np.float32) for i, (p, size) in enumerate(zip(cases.ids, sizes, strict=True))
    }
    return replace(cases, tiles=planted.MemoryTiles(bags))


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=12), at_once=st.integers(1, 30), data=st.data())
def test_batches_hold_every_case_once_with_its_own_tiles(planted, encoder, sizes, at_once, data):
    inputs = CaseInputs(of_sizes(planted, sizes), Readers(encoder, Layout(), None, None, CACHE))
    rows = data.draw(st.lists(st.integers(0, len(sizes) - 1), unique=True))
    seen = []
    for batch in inputs.groups(rows, 0, at_once):
        assert batch.features.shape == (len(batch.rows), sizes[batch.rows[0]], planted.DIM)
        assert len(batch.rows) == 1 or batch.features.shape[0] * batch.features.shape[1] <= at_once
        assert batch.features[:, 0, 0].tolist() == batch.rows
        seen += batch.rows
    assert sorted(seen) == sorted(rows)


@pytest.mark.parametrize("subset", ["fixed", "redrawn"])
def test_memory_changes_nothing_but_how_often_tiles_are_read(planted, encoder, subset):
    layout = Layout(subset=subset, max_tiles=3)
    found, reads = [], []
    for cache in (0, CACHE):
        cases = planted.planted(9)
        inputs = CaseInputs(cases, Readers(encoder, layout, None, None, cache))
        found.append([torch.cat([b.features for b in inputs.groups(range(9), draw, 100)]) for draw in (0, 1, 0)])
        reads.append(cases.tiles.reads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert reads == [27, 9]
    assert torch.equal(found[0][0], found[0][2])
    assert torch.equal(found[0][0], found[0][1]) is (subset == "fixed")


def test_features_keep_their_values_when_they_are_no_half_precision_numbers(planted, encoder):
    cases = planted.planted(1)
    odd = np.full((2, planted.DIM), 1 + 2**-20, np.float32)
    inputs = CaseInputs(planted.with_tiles(cases, SIMU_AA_0000=odd), Readers(encoder, Layout(), None, None, CACHE))
    assert (next(inputs.groups([0], 0, 10)).features == 1 + 2**-20).all()


def test_inputs_follow_the_patients(planted, encoder, cases):
    scaling = GeneScaling.fit(cases.expression, cases.pathways, None)
    shuffled = replace(cases, expression=cases.expression.iloc[::-1].drop("SIMU-AA-0004"))
    inputs = CaseInputs(shuffled, Readers(encoder, Layout(), scaling, None, CACHE), needs_texts=True)
    assert list(inputs.ids) == [p for p in cases.ids if p != "SIMU-AA-0004"]
    assert inputs.missing == {"SIMU-AA-0004": "no expression"}
    expected = scaling.rows(cases.expression).loc[inputs.ids].to_numpy()
    for batch in inputs.groups(range(len(inputs.ids)), 0, 100):
        np.testing.assert_array_equal(batch.genes.numpy(), expected[batch.rows])
    targets = inputs.targets(("general", "survival"))
    np.testing.assert_array_equal(targets[1].numpy(), cases.texts.embedding("SIMU-AA-0001")[[0, 3]])


def test_patients_without_texts_are_left_out_only_where_texts_are_needed(planted, encoder, cases):
    vectors = {p: v for p, v in cases.texts.vectors.items() if p != "SIMU-AA-0002"}
    lacking = replace(cases, texts=planted.MemoryTexts(vectors))
    readers = Readers(encoder, Layout(), None, None, CACHE)
    assert CaseInputs(lacking, readers, needs_texts=True).missing == {"SIMU-AA-0002": "no label texts"}
    assert CaseInputs(lacking, readers).missing == {}


def test_without_images_batches_are_cut_by_number(cases):
    scaling = GeneScaling.fit(cases.expression, cases.pathways, None)
    inputs = CaseInputs(cases, Readers(None, Layout(), scaling, None, CACHE))
    assert [batch.rows for batch in inputs.groups(range(5), 0, 2)] == [[0, 1], [2, 3], [4]]
