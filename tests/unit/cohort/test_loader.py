from __future__ import annotations

import numpy as np
import pytest

from pathomix.cohort.loader import load_cases
from pathomix.core.errors import PathomixError


def test_cases_are_what_was_imported(study):
    cases = load_cases(study.build())
    assert list(cases.ids) == study.clinical["barcode"].tolist() and cases.classes == ("a", "b")
    assert cases.expression.index.name == "patient_id" and cases.expression.to_numpy().dtype == np.float32
    np.testing.assert_allclose(cases.expression.to_numpy(), study.expression.T.to_numpy(), rtol=1e-6)
    np.testing.assert_array_equal(cases.mutation.to_numpy(), study.mutation.to_numpy())
    assert cases.copy_number is None and cases.tiles is None
    assert cases.pathways == {"one": ("EGFR", "TP53"), "two": ("MUT", "NA")}  # measured genes only


def test_missing_and_damaged_artefacts(study):
    out = study.build()
    (out / "expression.h5ad").write_bytes(b"no")
    with pytest.raises(PathomixError, match=r"expression.h5ad: cannot be read.*build_cohort"):
        load_cases(out)
    (out / "expression.h5ad").unlink()
    with pytest.raises(PathomixError, match=r"files are missing: expression.h5ad"):
        load_cases(out)
