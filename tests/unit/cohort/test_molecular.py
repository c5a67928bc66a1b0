from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pathomix.cohort.loader import load_cases
from pathomix.core.errors import PathomixError

FIRST = "TEST-02-0001"


def test_sample_types_must_be_chosen(study):
    study.description["molecular"]["expression"].pop("sample_types")
    with pytest.raises(PathomixError, match=r"sample types \['01'\].*sample_types"):
        study.build()


def test_normal_tissue_is_never_used(study):
    study.expression[f"{FIRST}-11A"] = 1000.0
    study.expression["TEST-A1-0008-11A"] = 1000.0  # a patient with normal tissue only is not measured
    expression = load_cases(study.build()).expression
    assert expression.to_numpy().max() < 20 and "TEST-A1-0008" not in expression.index


@pytest.mark.parametrize("policy", ["average", "first"])
def test_several_aliquots(study, edit, policy):
    original = study.expression[f"{FIRST}-01A"]
    study.expression.insert(0, f"{FIRST}-01B", original + 2)
    with pytest.raises(PathomixError, match=rf"rows of one patient differ: {FIRST}.*aliquots"):
        study.build()
    edit("molecular.expression.aliquots", policy)
    expected = original + 1 if policy == "average" else original  # 01A comes before 01B, wherever it stands
    cases = load_cases(study.build())
    np.testing.assert_allclose(cases.expression.loc[FIRST], expected, rtol=1e-6)
    assert cases.expression.shape == (7, 6) and cases.expression.index.is_monotonic_increasing


def test_missing_value_names_the_gene(study, edit):
    study.expression.iloc[1, 2] = np.nan
    with pytest.raises(PathomixError, match=r"missing expression values \(1 in 1 genes\): EGFR.*impute_median"):
        study.build()
    edit("molecular.expression.missing", "impute_median")
    expression = load_cases(study.build()).expression
    assert int(expression.isna().sum().sum()) == 1  # left to the methods, never filled with a number


def test_gene_without_any_value_and_patient_without_any_value(study, edit):
    edit("molecular.expression.missing", "impute_median")
    study.expression.iloc[:, 0] = np.nan
    assert FIRST not in load_cases(study.build()).expression.index
    study.expression.iloc[0] = np.nan
    with pytest.raises(PathomixError, match=r"without a single value: TP53"):
        study.build()


@pytest.mark.parametrize("policy", ["max_variance", "mean"])
def test_repeated_symbols(study, edit, policy):
    wide = study.expression.iloc[[0]] * 3
    study.expression = pd.concat([study.expression, wide])
    with pytest.raises(PathomixError, match=r"more than once: TP53.*duplicate_genes"):
        study.build()
    edit("molecular.expression.duplicate_genes", policy)
    values = study.expression.loc["TP53"].to_numpy()
    expected = values[1] if policy == "max_variance" else values.mean(axis=0)
    expression = load_cases(study.build()).expression
    np.testing.assert_allclose(expression["TP53"], expected, rtol=1e-6)
    assert expression.columns.is_unique and expression.shape[1] == 6


@pytest.mark.parametrize(
    ("scale", "change", "message"),
    [("counts", -1.0, "counts cannot be negative"), ("log2_tpm_plus_1", 5000.0, "too large for log2_tpm_plus_1")],
)
def test_scale_that_cannot_be(study, edit, scale, change, message):
    edit("molecular.expression.scale", scale)
    study.expression.iloc[0, 0] = change
    with pytest.raises(PathomixError, match=message):
        study.build()


def test_outlying_z_scores_are_reported(study, edit):
    edit("molecular.expression.scale", "zscore")
    study.expression.iloc[0, 0] = 3515.0
    assert any("largest 3515" in text for text in study.report()["warnings"])


def test_infinite_and_text_values(study):
    study.expression = study.expression.astype(object)
    study.expression.iloc[2, 1] = "inf"
    with pytest.raises(PathomixError, match=r"infinite expression values: NA"):
        study.build()
    study.expression.iloc[2, 1] = "high"
    with pytest.raises(PathomixError, match=r"'high' in a molecular column.*TEST-02-0002-01A.*row 3"):
        study.build()


def test_mutation_must_be_binary(study):
    study.mutation.iloc[0, 1] = 3
    with pytest.raises(PathomixError, match=r"must be 0 or 1: VHL"):
        study.build()


def test_copy_number_scale(study, edit):
    study.clinical["TP53_cnv"], study.clinical["VHL_cnv"] = 1, -2
    edit("molecular.copy_number", {"table": "clinical", "suffix": "_cnv"})
    cases = load_cases(study.build())
    assert list(cases.copy_number.columns) == ["TP53", "VHL"] and cases.copy_number.shape == (8, 2)
    assert cases.mutation.shape == (7, 3)  # one patient has copy number only: not filled in for mutation
    study.clinical["TP53_cnv"] = 0.7
    with pytest.raises(PathomixError, match=r"log2_ratio"):
        study.build()


def test_remaining_columns_are_genes_without_suffix(study, edit):
    study.clinical["TP53_cnv"], study.clinical["KRAS"], study.clinical["note"] = 1, 0, "text"
    study.description["molecular"].pop("mutation")
    edit("molecular.copy_number", {"table": "clinical", "suffix": "_cnv"})
    edit("molecular.mutation", {"table": "clinical", "remaining": ["note"]})
    assert list(load_cases(study.build()).mutation.columns) == ["KRAS"]
    edit("molecular.mutation", {"table": "clinical", "remaining": []})
    with pytest.raises(PathomixError, match=r"'text' in a molecular column"):
        study.build()


def test_suffix_without_columns(study, edit):
    edit("molecular.copy_number", {"table": "clinical", "suffix": "_cna"})
    with pytest.raises(PathomixError, match=r"none ends in '_cna'"):
        study.build()


def test_wrong_orientation_is_suggested(study, edit):
    edit("molecular.expression.orientation", "patients_in_rows")
    with pytest.raises(PathomixError, match=r"not a TCGA barcode.*`orientation: genes_in_rows`"):
        study.build()


def test_matrix_of_other_patients(study):
    study.expression.columns = [c.replace("TEST-", "ELSE-") for c in study.expression.columns]
    with pytest.raises(PathomixError, match=r"no expression row belongs to a patient"):
        study.build()


def test_genes_without_a_symbol(study, edit):
    study.expression.index = ["TP53", "?", "NA", "", "MUT", "IDH1"]
    with pytest.raises(PathomixError, match=r"genes without a symbol: gene 2, gene 4; .*unnamed_genes: drop"):
        study.build()
    edit("molecular.expression.unnamed_genes", "drop")
    assert list(load_cases(study.build()).expression.columns) == ["TP53", "NA", "MUT", "IDH1"]


def test_a_block_in_several_files(study, edit):
    study.write()
    raw = study.folder / "raw" / "toy"
    study.expression.iloc[:, :3].to_csv(raw / "m_a.tsv", sep="\t", index_label="x")
    study.expression.iloc[::-1, 3:].to_csv(raw / "m_b.tsv", sep="\t", index_label="y")
    whole = load_cases(study.build("one")).expression
    edit("molecular.expression.path", "{name}/m_{part}.tsv")
    edit("molecular.expression.parts", ["a", "b"])
    pd.testing.assert_frame_equal(load_cases(study.build("two")).expression, whole)


def test_a_sample_in_two_parts_that_differ(study, edit):
    study.write()
    raw = study.folder / "raw" / "toy"
    for part, add in (("a", 0), ("b", 1)):
        (study.expression + add).to_csv(raw / f"m_{part}.tsv", sep="\t", index_label="x")
    edit("molecular.expression.path", "{name}/m_{part}.tsv")
    edit("molecular.expression.parts", ["a", "b"])
    with pytest.raises(PathomixError, match=rf"rows of one patient differ: {FIRST}.*aliquots"):
        study.build()


def test_repeated_symbols_with_gaps(study, edit):
    """The mean is over the known values; a column that is all gaps never wins by variance."""
    twice = study.expression.iloc[[0]].copy()
    twice.iloc[0, 1:] = np.nan
    study.expression = pd.concat([twice, study.expression])
    edit("molecular.expression.missing", "impute_median")
    known = study.expression.iloc[1].to_numpy()
    edit("molecular.expression.duplicate_genes", "max_variance")
    np.testing.assert_allclose(load_cases(study.build("a")).expression["TP53"], known, rtol=1e-6)
    edit("molecular.expression.duplicate_genes", "mean")
    np.testing.assert_allclose(load_cases(study.build("b")).expression["TP53"], known, rtol=1e-6)


def test_symbols_need_a_reader_of_aliases(study, edit):
    (study.folder / "raw").mkdir()
    (study.folder / "raw" / "a.tsv").write_text("Symbol\tApproved.Symbol\nMUT\tMMUT\n")
    edit("molecular.symbols", {"aliases": "a.tsv"})
    with pytest.raises(ValueError, match="needs `genes`"):
        study.build()
