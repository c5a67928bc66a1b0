"""TITAN: an adapter around the user's own licensed copy of the model.

TITAN's code and weights are gated; none of them is here, and nothing is fetched. The user's copy is a local folder with
the model's own code and weights, loaded without any network. Of the loaded object only the parts listed in `_PARTS` are
used, and the blocks are run by `nn.alibi_vit.PlacedBlocks`, which never holds the bias of all pairs of tiles.

Unverified, because it could not be tried on the gated model: the names of the parts, that a block is a plain pre-norm
block of these parameters, that the bias counts cells, and that the pooler takes the normed class and tile tokens (spec
slides_and_encoders 5). Parts with other parameters are refused rather than run wrongly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from pathomix.core.errors import PathomixError
from pathomix.foundation.parameters import SlideEncoderParameters
from pathomix.nn.alibi_vit import PlacedBlocks

_PARTS = ("patch_embed", "cls_token", "blocks.modules_list", "norm", "attn_pool_contrastive")
_BLOCK_PARTS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
_SUPPLY = "get access to the model from its authors, download it, and set `weights` of the slide encoder to that folder"


def build(parameters: SlideEncoderParameters, in_dim: int) -> PlacedBlocks:
    """The backbone around the user's copy in the folder `weights`.

    Raises:
        PathomixError: There is no copy, it cannot be loaded, or it is built otherwise than documented.
    """
    if not parameters.weights or not Path(parameters.weights).is_dir():
        raise PathomixError(
            f"no copy of TITAN at {parameters.weights or 'the empty path'}: its rows are left out", remedy=_SUPPLY
        )
    return adapt(load_copy(Path(parameters.weights)), parameters, in_dim)


def load_copy(folder: Path) -> nn.Module:
    """The model object of a local folder; the code that runs is the one in the folder.

    Raises:
        PathomixError: It cannot be loaded.
    """
    from transformers import AutoModel

    try:
        model: nn.Module = AutoModel.from_pretrained(str(folder), trust_remote_code=True, local_files_only=True)
    except Exception as error:  # the code in the folder may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PathomixError(f"{folder}: not a loadable copy of TITAN ({reason})", remedy=_SUPPLY) from error
    return model


def adapt(model: Any, parameters: SlideEncoderParameters, in_dim: int) -> PlacedBlocks:
    """A backbone of the parts of `model.vision_encoder`.

    Args:
        model: Object with the attributes named in the module's documentation.
        parameters: `heads` and `tile` are read; everything else is the copy's own.
        in_dim: Tile feature width.

    Raises:
        PathomixError: Parts are missing, blocks have other parameters, or numbers do not agree.
    """
    parts = {name: _find(model, f"vision_encoder.{name}") for name in _PARTS}
    absent = [f"vision_encoder.{name}" for name, part in parts.items() if part is None]
    if absent:
        raise PathomixError("TITAN: the copy lacks parts", offending=absent, remedy="use the revision that has them")
    blocks = list(parts["blocks.modules_list"])
    _check_blocks(blocks, parameters.heads, parts["cls_token"].shape[-1])
    linear = next((part for part in parts["patch_embed"].modules() if isinstance(part, nn.Linear)), None)
    if linear is None or linear.in_features != in_dim:
        raise PathomixError(
            f"TITAN: the copy reads tile features of width {linear and linear.in_features}, not {in_dim}",
            remedy="pair it with the tile encoder it was made for (CONCH v1.5)",
        )
    return PlacedBlocks(
        parts["patch_embed"],
        parts["cls_token"],
        blocks,
        parts["norm"],
        parts["attn_pool_contrastive"],
        heads=parameters.heads,
        tile=parameters.tile,
    ).float()


def _check_blocks(blocks: list[nn.Module], heads: int, width: int) -> None:
    expected = {f"{part}.{kind}" for part in _BLOCK_PARTS for kind in ("weight", "bias")}
    wrong = sorted({name for block in blocks for name in dict(block.named_parameters()).keys() ^ expected})
    if wrong or not blocks:
        raise PathomixError(
            "TITAN: the blocks of the copy have other parameters than documented",
            offending=wrong,
            remedy="use a revision with plain pre-norm blocks",
        )
    own = {int(block.attn.num_heads) for block in blocks if hasattr(block.attn, "num_heads")}  # type: ignore[arg-type]
    if (own and own != {heads}) or width % heads:
        told = f"{', '.join(map(str, sorted(own)))} heads" if own else f"tokens of width {width}"
        raise PathomixError(
            f"TITAN: the copy has {told}, the configuration {heads} heads",
            remedy="correct `heads` of the slide encoder",
        )


def _find(model: Any, path: str) -> Any:
    for name in path.split("."):
        model = getattr(model, name, None)
    return model
