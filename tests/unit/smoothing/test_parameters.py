from __future__ import annotations

import pytest

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import filled
from pathomix.smoothing.parameters import MixingSettings, TrainingSettings


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        (MixingSettings, {"space": "log2"}, "cp10k"),
        (MixingSettings, {"sampling": "all"}, "class_balanced"),
        (MixingSettings, {"mode": "stream"}, "online"),
        (MixingSettings, {"storage": "int8"}, "float16"),
        (MixingSettings, {"n_mix": 1}, "n_mix"),
        (MixingSettings, {"pairs": 0, "block_size": 0}, "pairs, block_size"),
        (MixingSettings, {"pars": 3}, "unknown parameters: pars"),
        (TrainingSettings, {"loss": "l1"}, "soft_ce"),
        (TrainingSettings, {"activation": "tanh"}, "activation|gelu"),
        (TrainingSettings, {"dropout": 1.0}, "dropout"),
        (TrainingSettings, {"learning_rate": 0.0, "clip": -1.0}, "learning_rate, clip"),
        (TrainingSettings, {"patience": 0}, "patience"),
    ],
)
def test_what_makes_no_sense_is_refused(kind: type, given: dict, told: str) -> None:
    with pytest.raises(PathomixError, match=told):
        filled(kind, given, "smoothing")


def test_defaults_are_those_of_the_specification() -> None:
    mixing, training = MixingSettings(), TrainingSettings()
    assert (mixing.pairs, mixing.space, mixing.n_mix, mixing.mode, mixing.storage) == (
        200_000, "cp10k", 2, "pool", "float16",
    )  # fmt: skip
    assert (training.loss, training.hidden, training.out_dim, training.activation, training.dropout) == (
        "mse", 128, 128, "relu", 0.1,
    )  # fmt: skip
    assert (training.epochs, training.learning_rate, training.weight_decay, training.patience, training.clip) == (
        20, 1e-3, 1e-4, 3, 1.0,
    )  # fmt: skip
