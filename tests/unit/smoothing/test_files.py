from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch

from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.nn.smoother import Smoother
from pathomix.smoothing.files import (
    PatientVectors,
    TrainedSmoother,
    read_smoother,
    read_vectors,
    write_smoother,
    write_vectors,
)
from pathomix.smoothing.parameters import TrainingSettings


def test_a_smoother_comes_back_to_the_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = TrainingSettings(hidden=7, out_dim=5, activation="elu")
    model = Smoother(6, 3, 7, 5, "elu").eval()
    model.standardise(torch.randn(9, 6))
    smoother = TrainedSmoother(model, ("A", "B", "C"), settings, {"encoder": "pca", "panel": None})
    for name in ("a", "b"):
        write_smoother(tmp_path / name, smoother, {"pool": "digest"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = read_smoother(tmp_path / "a")
    assert (again.classes, again.settings, again.protocol) == (smoother.classes, settings, smoother.protocol)
    x = torch.randn(4, 6)
    assert torch.equal(again.model(x)[1], model(x)[1]) and not again.model.training
    assert again.digest == smoother.digest
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(PathomixError, match="run train_smoother again"):
        read_smoother(tmp_path / "a")


@pytest.mark.parametrize("count", [0, 3])
def test_vectors_come_back(tmp_path: Path, count: int) -> None:
    index = pd.Index([f"P{i}" for i in range(count)], name="patient_id", dtype=object)
    frame = pd.DataFrame(np.arange(count * 4, dtype=np.float32).reshape(count, 4), index=index)
    given = PatientVectors(frame, {"P9": "expression is not measured"}, {"encoder": "pca", "cls_value": None})
    write_vectors(tmp_path / "v.h5ad", given, Provenance("expression_vectors"))
    found = read_vectors(tmp_path / "v.h5ad")
    pd.testing.assert_frame_equal(found.vectors, frame, check_column_type=False)
    assert (found.missing, found.protocol) == (given.missing, given.protocol)
    data = anndata.read_h5ad(tmp_path / "v.h5ad")
    assert data.X.dtype == np.float32 and Provenance.from_json(data.uns["pathomix"]).artifact == "expression_vectors"


def test_another_file_is_refused(tmp_path: Path) -> None:
    anndata.AnnData(np.ones((2, 2))).write_h5ad(tmp_path / "v.h5ad")
    with pytest.raises(PathomixError, match="not a file of expression vectors"):
        read_vectors(tmp_path / "v.h5ad")
