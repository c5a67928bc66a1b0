"""Parameters of the tissue stage: networks and their weights."""

from __future__ import annotations

import pytest

from pathomix.core.errors import PathomixError
from pathomix.slides.tissue_parameters import ARTEFACT_NETWORKS, TISSUE_NETWORKS, TissueParameters


def test_known_networks_are_those_that_can_be_built():
    networks = pytest.importorskip("pathomix.slides.tissue_networks").NETWORKS
    assert set(networks) == {*TISSUE_NETWORKS, *ARTEFACT_NETWORKS}
    assert all("tissue" in networks[name].classes for name in TISSUE_NETWORKS)
    assert all({"pen", "blurred"} <= set(networks[name].classes) for name in ARTEFACT_NETWORKS)


@pytest.mark.parametrize("name", TISSUE_NETWORKS)
def test_a_network_without_weights_is_refused_with_what_to_bring(name):
    with pytest.raises(PathomixError, match=f"set slides.tissue.masker_weights.{name} to {TISSUE_NETWORKS[name][:8]}"):
        TissueParameters(masker=name)
    assert TissueParameters(masker=name, masker_weights={name: "w"}).networks(name) == [name]


def test_unknown_networks_are_refused():
    with pytest.raises(PathomixError, match="not known: hestt"):
        TissueParameters(masker_weights={"hestt": "w"})
    with pytest.raises(PathomixError, match="no artefact network 'grandqc'"):
        TissueParameters(artefact_model="grandqc", masker_weights={"grandqc": "w"})


def test_a_slide_needs_the_networks_of_its_own_masker():
    settings = TissueParameters(artefact_model="grandqc_artefacts", masker_weights={"grandqc_artefacts": "w"})
    assert settings.networks("colour") == ["grandqc_artefacts"]
    assert settings.networks("hest") == ["hest", "grandqc_artefacts"]
    with pytest.raises(PathomixError, match="hest needs its weights"):
        settings.check_weights("hest")
