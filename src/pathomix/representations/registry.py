"""Names of representations to where they live.

A new representation is one file and one line here; its parameters are the fields of the class `Settings` of its module.
No other module imports this table when it is loaded, so that a new line is no change of the others' code.
"""

from __future__ import annotations

from collections.abc import Mapping

REPRESENTATIONS: Mapping[str, str] = {
    "modaltune": "pathomix.representations.modaltune:ModalTuneRepresentation",
    "slide_vector": "pathomix.representations.slide_vector:SlideVector",
    "supervised": "pathomix.representations.supervised:Supervised",
}
