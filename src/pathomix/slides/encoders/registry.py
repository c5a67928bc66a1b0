"""Names of tile encoders, of what builds and loads them, and of our own networks, to where they live.

A new encoder is one file in `models/` (no torch there) and one line here.
"""

from __future__ import annotations

from collections.abc import Mapping

_MODELS = "pathomix.slides.encoders.models"

ENCODERS: Mapping[str, str] = {
    "conch_v1_5": f"{_MODELS}.mahmood:CONCH_V1_5",
    "demo": f"{_MODELS}.plain:DEMO",
    "gigapath": f"{_MODELS}.prov_gigapath:GIGAPATH",
    "gpfm": f"{_MODELS}.gpfm:GPFM",
    "h_optimus_0": f"{_MODELS}.bioptimus:H_OPTIMUS_0",
    "midnight_12k": f"{_MODELS}.kaiko:MIDNIGHT_12K",
    "phikon_v2": f"{_MODELS}.owkin:PHIKON_V2",
    "resnet50": f"{_MODELS}.plain:RESNET50",
    "t2t_vit_14": f"{_MODELS}.t2t_vit:T2T_VIT_14",
    "timm": f"{_MODELS}.plain:TIMM",
    "uni": f"{_MODELS}.mahmood:UNI",
    "uni2_h": f"{_MODELS}.mahmood:UNI2_H",
    "virchow": f"{_MODELS}.paige:VIRCHOW",
    "virchow2": f"{_MODELS}.paige:VIRCHOW2",
}

_FAMILIES = "pathomix.slides.encoders.families"

FAMILIES: Mapping[str, str] = {
    "conch": f"{_FAMILIES}.conch:FAMILY",
    "dinov2": f"{_FAMILIES}.dinov2:FAMILY",
    "dinov2_transformers": f"{_FAMILIES}.dinov2_transformers:FAMILY",
    "t2t_vit": f"{_FAMILIES}.t2t_vit:FAMILY",
    "timm": f"{_FAMILIES}.any_timm:FAMILY",
    "vit": f"{_FAMILIES}.vit:FAMILY",
}

NETWORKS: Mapping[str, str] = {
    "attentional_pooler": "pathomix.nn.attentional_pooler:AttentionalPooler",
    "t2t_settings": "pathomix.nn.t2t_vit:T2TSettings",
    "t2t_vit": "pathomix.nn.t2t_vit:T2TViT",
}
"""Rooms of one floor do not import each other; these are asked for by name."""
