"""Which jobs ask for a GPU: those whose `device`, by the configuration or by the component's own default, is not cpu.

Asking never decides whether one is used: `device: auto` takes what the node has. A site without GPUs sets the resource
to 0 once, for all rules (profiles/README.md).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pathomix.methods.registry import METHODS
from pathomix.representations.registry import REPRESENTATIONS
from pathomix.smoothing.registry import EXPRESSION_ENCODERS
from pathomix.workflow.settings import parameters_of

_ENGINE = ("pathomix.slides.engine.parameters", "EngineParameters")


class GpuPlan:
    """GPUs of a configuration's jobs, 0 or 1 each.

    Args:
        config: Validated configuration.
        root: The repository.
    """

    def __init__(self, config: Mapping[str, Any], root: Path) -> None:
        self._config = config
        self._source = root / "src"

    def tissue(self) -> int:
        """A job that looks for tissue: it runs a network where the configuration names weights of one."""
        return int(bool(self._config["slides"]["tissue"].get("masker_weights")))

    def tiles(self) -> int:
        """A job that embeds tiles."""
        return self._of(self._config["embedding"], *_ENGINE)

    def representation(self, name: str) -> int:
        """A job that trains, applies or explains a representation."""
        entry = self._config["representations"][name]
        return self._of(entry, REPRESENTATIONS[entry["representation"]].partition(":")[0])

    def expression(self, encoder: str) -> int:
        """A job that embeds expression profiles."""
        entry = self._config["expression_encoders"][encoder]
        return self._of(entry, EXPRESSION_ENCODERS[entry["encoder"]].partition(":")[0])

    def method(self, name: str) -> int:
        """A job that fits a row."""
        return self._of_method(self._config["methods"][name])

    def _of_method(self, entry: Mapping[str, Any]) -> int:
        own = self._of(entry, METHODS[entry["method"]].partition(":")[0])
        return max([own, *(self._of_method(component) for component in entry.get("components", []))])

    def _of(self, entry: Mapping[str, Any], module: str, name: str = "Settings") -> int:
        device = entry.get("device") or default_of(self._source, module, name, "device") or "cpu"
        return int(device != "cpu")


def default_of(source: Path, module: str, name: str, field: str) -> str | None:
    """Default of a dataclass's field, read without importing it: a text, or the expression if it is none.

    Args:
        source: The folder that holds the package.
        module: Dotted module name.
        name: Name of the class.
        field: Name of the field, the class's own or one it inherits.

    Returns:
        None where there is no such class or field, or one without a default.
    """
    try:
        default = parameters_of(source, module, name).get(field)
    except LookupError:
        return None
    if default is None:
        return None
    return str(default.value) if isinstance(default, ast.Constant) else ast.unparse(default)
