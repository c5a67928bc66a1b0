"""T2T-ViT-14 (spec path_gptomic 6): our network, the authors' file."""

from __future__ import annotations

from pathomix.slides.encoders.entries import EncoderSpec
from pathomix.slides.encoders.parameters import EncoderParameters

T2T_VIT_14 = EncoderSpec(
    family="t2t_vit",
    title="T2T-ViT-14 (ImageNet)",
    hub="https://github.com/yitu-opensource/T2T-ViT",
    file="81.5_T2T_ViT_14.pth.tar",
    licence="Clear BSD",
    dim=384,
    networks=("t2t_settings", "t2t_vit"),
    note="trained on photographs; position rows of another image size are resized bicubically",
    parameters=EncoderParameters(
        "t2t_vit_14",
        model_args={"token_kind": "performer", "embed_dim": 384, "depth": 14, "heads": 6, "mlp_ratio": 3.0},
        tile_size=224,
        mpp=0.5,
        interpolation="bicubic",
        pooling="default",
    ),
)
