"""Virchow and Virchow2 (spec slides_and_encoders 3.2).

LayerScale and the position rows of register tokens are not in the specification; the former is in public descriptions
of the models, the latter are timm's default. Strict loading names every tensor if either is wrong.
"""

from __future__ import annotations

from dataclasses import replace

from pathomix.slides.encoders.entries import EncoderSpec
from pathomix.slides.encoders.parameters import EncoderParameters

VIRCHOW = EncoderSpec(
    family="vit",
    title="Virchow",
    hub="paige-ai/Virchow",
    file="pytorch_model.bin",
    licence="Apache-2.0",
    gated=True,
    dim=2560,
    parameters=EncoderParameters(
        "virchow",
        timm="vit_huge_patch14_224",
        model_args={
            "patch_size": 14,
            "embed_dim": 1280,
            "depth": 32,
            "num_heads": 16,
            "mlp_ratio": 5.3375,
            "mlp": "swiglu_packed",
            "init_values": 1e-5,
            "reg_tokens": 0,
            "no_embed_class": False,
        },
        tile_size=224,
        mpp=0.5,
        interpolation="bicubic",
        pooling="cls_mean",
    ),
)

VIRCHOW2 = replace(
    VIRCHOW,
    title="Virchow2",
    hub="paige-ai/Virchow2",
    licence="CC-BY-NC-ND-4.0",
    parameters=replace(
        VIRCHOW.parameters,
        model="virchow2",
        model_args={**VIRCHOW.parameters.model_args, "reg_tokens": 4},
    ),
)
