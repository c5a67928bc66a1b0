"""The released checkpoint layout: written, strictly loaded and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pathomix.core.errors import PathomixError
from pathomix.foundation.build import build_slide_encoder
from pathomix.nn.longnet import LongNet

SMALL: dict[str, Any] = {"in_chans": 12, "embed_dim": 16, "depth": 2, "heads": 4, "slide_ngrids": 30}
PARAMETERS = {"architecture": "longnet", "width": 16, "depth": 2, "heads": 4, "grid": 30}


def random_checkpoint(path: Path, seed: int = 0, **settings: Any) -> LongNet:
    """Write random weights in the layout of the released file; the model they belong to."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LongNet(**settings).eval()
    torch.save({"model": model.state_dict()}, path)
    return model


def test_the_layout_of_the_released_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "slide_encoder.pth"
    source = random_checkpoint(path, **SMALL).state_dict()
    loaded = build_slide_encoder({**PARAMETERS, "weights": str(path)}, 12).model.state_dict()
    assert loaded.keys() == source.keys() and all(torch.equal(loaded[name], source[name]) for name in source)


def test_a_file_that_does_not_fit_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "slide_encoder.pth"
    state = random_checkpoint(path, **SMALL).state_dict()
    del state["cls_token"]
    torch.save({"model": {**state, "more": torch.zeros(1)}}, path)
    with pytest.raises(PathomixError, match=r"slide_encoder.pth: .*cls_token") as caught:
        build_slide_encoder({**PARAMETERS, "weights": str(path)}, 12)
    assert "more" in str(caught.value)


@pytest.mark.slow
def test_full_size_checkpoint_is_written_loaded_and_run(tmp_path: Path) -> None:
    path = tmp_path / "slide_encoder.pth"
    source = random_checkpoint(path).state_dict()
    # 86.33 million float32, as the released file of 345 MB
    assert path.stat().st_size == pytest.approx(86_330_880 * 4, rel=1e-3)
    model = build_slide_encoder({"architecture": "longnet", "weights": str(path)}, 1536).backbone
    state = model.state_dict()
    assert len(state) == 247 and sum(tensor.numel() for tensor in state.values()) == 86_330_880
    assert all(torch.equal(tensor, source[name]) for name, tensor in state.items())
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 2000, 1536, generator=generator)
    coords = torch.randint(0, 256_000, (1, 2000, 2), generator=generator)
    with torch.no_grad():
        vectors = model.vectors(features, coords, ["state_11_mean", "state_12_mean", "final_cls"])
    assert all(vector.shape == (1, 768) and vector.isfinite().all() for vector in vectors.values())

    torch.save({"model": {name: tensor for name, tensor in state.items() if ".11." not in name}}, path)
    with pytest.raises(PathomixError, match=r"slide_encoder\.pth.*20 missing: encoder\.layers\.11\."):
        build_slide_encoder({"architecture": "longnet", "weights": str(path)}, 1536)
