from __future__ import annotations

from dataclasses import fields

import pytest

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import filled
from pathomix.representations.modaltune import Settings
from pathomix.representations.modaltune_settings import PROFILES, SWITCHES, profile_table


def test_every_switch_is_a_field_that_its_profile_fills():
    names = {field.name for field in fields(Settings)}
    assert set(SWITCHES) <= names
    for profile in PROFILES:
        settings = filled(Settings, {"profile": profile}, "modaltune")
        assert settings.switches == {name: getattr(switch, profile) for name, switch in SWITCHES.items()}


def test_a_value_given_wins_over_the_profile():
    settings = filled(Settings, {"profile": "released", "inner_folds": 4, "save_projector": True}, "modaltune")
    assert settings.value("inner_folds") == 4
    assert settings.value("save_projector") is True
    assert settings.value("residual_mode") == "released"
    assert filled(Settings, {"inner_folds": 0}, "modaltune").value("inner_folds") == 0


def test_published_values():
    """Spec modaltune 5: what the released training does."""
    settings = filled(Settings, {"profile": "released"}, "modaltune")
    assert (settings.learning_rate, settings.weight_decay, settings.epochs, settings.warmup) == (1e-4, 5e-4, 15, 10)
    assert (settings.batch_size, settings.max_tiles, settings.output_dim) == (1, 25_000, 256)
    assert settings.switches == {
        "residual_mode": "released",
        "gene_initialisation": "released",
        "frozen_backbone_stochastic": True,
        "standardise_on": "all",
        "clinical_coding": "labels",
        "text_profile": "released",
        "subset": "redrawn",
        "slide_layout": "released",
        "coord_frame": "level0_raw",
        "same_cell": "summed",
        "loss": "softmax",
        "centred_targets": False,
        "gene_epochs": 0,
        "modality_dropout": 0.0,
        "vectors": "joint",
        "learning_rate_rule": "released",
        "selection": "valid_balanced_accuracy",
        "standardised_probe": False,
        "inner_folds": 0,
        "save_projector": False,
        "precision": "fp16",
    }


def test_table_of_profiles():
    table = profile_table()
    assert list(table.index) == list(SWITCHES)
    assert list(table.columns) == [*PROFILES, "sentence"]
    assert table["sentence"].str.endswith(".").all()
    assert (table["released"].astype(str) != table["recommended"].astype(str)).mean() > 0.8
    allowed = {name: switch.allowed for name, switch in SWITCHES.items() if switch.allowed}
    assert all(table.loc[name, profile] in values for name, values in allowed.items() for profile in PROFILES)


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ({"profile": "mine"}, "profile is 'mine'"),
        ({"residual_mode": "double"}, "residual_mode is 'double'"),
        ({"modality_dropout": 1.1}, "modality_dropout has to be from 0 to 1"),
        ({"gene_epochs": -1}, "gene_epochs at least 0"),
        ({"vectors": "apart"}, "vectors is 'apart'"),
        ({"save_projector": "yes"}, "save_projector is 'yes'"),
        ({"modalities": ["image", "sound"]}, "modalities is 'sound'"),
        ({"modalities": []}, "`modalities` is empty"),
        ({"tasks": ["diagnosis"]}, "`tasks` lacks general"),
        ({"epochs": 0}, "at least 1.*: epochs"),
        ({"inner_folds": 1}, "inner_folds 0 or at least 2"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"epoch": 3}, "modaltune: unknown parameters: epoch"),
    ],
)
def test_what_is_not_understood_is_refused(given, fact):
    with pytest.raises(PathomixError, match=fact):
        filled(Settings, given, "modaltune")
