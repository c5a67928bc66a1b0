"""Published segmentation networks with official weights files: loading, classes, and where their answer lies."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from pathomix.core.errors import PathomixError
from pathomix.slides.find_tissue import Networks, find_tissue
from pathomix.slides.reader import open_slide
from pathomix.slides.tissue_networks import NETWORKS, NetworkMasker, TissueNetwork
from pathomix.slides.tissue_parameters import TissueParameters


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """Random weights written as the authors publish them."""
    folder = tmp_path_factory.mktemp("weights")

    def write(name):
        path = folder / f"{name}.ckpt"
        if not path.exists():
            torch.manual_seed(0)
            state = NETWORKS[name].build().state_dict()
            if name == "hest":
                state = {f"model.{key}": value for key, value in state.items()}
                state["model.aux_classifier.0.weight"] = torch.zeros(3)
                state = {"state_dict": state, "epoch": 3}
            torch.save(state, path)
        return path

    return write


def test_hest_is_deeplab_v3_of_two_classes(official):
    state = NETWORKS["hest"].build().state_dict()
    assert state["classifier.4.weight"].shape == (2, 256, 1, 1)
    assert not any("aux" in key for key in state)
    network = TissueNetwork("hest", official("hest"))
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    shares = network.probabilities(rgb)
    assert shares.shape == (2, 64, 64)
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-5)


@pytest.mark.slow  # importing tiatoolbox takes a minute on a busy machine
@pytest.mark.parametrize(("name", "classes"), [("grandqc", 2), ("grandqc_artefacts", 8)])
def test_grandqc_loads_strictly_and_answers(official, name, classes):
    assert len(NETWORKS[name].classes) == classes
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    shares = TissueNetwork(name, official(name)).probabilities(rgb)
    assert shares.shape == (classes, 64, 64) and np.isfinite(shares).all()


def test_weights_of_another_network_and_code_are_refused(official, tmp_path):
    torch.save({"state_dict": {"model.classifier.4.weight": torch.zeros(5, 256, 1, 1)}}, tmp_path / "other.ckpt")
    with pytest.raises(PathomixError, match=r"other\.ckpt: \d+ tensors do not fit") as error:
        TissueNetwork("hest", tmp_path / "other.ckpt")
    assert "classifier.4.weight has shape (5, 256, 1, 1) instead of (2, 256, 1, 1)" in error.value.offending

    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    (tmp_path / "evil.ckpt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(PathomixError, match="not a weights-only file"):
        TissueNetwork("hest", tmp_path / "evil.ckpt")
    with pytest.raises(PathomixError, match="no such weights file"):
        TissueNetwork("hest", tmp_path / "absent.ckpt")


class Dark(torch.nn.Module):
    """Stands for a network: tissue where the normalised red is below that of glass."""

    def __init__(self):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        dark = (1.85 - x[:, :1]) * 40 + self.bias
        return torch.cat([-dark, dark], dim=1)


@pytest.mark.parametrize(("mpp", "thumbnail_mpp"), [(1.0, 4.0), (1.0, 3.0), (10.0, 4.0), (2.0, 8.0)])
def test_the_answer_lies_where_the_tissue_is(zoo, monkeypatch, tmp_path, mpp, thumbnail_mpp):
    stand_in = NetworkMasker(Dark, mpp, ("background", "tissue"), dict, mpp == 10.0, "test")
    monkeypatch.setitem(NETWORKS, "hest", stand_in)
    torch.save(Dark().state_dict(), tmp_path / "dark.pt")
    with open_slide(zoo / "coarse.tiff") as slide:
        thumbnail = slide.thumbnail(thumbnail_mpp)
        shares = TissueNetwork("hest", tmp_path / "dark.pt").class_shares(slide, thumbnail)
    assert set(shares) == {"background", "tissue"}
    truth = thumbnail.rgb[..., 0] < 236
    found = shares["tissue"] > 0.5
    assert found.shape == truth.shape
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > (0.9 if mpp == 10.0 else 0.96)


def test_a_network_as_masker_and_as_judge_of_artefacts(zoo, monkeypatch, tmp_path):
    left = lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1))  # noqa: E731
    model = left()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.copy_(torch.tensor([0, 0, 0, 0, 0, 0, 9.0, 0]))
    torch.save(Dark().state_dict(), tmp_path / "dark.pt")
    torch.save(model.state_dict(), tmp_path / "blur.pt")
    monkeypatch.setitem(NETWORKS, "hest", NetworkMasker(Dark, 1.0, ("background", "tissue"), dict, False, "test"))
    official = NETWORKS["grandqc_artefacts"]
    monkeypatch.setitem(NETWORKS, "grandqc_artefacts", NetworkMasker(left, 1.0, official.classes, dict, False, "test"))
    weights = {"hest": str(tmp_path / "dark.pt"), "grandqc_artefacts": str(tmp_path / "blur.pt")}
    options = {"thumbnail_mpp": 4.0, "min_area_mm2": 0.005, "masker": "hest", "masker_weights": weights}
    with open_slide(zoo / "coarse.tiff") as slide:
        thumbnail = slide.thumbnail(4.0)
        settings = TissueParameters(**options)
        plain = find_tissue(slide, thumbnail, settings, "hest", Networks(settings))
        assert plain.agreement > 0.9 and plain.mask.any() and plain.shares == {}
        settings = TissueParameters(**options, artefact_model="grandqc_artefacts")
        judged = find_tissue(slide, thumbnail, settings, "hest", Networks(settings))
    assert judged.shares["blurred"] > 0.99 and not judged.mask.any() and judged.whole.any()


def test_a_slide_too_coarse_for_the_network_is_refused(kit, image, monkeypatch, tmp_path):
    monkeypatch.setitem(NETWORKS, "hest", NetworkMasker(Dark, 1.0, ("background", "tissue"), dict, False, "test"))
    torch.save(Dark().state_dict(), tmp_path / "dark.pt")
    path = kit.write_slide(tmp_path / "coarse.tiff", kit.halved(image[0], 3), 2.0)
    with open_slide(path) as slide, pytest.raises(PathomixError, match="too coarse for a network of 1"):
        TissueNetwork("hest", tmp_path / "dark.pt").class_shares(slide, slide.thumbnail(8.0))
