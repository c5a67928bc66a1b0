"""Pooling against tokens and maps taken from the network itself."""

import timm
import torch

from pathomix.slides.encoders.encoder import build_encoder
from pathomix.slides.encoders.pixels import Pixels

INPUT = {"tile_size": 56, "mpp": 1.0, "input_size": 56}


def tokens_of(made, pixels):
    """Normalised tokens, by a hook on the last norm."""
    seen = {}
    handle = made._module.network.norm.register_forward_hook(lambda *a: seen.update(tokens=a[2]))
    features = made.encode(pixels)
    handle.remove()
    return features, seen["tokens"]


def test_virchow_puts_the_mean_of_all_patches_behind_the_class_token(small, tiles):
    features, tokens = tokens_of(build_encoder("a", small("virchow", seed=0)), tiles(56))
    assert tokens.shape == (5, 1 + 16, 48)
    torch.testing.assert_close(features, torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1))


def test_virchow2_leaves_its_register_tokens_out(small, tiles):
    features, tokens = tokens_of(build_encoder("a", small("virchow2", seed=0)), tiles(56))
    assert tokens.shape == (5, 1 + 4 + 16, 48)
    torch.testing.assert_close(features, torch.cat([tokens[:, 0], tokens[:, 5:].mean(1)], 1))
    assert not torch.allclose(features[:, 48:], tokens[:, 1:].mean(1), atol=1e-3)


def test_class_token(small, tiles):
    for name in ("gigapath", "uni2_h", "h_optimus_0"):
        made = build_encoder("a", small(name, seed=0))
        features, tokens = tokens_of(made, tiles(made.tile_size))
        torch.testing.assert_close(features, tokens[:, 0])


def test_default_is_the_networks_own_vector(tiles):
    made = build_encoder("a", {"model": "timm", "timm": "test_resnet", "seed": 2, **INPUT})
    pixels = tiles(56)
    with torch.no_grad():
        expected = made._module.network(Pixels(made.parameters)(pixels))
    assert made.dim == expected.shape[1]
    torch.testing.assert_close(made.encode(pixels), expected)


def test_maps_of_a_transformer_and_of_a_cnn(tiles):
    for name, stage in (("test_vit", 1), ("test_resnet", 2)):
        entry = {"model": "timm", "timm": name, "stages": [stage], "seed": 2, **INPUT, "tile_size": 160}
        entry["input_size"] = 160
        pixels = tiles(160, 2)
        mean = build_encoder("a", {**entry, "pooling": "mean"}).encode(pixels)
        both = build_encoder("a", {**entry, "pooling": "mean_std"})
        assert both.dim == 2 * mean.shape[1]
        torch.testing.assert_close(both.encode(pixels)[:, : mean.shape[1]], mean)
        model = timm.create_model(name, num_classes=0).eval()
        model.load_state_dict(both._module.network.state_dict())
        with torch.no_grad():
            maps = model.forward_intermediates(
                Pixels(both.parameters)(pixels), indices=[stage], intermediates_only=True, output_fmt="NCHW"
            )[0].flatten(2)
        torch.testing.assert_close(
            both.encode(pixels)[:, mean.shape[1] :], maps.std(2, correction=0), rtol=1e-4, atol=1e-5
        )
