"""The words of the prompts, read from the versioned `resources/prompts.yaml`."""

from __future__ import annotations

import os
import string
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from pathomix.core.errors import PathomixError

FIELDS = ("location", "diagnosis", "stage", "t", "n", "m", "survival")
"""Fields in the order in which they stand in a text (spec modaltune 4.1)."""

VOCABULARY = {
    "stage": ("0", "I", "II", "III", "IV", "X"),
    "t": ("T0", "Tis", "Ta", "T1", "T2", "T3", "T4", "TX"),
    "n": ("N0", "N1", "N2", "N3", "NX"),
    "m": ("M0", "M1", "MX"),
}
"""Cleaned values of the fields with a closed vocabulary."""

_SENTENCES = {
    "first": {"who", "end"},
    "between": {"who", "start", "end"},
    "last": {"who", "start"},
    "beyond": {"who", "start"},
    "unknown": {"who", "end"},
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EndpointWords(_Strict):
    """Phrases of one endpoint: it happened, it had not happened, and the verb of censoring."""

    event: str
    free: str
    censored: str


class Wording(_Strict):
    """Labels of the fields, words of their values, sentences about survival."""

    version: int
    labels: dict[str, str]
    values: dict[str, dict[str, str]]
    endpoints: dict[str, EndpointWords]
    survival: dict[str, str]

    @model_validator(mode="after")
    def _complete(self) -> Wording:
        expected = {"labels": (self.labels, FIELDS), "survival": (self.survival, tuple(_SENTENCES))}
        expected |= {f"values.{field}": (self.values.get(field, {}), words) for field, words in VOCABULARY.items()}
        for key, (given, wanted) in expected.items():
            if set(given) != set(wanted):
                raise ValueError(f"`{key}` needs exactly the keys {list(wanted)}")
        if set(self.values) != set(VOCABULARY):
            raise ValueError(f"`values` needs exactly the keys {list(VOCABULARY)}")
        for key, places in _SENTENCES.items():
            if {part[1] for part in string.Formatter().parse(self.survival[key]) if part[1] is not None} != places:
                raise ValueError(f"`survival.{key}` needs exactly the placeholders {sorted(places)}")
        return self

    def endpoint(self, name: str) -> EndpointWords:
        """Phrases of an endpoint.

        Raises:
            PathomixError: It has none.
        """
        if name not in self.endpoints:
            raise PathomixError(
                f"there are no words for the endpoint {name!r}",
                remedy=f"add them to `endpoints` of resources/prompts.yaml (known: {', '.join(self.endpoints)})",
            )
        return self.endpoints[name]


def read_wording(path: str | os.PathLike[str]) -> Wording:
    """Read and check a wording file.

    Raises:
        PathomixError: Not YAML, or a label, value or sentence is missing or unknown.
    """
    try:
        return Wording.model_validate(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise PathomixError(f"{path}: cannot be read as YAML ({error})", remedy="restore the file") from error
    except ValidationError as error:
        raise PathomixError(
            f"{path}: the wording is not complete",
            offending=[f"{'.'.join(str(p) for p in e['loc'])} {e['msg']}".strip() for e in error.errors()],
            remedy="correct these keys",
        ) from error
