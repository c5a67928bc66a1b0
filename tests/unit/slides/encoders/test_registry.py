"""The registered networks at their official sizes, without memory for them."""

from pathlib import Path

import pytest
import torch

from pathomix.slides.encoders.entries import names, spec_of
from pathomix.slides.encoders.loading import bare_network as network
from pathomix.slides.encoders.loading import fitting_encoders

# Totals of spec 3.1, 3.2 and path_gptomic 6.1 where they are given; the others follow from the sizes and are held fast.
TOTALS = {
    "conch_v1_5": 306_711_296,
    "gigapath": 1_134_953_984,
    "gpfm": 303_227_904,
    "h_optimus_0": 1_134_774_272,
    "midnight_12k": 1_134_769_664,
    "phikon_v2": 303_350_784,
    "t2t_vit_14": 21_160_550,  # 21.5 M with the head of 1,000 classes
    "uni": 303_350_784,
    "uni2_h": 681_394_176,  # 681.4 M
    "virchow": 631_229_184,
    "virchow2": 631_239_424,  # 631.2 M
}


def transformers_layout(state):
    """Names of the library transformers for a network's own; written from the table of spec 3.3's models, backwards."""
    made = {"embeddings.mask_token": torch.empty(1, state["cls_token"].shape[2], device="meta")}
    parts = {"attn.proj": "attention.output.dense", "ls1": "layer_scale1", "ls2": "layer_scale2"}
    if state["blocks.0.mlp.fc1.weight"].shape[0] != 2 * state["blocks.0.mlp.fc2.weight"].shape[1]:
        parts |= {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    else:
        parts |= {"mlp.fc1": "mlp.weights_in", "mlp.fc2": "mlp.weights_out"}
    top = {"cls_token": "embeddings.cls_token", "pos_embed": "embeddings.position_embeddings"}
    for name, tensor in state.items():
        place, _, end = name.rpartition(".")
        if name.startswith("blocks."):
            _, layer, part = place.split(".", 2)
            if part == "attn.qkv":
                for number, which in enumerate(("query", "key", "value")):
                    made[f"encoder.layer.{layer}.attention.attention.{which}.{end}"] = tensor.chunk(3)[number]
                continue
            end = "lambda1" if end == "gamma" else end
            made[f"encoder.layer.{layer}.{parts.get(part, part)}.{end}"] = tensor
        elif name.startswith("patch_embed"):
            made[f"embeddings.patch_embeddings.projection.{end}"] = tensor
        else:
            made[top.get(name, f"layernorm.{end}")] = tensor
    return made


def official(name):
    """A file's tensors in the layout of its authors, without memory."""
    state = dict(network(name).state_dict())
    family = spec_of(name).family
    if family == "dinov2_transformers":
        return transformers_layout(state)
    if family == "dinov2":
        return {**state, "mask_token": torch.empty(1, 1024, device="meta")}
    if family == "t2t_vit":
        return {f"module.{key}": value for key, value in state.items()}
    return state


@pytest.mark.parametrize("name", sorted(TOTALS))
def test_parameters_in_total(name):
    assert sum(parameter.numel() for parameter in network(name).parameters()) == TOTALS[name]


def test_gigapath_has_the_keys_of_the_specification():
    """Spec 3.1, written out."""
    expected = {
        "cls_token": (1, 1, 1536),
        "pos_embed": (1, 197, 1536),
        "patch_embed.proj.weight": (1536, 3, 16, 16),
        "patch_embed.proj.bias": (1536,),
        "norm.weight": (1536,),
        "norm.bias": (1536,),
    }
    for i in range(40):
        block = {
            **{f"norm{k}.{end}": (1536,) for k in (1, 2) for end in ("weight", "bias")},
            **{f"ls{k}.gamma": (1536,) for k in (1, 2)},
            "attn.qkv.weight": (4608, 1536),
            "attn.qkv.bias": (4608,),
            "attn.proj.weight": (1536, 1536),
            "attn.proj.bias": (1536,),
            "mlp.fc1.weight": (8192, 1536),
            "mlp.fc1.bias": (8192,),
            "mlp.fc2.weight": (1536, 4096),
            "mlp.fc2.bias": (1536,),
        }
        expected |= {f"blocks.{i}.{key}": shape for key, shape in block.items()}
    assert {key: tuple(value.shape) for key, value in network("gigapath").state_dict().items()} == expected


def test_conch_has_the_keys_of_the_specification():
    """Spec 3.2; the trunk's names are timm's."""
    shapes = {key: tuple(value.shape) for key, value in network("conch_v1_5").state_dict().items()}
    assert shapes["trunk.pos_embed"] == (1, 785, 1024) and shapes["trunk.blocks.23.ls2.gamma"] == (1024,)
    assert {key: shape for key, shape in shapes.items() if not key.startswith("trunk.")} == {
        "attn_pool_contrast.query": (1, 768),
        "attn_pool_contrast.ln_k.weight": (1024,),
        "attn_pool_contrast.ln_k.bias": (1024,),
        "attn_pool_contrast.ln_q.weight": (768,),
        "attn_pool_contrast.ln_q.bias": (768,),
        "attn_pool_contrast.to_q.weight": (768, 768),
        "attn_pool_contrast.to_kv.weight": (1536, 1024),
        "attn_pool_contrast.to_out.weight": (768, 768),
        "ln_contrast.weight": (768,),
        "ln_contrast.bias": (768,),
    }


def test_sizes_that_the_specification_gives():
    assert network("uni2_h").pos_embed.shape == (1, 256, 1536) and network("uni2_h").num_prefix_tokens == 9
    assert network("virchow2").num_prefix_tokens == 5 and network("virchow").num_prefix_tokens == 1
    assert network("h_optimus_0").num_prefix_tokens == 5
    assert network("t2t_vit_14").pos_embed.shape == (1, 197, 384)
    for name in ("gigapath", "uni", "uni2_h", "virchow", "virchow2", "h_optimus_0", "midnight_12k", "phikon_v2"):
        assert {layer.eps for layer in network(name).modules() if isinstance(layer, torch.nn.LayerNorm)} == {1e-6}
    assert network("gigapath").blocks[0].attn.head_dim == 64


@pytest.mark.parametrize("name", [name for name in names() if spec_of(name).file])
def test_a_file_is_recognised_by_its_tensors(name):
    assert fitting_encoders(official(name), Path("w")) == [name]


def test_a_file_of_nothing_known_is_not():
    state = official("uni")
    state["pos_embed"] = torch.empty(1, 198, 1024, device="meta")
    assert fitting_encoders(state, Path("w")) == []
