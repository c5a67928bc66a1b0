"""What the configuration says of representations: which models are trained on what, whom they embed, what they read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pathomix.foundation.registry import ARCHITECTURES
from pathomix.representations.registry import REPRESENTATIONS
from pathomix.text.registry import ENCODERS as TEXT_ENCODERS
from pathomix.workflow.codes import Codes
from pathomix.workflow.cohorts import CohortPlan
from pathomix.workflow.settings import check_known, check_parameters, parameter_names

# Keys of a representation's entry that say what it is fed, not how it is fitted.
_FED = ("encoder", "slide_encoder", "text")
_TEXT_PARAMETERS = ("pathomix.text.parameters", "TextParameters")
_SLIDE_ENCODER_PARAMETERS = ("pathomix.foundation.parameters", "SlideEncoderParameters")


class VectorPlan:
    """Representations, slide encoders and texts of a configuration.

    Args:
        config: Validated configuration.
        root: The repository.
        cohorts: Cohorts and unions.

    Raises:
        PathomixError: A name refers to nothing, or a parameter is unknown.
    """

    def __init__(self, config: Mapping[str, Any], root: Path, cohorts: CohortPlan) -> None:
        self._root = root
        self._source = root / "src"
        self._codes = Codes(root)
        self._cohorts = cohorts
        self._results = cohorts.results
        self.texts = {name: cohorts.with_paths(entry) for name, entry in config["texts"].items()}
        self.slide_encoders = {name: cohorts.with_paths(entry) for name, entry in config["slide_encoders"].items()}
        self.representations: dict[str, Any] = config["representations"]
        self._encoders: Mapping[str, Any] = config["encoders"]
        self._check()

    def _check(self) -> None:
        known = parameter_names(self._source, *_TEXT_PARAMETERS)
        for name, entry in self.texts.items():
            check_parameters(entry, known, f"texts.{name}")
            check_known([entry.get("encoder", "hashing")], TEXT_ENCODERS, f"texts.{name}.encoder", "the registry")
        known = parameter_names(self._source, *_SLIDE_ENCODER_PARAMETERS)
        for name, entry in self.slide_encoders.items():
            check_parameters(entry, known | {"optional"}, f"slide_encoders.{name}")
            check_known([entry["architecture"]], ARCHITECTURES, f"slide_encoders.{name}.architecture", "the registry")
        for name, entry in self.representations.items():
            key = f"representations.{name}"
            check_known([entry.get("representation")], REPRESENTATIONS, f"{key}.representation", "the registry")
            module, _, _ = REPRESENTATIONS[entry["representation"]].partition(":")
            known = parameter_names(self._source, module, "Settings")
            check_parameters(entry, known | {"representation", *_FED}, key)
            check_known([entry.get("encoder")], self._encoders, f"{key}.encoder", "encoders")
            check_known([entry.get("slide_encoder")], self.slide_encoders, f"{key}.slide_encoder", "slide_encoders")
            if "text" in entry:
                check_known([entry["text"]], self.texts, f"{key}.text", "texts")

    # what each job reads

    def parameters(self, representation: str) -> dict[str, Any]:
        """What the representation itself reads of its entry."""
        entry = self.representations[representation]
        return {key: value for key, value in entry.items() if key not in _FED}

    def slide_encoder(self, name: str) -> dict[str, Any]:
        """Parameters of a slide encoder, without what only the plan reads."""
        return {key: value for key, value in self.slide_encoders[name].items() if key != "optional"}

    def slide_encoder_of(self, representation: str) -> dict[str, Any]:
        """Parameters of the slide encoder of a representation."""
        return self.slide_encoder(self.representations[representation]["slide_encoder"])

    @staticmethod
    def architecture(slide_encoder: Mapping[str, Any]) -> str:
        """Module that builds a slide encoder."""
        return ARCHITECTURES[slide_encoder["architecture"]].partition(":")[0]

    def weights(self, representation: str) -> list[str]:
        """Weights of its slide encoder: a file or folder of the user, or nothing (seeded random weights)."""
        return self._cohorts.given_files(self.slide_encoder_of(representation))

    def text_weights(self, text: str) -> list[str]:
        """Files of the text encoder, if it has any."""
        return self._cohorts.given_files(self.texts[text])

    def features(self, representation: str, cohort: str) -> list[str]:
        """Feature indices of a cohort, one per member of a union."""
        encoder = self.representations[representation]["encoder"]
        return [f"{self._results}/features/{encoder}/{member}.parquet" for member in self._cohorts.members(cohort)]

    def prompts(self, representation: str, source: str, scheme: str) -> list[str]:
        """Texts of the source, one file per member; none for a representation that is trained without."""
        text = self.representations[representation].get("text")
        members = self._cohorts.members(source) if text else []
        return [f"{self._results}/text/{text}/{member}/{scheme}.parquet" for member in members]

    def foreign(self, source: str, cohort: str) -> bool:
        """Whether no patient of the cohort is in the source (out of distribution)."""
        return not set(self._cohorts.members(source)) & set(self._cohorts.members(cohort))

    def embeddings(self, entry: Mapping[str, Any], cohort: str, scheme: str, seeds: Iterable[int]) -> list[str]:
        """Vectors a probe's row reads: one file per seed, from the row's source, by default the cohort itself."""
        source = entry.get("source", cohort)
        folder = f"{self._results}/embeddings/{entry['representation']}/{source}/{cohort}"
        return [f"{folder}/{scheme}-seed{seed}.h5ad" for seed in seeds]

    def models(self, entry: Mapping[str, Any], cohort: str, scheme: str, seeds: Iterable[int]) -> list[str]:
        """Indices of the models behind those vectors, one per seed."""
        folder = f"{self._results}/representations/{entry['representation']}/{entry.get('source', cohort)}"
        return [f"{folder}/{scheme}-seed{seed}.parquet" for seed in seeds]

    def code(self, script: str, representation: str) -> str:
        """Digest of a script, the representation it loads and the slide encoder below it."""
        modules = {
            REPRESENTATIONS[self.representations[representation]["representation"]].partition(":")[0],
            self.architecture(self.slide_encoder_of(representation)),
        }
        return self._codes.digest(script, modules)

    def text_code(self, text: str) -> str:
        """Digest of writing texts with the encoder a text entry names."""
        modules = {TEXT_ENCODERS[self.texts[text].get("encoder", "hashing")].partition(":")[0]}
        return self._codes.digest("write_texts", modules, [self._root / "resources" / "prompts.yaml"])

    @property
    def profiled(self) -> bool:
        """Whether a representation has fidelity profiles."""
        return any(entry["representation"] == "modaltune" for entry in self.representations.values())

    def absent(self, entry: Mapping[str, Any]) -> str | None:
        """Why a row is left out: its slide encoder is marked optional and the user has no copy of it."""
        if "representation" not in entry:
            return None
        name = self.representations[entry["representation"]]["slide_encoder"]
        encoder = self.slide_encoders[name]
        copy = encoder.get("weights")
        if not encoder.get("optional") or (copy and (self._root / copy).exists()):
            return None
        return f"slide encoder {name} has no copy at {copy or f'slide_encoders.{name}.weights'}"
