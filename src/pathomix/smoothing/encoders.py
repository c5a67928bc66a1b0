"""The contract of expression encoders, the configured one, and its file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import safetensors
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.core.provenance import METADATA_KEY, Provenance
from pathomix.core.registry import entry_of
from pathomix.core.units import write_arrays
from pathomix.scgpt.expression import Matrix
from pathomix.smoothing.cells import AtlasCells

State = dict[str, NDArray[np.generic]]
_REMEDY = "run fit_expression_encoder again"


class Embedded(NamedTuple):
    """Embedded profiles.

    Attributes:
        vectors: float32 [profiles, dim]; NaN where a profile has nothing to embed.
        problems: Why there is no vector, per profile; empty where there is one.
    """

    vectors: NDArray[np.float32]
    problems: list[str]


class FittedEncoder(Protocol):
    """An encoder that can embed."""

    @property
    def dim(self) -> int:
        """Width of a vector."""
        ...

    @property
    def protocol(self) -> dict[str, Any]:
        """All that vectors depend on, JSON-serialisable: compared by `scgpt.protocol.require_same_protocol`."""
        ...

    def readable(self, genes: Sequence[str]) -> NDArray[np.bool_]:
        """Which columns of a table with these genes reach the vectors."""
        ...

    def embed(self, matrix: Matrix, ids: Sequence[str], genes: Sequence[str]) -> Embedded:
        """Embed profiles; a vector does not depend on the other profiles.

        Args:
            matrix: Profiles x genes, linear scale, dense or CSR.
            ids: Of the profiles, each once.
            genes: Names of the columns.

        Raises:
            PathomixError: Expression that cannot be read, or genes the encoder needs are not there.
        """
        ...

    def state(self) -> tuple[State, dict[str, Any]]:
        """Arrays and JSON-serialisable facts that rebuild it to the bit."""
        ...


class ExpressionEncoder(Protocol):
    """A configured encoder, not yet fitted."""

    def fit(self, atlas: AtlasCells, tables: Sequence[Sequence[str]]) -> FittedEncoder:
        """Fit on the training part of an atlas.

        Args:
            atlas: Labelled cells.
            tables: Gene names of the bulk tables that will be embedded beside the atlas.
        """
        ...

    def rebuilt(self, arrays: State, facts: Mapping[str, Any]) -> FittedEncoder:
        """Inverse of `FittedEncoder.state`."""
        ...


def build_encoder(configuration: Mapping[str, Any]) -> ExpressionEncoder:
    """The configured encoder.

    Args:
        configuration: Key `encoder` (a name of `smoothing.registry`) and the encoder's own parameters.

    Raises:
        PathomixError: No or an unknown encoder, or parameters it refuses.
    """
    parameters = dict(configuration)
    name = parameters.pop("encoder", None)
    registry = "pathomix.smoothing.registry:EXPRESSION_ENCODERS"
    built: ExpressionEncoder = entry_of(registry, name, what="expression encoder", key="encoder")(parameters)
    return built


def write_encoder(path: str | os.PathLike[str], encoder: FittedEncoder, inputs: Mapping[str, str]) -> None:
    """Write a fitted encoder as safetensors; equal encoders give equal bytes.

    Args:
        path: The file.
        encoder: Fitted.
        inputs: Digests of what it was fitted on.
    """
    arrays, facts = encoder.state()
    provenance = Provenance("expression_encoder", inputs=inputs, parameters=facts)
    # All in one entry: safetensors writes several in an order that changes from run to run.
    write_arrays(Path(path), arrays, {METADATA_KEY: provenance.to_json()})


def read_encoder(path: str | os.PathLike[str], configuration: Mapping[str, Any]) -> FittedEncoder:
    """Read what `write_encoder` wrote.

    Args:
        path: The file.
        configuration: As given to `build_encoder`; paths of the user's weights are read from it.

    Raises:
        PathomixError: The file cannot be read, or was fitted with other parameters or weights.
    """
    encoder = build_encoder(configuration)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = Provenance.from_json(file.metadata()[METADATA_KEY]).parameters
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise PathomixError(f"{path}: not a fitted expression encoder ({error})", remedy=_REMEDY) from error
    return encoder.rebuilt(arrays, facts)


def require_fitted_with(facts: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    """Refuse a fitted encoder whose parameters are not the configured ones.

    Raises:
        PathomixError: They differ; each difference is named.
    """
    # As JSON reads them back, where lists and tuples are one.
    fitted, now = (json.loads(json.dumps(settings)) for settings in (facts["settings"], described))
    different = [
        f"{name}: {fitted.get(name)!r} then, {now.get(name)!r} now"
        for name in sorted(fitted.keys() | now.keys())
        if fitted.get(name) != now.get(name)
    ]
    if different:
        raise PathomixError(
            "the expression encoder was fitted with other parameters", offending=different, remedy=_REMEDY
        )


def as_text(names: Iterable[str]) -> NDArray[np.uint8]:
    """Names as UTF-8 bytes, newline-separated."""
    return np.frombuffer("\n".join(names).encode(), dtype=np.uint8)


def from_text(array: NDArray[np.generic]) -> list[str]:
    """Inverse of `as_text`."""
    text = bytes(array.astype(np.uint8)).decode()
    return text.split("\n") if text else []


def names_digest(names: Iterable[str]) -> str:
    """SHA-256 over names, whatever their order."""
    return hashlib.sha256("\n".join(sorted(set(names))).encode()).hexdigest()


def require_genes(absent: Iterable[str], what: str) -> None:
    """Refuse a table that lacks genes of the panel.

    Raises:
        PathomixError: There are some.
    """
    missing = sorted(absent)
    if missing:
        raise PathomixError(
            f"{len(missing)} genes of the encoder's panel are not in {what}",
            offending=missing,
            remedy="name this table's cohort among the `cohorts` of the expression encoder, so that the panel holds "
            "only genes that it measures",
        )
