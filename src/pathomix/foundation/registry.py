"""Names of slide encoder architectures to where they are built.

Each entry is a function of `foundation.parameters.SlideEncoderParameters` and the tile feature width that gives a
`foundation.slide_encoder.SlideModel`. No other module imports this table when it is loaded, so that a new line is no
change of the others' code.
"""

from __future__ import annotations

from collections.abc import Mapping

ARCHITECTURES: Mapping[str, str] = {
    "alibi_vit": "pathomix.foundation.alibi_vit:build",
    "longnet": "pathomix.foundation.longnet:build",
    "titan": "pathomix.foundation.titan:build",
}
