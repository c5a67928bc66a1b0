"""The configuration outside of Snakemake, merged, checked and filled in as Snakemake does it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from pathomix.core.errors import PathomixError

SCHEMA = "config/schemas/config.schema.yaml"


def read_configuration(files: Sequence[Path], root: Path, changes: Iterable[str] = ()) -> dict[str, Any]:
    """Read configuration files, later ones over earlier ones.

    Args:
        files: YAML files.
        root: The repository, which holds the schema.
        changes: ``key=value`` of the top level, laid over the files (Snakemake's ``--config``).

    Raises:
        PathomixError: A file cannot be read, or the configuration does not fit the schema (every fault is named).
    """
    config: dict[str, Any] = {}
    for file in files:
        _lay_over(config, _read(file))
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise PathomixError(f"--config {change!r} is not key=value", remedy="give for example data=/path/to/tables")
        _lay_over(config, {key: yaml.safe_load(value)})
    schema = _read(root / SCHEMA)
    fill_defaults(config, schema)
    faults = jsonschema.Draft202012Validator(schema).iter_errors(config)
    shown = [
        f"{'.'.join(str(part) for part in fault.absolute_path) or 'top level'}: {fault.message}" for fault in faults
    ]
    if shown:
        raise PathomixError(
            f"{' and '.join(map(str, files))}: the configuration does not fit {SCHEMA}",
            offending=sorted(shown),
            remedy="config/README.md explains every key",
        )
    return config


def fill_defaults(config: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the schema's defaults put in, in place."""
    for key, part in schema.get("properties", {}).items():
        if "default" in part:
            config.setdefault(key, copy.deepcopy(part["default"]))
        if isinstance(config.get(key), dict):
            fill_defaults(config[key], part)
    inner, named = schema.get("additionalProperties"), schema.get("properties", {})
    for key, value in config.items():
        if isinstance(inner, dict) and isinstance(value, dict) and key not in named:
            fill_defaults(value, inner)
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PathomixError(f"{path}: cannot be read ({error})", remedy="give a YAML file") from error
    if not isinstance(content, dict):
        raise PathomixError(f"{path}: no mapping of keys to values", remedy="give a configuration file")
    return content


def _lay_over(config: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(config.get(key), dict):
            _lay_over(config[key], value)
        else:
            config[key] = copy.deepcopy(value)
