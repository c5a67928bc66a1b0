"""CONCH v1.5: a vision transformer of timm, an attentional pooler over all its tokens, a closing norm.

Spec slides_and_encoders 3.2. The file has `trunk.*`, `attn_pool_contrast.*` and `ln_contrast.*`.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from pathomix.core.registry import entry_of
from pathomix.core.weights import read_state
from pathomix.slides.encoders.entries import REGISTRY
from pathomix.slides.encoders.families.family import Family, State
from pathomix.slides.encoders.families.vit import build_vit, resized_rows
from pathomix.slides.encoders.parameters import EncoderParameters

_TABLE = "trunk.pos_embed"


class ConchVision(nn.Module):
    """The image side of CONCH v1.5.

    Args:
        trunk: Vision transformer; all its normalised tokens are pooled, the class token too.
        pooler: Its attribute `query` is [1, width].
    """

    def __init__(self, trunk: nn.Module, pooler: nn.Module) -> None:
        super().__init__()
        self.num_features = int(pooler.query.shape[-1])  # type: ignore[index]
        self.trunk = trunk
        self.attn_pool_contrast = pooler
        self.ln_contrast = nn.LayerNorm(self.num_features)

    def forward(self, images: Tensor) -> Tensor:
        """Vectors [n, width] of normalised images [n, 3, s, s]."""
        tokens = self.trunk.forward_features(images)  # type: ignore[operator]
        result: Tensor = self.ln_contrast(self.attn_pool_contrast(tokens)[:, 0])
        return result


def _network(parameters: EncoderParameters) -> nn.Module:
    arguments = dict(parameters.model_args)
    width, heads = arguments.pop("pooler_dim"), arguments.pop("pooler_heads")
    trunk = build_vit(parameters.timm, parameters.input_size, arguments)
    pooler = entry_of(f"{REGISTRY}:NETWORKS", "attentional_pooler", what="network", key="network")
    return ConchVision(trunk, pooler(width, trunk.num_features, heads))


def _named(state: State, model: nn.Module, path: Path) -> dict[str, Tensor]:
    named = dict(state)
    if _TABLE in named:
        named[_TABLE] = resized_rows(named[_TABLE], model.trunk.pos_embed, path, "bilinear")  # type: ignore[union-attr, arg-type]
    return named


FAMILY = Family(network=_network, named=_named, read=read_state, whole=True)
