"""The points on which Path-GPTomic's paper and good practice disagree; light, for the report reads them too."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

PROFILES = ("paper", "recommended")


class Switch(NamedTuple):
    """One point of doubt: its values by profile (in the order of PROFILES), and what it is about."""

    paper: Any
    recommended: Any
    sentence: str


SWITCHES: Mapping[str, Switch] = MappingProxyType(
    {
        "survival_loss": Switch(
            "paper", "event_mean",
            "The printed likelihood is a sum over events (equation 2), so that batches with more events take larger "
            "steps; or its mean.",
        ),
        "unit": Switch(
            "region", "patient",
            "Rows of a batch: regions, several of which may be one patient's and tied with each other, or patients, "
            "each with one of its regions drawn anew in every epoch. Tiles and slide vectors: patients.",
        ),
        "min_events": Switch(
            0, 2,
            "Events that every batch holds at least; 0: rows are shuffled, and batches without an event are skipped.",
        ),
        "modulation": Switch(
            "paper_softmax", "stable",
            "Ratio of the modalities: the printed one (`paper`; bare scores, of any sign), the one with exponentials "
            "that its derivation means, or the averaged difference of the unimodal log likelihoods.",
        ),
        "modulation_apply": Switch(
            "grad", "lr",
            "Gradients times the coefficient, most of which Adam takes out again, or step sizes.",
        ),
        "scale_vectors": Switch(
            False, True,
            "Embedded expression as it is, or as z-scores of the training patients.",
        ),
    }
)  # fmt: skip


def profile_table() -> pd.DataFrame:
    """Switches by profile, with a sentence on each: what the profiles differ in."""
    rows = {name: [*(getattr(switch, p) for p in PROFILES), switch.sentence] for name, switch in SWITCHES.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*PROFILES, "sentence"]).rename_axis("switch")
