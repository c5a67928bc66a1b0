"""The metrics of the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pathomix.evaluate.class_metrics import balanced_accuracy, macro_auc, macro_f1
from pathomix.evaluate.parts import TestPart
from pathomix.evaluate.statistics import Statistic, UndefinedMetric
from pathomix.evaluate.survival_metrics import auc_t, c_index, ibs, uno_c

__all__ = ["METRICS", "Metric", "Statistic", "UndefinedMetric", "metrics_of"]


@dataclass(frozen=True)
class Metric:
    """A column of the tables.

    Attributes:
        name: Key in the score tables.
        task: Task whose predictions it reads.
        label: Words for captions and axes.
        chance: Its value for predictions without information; None where that depends on the data.
        prepare: Statistic of one test part; raises `UndefinedMetric` where the part cannot carry it.
        lower_is_better: Whether a smaller value is the better one.
    """

    name: str
    task: str
    label: str
    chance: float | None
    prepare: Callable[[TestPart], Statistic]
    lower_is_better: bool = False


# The first metric of a task is the one its figures and the first panel of its table show.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("c_index", "survival", "Harrell's concordance index", 0.5, c_index),
        Metric("uno_c", "survival", "Uno's concordance index", 0.5, uno_c),
        Metric("auc_t", "survival", "mean time-dependent AUC", 0.5, auc_t),
        Metric("ibs", "survival", "integrated Brier score", None, ibs, lower_is_better=True),
        Metric("balanced_accuracy", "subtype", "balanced accuracy", None, balanced_accuracy),
        Metric("macro_auc", "subtype", "macro one-against-rest AUC", 0.5, macro_auc),
        Metric("macro_f1", "subtype", "macro F1", None, macro_f1),
    )
}


def metrics_of(task: str) -> list[Metric]:
    """Metrics of a task, the main one first."""
    return [metric for metric in METRICS.values() if metric.task == task]
