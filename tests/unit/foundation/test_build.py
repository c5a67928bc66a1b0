"""Slide encoders from a configuration: seeds, weights files, digests, refusals."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from pathomix.core.errors import PathomixError
from pathomix.foundation.build import build_slide_encoder
from pathomix.foundation.parameters import SlideEncoderParameters
from pathomix.workflow.settings import parameter_names

SIZES = {"width": 16, "depth": 2, "heads": 4, "pooler_heads": 2}
OPEN = {"architecture": "alibi_vit", **SIZES}
LONGNET = {"architecture": "longnet", **SIZES, "segments": [8, 32], "ratios": [1, 2], "grid": 64}
BOTH = pytest.mark.parametrize("parameters", [OPEN, LONGNET], ids=["alibi_vit", "longnet"])


@BOTH
def test_random_weights_follow_the_seed_and_leave_the_global_stream_alone(parameters):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = build_slide_encoder(parameters, 6)
    assert torch.equal(torch.rand(3), expected)
    assert build_slide_encoder(parameters, 6).weights_sha256 == first.weights_sha256
    others = [build_slide_encoder({**parameters, "seed": 1}, 6), build_slide_encoder(parameters, 7)]
    assert len({first.weights_sha256, *(other.weights_sha256 for other in others)}) == 3


@BOTH
def test_encoders_are_frozen_and_of_the_configured_size(parameters):
    encoder = build_slide_encoder(parameters, 6)
    assert not encoder.model.training and not any(p.requires_grad for p in encoder.model.parameters())
    assert (encoder.backbone.width, encoder.backbone.depth, encoder.in_dim) == (16, 2, 6)
    assert encoder.backbone.slide_ngrids == (64 if parameters is LONGNET else None)


@BOTH
def test_weights_from_a_file_and_every_mismatch(parameters, tmp_path):
    path = tmp_path / "weights.safetensors"
    source = build_slide_encoder({**parameters, "seed": 5}, 6)
    state = {name: value.clone() for name, value in source.model.state_dict().items()}
    save_file(state, path)
    assert build_slide_encoder({**parameters, "weights": str(path)}, 6).weights_sha256 == source.weights_sha256
    lost, bent, *_ = [name for name in state if name.endswith("weight")]
    damaged = {**state, "more": torch.zeros(1), bent: torch.zeros(1)}
    del damaged[lost]
    save_file(damaged, path)
    with pytest.raises(PathomixError) as error:
        build_slide_encoder({**parameters, "weights": str(path)}, 6)
    assert all(name in str(error.value) for name in (lost, bent, "more", str(path)))
    with pytest.raises(PathomixError, match=r"absent\.pth"):
        build_slide_encoder({**parameters, "weights": str(tmp_path / "absent.pth")}, 6)


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"architecture": "transformer"}, "unknown slide encoder architecture 'transformer'"),
        ({"widht": 3}, "unknown parameters: widht"),
        ({"depth": 0}, "depth is below 1"),
        ({"dropout": 1.0}, "dropout and drop_path"),
        ({"segments": [4, 8]}, "segments and ratios differ"),
        ({"indexing": "shifted"}, "indexing is 'shifted'"),
        ({"heads": 5}, "16 with 5 heads"),
        ({"in_dim": 1536}, "needs tile features of width 1536, not 6"),
    ],
)
def test_what_is_refused(change, fact):
    with pytest.raises(PathomixError, match=fact):
        build_slide_encoder({**OPEN, **change}, 6)
    build_slide_encoder({**OPEN, "in_dim": 6}, 6)


def test_the_runner_can_read_the_parameters_without_torch(request):
    names = parameter_names(request.config.rootpath / "src", "pathomix.foundation.parameters", "SlideEncoderParameters")
    assert names == set(SlideEncoderParameters.__dataclass_fields__)
