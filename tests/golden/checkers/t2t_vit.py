"""T2T-ViT with both kinds of token mixing."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from checking import GoldenSet, Result, checker, torch_inputs

from pathomix.nn.t2t_vit import T2TSettings, T2TViT, sinusoid_positions


@checker("t2t_vit")
def t2t_vit(golden: GoldenSet) -> Iterator[Result]:
    args = golden.config["args"]
    settings = T2TSettings(
        image_size=args["img_size"],
        token_kind=args["tokens_type"],
        embed_dim=args["embed_dim"],
        depth=args["depth"],
        heads=args["num_heads"],
        mlp_ratio=args["mlp_ratio"],
        token_dim=args["token_dim"],
        qk_scale=args.get("qk_scale"),
    )
    model = T2TViT(settings, args["num_classes"])
    model.load_state_dict(golden.weights())
    model.eval()
    images, tolerance = torch_inputs(golden, "in.image"), golden.tolerance("abs")
    with torch.no_grad():
        yield golden.compare("out.after_attention1", model.tokens_to_token.first_tokens(images), tolerance)
        yield golden.compare("out.t2t_tokens", model.tokens_to_token(images), tolerance)
        yield golden.compare("out.features", model(images), tolerance)
        yield golden.compare("out.logits", model.logits(images), tolerance)
    table = sinusoid_positions(settings.side**2 + 1, settings.embed_dim)
    yield golden.compare("sinusoid_pos_embed_reference", table, tolerance)
