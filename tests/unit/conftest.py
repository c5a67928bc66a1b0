"""The hand-made study, for the tests of evaluation and of the report."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

_FILE = Path(__file__).resolve().parent / "evaluate" / "hand_made.py"


@pytest.fixture(scope="session")
def hand_made() -> ModuleType:
    """Module `hand_made` beside the evaluation tests."""
    spec = importlib.util.spec_from_file_location("hand_made", _FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hand_made"] = module
    spec.loader.exec_module(module)
    return module
