"""TCGA barcode grammar: patient, tissue source site, sample type.

The four-letter programme code is left free, so that the simulated cohort (``SIMU-...``) can never be taken for TCGA.
"""

from __future__ import annotations

import re

from pathomix.core.errors import PathomixError

_BARCODE = re.compile(r"^[A-Z]{4}-([A-Z0-9]{2})-([A-Z0-9]{4})(?:-(\d{2})([A-Z])?)?(?![A-Z0-9])", re.IGNORECASE)


def is_barcode(text: str) -> bool:
    """Whether the text starts with a TCGA patient barcode."""
    return _BARCODE.match(text) is not None


def patient_barcode(text: str) -> str:
    """First 12 characters, upper case: ``TCGA-02-0001``.

    Raises:
        PathomixError: The text is not a TCGA barcode (a GDC UUID, for instance).
    """
    if not is_barcode(text):
        raise PathomixError(
            "not a TCGA barcode",
            offending=[repr(text)],
            remedy="use the column with submitter ids (TCGA-XX-YYYY), or set `id.kind: verbatim` in the description",
        )
    return text[:12].upper()


def tissue_source_site(text: str) -> str:
    """The two-character tissue source site, leading zero kept: ``02``."""
    return patient_barcode(text)[5:7]


def sample_type(text: str) -> str | None:
    """The two-digit sample type (``01`` primary tumour, ``11`` normal tissue), None where the barcode stops earlier."""
    match = _BARCODE.match(text)
    return match.group(3) if match else None
