"""TCGA barcodes."""

from __future__ import annotations

import pytest

from pathomix.core.barcodes import is_barcode, patient_barcode, sample_type, tissue_source_site
from pathomix.core.errors import PathomixError


@pytest.mark.parametrize(
    ("text", "patient", "site", "sample"),
    [
        ("TCGA-02-0001", "TCGA-02-0001", "02", None),
        ("TCGA-02-0001-01", "TCGA-02-0001", "02", "01"),
        ("TCGA-06-0174-01Z-00-DX1.ABC.svs", "TCGA-06-0174", "06", "01"),
        ("tcga-a6-2671-11A-01R", "TCGA-A6-2671", "A6", "11"),
        ("SIMU-S1-0003-01A", "SIMU-S1-0003", "S1", "01"),
    ],
)
def test_parts(text: str, patient: str, site: str, sample: str | None) -> None:
    assert patient_barcode(text) == patient
    assert tissue_source_site(text) == site
    assert sample_type(text) == sample


@pytest.mark.parametrize("text", ["", "P-0000674", "TCGA-02", "8d3f9a04-1c2b-4d5e-9f00-0123456789ab", "TCGA-02-00012"])
def test_anything_else_is_refused(text: str) -> None:
    assert not is_barcode(text)
    with pytest.raises(PathomixError, match="not a TCGA barcode"):
        patient_barcode(text)
