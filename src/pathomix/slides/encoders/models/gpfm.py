"""GPFM (spec slides_and_encoders 3.3): a bare DINOv2 state dict.

Its authors take tiles of 512 pixels at 40x and resize them to 224, bicubically (birkhoffkiki/GPFM#3).
"""

from __future__ import annotations

from pathomix.slides.encoders.entries import EncoderSpec
from pathomix.slides.encoders.parameters import EncoderParameters

GPFM = EncoderSpec(
    family="dinov2",
    title="GPFM",
    hub="majiabo/GPFM",
    file="GPFM.pth",
    licence="MIT",
    dim=1024,
    note="slides scanned at 20x only: set tile_size 256 and mpp 0.5, the same field of view",
    parameters=EncoderParameters(
        "gpfm",
        timm="vit_large_patch14_dinov2",
        model_args={
            "patch_size": 14,
            "embed_dim": 1024,
            "depth": 24,
            "num_heads": 16,
            "mlp_ratio": 4.0,
            "mlp": "gelu",
            "init_values": 1e-5,
            "reg_tokens": 0,
            "no_embed_class": False,
        },
        tile_size=512,
        mpp=0.25,
        interpolation="bicubic",
        pooling="cls",
    ),
)
