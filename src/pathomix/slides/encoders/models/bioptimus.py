"""H-optimus-0 (spec slides_and_encoders 3.2)."""

from __future__ import annotations

from pathomix.slides.encoders.entries import EncoderSpec
from pathomix.slides.encoders.parameters import EncoderParameters

H_OPTIMUS_0 = EncoderSpec(
    family="vit",
    title="H-optimus-0",
    hub="bioptimus/H-optimus-0",
    file="pytorch_model.bin",
    licence="Apache-2.0",
    gated=True,
    dim=1536,
    parameters=EncoderParameters(
        "h_optimus_0",
        timm="vit_giant_patch14_reg4_dinov2",
        model_args={
            "patch_size": 14,
            "embed_dim": 1536,
            "depth": 40,
            "num_heads": 24,
            "mlp_ratio": 5.33334,
            "mlp": "swiglu_packed",
            "init_values": 1e-5,
            "reg_tokens": 4,
            "no_embed_class": True,
        },
        tile_size=224,
        mpp=0.5,
        interpolation="bicubic",
        mean=(0.707223, 0.578729, 0.703617),
        std=(0.211883, 0.230117, 0.177517),
        pooling="cls",
    ),
)
