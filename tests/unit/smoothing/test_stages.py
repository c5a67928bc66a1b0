"""From atlas to smoothed vectors of patients, by the library and by the scripts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pathomix.cohort.matrices import write_expression
from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS
from pathomix.core.tables import read_table, write_table
from pathomix.smoothing.embed import embed_patients, measured_genes, smooth_patients
from pathomix.smoothing.encoders import FittedEncoder, read_encoder
from pathomix.smoothing.files import SMOOTHER_HISTORY, VALIDATION, read_smoother, read_vectors
from pathomix.smoothing.pool import Pool
from pathomix.smoothing.stages import fit_encoder, mix_atlas, online_mixer, train_smoother
from pathomix.smoothing.train import smooth
from pathomix.smoothing.validation import LinearReadout, composition_r2
from tests.unit.smoothing.conftest import CLASSES, GENES

PCA = {"encoder": "pca", "dimensions": 12}
SCGPT = {"encoder": "scgpt", "width": 32, "depth": 2, "heads": 4, "hidden": 32}
MIXING = {"pairs": 600, "valid_pairs": 200, "block_size": 256}
TRAINING = {"batch_size": 32, "epochs": 12}
PATIENTS_IDS = [f"P{i:03d}" for i in range(60)]
OUTPUTS = {"model": "model.safetensors", "history": "history.parquet", "validation": "validation.json",
           "predictions": "validation.parquet"}  # fmt: skip


def outputs(folder: Path) -> dict[str, Path]:
    return {name: folder / file for name, file in OUTPUTS.items()}


def planted_bulk(profiles: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """log2(TPM + 1) of sixty mixtures of all four classes, and their composition."""
    generator = np.random.default_rng(8)
    composition = generator.dirichlet(np.full(4, 0.8), 60)
    tpm = 1e6 * composition @ profiles * np.exp(0.15 * generator.standard_normal((60, len(GENES))))
    frame = pd.DataFrame(np.log2(tpm + 1).astype(np.float32), index=PATIENTS_IDS, columns=list(GENES))
    return frame.rename_axis("patient_id"), composition


def run(folder: Path, atlas: Path, conf: dict, **mixing: object) -> dict:
    tables = {"c": list(GENES)}
    fit_encoder(atlas, tables, conf, {}, folder / "encoder.safetensors")
    given = {**MIXING, **mixing}
    mix_atlas(atlas, folder / "encoder.safetensors", conf, given, folder / "pool", folder / "pool.parquet")
    online = online_mixer(atlas, folder / "encoder.safetensors", conf, given)
    train_smoother(folder / "pool.parquet", TRAINING, online, outputs(folder))
    return json.loads((folder / "validation.json").read_text())


@pytest.fixture(scope="module")
def pca_run(atlas_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run with principal components."""
    folder = tmp_path_factory.mktemp("pca")
    run(folder, atlas_path, PCA)
    return folder


def test_smoothing_makes_composition_readable(pca_run: Path) -> None:
    report = json.loads((pca_run / "validation.json").read_text())
    before, after = report["before"], report["after"]
    assert after["composition_r2"] > max(0.8, before["composition_r2"])
    assert after["mse"] < before["mse"] and after["weight_spearman"] > 0.8
    assert after["linearity_gap"] < before["linearity_gap"]
    assert after["top1_accuracy"] > 0.95
    assert (report["mode"], report["donors_held_out"], report["training_mixtures"]) == ("pool", 2, 600)
    history = read_table(pca_run / "history.parquet", SMOOTHER_HISTORY)
    assert report["epochs"] == len(history) and history["best"][report["best_epoch"]]
    table = read_table(pca_run / "validation.parquet", VALIDATION)
    assert (table["kind"] == "mixture").sum() == 200 == report["held_out"]["mixtures"]


def test_bulk_composition_is_better_readable_after_smoothing(pca_run: Path, profiles: np.ndarray) -> None:
    """Readouts of the atlas's mixtures, taken to bulk of which the composition was planted."""
    expression, truth = planted_bulk(profiles)
    raw = embed_patients(
        expression, "log2_tpm_plus_1", PATIENTS_IDS, read_encoder(pca_run / "encoder.safetensors", PCA)
    )
    smoother = read_smoother(pca_run / "model.safetensors")
    smoothed = smooth_patients(raw, smoother)
    assert smoothed.vectors.shape == (60, 128) and smoother.classes == CLASSES
    train = Pool(pca_run / "pool.parquet").rows("mixture", "train")
    before = LinearReadout.fit(train.embeddings, train.targets).predict(raw.vectors.to_numpy())
    after = smooth(smoother.model, raw.vectors.to_numpy())[1]
    scores = [composition_r2(truth, guess)[0] for guess in (before, after)]
    print(f"R2 of planted bulk composition: {scores[0]:.3f} raw, {scores[1]:.3f} smoothed")
    assert scores[1] > max(scores[0], 0.5)


def test_the_random_stand_in_runs_and_is_above_chance(atlas_path: Path, tmp_path: Path) -> None:
    report = run(tmp_path, atlas_path, SCGPT)
    for when in ("before", "after"):
        assert report[when]["composition_r2"] > 0.1 and report[when]["top1_accuracy"] > 0.4


def test_online_equals_the_pool_in_the_first_epoch_and_goes_on(atlas_path: Path, tmp_path: Path) -> None:
    results = {}
    for mode in ("pool", "online"):
        folder = tmp_path / mode
        run(folder, atlas_path, PCA, mode=mode, storage="float32", pairs=150)
        results[mode] = read_table(folder / "history.parquet", SMOOTHER_HISTORY)
    first, other = (results[mode].set_index("epoch")["train_loss"] for mode in ("pool", "online"))
    assert first[0] == other[0] and first[1] != other[1]
    with pytest.raises(PathomixError, match="online"):
        train_smoother(tmp_path / "online" / "pool.parquet", TRAINING, None, outputs(tmp_path))


def test_another_protocol_is_refused_at_use(pca_run: Path, atlas_path: Path, tmp_path: Path) -> None:
    fit_encoder(atlas_path, {"c": list(GENES[:60])}, PCA, {}, tmp_path / "encoder.safetensors")
    expression, _ = planted_bulk(np.full((4, len(GENES)), 1 / len(GENES)))
    raw = embed_patients(
        expression, "log2_tpm_plus_1", PATIENTS_IDS, read_encoder(tmp_path / "encoder.safetensors", PCA)
    )
    with pytest.raises(PathomixError, match="panel"):
        smooth_patients(raw, read_smoother(pca_run / "model.safetensors"))


class TestPatients:
    @pytest.fixture
    def encoder(self, pca_run: Path) -> FittedEncoder:
        return read_encoder(pca_run / "encoder.safetensors", PCA)

    def test_scales_are_undone(self, encoder: FittedEncoder, profiles: np.ndarray) -> None:
        expression, _ = planted_bulk(profiles)
        logarithms = embed_patients(expression, "log2_tpm_plus_1", PATIENTS_IDS, encoder)
        linear = embed_patients(np.exp2(expression) - 1, "tpm", PATIENTS_IDS, encoder)
        np.testing.assert_allclose(logarithms.vectors, linear.vectors, atol=2e-3)

    def test_who_has_no_vector_is_named(self, encoder: FittedEncoder, profiles: np.ndarray) -> None:
        expression, _ = planted_bulk(profiles)
        expression.loc["P003"] = 0.0
        found = embed_patients(expression.drop(index="P005"), "log2_tpm_plus_1", PATIENTS_IDS, encoder)
        assert found.missing == {"P003": "no gene of the panel is expressed", "P005": "expression is not measured"}
        assert list(found.vectors.index) == [p for p in PATIENTS_IDS if p not in ("P003", "P005")]
        assert np.isfinite(found.vectors.to_numpy()).all()

    def test_a_cohort_without_expression_has_no_vectors(self, encoder: FittedEncoder) -> None:
        found = embed_patients(None, "none", PATIENTS_IDS, encoder)
        assert found.vectors.shape == (0, 12) and set(found.missing) == set(PATIENTS_IDS)

    def test_z_scores_are_refused(self, encoder: FittedEncoder, profiles: np.ndarray) -> None:
        expression, _ = planted_bulk(profiles)
        z = (expression - expression.mean()) / expression.std()
        with pytest.raises(PathomixError, match="no ranks"):
            embed_patients(z, "zscore", PATIENTS_IDS, encoder)
        with pytest.raises(PathomixError, match="z-scores per gene"):
            embed_patients(z, "tpm", PATIENTS_IDS, encoder)

    def test_gaps_are_left_out_of_the_panel_or_refused(self, encoder: FittedEncoder, profiles: np.ndarray) -> None:
        expression, _ = planted_bulk(profiles)
        expression["EXTRA"] = 1.0
        expression.loc["P001", "EXTRA"] = np.nan
        assert "EXTRA" not in measured_genes(expression)
        assert len(embed_patients(expression, "log2_tpm_plus_1", PATIENTS_IDS, encoder).vectors) == 60
        expression.loc["P001", "G5"] = np.nan
        with pytest.raises(PathomixError, match=r"missing in some patients: G5"):
            embed_patients(expression, "log2_tpm_plus_1", PATIENTS_IDS, encoder)

    def test_a_stranger_is_refused(self, encoder: FittedEncoder, profiles: np.ndarray) -> None:
        expression, _ = planted_bulk(profiles)
        with pytest.raises(PathomixError, match="P059"):
            embed_patients(expression, "log2_tpm_plus_1", PATIENTS_IDS[:-1], encoder)


@pytest.mark.slow
def test_the_scripts(root: Path, atlas_path: Path, profiles: np.ndarray, tmp_path: Path) -> None:
    expression, _ = planted_bulk(profiles)
    cohort = tmp_path / "cohort" / "c"
    write_expression(cohort / "expression.h5ad", expression.iloc[:50], "log2_tpm_plus_1", Provenance("expression"))
    patients = pd.DataFrame({"patient_id": PATIENTS_IDS}).assign(
        time=1.0, event=1, endpoint="OS", class_label=None, tissue_source_site=None, age=60.0, sex=None, stage=None,
        grade=None,
    )  # fmt: skip
    write_table(patients, PATIENTS, cohort / "patients.parquet", Provenance("patients"))
    conf, mixing = json.dumps(PCA), json.dumps({"pairs": 200, "valid_pairs": 50})
    fitted, pool, raw = (str(tmp_path / name) for name in ("encoder.safetensors", "pool.parquet", "raw.h5ad"))
    results = {name: str(path) for name, path in outputs(tmp_path).items()}
    atlas, smoothed = str(atlas_path), str(tmp_path / "smoothed.h5ad")
    trained = [word for name, path in results.items() for word in (f"--{name}", path)]
    calls = {
        "fit_expression_encoder": ["--atlas", atlas, "--expression", str(cohort / "expression.h5ad"), "--parameters",
                                   conf, "--output", fitted],
        "mix_atlas": ["--atlas", atlas, "--encoder", fitted, "--encoder-parameters", conf, "--mixing", mixing,
                      "--folder", str(tmp_path / "pool"), "--index", pool],
        "train_smoother": ["--pool", pool, "--atlas", atlas, "--encoder", fitted, "--encoder-parameters", conf,
                           "--mixing", mixing, "--training", '{"epochs": 2}', *trained],
        "embed_expression": ["--cohort-dir", str(cohort), "--encoder", fitted, "--parameters", conf, "--output", raw],
        "smooth_expression": ["--vectors", raw, "--model", results["model"], "--output", smoothed],
    }  # fmt: skip
    for name, arguments in calls.items():
        command = [sys.executable, str(root / "workflow_scripts" / f"{name}.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(root / "src")})
        assert done.returncode == 0, done.stderr
    for path, width in ((raw, 12), (smoothed, 128)):
        found = read_vectors(path)
        assert found.vectors.shape == (50, width)
        assert found.missing == dict.fromkeys(PATIENTS_IDS[50:], "expression is not measured")
