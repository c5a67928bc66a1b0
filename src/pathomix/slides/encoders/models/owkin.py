"""Phikon-v2 (spec slides_and_encoders 3.3)."""

from __future__ import annotations

from pathomix.slides.encoders.entries import EncoderSpec
from pathomix.slides.encoders.parameters import EncoderParameters

PHIKON_V2 = EncoderSpec(
    family="dinov2_transformers",
    title="Phikon-v2",
    hub="owkin/phikon-v2",
    file="model.safetensors",
    licence="Owkin, non-commercial",
    dim=1024,
    note="trained on TCGA among others: results on TCGA are not of unseen slides",
    parameters=EncoderParameters(
        "phikon_v2",
        timm="vit_large_patch16_224",
        model_args={
            "patch_size": 16,
            "embed_dim": 1024,
            "depth": 24,
            "num_heads": 16,
            "mlp_ratio": 4.0,
            "mlp": "gelu",
            "init_values": 1.0,
            "reg_tokens": 0,
            "no_embed_class": False,
        },
        tile_size=224,
        mpp=0.5,
        interpolation="bicubic",
        pooling="cls",
    ),
)
