"""A job costs what it took the last time, else what its like take, else nobody knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from pathomix.workflow.amounts import exactly
from pathomix.workflow.dry_run import Job
from pathomix.workflow.price import Price, in_all, price_jobs
from pathomix.workflow.rates import Measured, RuleTime

HEAD = "s\th:m:s\tcpu_time\n"


def job(rule: str, name: str = "", gpus: int = 0) -> Job:
    return Job(rule, (), (f"{rule}{name}",), f"benchmarks/{name}.tsv" if name else "", gpus=gpus)


@pytest.mark.parametrize(
    ("text", "cpu", "wall"),
    [
        (f"{HEAD}7200\t2:0:0\t10800\n", 3.0, 2.0),
        (f"{HEAD}60\t0:1:0\t60\n7200\t2:0:0\tNA\n", 2.0, 2.0),  # the last run; what Snakemake could not tell is wall
        (f"{HEAD}-\t-\t-\n", 0.5, 1.0),
        (HEAD, 0.5, 1.0),
        ("", 0.5, 1.0),
        (None, 0.5, 1.0),
    ],
)
def test_the_job_itself_goes_before_its_rule(tmp_path: Path, text: str | None, cpu: float, wall: float) -> None:
    (tmp_path / "benchmarks").mkdir()
    if text is not None:
        (tmp_path / "benchmarks/a.tsv").write_text(text)
    measured = Measured({"embed": RuleTime(2, 3600.0, 1800.0)})
    prices = price_jobs([job("embed", "a", gpus=2), job("embed", gpus=1)], tmp_path, measured)
    assert prices == {"embed": Price(2, exactly(cpu + 0.5), exactly(2 * wall + 1.0))}


def test_what_has_never_run_is_unknown_and_never_free(tmp_path: Path) -> None:
    measured = Measured({"tables": RuleTime(1, 3600.0, None)})
    prices = price_jobs([job("tables"), job("fit"), job("fit"), job("embed", gpus=1)], tmp_path, measured)
    assert list(prices) == ["tables", "fit", "embed"]
    assert prices["tables"] == Price(1, exactly(1.0), exactly(0))
    assert prices["fit"].jobs == 2 and not prices["fit"].cpu_hours.is_known
    assert prices["fit"].gpu_hours == exactly(0), "a job without a GPU"
    assert not prices["embed"].gpu_hours.is_known
    everything = in_all(prices.values())
    assert (everything.jobs, everything.cpu_hours.text(), everything.gpu_hours.text()) == (4, "at least 1", "unknown")
    assert in_all([]) == Price(0, exactly(0), exactly(0))
