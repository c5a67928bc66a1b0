"""How a profile becomes tokens: every point the reference, the paper and good practice differ in is one switch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice, filled
from pathomix.scgpt.binning import TIES

LENGTHS = ("sample", "full", "top_expression")
PRECISIONS = ("float32", "bf16")

_REFERENCE: dict[str, Any] = {"length": "sample", "draws": 1, "ties": "random", "min_expression": 0.0}
PROFILES: Mapping[str, Mapping[str, Any]] = {
    # Path-GPTomic names the model and nothing of its use: the reference's own embedding.
    "released": _REFERENCE,
    "paper": _REFERENCE,
    # Within the trained length, no one random view of a bulk profile, no noise from ties, no noise floor.
    "recommended": {"length": "sample", "draws": 8, "ties": "mid", "min_expression": 1.0},
}
"""Defaults of the switches by profile."""


@dataclass(frozen=True)
class EmbeddingSettings:
    """Settings of an embedding; all but the last two and `min_coverage` define what is embedded.

    Attributes:
        length: Which expressed genes of a profile are read when there are more than fit: ``sample`` (a random subset),
            ``full`` (all, whatever `max_length`; longer than the model was trained for), ``top_expression``.
        max_length: Tokens of a profile, ``<cls>`` included.
        draws: Random subsets whose embeddings are averaged before normalising (``sample`` only).
        ties: Bin of a value that equals several edges, see `pathomix.scgpt.binning.binned`.
        min_expression: Least expression of a gene that is read, on the scale of the table (1 is meant for TPM and
            counts); genes without expression are never read.
        bin_scope: When a panel of genes is given: quantiles over all matched genes (``all_matched``, as in
            pretraining), or over the panel's (``selected``, as after a preselection of variable genes).
        cls_value: Value of ``<cls>``; None is the checkpoint's `pad_value`, as in pretraining.
        n_bins: Bins including 0; the reference always takes 51.
        l2_normalise: Divide every embedding by its length.
        min_coverage: Least share of gene names in the vocabulary.
        seed: Of all draws; each profile has its own stream, keyed by its id.
        precision: ``float32`` (reference), or ``bf16`` autocast.
        tokens_per_batch: Upper bound of a batch's tokens, padding included; one profile always fits.
    """

    length: str = "sample"
    max_length: int = 1200
    draws: int = 8
    ties: str = "mid"
    min_expression: float = 1.0
    bin_scope: str = "all_matched"
    cls_value: float | None = None
    n_bins: int = 51
    l2_normalise: bool = True
    min_coverage: float = 0.1
    seed: int = 0
    precision: str = "float32"
    tokens_per_batch: int = 19_200

    def __post_init__(self) -> None:
        choice(self.length, LENGTHS, "length")
        choice(self.ties, TIES, "ties")
        choice(self.bin_scope, ("all_matched", "selected"), "bin_scope")
        choice(self.precision, PRECISIONS, "precision")
        small = [name for name, least in _LEAST.items() if getattr(self, name) < least]
        if small or not 0 <= self.min_coverage <= 1:
            raise PathomixError(
                "scGPT embedding: numbers are too small, or min_coverage is not from 0 to 1",
                offending=small or ["min_coverage"],
                remedy=f"smallest values are {_LEAST}",
            )
        if self.draws > 1 and self.length != "sample":
            raise PathomixError(
                f"draws is {self.draws} and length is {self.length}: there is nothing to draw",
                remedy="set draws: 1, or length: sample",
            )

    @property
    def protocol(self) -> dict[str, Any]:
        """What two embeddings must have in common to be used together."""
        return {name: value for name, value in asdict(self).items() if name not in _INCIDENTAL}


_INCIDENTAL = ("min_coverage", "precision", "tokens_per_batch")
_LEAST = {"max_length": 2, "draws": 1, "min_expression": 0.0, "n_bins": 3, "tokens_per_batch": 1}


def embedding_settings(given: Mapping[str, Any]) -> EmbeddingSettings:
    """Settings from configured values; key `profile` (default ``recommended``) sets the switches that are not given.

    Raises:
        PathomixError: Unknown profile or key, or a value that makes no sense.
    """
    values = dict(given)
    profile = values.pop("profile", "recommended")
    choice(profile, tuple(PROFILES), "profile")
    defaults = dict(PROFILES[profile])
    if values.get("length", defaults["length"]) != "sample":
        defaults["draws"] = 1
    return filled(EmbeddingSettings, defaults | values, "scGPT embedding")
