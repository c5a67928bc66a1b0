from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pathomix.core.errors import PathomixError
from pathomix.core.texts import TEXT_TASKS
from pathomix.text.fields import clean_fields
from pathomix.text.parameters import TextParameters
from pathomix.text.prompts import make_prompts


def prompts(
    patients: pd.DataFrame, splits: pd.DataFrame, wording, profile: str = "recommended", **changes
) -> pd.Series:
    fields, _ = clean_fields(patients)
    endpoint = patients["endpoint"].iloc[0]
    table, _ = make_prompts(fields, splits, endpoint, TextParameters(profile=profile, **changes), wording, "toy")
    return table.set_index(["fold", "patient_id", "text_task"])["prompt"]


def test_recommended_by_hand(patients, splits, wording) -> None:
    """Events of the training part of fold 0: P01 at 15 and E01-E17 without the valid E10, quartiles 15, 24 and 39."""
    made = prompts(patients, splits, wording).loc[0]
    assert made["P01"].reindex(TEXT_TASKS).tolist() == [
        "cancer location: breast; cancer diagnosis: infiltrating duct carcinoma; overall stage: stage two; "
        "tumour stage status: tumour category two; lymph node status: lymph node category one; "
        "distant metastasis status: no distant metastasis; survival status: patient died between 15 and 24 months",
        "cancer location: breast; cancer diagnosis: infiltrating duct carcinoma;",
        "cancer location: breast; overall stage: stage two; tumour stage status: tumour category two; "
        "lymph node status: lymph node category one; distant metastasis status: no distant metastasis;",
        "cancer location: breast; overall stage: stage two; tumour stage status: tumour category two; "
        "lymph node status: lymph node category one; distant metastasis status: no distant metastasis; "
        "survival status: patient died between 15 and 24 months",
    ]
    assert made["P02", "survival"] == (
        "cancer location: breast; overall stage: stage cannot be determined; "
        "tumour stage status: primary tumour cannot be assessed; "
        "lymph node status: regional lymph nodes cannot be assessed; "
        "distant metastasis status: distant metastasis cannot be assessed; "
        "survival status: patient alive beyond 39 months"
    )
    assert made["P03"].unique().tolist() == ["cancer location: breast;"]
    assert made["P04", "diagnosis"] == "cancer location: breast;"
    assert made["P04", "survival"] == (
        "cancer location: breast; overall stage: stage zero; tumour stage status: tumour in situ; "
        "lymph node status: no spread to regional lymph nodes; distant metastasis status: no distant metastasis; "
        "survival status: patient alive when last seen before 15 months"
    )


@pytest.mark.parametrize("profile", ["released", "paper"])
def test_released_by_hand(patients, splits, wording, profile) -> None:
    """All 27 times in both folds: quartiles 16.5, 33 and 49.5; half a month is rounded to the even one."""
    made = prompts(patients, splits, wording, profile)
    known = np.sort(patients["time"].dropna().to_numpy())
    np.testing.assert_allclose(np.quantile(known, [0.25, 0.5, 0.75, 1]), [16.5, 33, 49.5, 120])
    for fold in (0, 1):
        assert made[fold, "P01", "general"].endswith("; survival status: patient died before 16 months")
        assert made[fold, "P02", "general"].endswith("; survival status: patient was censored between 33 and 50 months")
        assert made[fold, "C04", "general"].endswith(
            "; survival status: patient was censored between 50 and 120 months"
        )
        assert made[fold, "P04", "stage"] == (
            "cancer location: breast; overall stage: stage zero; tumour stage status: no primary tumour found; "
            "lymph node status: no spread to regional lymph nodes; distant metastasis status: no distant metastasis;"
        )
        assert made[fold, "P03", "diagnosis"] == "cancer location: breast; "
        assert made[fold, "P03", "survival"] == "cancer location: breast;     "
        assert made[fold, "P04", "general"].startswith("cancer location: breast;  overall stage")


def test_glioma_has_no_stages(patients, splits, wording) -> None:
    gliomas = patients.drop(columns=["clinical_t", "clinical_n", "clinical_m"])
    gliomas = gliomas.assign(stage=None, clinical_location="Brain", clinical_diagnosis="Glioblastoma")
    made = prompts(gliomas, splits, wording).loc[0]
    expected = (
        "cancer location: brain; cancer diagnosis: glioblastoma; survival status: patient died between 15 and 24 months"
    )
    assert made["P01", "general"] == expected and made["P01", "stage"] == "cancer location: brain;"


def test_other_endpoints_have_their_own_words(patients, splits, wording) -> None:
    made = prompts(patients.assign(endpoint="PFI"), splits, wording).loc[0]
    assert "patient had progression between" in made["P01", "survival"]
    assert "patient free of progression beyond" in made["P02", "survival"]
    with pytest.raises(PathomixError, match="no words for the endpoint 'XYZ'"):
        prompts(patients.assign(endpoint="XYZ"), splits, wording)
    without = patients.assign(endpoint="none", time=np.nan, event=pd.array([None] * len(patients), dtype="Int8"))
    assert not prompts(without, splits, wording).str.contains("survival status").any()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    time=st.lists(st.floats(0.1, 400), min_size=4, max_size=4),
    event=st.lists(st.sampled_from([0, 1]), min_size=4, max_size=4),
    stage=st.sampled_from(["Stage I", "Stage IV", "what", None]),
)
def test_recommended_training_prompts_know_nothing_of_test_patients(
    patients, splits, wording, time, event, stage
) -> None:
    for fold in (0, 1):
        part = splits[splits["fold"] == fold].set_index("patient_id")["part"]
        test = part.index[part == "test"]
        changed = patients.copy()
        changed.loc[test, "time"] = time
        changed.loc[test, "event"] = pd.array(event, dtype="Int8")
        changed.loc[test, "stage"] = stage
        train = part.index[part != "test"]
        before, after = (prompts(p, splits, wording).loc[fold].loc[train] for p in (patients, changed))
        pd.testing.assert_series_equal(before, after)


def test_released_training_prompts_leak_test_follow_up(patients, splits, wording) -> None:
    changed = patients.copy()
    changed.loc[["E18", "E19", "E20", "P02"], "time"] = 300.0
    before, after = (prompts(p, splits, wording, "released").loc[0, "E01":"E17"] for p in (patients, changed))
    assert (before.loc[0] != after.loc[0]).any()
    # each of the two switches alone decides it: intervals of the training part do not move
    kept = [prompts(p, splits, wording, "released", bins_from="train").loc[0] for p in (patients, changed)]
    train = splits.query("fold == 0 and part == 'train'")["patient_id"]
    pd.testing.assert_series_equal(kept[0].loc[train], kept[1].loc[train])


def test_valid_patients_do_not_shape_the_intervals(patients, splits, wording) -> None:
    changed = patients.copy()
    changed.loc["E10", "time"] = 1.0
    train = splits.query("fold == 0 and part == 'train'")["patient_id"]
    before, after = (prompts(p, splits, wording).loc[0].loc[train] for p in (patients, changed))
    pd.testing.assert_series_equal(before, after)


@pytest.mark.parametrize(
    ("switch", "value"),
    [("bins_from", "all"), ("bins_of", "everyone"), ("edges", "quantiles"), ("censored", "as_event"),
     ("in_situ", "absent"), ("gaps", "kept"), ("bins", 3)],
)  # fmt: skip
def test_every_switch_does_something(patients, splits, wording, switch, value) -> None:
    assert (prompts(patients, splits, wording) != prompts(patients, splits, wording, **{switch: value})).any()


def test_the_switches_are_the_whole_difference_between_profiles(patients, splits, wording) -> None:
    switched = prompts(patients, splits, wording, **TextParameters(profile="released").rules)
    pd.testing.assert_series_equal(switched, prompts(patients, splits, wording, "released"))


def test_a_text_without_any_field_is_named(patients, splits, wording, caplog) -> None:
    patients.loc["P03", "clinical_location"] = "not reported"
    made = prompts(patients, splits, wording)
    assert made.loc[0, "P03"].isna().all() and made.drop("P03", level=1).notna().all()
    assert "is known for P03; give `location`" in caplog.text
    with pytest.raises(PathomixError, match="toy, fold 0: nothing is known for the text 'diagnosis'"):
        prompts(patients.drop(columns=["clinical_location", "clinical_diagnosis"]), splits, wording)


def test_unknown_patients_in_the_splits(patients, splits, wording) -> None:
    splits.loc[0, "patient_id"] = "GHOST"
    with pytest.raises(PathomixError, match="patient table lacks: GHOST"):
        prompts(patients, splits, wording)


def test_only_patients_of_the_split_have_texts(patients, splits, wording) -> None:
    some = splits[splits["patient_id"] != "P01"]
    assert "P01" not in prompts(patients, some, wording).index.get_level_values("patient_id")
