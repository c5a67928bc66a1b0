"""Names of expression encoders to where they live; a new one is one file and one line here.

Its parameters are the fields of the class `Settings` of its module.
"""

from __future__ import annotations

from collections.abc import Mapping

EXPRESSION_ENCODERS: Mapping[str, str] = {
    "pca": "pathomix.smoothing.pca_encoder:PcaEncoder",
    "scgpt": "pathomix.smoothing.scgpt_encoder:ScgptEncoder",
}
