"""One small simulation, written once for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest

from pathomix.simulate.parameters import Parameters
from pathomix.simulate.slide_plan import SlidePlan
from pathomix.simulate.tables import write_simulation

SMALL = {
    "cohorts": {
        "sim_a": {"patients": 60, "classes": ["Acinar carcinoma", "Solid carcinoma"]},
        "sim_b": {"patients": 40, "classes": ["Acinar carcinoma", "Solid carcinoma", "Mucinous carcinoma"]},
        "sim_c": {"patients": 30, "classes": ["Tubular carcinoma", "Medullary carcinoma"], "ood": True},
    },
    "atlas": {"cells": 400},
    "missing": {"expression": 0.1, "copy_number": 0.1, "mutation": 0.1},
    "samples": {"second_tumour": 3, "normal": 4},
    "slides": {"size_um": 256.0, "two_slides": 0.3},
}


@pytest.fixture(scope="session")
def small() -> Parameters:
    """Small cohorts of each sort."""
    return Parameters.from_dict(SMALL)


@pytest.fixture(scope="session")
def simulation(small: Parameters, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with every table of the small simulation."""
    folder = tmp_path_factory.mktemp("simulated")
    write_simulation(small, folder)
    return folder


@pytest.fixture(scope="session")
def plan() -> SlidePlan:
    """A quarter-size slide with glands and solid sheets, nothing special on it."""
    return SlidePlan(
        slide_id="SIMU-A1-0001-01Z-00-DX1",
        patient_id="SIMU-A1-0001",
        seed=11,
        size_um=256.0,
        mpp=0.5,
        has_mpp=True,
        truncated=False,
        extent=0.3,
        patterns=(0.5, 0.5),
        tissue_share=0.62,
        pieces=1,
        pen=None,
        blurred=False,
        ood=False,
        stains=(1.3, 1.45, 0.62, 0.12, 0.86, 0.42),
        quality=85,
    )
