"""Encoders that need nobody's permission: ResNet-50 as CLAM cuts it, the demo's, and any other of timm."""

from __future__ import annotations

from pathomix.slides.encoders.entries import EncoderSpec
from pathomix.slides.encoders.parameters import EncoderParameters

RESNET50 = EncoderSpec(
    family="timm",
    title="ResNet-50 after its third stage (ImageNet)",
    hub="timm/resnet50.tv_in1k",
    file="model.safetensors",
    licence="BSD-3-Clause",
    dim=1024,
    pretrained=True,
    note="trained on photographs: a check of the machinery, weak on tissue",
    parameters=EncoderParameters(
        "resnet50",
        timm="resnet50.tv_in1k",
        tile_size=256,
        mpp=0.5,
        interpolation="bilinear",
        pooling="mean",
        stages=(3,),
    ),
)

DEMO = EncoderSpec(
    family="timm",
    title="ResNet-18's first two stages, random",
    dim=256,
    note="for the simulated slides only",
    parameters=EncoderParameters(
        "demo",
        timm="resnet18",
        seed=0,
        tile_size=64,
        mpp=2.0,
        input_size=64,
        interpolation="bilinear",
        pooling="mean_std",
        stages=(0, 1),
    ),
)

TIMM = EncoderSpec(
    family="timm",
    title="any architecture of timm",
    dim=0,
    pretrained=True,
    note="name it with `timm`, and give `tile_size` and `mpp`; without weights it is random by `seed`",
    parameters=EncoderParameters("timm", seed=0, interpolation="bilinear"),
)
