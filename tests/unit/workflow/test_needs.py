from __future__ import annotations

from pathlib import Path

import pytest

from pathomix.acquire.weights import MissingWeightsError, read_registry
from pathomix.workflow.needs import check_weights, weight_targets
from tests.unit.workflow.test_plan import plan_of


@pytest.fixture
def registry(root: Path):
    return read_registry(root / "resources/weights.yaml")


def test_every_path_the_tcga_configuration_names_is_a_target(root: Path, registry) -> None:
    plan = plan_of(root, "config/config.yaml")
    targets = weight_targets(registry)
    named = [
        *plan.slides.pass_weights("gigapath"),
        *plan.method_weights("pg_histology"),
        *plan.method_weights("pg_cnn"),
    ]
    named += [*plan.vectors.weights("modaltune"), *plan.expression.weights("scgpt")]
    assert len(named) == 5
    assert [targets[path.removeprefix("data/")] for path in named] == [
        "gigapath", "t2t_vit_14", "vgg19_bn", "prov-gigapath", "scgpt_human"
    ]  # fmt: skip


def test_what_no_rule_can_fetch_stops_the_run_before_it_begins(root: Path, registry) -> None:
    plan = plan_of(root, "config/config.yaml")
    with pytest.raises(MissingWeightsError) as refused:
        check_weights(plan, registry, token=False)
    lost = {Path(item.path).parts[2] for item in refused.value.missing}
    assert lost == {"gigapath", "prov-gigapath", "conch", "scgpt_human"}, "open weights are fetched by a rule"
    with pytest.raises(MissingWeightsError) as refused:
        check_weights(plan, registry, token=True)
    by_hand = {item.path for item in refused.value.missing}
    assert by_hand == {"data/weights/conch/tokenizer.json", "data/weights/scgpt_human"}
    assert "put it there by hand" in str(refused.value)


def test_the_demo_needs_none(root: Path, registry) -> None:
    check_weights(plan_of(root, "config/demo.yaml"), registry, token=False)
