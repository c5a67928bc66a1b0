"""The list of metrics."""

from __future__ import annotations

from pathomix.evaluate.metrics import METRICS, metrics_of


def test_the_main_metric_of_each_task_comes_first():
    assert [metric.name for metric in metrics_of("survival")] == ["c_index", "uno_c", "auc_t", "ibs"]
    assert [metric.name for metric in metrics_of("subtype")] == ["balanced_accuracy", "macro_auc", "macro_f1"]
    assert all(METRICS[name].name == name for name in METRICS)


def test_an_error_is_the_only_metric_of_which_less_is_better():
    assert [name for name, metric in METRICS.items() if metric.lower_is_better] == ["ibs"]
