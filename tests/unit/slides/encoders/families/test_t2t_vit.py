"""T2T-ViT as a tile encoder, from files of the released layout."""

import pytest
import torch

from pathomix.nn.t2t_vit import T2TSettings, T2TViT
from pathomix.slides.encoders.encoder import build_encoder
from pathomix.slides.encoders.pixels import Pixels
from pathomix.slides.t2t import load_t2t, write_t2t


@pytest.mark.parametrize("size", [64, 96])
def test_equals_the_network_with_the_same_file(small, tmp_path, tiles, size):
    """With the head of its classes in the file, averaged weights beside the others, and a table of another size."""
    sizes = {"embed_dim": 32, "depth": 2, "heads": 4}
    torch.manual_seed(3)
    source = T2TViT(T2TSettings(image_size=64, **sizes), classes=7)
    other = {name: torch.zeros_like(value) for name, value in source.state_dict().items()}
    write_t2t(tmp_path / "w.pth.tar", other, ema=source.state_dict())
    made = build_encoder("a", small("t2t_vit_14", weights=str(tmp_path / "w.pth.tar"), input_size=size, tile_size=size))
    expected = T2TViT(T2TSettings(image_size=size, **sizes)).eval()
    load_t2t(expected, tmp_path / "w.pth.tar")
    pixels = tiles(size)
    with torch.no_grad():
        vectors = expected(Pixels(made.parameters)(pixels))
    assert made.dim == 32 and made.revision == "w.pth.tar"
    torch.testing.assert_close(made.encode(pixels), vectors, rtol=1e-4, atol=1e-5)
