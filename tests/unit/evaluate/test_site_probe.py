"""The site probe finds a planted site, finds none in noise, and says whom it left out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pathomix.core.bags import Bag
from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS
from pathomix.core.tables import read_provenance, read_table, write_table
from pathomix.evaluate.schemas import ALL_PATIENTS, SITE_PROBE, WITHIN_CLASSES
from pathomix.evaluate.site_probe import Settings, mean_features, probe_sites, write_site_probe

FAST = Settings(permutations=30, resamples=300, components=8)
DIM = 12


def cohort(strength: float, patients: int = 240, sites: int = 4, seed: int = 0, by_class: float = 0.0) -> tuple[
    pd.DataFrame, pd.DataFrame
]:  # fmt: skip
    """Vectors in which a site shifts everything by `strength`; `by_class`: how much the class does."""
    generator = np.random.default_rng(seed)
    ids = pd.Index([f"P{i:03d}" for i in range(patients)], name="patient_id")
    site, label = generator.integers(0, sites, patients), generator.integers(0, 2, patients)
    if by_class:
        label = (site % 2).astype(int)  # the site sends one class alone
    values = generator.normal(size=(patients, DIM))
    values += strength * generator.normal(size=(sites, DIM))[site] + by_class * label[:, None]
    table = pd.DataFrame(
        {"tissue_source_site": [f"S{s}" for s in site], "class_label": np.where(label, "b", "a")}, index=ids
    )
    return pd.DataFrame(values, ids), table


def rows(vectors: pd.DataFrame, table: pd.DataFrame, settings: Settings = FAST) -> pd.DataFrame:
    return probe_sites(vectors, table, settings).set_index("group")


def test_a_planted_site_is_found_everywhere() -> None:
    found = rows(*cohort(0.6))
    assert list(found.index) == [ALL_PATIENTS, WITHIN_CLASSES, "class a", "class b"]
    assert (found["value"] > 0.6).all()
    assert (found["lower"] > found["chance_upper"]).all()
    assert (found["p"] == 1 / 31).all()
    assert (found["lower"] < found["value"]).all() and (found["value"] < found["upper"]).all()
    assert found["n_sites"].to_dict() == {ALL_PATIENTS: 4, WITHIN_CLASSES: 8, "class a": 4, "class b": 4}
    assert found["n_patients"].to_dict()[WITHIN_CLASSES] == 240


def test_noise_stays_at_chance() -> None:
    found = rows(*cohort(0.0, seed=3))
    assert (found["chance"] - 0.25).abs().max() < 0.04
    for row in found.itertuples():
        assert row.lower < row.chance < row.upper
        assert row.chance_lower <= row.value <= row.chance_upper
        assert row.p > 0.05


def test_chance_is_beaten_by_chance_no_more_often_than_it_says() -> None:
    quick = Settings(permutations=9, resamples=10, components=2, folds=2)
    found = [rows(*cohort(0.0, patients=40, sites=2, seed=seed), quick).loc[ALL_PATIENTS, "p"] for seed in range(25)]
    assert np.mean(np.array(found) <= 0.2) < 0.5  # a fifth expected


def test_sites_that_differ_in_class_alone_are_told_over_all_patients_but_not_within_classes() -> None:
    found = rows(*cohort(0.0, by_class=1.5, seed=2))
    assert found.loc[ALL_PATIENTS, "lower"] > found.loc[ALL_PATIENTS, "chance_upper"]
    within = found.loc[WITHIN_CLASSES]
    assert within["lower"] < within["chance"] < within["upper"]
    assert within["p"] > 0.05
    assert found.loc["class a", "n_sites"] == 2


def test_the_value_is_that_of_an_independent_pipeline() -> None:
    vectors, table = cohort(0.5)
    site = pd.Index(sorted(table["tissue_source_site"].unique())).get_indexer(pd.Index(table["tissue_source_site"]))
    model = make_pipeline(
        StandardScaler(), PCA(8, svd_solver="full"), StandardScaler(),
        LogisticRegression(class_weight="balanced", max_iter=500, tol=1e-3),
    )  # fmt: skip
    told = cross_val_predict(model, vectors, site, cv=StratifiedKFold(5, shuffle=True, random_state=0))
    assert rows(vectors, table).loc[ALL_PATIENTS, "value"] == pytest.approx(balanced_accuracy_score(site, told))


def test_pooled_recall_is_the_mean_over_pairs_of_class_and_site() -> None:
    found = rows(*cohort(0.7))
    expected = (found.loc["class a", "value"] + found.loc["class b", "value"]) / 2  # four sites in each
    assert found.loc[WITHIN_CLASSES, "value"] == pytest.approx(expected)


def test_small_sites_and_unknown_ones_are_left_out_and_counted() -> None:
    vectors, table = cohort(1.0)
    table.iloc[:9, 0], table.iloc[9:14, 0] = "rare", None
    found = rows(vectors, table)
    assert found.loc[ALL_PATIENTS, ["left_out_patients", "left_out_sites"]].tolist() == [14, 1]
    assert found.loc[ALL_PATIENTS, ["n_patients", "n_sites"]].tolist() == [226, 4]
    # of those without a vector nothing is known here
    assert rows(vectors.iloc[50:], table).loc[ALL_PATIENTS, "n_patients"] == 190
    kept = rows(vectors, table, Settings(permutations=5, resamples=50, components=8, min_patients=9))
    assert kept.loc[ALL_PATIENTS, ["left_out_patients", "left_out_sites", "n_sites"]].tolist() == [5, 0, 5]


@pytest.mark.parametrize("what", ["one site", "few patients", "no site", "equal", "nobody"])
def test_what_cannot_be_probed_is_missing_with_its_reason(what: str) -> None:
    vectors, table = cohort(1.0, patients=60)
    table = table.astype(object)
    if what == "one site":
        table["tissue_source_site"] = "S0"
    elif what == "few patients":
        table["tissue_source_site"] = [f"S{i // 9}" for i in range(60)]
    elif what == "no site":
        table["tissue_source_site"] = None
    elif what == "equal":
        vectors[:] = 1.0
    else:
        vectors = vectors.iloc[:0]
    found = probe_sites(vectors, table, FAST).assign(encoder="e", cohort="c")
    assert WITHIN_CLASSES not in set(found["group"])
    assert found[["value", "lower", "chance", "p"]].isna().all().all()
    assert ("equal" if what == "equal" else "fewer than two sites") in found["reason"].iloc[0]
    assert found["reason"].notna().all()
    assert found["left_out_patients"].iloc[0] == (0 if what == "nobody" else 60)
    SITE_PROBE.validate(found)


def test_damaged_vectors_are_named() -> None:
    vectors, table = cohort(1.0)
    vectors.iloc[3, 2] = np.nan
    with pytest.raises(PathomixError, match=r"not finite: P003; embed"):
        probe_sites(vectors, table, FAST)


@pytest.mark.parametrize("wrong", [{"folds": 1}, {"min_patients": 4}, {"components": 0}, {"permutations": 0}])
def test_settings_that_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(PathomixError, match="site_probe"):
        Settings(**wrong)


def test_same_seed_same_table_and_the_order_of_patients_does_not_matter() -> None:
    vectors, table = cohort(0.4)
    turned = table.iloc[::-1]
    again = probe_sites(vectors.sample(frac=1.0, random_state=1), turned, FAST)
    pd.testing.assert_frame_equal(probe_sites(vectors, table, FAST), again)
    other = Settings(permutations=30, resamples=300, components=8, seed=1)
    assert not probe_sites(vectors, table, other)["chance"].equals(again["chance"])


class Tiles:
    dim = 2
    patient_ids = frozenset({"A", "B"})

    def bag(self, patient_id: str) -> Bag:
        count = 3 if patient_id == "A" else 1
        features = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
        return Bag(features, np.zeros((count, 2), np.int32), np.zeros(count, np.int32), ("S",), np.ones((1, 2)))


def test_mean_features_of_patients_with_tiles() -> None:
    found = mean_features(Tiles(), ["B", "C", "A"])
    assert found.loc["A"].tolist() == [2.0, 3.0] and found.loc["B"].tolist() == [0.0, 1.0]
    assert list(found.index) == ["B", "A"]
    assert mean_features(Tiles(), ["C"]).empty


def patients_table(table: pd.DataFrame, path: Path) -> Path:
    full = table.reset_index().assign(time=1.0, event=1, endpoint="OS", age=np.nan, sex=None, stage=None, grade=None)
    write_table(full, PATIENTS, path, Provenance("patients"))
    return path


def test_the_script_writes_the_table_of_stored_vectors(tmp_path: Path, root: Path) -> None:
    import subprocess

    from pathomix.representations.store import write_embeddings

    vectors, table = cohort(1.0)
    patients = patients_table(table, tmp_path / "patients.parquet")
    obs = pd.DataFrame({"fold": 2, "patient_id": vectors.index, "part": "train", "reason": ""})
    write_embeddings(tmp_path / "e.h5ad", obs, {"general": vectors.to_numpy(np.float32)}, Provenance("embeddings"))
    output = tmp_path / "evaluation/site_probe/enc/c.parquet"
    parameters = {"permutations": 5, "resamples": 50, "components": 8}
    command = [
        sys.executable, root / "workflow_scripts/probe_site.py", "--encoder", "enc", "--cohort", "c", "--patients",
        patients, "--vectors", tmp_path / "e.h5ad", "--fold", "2", "--parameters", json.dumps(parameters),
        "--results", tmp_path, "--output", output,
    ]  # fmt: skip
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    found = read_table(output, SITE_PROBE).set_index("group")
    assert found.loc[ALL_PATIENTS, "value"] > 0.6
    lineage = read_provenance(output)
    assert set(lineage.inputs) == {"patients", "vectors"}
    assert lineage.parameters["permutations"] == 5


def test_unknown_parameters_are_refused(tmp_path: Path) -> None:
    vectors, table = cohort(1.0)
    names = {"encoder": "e", "cohort": "c"}
    with pytest.raises(PathomixError, match="unknown parameters: fold"):
        write_site_probe(vectors, table, names, {"fold": 3}, {}, tmp_path / "o.parquet")
