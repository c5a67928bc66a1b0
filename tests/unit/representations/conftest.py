"""The planted cohort, for the tests of representations."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

_FILE = Path(__file__).resolve().parent / "planted.py"


@pytest.fixture(scope="session")
def planted() -> ModuleType:
    """Module `planted` beside these tests."""
    spec = importlib.util.spec_from_file_location("planted", _FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["planted"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Networks this small are slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
