"""The instance loss of CLAM: where it acts, and that it is weighted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pathomix.cohort.cases import Cases
from pathomix.core.errors import PathomixError
from pathomix.methods.base import Task
from pathomix.methods.build import build_method
from pathomix.methods.clam import InstanceHead
from pathomix.methods.heads import ClassHead
from pathomix.nn.clam import instance_loss

Parts = Callable[..., tuple[Cases, Cases, Cases]]
INSTANCE = "network.instance_classifiers.1.weight"


def state(cases: Cases, parts_of: Parts, task: Task, **changed: object) -> dict[str, np.ndarray]:
    train, valid, _ = parts_of(cases)
    small = {
        "method": "clam",
        "width": 16,
        "attention": 8,
        "epochs": 2,
        "learning_rate": 1e-2,
        "l2": 0.0,
        "k_sample": 3,
    }
    return dict(build_method({**small, **changed}).fit(train, valid, tasks=(task,), seed=0).state())


def test_instances_are_trained_with_classes_and_not_with_survival(cohort: Cases, parts_of: Parts) -> None:
    few = cohort.subset(cohort.ids[:60])
    weighted, less, bags_alone = (state(few, parts_of, "subtype", bag_weight=w) for w in (0.5, 0.9, 1.0))
    key = f"subtype.{INSTANCE}"
    assert not np.allclose(weighted[key], bags_alone[key], atol=1e-3)
    assert not np.allclose(
        weighted["subtype.network.attention_net.0.weight"], less["subtype.network.attention_net.0.weight"]
    )
    one, two = (state(few, parts_of, "survival", bag_weight=w) for w in (0.5, 1.0))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_classes_that_do_not_exclude_each_other(cohort: Cases, parts_of: Parts) -> None:
    few = cohort.subset(cohort.ids[:60])
    exclusive, not_so = (state(few, parts_of, "subtype", subtyping=switch) for switch in (True, False))
    assert not np.allclose(exclusive[f"subtype.{INSTANCE}"], not_so[f"subtype.{INSTANCE}"], atol=1e-4)


def test_the_head_weighs_bags_and_instances(cohort: Cases) -> None:
    inner = ClassHead(cohort)
    head = InstanceHead(inner, 0.7, subtyping=True)
    rows = np.array([3, 10, 7])
    generator = torch.Generator().manual_seed(0)
    logits, inside, outside = (torch.rand(3, 2, generator=generator) for _ in range(3))
    bags, instances = inner.loss(logits, rows), instance_loss(inside, outside, inner.label[rows], True).mean()
    assert bags is not None
    total = head.loss(torch.cat([logits, inside, outside], dim=1), rows)
    assert total is not None
    assert total.item() == pytest.approx(0.7 * bags.item() + 0.3 * instances.item())
    assert head.outputs == 2


@pytest.mark.parametrize("changed", [{"k_sample": 0}, {"bag_weight": 0.0}, {"bag_weight": 1.5}, {"branches": "two"}])
def test_settings_that_make_no_sense_are_refused(changed: dict) -> None:
    with pytest.raises(PathomixError, match=r"bag_weight|branches is 'two'"):
        build_method({"method": "clam", **changed})
