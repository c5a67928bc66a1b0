from __future__ import annotations

import pytest

from pathomix.core.errors import PathomixError
from pathomix.representations.build import build_representation
from pathomix.representations.modaltune import ModalTuneRepresentation


def test_the_named_representation_gets_its_parameters():
    built = build_representation({"representation": "modaltune", "epochs": 3}, {"architecture": "longnet"})
    assert isinstance(built, ModalTuneRepresentation)
    assert built.settings.epochs == 3


@pytest.mark.parametrize("configuration", [{}, {"representation": "unheard"}])
def test_an_unknown_one_is_refused(configuration):
    with pytest.raises(PathomixError, match=r"unknown representation .*use|set `representation` to one of .*modaltune"):
        build_representation(configuration, {})
