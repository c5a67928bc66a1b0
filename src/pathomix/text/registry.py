"""Names of text encoders to where they live; a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping

ENCODERS: Mapping[str, str] = {
    "bert": "pathomix.text.bert:BertEncoder",
    "conch": "pathomix.text.conch:ConchEncoder",
    "hashing": "pathomix.text.hashing:HashingEncoder",
}
