"""The image encoders of regions by their parameters; how regions are read is tested with the method."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pathomix.core.errors import PathomixError
from pathomix.methods.path_gptomic_regions import RegionEncoder
from pathomix.nn.vgg import VGGEncoder


def test_a_cnn_loads_the_convolutions_of_a_whole_torchvision_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = VGGEncoder().features.state_dict()
    state = {f"features.{name}": value for name, value in source.items()}
    torch.save({**state, "classifier.0.weight": torch.zeros(2, 2)}, tmp_path / "vgg.pth")
    encoder = RegionEncoder(variant="vgg19_bn", weights=str(tmp_path / "vgg.pth"))
    built = encoder.build()
    assert encoder.width == 1024 and isinstance(built, VGGEncoder)
    assert all(torch.equal(value, source[name]) for name, value in built.features.state_dict().items())
    state.pop("features.0.weight")
    torch.save(state, tmp_path / "torn.pth")
    with pytest.raises(PathomixError, match=r"torn.pth: .*0\.weight"):
        RegionEncoder(variant="vgg19_bn", weights=str(tmp_path / "torn.pth")).build()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"variant": "vgg19_bn", "depth": 3}, "vgg19_bn has fixed sizes .*: depth"),
        ({"variant": "vgg19_bn", "image_size": 16}, "at least 32 pixels"),
        ({"variant": "vgg16"}, "vgg16"),
    ],
)
def test_sizes_that_a_variant_has_not(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(PathomixError, match=message):
        RegionEncoder(**parameters)  # type: ignore[arg-type]


def test_widths_follow_the_variant() -> None:
    assert RegionEncoder().width == 384
    assert RegionEncoder(variant="t_24").width == 512
    assert RegionEncoder(embed_dim=48, heads=4).width == 48
