"""A planted atlas: cells around the profiles of four classes, six donors, two of them held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from pathomix.smoothing.cells import AtlasCells, read_atlas

CLASSES = ("Tumour", "Fibroblast", "T cell", "Macrophage")
GENES = tuple(f"G{i}" for i in range(120))
WriteAtlas = Callable[..., Path]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def profiles() -> np.ndarray:
    """Expected expression [classes, genes], rows sum to 1."""
    base = np.random.default_rng(5).lognormal(0, 1, len(GENES))
    profile = np.tile(base, (len(CLASSES), 1))
    for place in range(len(CLASSES)):
        profile[place, place * 20 : place * 20 + 20] *= 12
    return profile / profile.sum(axis=1, keepdims=True)


def planted_atlas(profiles: np.ndarray, cells: int = 360, **changes: object) -> anndata.AnnData:
    """The atlas as its stage writes it; `changes` replace columns of obs."""
    generator = np.random.default_rng(6)
    kind = np.arange(cells) % len(CLASSES)
    donor = generator.integers(6, size=cells)
    depth = 3000 * generator.lognormal(0, 0.4, (cells, 1))
    counts = generator.poisson(profiles[kind] * depth * generator.gamma(5, 0.2, (cells, len(GENES))))
    obs = pd.DataFrame(
        {
            "class_label": pd.Categorical(np.array(CLASSES)[kind], categories=CLASSES, ordered=True),
            "group": pd.Categorical([f"donor {d}" for d in donor]),
            "part": np.where(donor < 4, "train", "valid"),
        },
        index=[f"cell{i}" for i in range(cells)],
    ).assign(**changes)
    atlas = anndata.AnnData(
        scipy.sparse.csr_matrix(counts.astype(np.float32)), obs=obs, var=pd.DataFrame(index=list(GENES))
    )
    atlas.uns["classes"] = list(CLASSES)
    return atlas


@pytest.fixture(scope="session")
def atlas_path(profiles: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted atlas on disk."""
    path = tmp_path_factory.mktemp("atlas") / "planted.h5ad"
    planted_atlas(profiles).write_h5ad(path)
    return path


@pytest.fixture(scope="session")
def atlas(atlas_path: Path) -> AtlasCells:
    """The planted atlas, read."""
    return read_atlas(atlas_path)
