"""Midnight-12k (spec slides_and_encoders 3.3): open, and the strongest of those that are."""

from __future__ import annotations

from pathomix.slides.encoders.entries import EncoderSpec
from pathomix.slides.encoders.parameters import EncoderParameters

MIDNIGHT_12K = EncoderSpec(
    family="dinov2_transformers",
    title="Midnight-12k",
    hub="kaiko-ai/midnight",
    file="model.safetensors",
    licence="MIT",
    dim=3072,
    note="trained on TCGA: results on TCGA are not of unseen slides; also seen at 0.25, 1 and 2 µm/px",
    parameters=EncoderParameters(
        "midnight_12k",
        timm="vit_giant_patch14_dinov2",
        model_args={
            "patch_size": 14,
            "embed_dim": 1536,
            "depth": 40,
            "num_heads": 24,
            "mlp_ratio": 5.33334,
            "mlp": "swiglu_packed",
            "init_values": 1.0,
            "reg_tokens": 0,
            "no_embed_class": False,
        },
        tile_size=224,
        mpp=0.5,
        interpolation="bilinear",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        pooling="cls_mean",
    ),
)
