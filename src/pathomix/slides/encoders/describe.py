"""The registered encoders as a page for people (docs/encoders.md). No torch."""

from __future__ import annotations

from pathomix.slides.encoders.entries import EncoderSpec, names, spec_of

_COLUMNS = ("model", "encoder", "dim", "tile", "transform", "vector", "weights", "licence", "access")
_INTRODUCTION = """# Tile encoders

An entry of `encoders` names one of these as `model` and the user's own copy of the weights as `weights`:

```yaml
encoders:
  gigapath: {model: gigapath, weights: "{data}/weights/gigapath/pytorch_model.bin"}
```

Every other field of `src/pathomix/slides/encoders/parameters.py` may be laid over what is registered (`tile_size`,
`mpp`, `pooling`, `input_size`, `model_args` ...). Files are read as tensors only, no code in them is run, and they are
loaded strictly: each tensor that is missing, unexpected or of another shape is named, and the registered encoder that
the file does fit. Nothing is downloaded; `pretrained: true` lets timm fetch its own weights of `resnet50` and `timm`,
and `seed` gives random ones. The layouts of gated files were written down from descriptions of them: nobody has loaded
those files with this code.

This page is made by `python -m pathomix.slides.encoders.describe > docs/encoders.md`; a test compares.
"""


def describe_encoders() -> list[dict[str, str]]:
    """One row per registered encoder, sorted by name; keys are the columns of the page."""
    return [_row(name, spec_of(name)) for name in names()]


def _row(name: str, spec: EncoderSpec) -> dict[str, str]:
    p = spec.parameters
    cut = f", centre {p.input_size}" if p.edge != p.input_size else ""
    resize = f"none{cut}" if p.edge == p.tile_size else f"{p.edge} {p.interpolation}{cut}"
    vectors = {
        "default": "the network's own",
        "cls": "class token",
        "cls_mean": "class token, then mean of patch tokens",
        "mean": f"mean of stage {', '.join(map(str, p.stages))}",
        "mean_std": f"mean and standard deviation of stages {', '.join(map(str, p.stages))}",
    }
    return {
        "model": f"`{name}`",
        "encoder": spec.title,
        "dim": str(spec.dim or "by architecture"),
        "tile": f"{p.tile_size} px at {p.mpp:g} µm/px" if p.tile_size else "given by the entry",
        "transform": f"resize {resize}; mean {_numbers(p.mean)}, std {_numbers(p.std)}",
        "vector": vectors[p.pooling],
        "weights": f"[{spec.hub.removeprefix('https://')}]({spec.address}), `{spec.file}`" if spec.hub else "none",
        "licence": spec.licence or "",
        "access": ("on request" if spec.gated else "open" if spec.hub else "")
        + (f"; {spec.note}" if spec.note and spec.hub else spec.note),
    }


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


def page() -> str:
    """The page, Markdown."""
    lines = [_INTRODUCTION, f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * len(_COLUMNS)]
    lines += [f"| {' | '.join(row[column] for column in _COLUMNS)} |" for row in describe_encoders()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
