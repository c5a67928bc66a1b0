"""From a bag to a slide vector, for both kinds of encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pathomix.core.bags import Bag
from pathomix.core.errors import PathomixError
from pathomix.foundation.build import build_slide_encoder
from pathomix.foundation.layout import Layout

SIZES = {"width": 16, "depth": 2, "heads": 4, "pooler_heads": 2}
OPEN = {"architecture": "alibi_vit", **SIZES}
LONGNET = {"architecture": "longnet", **SIZES, "segments": [8, 32], "ratios": [1, 2]}
BOTH = pytest.mark.parametrize("parameters", [OPEN, LONGNET], ids=["alibi_vit", "longnet"])
NAMES = {"alibi_vit": "model", "longnet": "final_cls"}


def two_slides(mpp=0.5, seed=0):
    rng = np.random.default_rng(seed)
    cells = np.concatenate([rng.permutation(100)[:20], rng.permutation(100)[:15]])
    edge = 128 / mpp
    coords = np.rint(np.column_stack([cells % 10, cells // 10]) * edge).astype(np.int32)
    edges = np.full((2, 2), edge, np.float32)
    number = np.repeat(np.arange(2, dtype=np.int32), [20, 15])
    return Bag(rng.normal(size=(35, 6)).astype(np.float32), coords, number, ("a", "b"), edges)


@BOTH
def test_the_scale_of_the_scan_does_not_change_the_vector(parameters):
    encoder = build_slide_encoder(parameters, 6)
    name = NAMES[parameters["architecture"]]

    def vector(mpp, **switches):
        arranged = encoder.arrange(two_slides(mpp), "P", Layout(**switches))
        return encoder.vectors(arranged, [name])[name]

    assert vector(0.5).shape == (16,) and vector(0.5).dtype == np.float32
    np.testing.assert_array_equal(vector(0.25), vector(0.5))
    np.testing.assert_array_equal(vector(0.2527), vector(0.5))
    raw = {"coord_frame": "level0_raw", "slide_layout": "released"}
    assert np.abs(vector(0.25, **raw) - vector(0.5, **raw)).max() > 1e-4


@BOTH
def test_vectors_are_those_of_the_model(parameters):
    encoder = build_slide_encoder(parameters, 6)
    arranged = encoder.arrange(two_slides(), "P", Layout())
    assert all(name in encoder.backbone.vector_names for name in ("state_0_cls", "state_2_mean"))
    with torch.no_grad():
        direct = encoder.backbone.vectors(
            torch.from_numpy(arranged.features)[None], torch.from_numpy(arranged.coords)[None], ["state_2_mean"]
        )
    found = encoder.vectors(arranged, ["state_0_cls", "state_2_mean"])
    np.testing.assert_array_equal(found["state_2_mean"], direct["state_2_mean"][0])
    assert list(found) == ["state_0_cls", "state_2_mean"]
    with pytest.raises(PathomixError, match="state_3_cls"):
        encoder.vectors(arranged, ["state_3_cls"])


def test_summing_belongs_to_encoders_with_a_distance_bias():
    bag = two_slides()
    crowded = Bag(bag.features, bag.coords // 2, bag.slide, bag.slide_ids, bag.tile_edge)  # four tiles a cell
    for parameters, summed in ((OPEN, True), (LONGNET, False)):
        encoder = build_slide_encoder(parameters, 6)
        apart = encoder.arrange(crowded, "P", Layout())
        joined = encoder.arrange(crowded, "P", Layout(same_cell="summed"))
        assert len(apart.features) == 35 and (len(joined.features) < 35) == summed
        np.testing.assert_allclose(joined.features.sum(axis=0), bag.features.sum(axis=0), atol=1e-4)


@BOTH
def test_one_tile(parameters):
    encoder = build_slide_encoder(parameters, 6)
    bag = Bag(np.ones((1, 6), np.float32), np.zeros((1, 2), np.int32), np.zeros(1, np.int32), ("a",), np.ones((1, 2)))
    for layout in (Layout(), Layout("level0_raw", "released", "redrawn", "summed")):
        arranged = encoder.arrange(bag, "P", layout, draw=0)
        assert np.isfinite(encoder.vectors(arranged, ["state_2_mean"])["state_2_mean"]).all()


def test_slides_beyond_the_grid_name_the_case():
    encoder = build_slide_encoder({**LONGNET, "grid": 15}, 6)
    with pytest.raises(PathomixError, match=r"TCGA-5.* do not fit into 15 x 15"):
        encoder.arrange(two_slides(), "TCGA-5", Layout())
    wrapped = encoder.arrange(two_slides(), "TCGA-5", Layout(slide_layout="released"))
    encoder.vectors(wrapped, ["final_cls"])  # the released code goes on silently
    build_slide_encoder({**LONGNET, "grid": 20}, 6).arrange(two_slides(), "TCGA-5", Layout())
