"""Prov-GigaPath's tile encoder (spec slides_and_encoders 3.1): a DINOv2 giant with patches of 16 pixels.

Its transform resizes 256 to 256 and cuts out 224, so that tiles are 256 pixels at 0.5 µm/px (1.4, two-hop warning).
"""

from __future__ import annotations

from pathomix.slides.encoders.entries import EncoderSpec
from pathomix.slides.encoders.parameters import EncoderParameters

GIGAPATH = EncoderSpec(
    family="vit",
    title="Prov-GigaPath tile encoder",
    hub="prov-gigapath/prov-gigapath",
    file="pytorch_model.bin",
    licence="Apache-2.0, for research only by its model card",
    gated=True,
    dim=1536,
    parameters=EncoderParameters(
        "gigapath",
        timm="vit_giant_patch14_dinov2",
        model_args={
            "patch_size": 16,
            "embed_dim": 1536,
            "depth": 40,
            "num_heads": 24,
            "mlp_ratio": 5.33334,
            "mlp": "swiglu_packed",
            "init_values": 1e-5,
            "reg_tokens": 0,
            "no_embed_class": False,
        },
        tile_size=256,
        mpp=0.5,
        resize=256,
        input_size=224,
        interpolation="bicubic",
        pooling="cls",
    ),
)
