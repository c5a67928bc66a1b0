"""The adapter around a copy of TITAN, tried on a stand-in with the documented attribute names."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pathomix.core.errors import PathomixError
from pathomix.foundation.build import build_slide_encoder
from pathomix.foundation.parameters import SlideEncoderParameters
from pathomix.foundation.titan import adapt
from pathomix.nn.alibi_vit import ALiBiViT

PARAMETERS = SlideEncoderParameters("titan", heads=3, tile=16)


def open_model():
    torch.manual_seed(0)
    return ALiBiViT(6, 12, 4, 3, mlp_ratio=4, pooler_heads=2, tile=16).eval()


def stand_in(model=None):
    """Something that looks like the gated model: parts under `vision_encoder`, blocks in a list of their own."""
    model = model or open_model()
    encoder = nn.Module()
    encoder.patch_embed, encoder.cls_token, encoder.norm = model.patch_embed, model.cls_token, model.norm
    encoder.blocks = nn.Module()
    encoder.blocks.modules_list = model.blocks
    pool = model.attn_pool_contrastive
    encoder.attn_pool_contrastive = nn.Sequential(pool, nn.Unflatten(1, (1, 12)))  # one query: [B, 1, width]
    return SimpleNamespace(vision_encoder=encoder)


def case():
    generator = torch.Generator().manual_seed(3)
    cells = torch.randperm(100, generator=generator)[:11]
    return torch.randn(1, 11, 6, generator=generator), torch.stack([cells // 10, cells % 10], -1)[None] * 16


def test_the_adapter_runs_the_parts_of_the_copy():
    model, backbone = open_model(), adapt(stand_in(), PARAMETERS, 6)
    names = ["model", "state_0_cls", "state_4_mean"]
    torch.testing.assert_close(backbone.vectors(*case(), names), model.vectors(*case(), names))
    assert (backbone.width, backbone.depth, backbone.slide_ngrids) == (12, 4, None)


def test_blocks_can_be_tapped():
    backbone = adapt(stand_in(), PARAMETERS, 6).requires_grad_(False)
    features, coords = case()
    tokens = backbone.prepare(features.requires_grad_(), coords)
    for first in (0, 2):
        tokens = backbone.run_blocks(tokens, first, first + 1)
        tokens = tokens._replace(tiles=tokens.tiles * 2)  # what an adapter does in between
    backbone.image_vector(tokens, "model").sum().backward()
    assert (features.grad.abs().amax(dim=2) > 0).all()


@pytest.mark.parametrize("part", ["patch_embed", "cls_token", "blocks", "norm", "attn_pool_contrastive"])
def test_missing_parts_are_named(part):
    copy = stand_in()
    delattr(copy.vision_encoder, part)
    with pytest.raises(PathomixError, match=f"lacks parts: vision_encoder.{part}"):
        adapt(copy, PARAMETERS, 6)
    with pytest.raises(PathomixError, match="lacks parts"):
        adapt(SimpleNamespace(), PARAMETERS, 6)


def test_blocks_of_another_build_are_refused():
    copy = stand_in()
    copy.vision_encoder.blocks.modules_list[1].ls1 = nn.LayerNorm(12)
    with pytest.raises(PathomixError, match=r"other parameters than documented: ls1\.bias, ls1\.weight"):
        adapt(copy, PARAMETERS, 6)
    copy = stand_in()
    copy.vision_encoder.blocks.modules_list[0].attn.qkv.bias = None
    with pytest.raises(PathomixError, match=r"attn\.qkv\.bias"):
        adapt(copy, PARAMETERS, 6)


def test_numbers_that_do_not_agree_are_refused():
    with pytest.raises(PathomixError, match="width 6, not 7"):
        adapt(stand_in(), PARAMETERS, 7)
    copy = stand_in()
    for block in copy.vision_encoder.blocks.modules_list:
        block.attn.num_heads = 3
    adapt(copy, PARAMETERS, 6)
    with pytest.raises(PathomixError, match="has 3 heads, the configuration 4"):
        adapt(copy, SlideEncoderParameters("titan", heads=4), 6)
    for block in copy.vision_encoder.blocks.modules_list:
        del block.attn.num_heads
    with pytest.raises(PathomixError, match="tokens of width 12, the configuration 5 heads"):
        adapt(copy, SlideEncoderParameters("titan", heads=5), 6)


@pytest.mark.parametrize("weights", ["", "nowhere/titan"])
def test_without_a_copy_one_sentence_says_how_to_get_one(weights):
    with pytest.raises(PathomixError, match=r"no copy of TITAN.*rows are left out; get access.*set `weights`"):
        build_slide_encoder({"architecture": "titan", "weights": weights}, 768)


CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel
from pathomix.nn.alibi_vit import ALiBiViT

class StandInConfig(PretrainedConfig):
    model_type = "stand_in_of_a_slide_model"

class StandIn(PreTrainedModel):
    config_class = StandInConfig
    def __init__(self, config):
        super().__init__(config)
        vit = ALiBiViT(6, 12, 4, 3, mlp_ratio=4, pooler_heads=2, tile=16)
        self.vision_encoder = torch.nn.Module()
        for name in ("patch_embed", "cls_token", "norm", "attn_pool_contrastive"):
            setattr(self.vision_encoder, name, getattr(vit, name))
        self.vision_encoder.blocks = torch.nn.Module()
        self.vision_encoder.blocks.modules_list = vit.blocks
        self.post_init()
    def _init_weights(self, module):
        pass
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as a model hub lays it out: code of its own, configuration, weights."""
    from safetensors.torch import save_file

    dynamic = pytest.importorskip("transformers.dynamic_module_utils")
    monkeypatch.setattr(dynamic, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "stand_in.py").write_text(CODE)
    entries = {"AutoConfig": "stand_in.StandInConfig", "AutoModel": "stand_in.StandIn"}
    config = {"model_type": "stand_in_of_a_slide_model", "architectures": ["StandIn"], "auto_map": entries}
    (copy / "config.json").write_text(json.dumps(config))
    names = {"blocks.": "blocks.modules_list."}
    state = {
        "vision_encoder." + name.replace("blocks.", names["blocks."]): value.contiguous()
        for name, value in open_model().state_dict().items()
    }
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


@pytest.mark.slow  # imports transformers
def test_a_local_folder_with_its_own_code(folder):
    parameters = {"architecture": "titan", "weights": str(folder), "heads": 3, "tile": 16}
    encoder = build_slide_encoder(parameters, 6)
    assert not encoder.model.training and not any(p.requires_grad for p in encoder.model.parameters())
    torch.testing.assert_close(encoder.backbone.vectors(*case(), ["model"]), open_model().vectors(*case(), ["model"]))
    assert encoder.weights_sha256 == build_slide_encoder(parameters, 6).weights_sha256
    (folder / "config.json").unlink()
    with pytest.raises(PathomixError, match="not a loadable copy"):
        build_slide_encoder(parameters, 6)
