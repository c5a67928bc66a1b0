"""Patients before and after smoothing: components against scikit-learn, and who is drawn how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from PIL import Image
from sklearn.decomposition import PCA

from pathomix.core.errors import PathomixError
from pathomix.core.provenance import Provenance
from pathomix.core.schemas import PATIENTS
from pathomix.core.tables import write_table
from pathomix.report.embedded_patients import (
    Patients,
    describe_vectors,
    plot_vectors,
    principal_components,
    read_patients,
    vectors_figure,
)
from pathomix.report.style import method_looks
from pathomix.smoothing.files import PatientVectors, write_vectors

RAW, SMOOTHED = {"encoder": "pca"}, {"encoder": "pca", "smoother": "digest"}
Inputs = tuple[list[str], list[Path], list[Path], list[Path]]


def write_cohorts(
    folder: Path,
    cohorts: Mapping[str, Mapping[str, str | None]],
    missing: Mapping[str, Mapping[str, str]] | None = None,
) -> Inputs:
    """Vectors (6 dimensions, 3 after) and patients tables of cohorts, from patient to class label."""
    generator = np.random.default_rng(0)
    paths: Inputs = (list(cohorts), [], [], [])
    for cohort, labels in cohorts.items():
        gone = (missing or {}).get(cohort, {})
        index = pd.Index([p for p in labels if p not in gone], name="patient_id", dtype=object)
        for place, (width, protocol) in enumerate(((6, RAW), (3, SMOOTHED)), start=1):
            frame = pd.DataFrame(generator.normal(size=(len(index), width)).astype(np.float32), index)
            path = folder / f"{cohort}_{place}.h5ad"
            write_vectors(path, PatientVectors(frame, gone, protocol), Provenance("expression_vectors"))
            paths[place].append(path)
        table = pd.DataFrame({"patient_id": list(labels), "class_label": list(labels.values()), "endpoint": "OS"})
        table = table.assign(time=1.0, event=1, tissue_source_site="AA", age=60.0, sex="male", stage=None, grade=None)
        write_table(table, PATIENTS, folder / f"{cohort}.parquet", Provenance("patients"))
        paths[3].append(folder / f"{cohort}.parquet")
    return paths


def patients(prefix: str, labels: Sequence[str | None]) -> dict[str, str | None]:
    return {f"SIMU-{prefix}-{i:04d}": label for i, label in enumerate(labels)}


def components(read: Patients) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {when: principal_components(getattr(read, when).to_numpy()) for when in ("before", "after")}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(4, 30), width=st.integers(3, 12))
def test_components_are_those_of_scikit_learn_with_a_fixed_sign(seed: int, count: int, width: int) -> None:
    values = np.random.default_rng(seed).normal(size=(count, width)) * np.arange(1, width + 1)
    scores, shares = principal_components(values)
    reference = PCA(2, svd_solver="full").fit(values)
    np.testing.assert_allclose(np.abs(scores), np.abs(reference.transform(values)), atol=1e-9)
    np.testing.assert_allclose(shares, reference.explained_variance_ratio_)
    for number, axis in enumerate(reference.components_):
        upright = axis * np.sign(axis[np.abs(axis).argmax()])
        np.testing.assert_allclose(scores[:, number], (values - values.mean(axis=0)) @ upright, atol=1e-9)


def test_components_that_are_not_there() -> None:
    scores, shares = principal_components(np.ones((3, 4)))
    assert not scores.any() and np.isnan(shares).all()
    scores, shares = principal_components(np.array([[1.0], [3.0]]))
    assert scores.tolist() == [[-1, 0], [1, 0]] and shares.tolist() == [1, 0]
    assert principal_components(np.zeros((0, 5)))[0].shape == (0, 2)


def test_every_patient_is_drawn_once_with_colour_and_marker_of_cohort_and_class(tmp_path: Path) -> None:
    north, south = patients("AA", ["wt", "mut", "wt", None]), patients("BB", [None] * 3)
    # A union lists patients of its members again.
    union = {"SIMU-AA-0001": "mut", **patients("CC", ["wt"])}
    gone = {"south": {"SIMU-BB-0002": "expression is not measured"}}
    inputs = write_cohorts(tmp_path, {"north": north, "south": south, "union": union}, gone)
    read = read_patients(*inputs)
    expected = dict.fromkeys(north, "north") | dict.fromkeys(list(south)[:2], "south") | {"SIMU-CC-0000": "union"}
    assert read.cohort.to_dict() == expected and list(read.before.index) == list(read.after.index) == list(expected)
    assert read.label.dropna().to_dict() == {k: v for k, v in (north | union).items() if v}
    found = components(read)
    figure = vectors_figure("ours", read, found)
    colours = {name: to_hex(look[0]) for name, look in method_looks(["north", "south", "union"]).items()}
    for axes, when in zip(figure.axes, ("before", "after"), strict=True):
        points = {
            (round(x, 9), round(y, 9)): (to_hex(line.get_color()), line.get_marker())
            for line in axes.lines
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        }
        assert len(points) == len(expected) == sum(len(line.get_xdata()) for line in axes.lines)
        markers = {"mut": "^", "wt": "s", None: "o"}
        for place, patient in enumerate(expected):
            x, y = found[when][0][place]
            label = read.label[patient] if isinstance(read.label[patient], str) else None
            assert points[round(x, 9), round(y, 9)] == (colours[expected[patient]], markers[label])
    words = describe_vectors("ours", read, found)
    assert "7 patients (north 4, south 2, union 1)" in words and "(6 dimensions before, 3 dimensions after)" in words
    assert "1 patient of south without a vector (expression is not measured)." in words
    assert "1 patient of union drawn under another cohort that lists them." in words


def test_rare_classes_share_a_marker_and_that_is_said(tmp_path: Path) -> None:
    labels = [name for place in range(12) for name in [f"class {place:02d}"] * (14 - place)]
    read = read_patients(*write_cohorts(tmp_path, {"north": patients("AA", labels)}))
    found = components(read)
    entries = [text.get_text() for text in vectors_figure("ours", read, found).legends[0].get_texts()]
    assert entries[-9:] == [*(f"class {place:02d}" for place in range(8)), "other classes"]
    assert "beyond the 8 commonest share one marker" in describe_vectors("ours", read, found)
    nine = read_patients(*write_cohorts(tmp_path, {"north": patients("AA", [f"c{i}" for i in range(9)])}))
    assert "share one marker" not in describe_vectors("ours", nine, components(nine))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_files_are_written_even_when_nobody_has_a_vector(tmp_path: Path, count: int) -> None:
    labels = patients("AA", ["wt"] * 5)
    gone = {"north": dict.fromkeys(list(labels)[count:], "expression is not measured")}
    inputs = write_cohorts(tmp_path, {"north": labels}, gone)
    for name in ("one", "two"):
        plot_vectors("ours", *inputs, tmp_path / name)
    for suffix in (".pdf", ".png"):
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
    with Image.open(tmp_path / "one.png") as image:
        words = image.info["Description"]
    assert f"of {count} patients" in words and ("do not vary" in words) == (count < 2)


def test_vectors_made_in_different_ways_or_of_other_patients_are_refused(tmp_path: Path) -> None:
    names, before, after, tables = write_cohorts(
        tmp_path, {"north": patients("AA", ["wt"] * 3), "south": patients("BB", ["wt"] * 3)}
    )
    with pytest.raises(PathomixError, match="south: patients with vectors before and after"):
        read_patients(names, before, [after[0], after[0]], tables)
    with pytest.raises(PathomixError, match="SIMU-BB-0000"):
        read_patients(names, before, after, [tables[0], tables[0]])
    with pytest.raises(PathomixError, match="made in different ways"):
        read_patients(names, [before[0], after[1]], after, tables)
    with pytest.raises(PathomixError, match="no cohort was given"):
        read_patients([], [], [], [])
