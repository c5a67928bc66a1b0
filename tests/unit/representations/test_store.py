from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest
from pathomix.core.provenance import Provenance
from pathomix.representations.store import EmbeddingStore, read_embeddings, write_embeddings


def write(path, held_out=True):
    obs = pd.DataFrame(
        {
            "fold": [0, 0, 0, 1, 1, 1],
            "patient_id": ["a", "b", "c"] * 2,
            "part": ["train", "train", "test", "test", "train", "train"],
            "reason": ["", "", "", "", "", "no expression"],
        }
    )
    general = np.arange(12, dtype=np.float32).reshape(6, 2)
    general[5] = np.nan
    apart = np.full((6, 2), np.nan, np.float32)
    apart[[0, 4]] = 100
    vectors = {"general": general, "survival": -general}
    if held_out:
        vectors |= {"general_held_out": apart}
    write_embeddings(path, obs, vectors, Provenance("embeddings", parameters={"x": 1}))
    return path


def test_layout_of_the_file(tmp_path):
    data = read_embeddings(write(tmp_path / "e.h5ad"))
    assert list(data.obs_names) == ["0/a", "0/b", "0/c", "1/a", "1/b", "1/c"]
    assert list(data.obs["reason"]) == ["", "", "", "", "", "no expression"]
    assert set(data.obsm) == {"survival", "general_held_out"}
    assert Provenance.from_json(data.uns["pathomix"]).parameters == {"x": 1}


def test_same_content_same_bytes(tmp_path):
    assert file_digest(write(tmp_path / "a.h5ad")) == file_digest(write(tmp_path / "b.h5ad"))


def test_training_patients_get_held_out_vectors_or_none(tmp_path):
    store = EmbeddingStore({3: write(tmp_path / "e.h5ad")})
    first = store.of(0, 3)
    assert first.index.tolist() == ["a", "c"], "b was trained on and its cross-fitting model has failed"
    assert first.loc["a"].tolist() == [100, 100]
    assert first.loc["c"].tolist() == [4, 5]
    assert store.of(1, 3).loc["a"].tolist() == [6, 7]
    assert EmbeddingStore({3: tmp_path / "e.h5ad"}, held_out=False).of(0, 3).loc["a"].tolist() == [0, 1]


def test_without_cross_fitting_training_patients_get_their_models_vectors(tmp_path):
    path = write(tmp_path / "e.h5ad", held_out=False)
    assert EmbeddingStore({0: path}).of(1, 0).index.tolist() == ["a", "b"]
    assert EmbeddingStore({0: path}, "survival").of(0, 0).loc["b"].tolist() == [-2, -3]


def test_what_is_not_there_is_named(tmp_path):
    store = EmbeddingStore({0: write(tmp_path / "e.h5ad")}, "stage")
    with pytest.raises(PathomixError, match=r"no vector 'stage'; use one of .*survival"):
        store.of(0, 0)
    with pytest.raises(PathomixError, match="no embeddings of seed 5"):
        store.of(0, 5)
    with pytest.raises(PathomixError, match=r"e\.h5ad: no fold 7"):
        store.of(7, 0)
    (tmp_path / "damaged.h5ad").write_bytes((tmp_path / "e.h5ad").read_bytes()[:2000])
    with pytest.raises(PathomixError, match=r"damaged\.h5ad: cannot be read"):
        EmbeddingStore({0: tmp_path / "damaged.h5ad"}).of(0, 0)
