"""What the reported rows of a configuration need: cohorts, tile features and weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pathomix.acquire.weights import FOLDER, MissingWeightsError, Registry, missing_weights

if TYPE_CHECKING:
    from pathomix.workflow.plan import Plan


def needed_cohorts(plan: Plan) -> list[str]:
    """Described cohorts that reported rows are tested or trained on, in the order of the configuration."""
    named = set(plan.cohorts.simulation.get("cohorts", {}))
    for study, method in plan.report.rows():
        cohorts = [*plan.studies[study]["cohorts"], plan.methods[method].get("source")]
        named |= {member for cohort in cohorts if cohort for member in plan.cohorts.members(cohort)}
    return [cohort for cohort in plan.cohorts.described if cohort in named]


def needed_features(plan: Plan) -> dict[str, list[str]]:
    """Tile encoders that reported rows read, each with the described cohorts it is run on."""
    indices = {path for path in plan.report.quarantines if "/features/" in path}
    for study, method in plan.report.rows():
        entry = plan.methods[method]
        for cohort in plan.studies[study]["cohorts"]:
            indices |= set(plan.features(method, cohort))
            for where in {cohort, entry.get("source", cohort)} if "representation" in entry else ():
                indices |= set(plan.vectors.features(entry["representation"], where))
    found: dict[str, set[str]] = {}
    for path in map(PurePosixPath, indices):
        found.setdefault(path.parent.name, set()).add(
            path.name.removesuffix(".quarantine.tsv").removesuffix(".parquet")
        )
    return {
        encoder: [cohort for cohort in plan.cohorts.described if cohort in found[encoder]]
        for encoder in plan.slides.encoders
        if encoder in found
    }


def weight_entries(plan: Plan) -> dict[str, Mapping[str, Any]]:
    """Configuration entries that reported rows need and that may name weights, by key, paths filled in."""
    entries: dict[str, Mapping[str, Any]] = {}
    for encoder in needed_features(plan):
        entries[f"encoders.{encoder}"] = plan.slides.encoders[encoder]
    if entries:
        for network, path in plan.slides.tissue.get("masker_weights", {}).items():
            entries[f"slides.tissue.masker_weights.{network}"] = {"network": network, "weights": path}
    for _, method in plan.report.rows():
        entries |= _of_row(plan, f"methods.{method}", plan.methods[method])
    return entries


def _of_row(plan: Plan, key: str, entry: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    encoders, texts = plan.vectors.slide_encoders, plan.vectors.texts
    named = [entry[part] for part in ("slide_encoder",) if part in entry]
    if "representation" in entry:
        representation = plan.vectors.representations[entry["representation"]]
        named.append(representation["slide_encoder"])
        if "text" in representation:
            found[f"texts.{representation['text']}"] = texts[representation["text"]]
    found |= {f"slide_encoders.{name}": encoders[name] for name in named}
    if "expression_vectors" in entry:
        name = entry["expression_vectors"]
        encoder = plan.expression.encoder_of(name) if name in plan.expression.smoothing else name
        found[f"expression_encoders.{encoder}"] = plan.expression.encoders[encoder]
    if "image_encoder" in entry:
        found[f"{key}.image_encoder"] = plan.cohorts.with_paths(entry["image_encoder"])
    for number, component in enumerate(entry.get("components", [])):
        found |= _of_row(plan, f"{key}.components[{number}]", component)
    return found


def weight_targets(registry: Registry) -> dict[str, str]:
    """Registered weights by every path below the data folder that may be named: their files, and the files' folder."""
    found: dict[str, str] = {}
    for weight in registry.weights.values():
        folder = f"{FOLDER}/{weight.name}"
        found |= dict.fromkeys([folder, *(f"{folder}/{file.file}" for file in weight.files)], weight.name)
    return found


def check_weights(plan: Plan, registry: Registry, *, token: bool) -> None:
    """Refuse to begin where weights are missing that no rule can fetch.

    Args:
        plan: The plan.
        registry: Known weights.
        token: Whether the user has a token of the hub, which may open gated weights.

    Raises:
        MissingWeightsError: One line per file: name, licence, where to ask, where to put it.
    """
    missing = missing_weights(weight_entries(plan), plan.root, registry)
    lost = [item for item in missing if not item.optional and not (item.is_open or (token and item.is_fetchable))]
    if lost:
        raise MissingWeightsError(lost)
