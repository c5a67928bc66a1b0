"""UNI, UNI2-h and CONCH v1.5 (spec slides_and_encoders 3.2)."""

from __future__ import annotations

from pathomix.slides.encoders.entries import EncoderSpec
from pathomix.slides.encoders.parameters import EncoderParameters

_LICENCE = "CC-BY-NC-ND-4.0, also for models trained on its features"

UNI = EncoderSpec(
    family="vit",
    title="UNI",
    hub="MahmoodLab/UNI",
    file="pytorch_model.bin",
    licence=_LICENCE,
    gated=True,
    dim=1024,
    parameters=EncoderParameters(
        "uni",
        timm="vit_large_patch16_224",
        model_args={
            "patch_size": 16,
            "embed_dim": 1024,
            "depth": 24,
            "num_heads": 16,
            "mlp_ratio": 4.0,
            "mlp": "gelu",
            "init_values": 1e-5,
            "reg_tokens": 0,
            "no_embed_class": False,
        },
        tile_size=256,
        mpp=0.5,
        interpolation="bilinear",
        pooling="cls",
    ),
)

UNI2_H = EncoderSpec(
    family="vit",
    title="UNI2-h",
    hub="MahmoodLab/UNI2-h",
    file="pytorch_model.bin",
    licence=_LICENCE,
    gated=True,
    dim=1536,
    parameters=EncoderParameters(
        "uni2_h",
        timm="vit_giant_patch14_224",
        model_args={
            "patch_size": 14,
            "embed_dim": 1536,
            "depth": 24,
            "num_heads": 24,
            "mlp_ratio": 5.33334,
            "mlp": "swiglu_packed",
            "init_values": 1e-5,
            "reg_tokens": 8,
            "no_embed_class": True,
        },
        tile_size=256,
        mpp=0.5,
        interpolation="bilinear",
        pooling="cls",
    ),
)

CONCH_V1_5 = EncoderSpec(
    family="conch",
    title="CONCH v1.5",
    hub="MahmoodLab/conchv1_5",
    file="pytorch_model_vision.bin",
    licence=_LICENCE,
    gated=True,
    dim=768,
    networks=("attentional_pooler",),
    note="position rows of another grid are resized bilinearly, not antialiased",
    parameters=EncoderParameters(
        "conch_v1_5",
        timm="vit_large_patch16_224",
        model_args={
            "patch_size": 16,
            "embed_dim": 1024,
            "depth": 24,
            "num_heads": 16,
            "mlp_ratio": 4.0,
            "mlp": "gelu",
            "init_values": 1e-5,
            "reg_tokens": 0,
            "no_embed_class": False,
            "pooler_dim": 768,
            "pooler_heads": 8,
        },
        tile_size=512,
        mpp=0.5,
        input_size=448,
        interpolation="bilinear",
        pooling="default",
    ),
)
