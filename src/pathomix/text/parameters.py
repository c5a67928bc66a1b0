"""Parameters of the texts of one configuration entry, and the switches its profile sets. Light imports only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args, get_type_hints

from pathomix.core.errors import PathomixError

_CHOICES: dict[str, tuple[str, ...]] = {
    "bins_from": ("all", "train"),
    "bins_of": ("everyone", "events"),
    "edges": ("quantiles", "whole_months"),
    "censored": ("as_event", "alive_beyond"),
    "in_situ": ("absent", "named"),
    "gaps": ("kept", "closed"),
}
_RELEASED = ("all", "everyone", "quantiles", "as_event", "absent", "kept")
_PROFILES: dict[str, tuple[str, ...]] = {
    "released": _RELEASED,
    # What could be read of the paper says nothing about bins and wording beyond what its code does.
    "paper": _RELEASED,
    "recommended": ("train", "events", "whole_months", "alive_beyond", "named", "closed"),
}


@dataclass(frozen=True)
class TextParameters:
    """Wording of the label texts and the encoder that embeds them.

    Attributes:
        encoder: Name in `pathomix.text.registry`.
        weights: File (conch) or folder (bert) with the weights.
        tokenizer: File tokenizer.json (conch).
        width: Embedding width of hashing, 512 unless set.
        seed: Seed of hashing, 0 unless set.
        pooling: Of bert: ``cls`` (unless set), ``mean`` or ``pooler``.
        batch_size: Prompts per forward pass of conch and bert, 64 unless set.
        profile: ``released``, ``paper`` or ``recommended``: the default of every switch below.
        bins: Number of survival intervals.
        bins_from: Patients of which the intervals are made: ``all`` parts of the fold, or its ``train`` part.
        bins_of: Quantiles of the times of ``everyone``, or of those with an ``events``. Not of the Kaplan-Meier curve:
            where fewer than half of the patients die its upper quantiles do not exist.
        edges: ``quantiles``: patients are placed by the exact quantiles, texts name them rounded, the last interval
            ends at the longest time. ``whole_months``: the quantiles are rounded first, so that every text is true of
            its patient, and the last interval is open.
        censored: ``as_event``: a censored patient gets the interval of the follow-up. ``alive_beyond``: the last edge
            that was passed alive.
        in_situ: A tumour in situ is worded as ``absent`` tumour, or ``named``.
        gaps: A missing value leaves its separating space (``kept``) or not (``closed``).
    """

    encoder: str = "hashing"
    weights: str | None = None
    tokenizer: str | None = None
    width: int | None = None
    seed: int | None = None
    pooling: str | None = None
    batch_size: int | None = None
    profile: str = "recommended"
    bins: int = 4
    bins_from: str | None = None
    bins_of: str | None = None
    edges: str | None = None
    censored: str | None = None
    in_situ: str | None = None
    gaps: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> TextParameters:
        """From a configuration entry.

        Raises:
            PathomixError: An unknown parameter, or a value of another kind or outside its choices.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise PathomixError("texts: unknown parameters", offending=unknown, remedy=f"use {', '.join(known)}")
        kinds = {name: get_args(hint) or (hint,) for name, hint in get_type_hints(cls).items()}
        wrong = [
            f"{name} is {value!r}"
            for name, value in given.items()
            if not isinstance(value, kinds[name]) or isinstance(value, bool)
        ]
        choices = {**_CHOICES, "profile": tuple(_PROFILES)}
        wrong += [
            f"{name} is {given[name]!r}, not one of {list(allowed)}"
            for name, allowed in choices.items()
            if given.get(name) is not None and given[name] not in allowed
        ]
        smallest = {"bins": 2, "width": 1, "batch_size": 1}
        wrong += [
            f"{name} is below {least} ({given[name]})"
            for name, least in smallest.items()
            if isinstance(given.get(name), int) and given[name] < least
        ]
        if wrong:
            raise PathomixError("texts: parameters cannot be used", offending=wrong, remedy="correct texts.<name>")
        return cls(**given)

    @property
    def rules(self) -> dict[str, str]:
        """Every switch with its value: the configured one, else the profile's."""
        defaults = dict(zip(_CHOICES, _PROFILES[self.profile], strict=True))
        return {name: getattr(self, name) or default for name, default in defaults.items()}

    @property
    def encoder_settings(self) -> dict[str, Any]:
        """What was configured for the encoder itself."""
        names = ("weights", "tokenizer", "width", "seed", "pooling", "batch_size")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
