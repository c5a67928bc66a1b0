"""A tiny checkpoint in the official layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pathomix.scgpt.checkpoint import Checkpoint, load_checkpoint, write_random_checkpoint
from pathomix.scgpt.model import Sizes

GENES = [f"G{i}" for i in range(300)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A writable checkpoint directory: 300 genes, width 16, two layers."""
    write_random_checkpoint(tmp_path / "tiny", GENES, Sizes(303, 16, 4, 24, 2, 0.2), seed=3)
    return tmp_path / "tiny"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The same, loaded."""
    folder = tmp_path_factory.mktemp("scgpt")
    write_random_checkpoint(folder, GENES, Sizes(303, 16, 4, 24, 2, 0.2), seed=3)
    return load_checkpoint(folder)
