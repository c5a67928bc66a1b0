"""Digests of the code behind the rules, each computed once in the life of a plan.

Rules ask for them once per job: thousands of times, for a few dozen different answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pathomix.workflow.digest import script_digest


class Codes:
    """`script_digest` of one repository, remembered: a plan sees the code as it was when it first asked.

    Args:
        root: The repository.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[tuple[str, frozenset[str], frozenset[Path]], str] = {}

    def digest(self, script: str, modules: Iterable[str] = (), data: Iterable[Path] = ()) -> str:
        """Digest of everything the named script reaches; see `script_digest` for the arguments."""
        key = (script, frozenset(modules), frozenset(data))
        if key not in self._known:
            self._known[key] = script_digest(self._root, *key)
        return self._known[key]
