"""What the configuration says of embedded expression: atlases, expression encoders and smoothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pathomix.core.errors import PathomixError
from pathomix.smoothing.registry import EXPRESSION_ENCODERS
from pathomix.workflow.codes import Codes
from pathomix.workflow.cohorts import CohortPlan
from pathomix.workflow.settings import check_known, check_parameters, parameter_names

_ATLAS = ("pathomix.atlas.parameters", "AtlasParameters")
_SMOOTHING = "pathomix.smoothing.parameters"
# Keys of an encoder's entry that say what it is fed or whether its rows may be left out.
_FED = ("atlas", "cohorts", "optional")


class ExpressionPlan:
    """Atlases, expression encoders and smoothing of a configuration.

    Args:
        config: Validated configuration.
        root: The repository.
        cohorts: Cohorts and unions.

    Attributes:
        atlases: Entries by name.
        encoders: Entries of expression encoders by name.
        smoothing: Entries of smoothed vectors by name; each names the encoder whose vectors it smooths.

    Raises:
        PathomixError: A name refers to nothing or stands for two things, or a parameter is unknown.
    """

    def __init__(self, config: Mapping[str, Any], root: Path, cohorts: CohortPlan) -> None:
        self._root = root
        self._source = root / "src"
        self._codes = Codes(root)
        self._cohorts = cohorts
        self._results = cohorts.results
        self.atlases: dict[str, Any] = config["atlases"]
        self.encoders = {name: cohorts.with_paths(entry) for name, entry in config["expression_encoders"].items()}
        self.smoothing: dict[str, Any] = config["smoothing"]
        self._check()

    def _check(self) -> None:
        known = parameter_names(self._source, *_ATLAS)
        for name, entry in self.atlases.items():
            check_parameters(entry, known | {"path"}, f"atlases.{name}")
        for name, entry in self.encoders.items():
            key = f"expression_encoders.{name}"
            check_known([entry.get("encoder")], EXPRESSION_ENCODERS, f"{key}.encoder", "the registry")
            module, _, _ = EXPRESSION_ENCODERS[entry["encoder"]].partition(":")
            check_parameters(entry, parameter_names(self._source, module, "Settings") | {"encoder", *_FED}, key)
            check_known([entry.get("atlas")], self.atlases, f"{key}.atlas", "atlases")
            check_known(entry.get("cohorts", []), self._cohorts.names, f"{key}.cohorts", "cohorts")
        mixing, training = self._fields("MixingSettings"), self._fields("TrainingSettings")
        for name, entry in self.smoothing.items():
            check_parameters(entry, mixing | training | {"expression_encoder"}, f"smoothing.{name}")
            check_known([entry.get("expression_encoder")], self.encoders, f"smoothing.{name}", "expression_encoders")
        twice = sorted(set(self.encoders) & set(self.smoothing))
        if twice:
            raise PathomixError(
                "names stand under both expression_encoders and smoothing",
                offending=twice,
                remedy="rename one of them: a row names its vectors by `expression_vectors`",
            )

    def _fields(self, name: str) -> set[str]:
        return parameter_names(self._source, _SMOOTHING, name)

    @property
    def names(self) -> list[str]:
        """All vectors a row can read: of encoders and of smoothing."""
        return [*self.encoders, *self.smoothing]

    # atlas

    def atlas_file(self, atlas: str) -> str:
        """The labelled AnnData file of an atlas."""
        return str(self.atlases[atlas]["path"].format(data=self._cohorts.data, results=self._results))

    def label_map(self, atlas: str) -> list[str]:
        """File that maps labels to classes, if it is one."""
        given = self.atlases[atlas].get("label_map")
        return [given] if isinstance(given, str) else []

    def atlas_parameters(self, atlas: str) -> dict[str, Any]:
        """What is read of the atlas and which cells are kept."""
        return {key: value for key, value in self.atlases[atlas].items() if key != "path"}

    # encoders

    def encoder_parameters(self, encoder: str) -> dict[str, Any]:
        """What the encoder itself reads of its entry."""
        return {key: value for key, value in self.encoders[encoder].items() if key not in _FED}

    def encoder_atlas(self, encoder: str) -> str:
        """Prepared atlas the encoder is fitted on."""
        return f"{self._results}/atlas/{self.encoders[encoder]['atlas']}.h5ad"

    def tables(self, encoder: str) -> list[str]:
        """Expression of the cohorts whose genes the encoder shares with the atlas."""
        return [f"{self._results}/cohort/{cohort}/expression.h5ad" for cohort in self.encoders[encoder]["cohorts"]]

    def weights(self, encoder: str) -> list[str]:
        """The user's checkpoint, if the encoder reads one."""
        return self._cohorts.given_files(self.encoders[encoder])

    def code(self, script: str, encoder: str) -> str:
        """Digest of a script and the one encoder it loads."""
        module, _, _ = EXPRESSION_ENCODERS[self.encoders[encoder]["encoder"]].partition(":")
        return self._codes.digest(script, [module])

    # smoothing

    def encoder_of(self, smoothing: str) -> str:
        """Encoder whose vectors are smoothed."""
        return str(self.smoothing[smoothing]["expression_encoder"])

    def encoder_file(self, smoothing: str) -> str:
        """The fitted encoder below."""
        return f"{self._results}/expression_encoders/{self.encoder_of(smoothing)}.safetensors"

    def smoothing_atlas(self, smoothing: str) -> str:
        """Prepared atlas whose cells are mixed: the encoder's."""
        return self.encoder_atlas(self.encoder_of(smoothing))

    def mixing(self, smoothing: str) -> dict[str, Any]:
        """How cells are mixed."""
        known = self._fields("MixingSettings")
        return {key: value for key, value in self.smoothing[smoothing].items() if key in known}

    def training(self, smoothing: str) -> dict[str, Any]:
        """How the smoother is trained."""
        known = self._fields("TrainingSettings")
        return {key: value for key, value in self.smoothing[smoothing].items() if key in known}

    def raw_vectors(self, smoothing: str, cohort: str) -> str:
        """Vectors before smoothing."""
        return self.vectors(self.encoder_of(smoothing), cohort)

    # rows

    def vectors(self, name: str, cohort: str) -> str:
        """Vectors of a cohort's patients, before or after smoothing."""
        return f"{self._results}/expression_vectors/{name}/{cohort}.h5ad"

    def absent(self, entry: Mapping[str, Any]) -> str | None:
        """Why a row is left out: its expression encoder is marked optional and the user has no copy of it."""
        name = entry.get("expression_vectors")
        if name is None:
            return None
        encoder = self.encoder_of(name) if name in self.smoothing else name
        copy = self.encoders[encoder].get("weights")
        if not self.encoders[encoder].get("optional") or (copy and (self._root / copy).exists()):
            return None
        return f"expression encoder {encoder} has no copy at {copy or f'expression_encoders.{encoder}.weights'}"
