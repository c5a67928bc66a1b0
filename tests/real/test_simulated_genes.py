"""The symbols of the simulator against real vocabularies."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from pathomix.simulate.genes import GENES


def test_every_simulated_symbol_exists(shared_data: Path) -> None:
    with gzip.open(shared_data / "genes" / "scgpt_default_census_vocab.json.gz", "rt") as stream:
        vocabulary = json.load(stream)
    assert not set(GENES) - set(vocabulary)
