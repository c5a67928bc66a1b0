from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pathomix.acquire.weights import missing_weights, read_registry
from pathomix.core.errors import PathomixError
from pathomix.slides.engine.speed import Speed
from pathomix.workflow.amounts import Amount, exactly, total, unknown
from pathomix.workflow.configuration import fill_defaults, read_configuration
from pathomix.workflow.dry_run import parse_jobs, remaining_jobs
from pathomix.workflow.estimate import (
    Estimate,
    current_estimate,
    encode_hours,
    estimate,
    feature_bytes,
    job_hours,
    read_hours,
    tiles_per_slide,
)
from pathomix.workflow.needs import needed_cohorts, needed_features, weight_entries
from pathomix.workflow.rates import Measured, RuleTime, measured_rates, read_rates

numbers = st.floats(0, 1e9)
positive = st.floats(1e-3, 1e9)
ranges = st.tuples(numbers, numbers).map(lambda pair: Amount(min(pair), max(pair)))
amounts = st.one_of(
    ranges,
    st.tuples(ranges, st.text("abc", min_size=1, max_size=2)).map(lambda p: Amount(p[0].low, p[0].high, (p[1],))),
    st.text("abc", min_size=1, max_size=2).map(unknown),
)


# arithmetic


def test_tiles_by_hand() -> None:
    # The specification's slide: 15,000 tiles of 256 pixels at 0.5 µm, a quarter as many of 512.
    area = exactly(245.76)
    assert tiles_per_slide(area, 256, 0.5).low == pytest.approx(15_000)
    assert tiles_per_slide(area, 512, 0.5).low == pytest.approx(3_750)
    assert tiles_per_slide(area, 256, 0.5, overlap=128).low == pytest.approx(60_000)
    # One square millimetre in tiles of 100 pixels at 1 µm.
    assert tiles_per_slide(exactly(1), 100, 1.0).high == pytest.approx(100)


def test_hours_and_bytes_by_hand() -> None:
    # 7.1: a slide of 15,000 tiles takes GigaPath at 1,732 tiles per second 8.7 s.
    assert encode_hours(exactly(15_000), exactly(1_732)).low == pytest.approx(8.66 / 3600, rel=1e-3)
    ranged = encode_hours(exactly(3600), Amount(1, 4))
    assert (ranged.low, ranged.high) == (pytest.approx(0.25), pytest.approx(1.0))
    # 1,100 tiles of 256 pixels are 72.09 million pixels.
    assert read_hours(exactly(1_100), 256, exactly(72.0896)).low == pytest.approx(1 / 3600)
    assert feature_bytes(exactly(10), 1536).high == 10 * (3072 + 8)


def test_job_hours_by_hand() -> None:
    measured = Measured({"fit": RuleTime(2, 90.0, 60.0)})
    hours = job_hours({"fit": 40, "draw": 1}, measured)
    assert hours["fit"] == exactly(1.0)
    assert hours["draw"].unknown == ("no job of draw has run here",)
    assert total(hours.values()).text("h") == "at least 1 h"


@given(amounts, amounts)
def test_sums_keep_every_reason_and_never_fall(a: Amount, b: Amount) -> None:
    both = a + b
    assert set(both.unknown) == {*a.unknown, *b.unknown}
    assert both.is_known == (a.is_known or b.is_known)
    assert (both.low or 0) >= max(a.low or 0, b.low or 0)
    assert (both.high or 0) >= max(a.high or 0, b.high or 0)


@given(numbers, numbers, positive, positive)
def test_more_tiles_take_longer_and_faster_machines_do_not(x: float, y: float, r: float, s: float) -> None:
    fewer, more = sorted((x, y))
    slow, fast = sorted((r, s))
    assert (encode_hours(exactly(fewer), exactly(slow)).low or 0) <= (
        encode_hours(exactly(more), exactly(slow)).low or 0
    )
    ranged = encode_hours(Amount(fewer, more), Amount(slow, fast))
    assert ranged.low is not None and ranged.high is not None and ranged.low <= ranged.high


def test_what_is_unknown_is_never_nothing() -> None:
    nothing = unknown("no lock")
    assert (nothing * 5).text("GB") == (exactly(3) / nothing).text() == total([nothing, nothing]).text() == "unknown"
    assert (exactly(0) + nothing).text("GB") == "unknown"
    assert (exactly(2) + nothing).text("GB") == "at least 2 GB"
    assert total([]).text() == "0"
    assert Amount(690, 1040).text("tiles/s") == "690 to 1,040 tiles/s"


@pytest.mark.parametrize(("low", "high"), [(2, 1), (-1, 1), (None, 1), (0, float("inf")), (None, None)])
def test_ranges_that_are_none(low: Any, high: Any) -> None:
    with pytest.raises(PathomixError, match="no range"):
        Amount(low, high)


# rates


def test_every_rate_has_a_source_and_stands_in_the_specification(root: Path) -> None:
    rates = read_rates(root / "resources/rates.yaml")
    assert rates.encode["gigapath"].amount == Amount(690, 1040) and "7.1" in rates.encode["gigapath"].source
    for rate in (rates.tissue, rates.read, *rates.encode.values()):
        assert "spec slides_and_encoders" in rate.source and rate.amount.low


@pytest.mark.parametrize("change", [{"low": 0}, {"source": " "}, {"low": 5, "high": 4}])
def test_rates_that_are_none(tmp_path: Path, root: Path, change: dict[str, Any]) -> None:
    content = yaml.safe_load((root / "resources/rates.yaml").read_text())
    content["tissue_mm2_per_slide"] |= change
    (tmp_path / "rates.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(PathomixError, match=r"no table of rates|no range"):
        read_rates(tmp_path / "rates.yaml")


HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
STAMP = "2026-11-21 15:01:16,831 INFO pathomix.slides.engine"


def log_of(encoder: str, device: str, *rates: int) -> str:
    """A log of `embed_tiles`; the last slide was a moment's work."""
    lines = [f"{STAMP}.device: {encoder} on {device}, bf16, 512 tiles at once"]
    for rate in rates:
        speed = Speed(1, wall=2.0, decode=1.0, read=800, busy={encoder: 2.0}, encoded={encoder: 2 * rate})
        lines.append(f"{STAMP}.run: S: {speed.line()}")
    lines.append(f"{STAMP}.run: S: {Speed(busy={encoder: 0.0}, encoded={encoder: 0}).line()}")
    return "\n".join(lines)


def write_results(folder: Path) -> None:
    files = {
        "benchmarks/fit_method/a.tsv": HEADER + "90.0\t0:01:30\t1\t1\t1\t1\t1\t1\t1\t60.0\n",
        "benchmarks/fit_method/b.tsv": HEADER
        + "30.0\t0:00:30\t1\t1\t1\t1\t1\t1\t1\t20.0\n30.0\t-\t-\t-\t-\t-\t-\t-\t-\t-\n",
        "benchmarks/write_report.tsv": HEADER + "1.5\t0:00:01\t-\t-\t-\t-\t-\t-\t-\t-\n",
        "benchmarks/broken/x.tsv": "not\ta table\n",
        "logs/embed_tiles/p-one-0.log": log_of("uni", "cuda:0", 1000, 3000),
        "logs/embed_tiles/p-two-0.log": log_of("uni", "cpu", 1, 1),
        "logs/embed_tiles/q-one-0.log": log_of("demo", "cpu", 50, 50),
        "slides/S1/qc.json": json.dumps({"tissue_mm2": 100.0}),
        "slides/S2/qc.json": json.dumps({"tissue_mm2": 200.0}),
        "slides/S3/qc.json": "{",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_what_runs_left_behind(tmp_path: Path) -> None:
    assert measured_rates(tmp_path) == Measured()
    write_results(tmp_path)
    measured = measured_rates(tmp_path)
    assert measured.rules == {"fit_method": RuleTime(3, 50.0, 40.0), "write_report": RuleTime(1, 1.5, None)}
    assert set(measured.encode) == {"uni"}  # the processor's speed is none of a GPU's
    assert measured.encode["uni"].amount == Amount(1500, 2500)
    assert measured.tissue is not None and measured.tissue.amount == exactly(150)


# a plan


def figures_of(checkout: Any, **changes: Any) -> Estimate:
    return current_estimate(checkout.plan(**changes))[0]


def test_a_locked_cohort_by_hand(checkout: Any) -> None:
    checkout.lock()
    figures = figures_of(checkout)
    one = figures.cohorts["one"]
    assert (one.slides, one.patients, one.slide_bytes) == (exactly(3), exactly(2), exactly(6e9))
    load = figures.encoders["uni"]
    assert load.tiles.low == pytest.approx(45_000)
    assert load.gpu_hours.low == pytest.approx(45_000 / 3850 / 3600)
    assert load.gpu_hours.high == pytest.approx(45_000 / 2570 / 3600)
    assert figures.features.low == pytest.approx(45_000 * (2 * 1024 + 8))
    assert figures.read_hours["uni"].high == pytest.approx(45_000 * 0.065536 / 3.3 / 3600)
    # The weights are not there, and how large they are is not published.
    assert figures.download.low == 6e9 and figures.download.unknown == (
        "the size of data/weights/uni/pytorch_model.bin is not known",
    )


def test_slides_that_are_there_are_not_fetched_again(checkout: Any) -> None:
    checkout.complete()
    slide = checkout.root / "data/raw/gdc/TCGA-AAA/TCGA-AA-0002-01Z-00-DX0.svs"
    slide.parent.mkdir(parents=True)
    with slide.open("wb") as stream:
        stream.truncate(3_000_000_000)  # sparse
    other = slide.with_name("TCGA-AA-0001-01Z-00-DX0.svs")
    other.write_bytes(b"half of it")
    figures = figures_of(checkout)
    assert figures.download == exactly(3e9)
    assert figures.keep.low == pytest.approx(6e9 + 45_000 * 2056)


def test_slides_of_two_descriptions_count_once(checkout: Any) -> None:
    checkout.complete()
    one = figures_of(checkout)
    both = figures_of(checkout, studies__main__cohorts=["one", "two"])
    assert set(both.cohorts) == {"one", "two"}
    assert (both.slides, both.patients, both.download) == (one.slides, one.patients, one.download)
    assert both.encoders == one.encoders


def test_without_a_lock_everything_of_the_slides_is_unknown(checkout: Any) -> None:
    figures = figures_of(checkout)
    why = "locks/shared.slides.tsv is not there"
    for amount in (figures.slides, figures.patients, figures.encoders["uni"].tiles, figures.encoders["uni"].gpu_hours):
        assert amount.text() == "unknown" and why in amount.unknown
    assert figures.read_hours["uni"].unknown == (why,)
    assert figures.download.text("GB") == figures.keep.text("GB") == "unknown"
    report = checkout.root / "results/own/cohort/one/report.json"
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps({"counts": {"slides": 7, "patients": 5}}))
    built = figures_of(checkout)
    assert (built.slides, built.patients) == (exactly(7), exactly(5))
    assert built.cohorts["one"].to_fetch.unknown == (why,)


def test_a_lock_made_for_dry_runs_tells_the_slides_but_no_bytes(checkout: Any) -> None:
    checkout.lock()
    path = checkout.root / "locks/shared.slides.tsv"
    path.write_text(path.read_text().replace("0" * 32, ""))
    figures = figures_of(checkout)
    assert figures.slides == exactly(3) and figures.patients == exactly(2)
    assert not figures.cohorts["one"].slide_bytes.is_known and "md5" in figures.cohorts["one"].slide_bytes.unknown[0]


def test_what_was_measured_goes_before_the_defaults(checkout: Any, root: Path) -> None:
    checkout.complete()
    write_results(checkout.root / "results/own")
    figures = figures_of(checkout)
    tiles = 3 * 150 / 0.128**2
    assert figures.encoders["uni"].tiles.low == pytest.approx(tiles)
    assert figures.encoders["uni"].gpu_hours.low == pytest.approx(tiles / 2500 / 3600)
    assert figures.sources["speed of uni"] == "measured here on 2 slides"
    plan = checkout.plan(encoders__uni__model="h_optimus_0", encoders__uni__weights="{data}/w.bin")
    unmeasured = estimate(plan, read_rates(root / "resources/rates.yaml"), Measured())
    assert unmeasured.encoders["uni"].gpu_hours.unknown == ("the speed of uni is neither published nor measured here",)
    assert unmeasured.encoders["uni"].tiles.is_known


def test_only_what_is_reported_counts(checkout: Any) -> None:
    plan = checkout.plan(studies__main__methods=["age"])
    assert needed_features(plan) == {} and weight_entries(plan) == {}
    figures = figures_of(checkout, studies__main__methods=["age"])
    assert figures.encoders == {} and figures.download == exactly(0) and figures.sources == {}
    assert needed_cohorts(checkout.plan()) == ["one"]


def test_needs_of_the_configuration_for_tcga(root: Path) -> None:
    plan = _plan(root, "config/config.yaml")
    entries = weight_entries(plan)
    assert {"encoders.gigapath", "slide_encoders.gigapath", "expression_encoders.scgpt"} <= set(entries)
    assert any(key.startswith("texts.") for key in entries) and any(key.endswith(".image_encoder") for key in entries)
    registry = read_registry(root / "resources/weights.yaml")
    for item in missing_weights(entries, root / "nowhere", registry):
        assert item.weight is not None, f"{item.key}: {item.path} is in no registry"
    assert "modaltune_brca" in needed_features(plan)["gigapath"]


def _plan(root: Path, file: str) -> Any:
    from pathomix.workflow.plan import Plan

    return Plan(read_configuration([root / file], root), root)


# configuration and jobs


def test_the_configuration_is_merged_filled_and_checked(checkout: Any) -> None:
    more = checkout.root / "more.yaml"
    more.write_text("acquire: {parallel: 2}\ntitle: another\n")
    config = read_configuration([checkout.file, more], checkout.root, ["data=/tables", "title=last"])
    assert config["acquire"] == {
        "locks": "locks", "parallel": 2, "folder": "{data}", "files": {}, "token_env": "GDC_TOKEN",
    }  # fmt: skip
    assert (config["data"], config["title"], config["studies"]["main"]["seeds"]) == ("/tables", "last", [0])
    more.write_text("studies: {main: {tasks: [nothing]}}\nacquire: {parallel: 0}\n")
    with pytest.raises(PathomixError, match=r"acquire.parallel: 0 is less.*studies.main.tasks.0: 'nothing' is not one"):
        read_configuration([checkout.file, more], checkout.root)
    with pytest.raises(PathomixError, match="is not key=value"):
        read_configuration([checkout.file], checkout.root, ["data"])
    with pytest.raises(PathomixError, match="cannot be read"):
        read_configuration([checkout.root / "none.yaml"], checkout.root)


def test_defaults_of_wrong_kinds_are_left_to_the_check() -> None:
    schema = {"properties": {"a": {"default": {}, "properties": {"b": {"default": [1]}}}}}
    assert fill_defaults({}, schema) == {"a": {"b": [1]}}
    assert fill_defaults({"a": 3}, schema) == {"a": 3}


TABLE = """Building DAG of jobs...
\x1b[33mJob stats:
job                count
---------------  -------
fit_method            56
embed_tiles            6
all                    1
total                 63

Job stats:
job      count
-----  -------
total        9
"""


def test_jobs_as_snakemake_counts_them() -> None:
    assert parse_jobs(TABLE) == {"fit_method": 56, "embed_tiles": 6}
    assert parse_jobs("Nothing to be done (all requested files are present and up to date).") == {}


@pytest.mark.parametrize(
    ("script", "jobs", "why"),
    [
        (f"cat <<'E'\n{TABLE}\nE\n", {"fit_method": 56, "embed_tiles": 6}, ""),
        ("echo 'Error:'; echo '  PathomixError: no lock; make one' >&2; exit 1", {}, "snakemake -n: no lock; make one"),
        ("echo 'MissingInputException in rule x'; exit 1", {}, "snakemake -n: MissingInputException in rule x"),
    ],
)
def test_a_dry_run(checkout: Any, monkeypatch: pytest.MonkeyPatch, script: str, jobs: dict[str, int], why: str) -> None:
    command = checkout.root / "bin/snakemake"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    assert remaining_jobs(checkout.root, [checkout.file], ["data=x"]) == (jobs, why)
