"""The golden sets pass, and the checker can fail."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from safetensors.numpy import load_file, save_file

# Sets that must be computed, at least one tensor of each.
COMPUTED = (
    "abmil", "abmil_concat", "clam_mb", "clam_sb", "deepattnmisl", "deepsets", "dilated_attention_core",
    "dilated_attention_layer", "longnet_slide_encoder", "longnet_slide_encoder_stock_segments", "mcat_bilinear",
    "mcat_concat", "mmp_coattn_full", "mmp_coattn_survpath_mode", "modaltune_adapter_blocks", "modaltune_case_merge",
    "modaltune_gene_encoder_classifier", "modaltune_gene_encoder_feature", "modaltune_gene_encoder_survival",
    "modaltune_longnet_gene", "modaltune_longnet_gene_clinical", "modaltune_longnet_gene_clinical_cat_cls",
    "modaltune_longnet_gene_single_task_late_start_meanpool", "modaltune_loss", "modaltune_lr_schedule",
    "modaltune_probes", "modaltune_train_step", "nll_survival", "pathomic_cox", "pathomic_snn",
    "pathomic_snn_sigmoid", "scgpt_embed", "scgpt_transformer", "slide_positions", "survival_bins",
    "survival_statistics", "survpath", "titan_preprocess", "transmil",
)  # fmt: skip


@pytest.fixture(scope="module")
def check(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_check", root / "tests/golden/check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.fixture
def bins(golden: Path, tmp_path: Path) -> Path:
    """A writable copy of one small set."""
    folder = tmp_path / "survival_bins_copy"
    folder.mkdir()
    for source in (golden / "survival_bins").iterdir():
        shutil.copyfile(source, folder / source.name)
    return folder


def test_no_tensor_fails(check: ModuleType, golden: Path) -> None:
    results = [result for path in check.sets_below([golden]) for result in check.check_set(path)]
    assert not [str(result) for result in results if result.status == "fail"]
    assert {result.set for result in results if result.status == "pass"} >= set(COMPUTED)
    assert all(result.reason for result in results if result.status == "unsupported")


def test_a_changed_number_fails(check: ModuleType, bins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([str(bins.parent)]) == 0
    tensors = load_file(bins / "tensors.safetensors")
    tensors["plain.mcat_bins"][1] += 2e-9
    tensors["two.mmp_label"][0] += 1
    save_file(tensors, bins / "tensors.safetensors")
    capsys.readouterr()
    assert check.main([str(bins)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "survival_bins_copy plain.mcat_bins max_error=2e-09 tolerance=1e-09 fail" in lines
    assert "survival_bins_copy two.mmp_label max_error=1 tolerance=0 fail" in lines
    assert lines[-1] == "10 passed, 2 failed"


def test_a_broken_set_is_one_failed_line(check: ModuleType, bins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = load_file(bins / "tensors.safetensors")
    tensors.pop("two.censored")
    save_file(tensors, bins / "tensors.safetensors")
    assert check.main([str(bins)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == "survival_bins_copy * max_error=inf tolerance=0 fail: KeyError: 'two.censored'"
    assert lines[-1] == "8 passed, 1 failed"


def test_what_is_not_known_is_said(check: ModuleType, bins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = load_file(bins / "tensors.safetensors")
    save_file({**tensors, "plain.surprise": tensors["plain.time"]}, bins / "tensors.safetensors")
    unknown = bins.parent / "deeper/unheard_of"
    unknown.mkdir(parents=True)
    (unknown / "config.json").write_text(json.dumps({}))
    assert check.main([str(bins.parent)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "unheard_of * unsupported: no implementation exists yet" in lines
    assert "survival_bins_copy plain.surprise unsupported: the checker does not know this tensor" in lines
    assert check.main([str(bins / "nothing")]) == 1


def test_shapes_and_missing_values_must_agree(check: ModuleType, bins: Path) -> None:
    golden = check.GoldenSet(bins)
    compare = golden.compare_with
    nan = float("nan")
    assert compare("x", [1.0, 2.0], [[1.0], [2.0]], 0.0).status == "pass"
    assert compare("x", [1.0, 2.0], [1.0, 2.0, 3.0], 9.0).status == "fail"
    assert compare("x", [1.0, nan], [1.0, nan], 0.0).status == "pass"
    assert compare("x", [1.0, 2.0], [1.0, nan], 9.0).status == "fail"
    assert compare("x", [1.0, nan], [1.0, 2.0], 9.0).status == "fail"
    assert compare("x", [100.0, 0.1], [101.0, 0.0], 0.0101, relative=True).status == "pass"
    assert compare("x", [100.0, 0.1], [101.0, 0.0], 0.0099, relative=True).status == "fail"
