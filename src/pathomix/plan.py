"""What a run will take, before it begins: ``python -m pathomix.plan config/config.yaml``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pathomix.core.errors import PathomixError
from pathomix.workflow.amounts import Amount, exactly, total
from pathomix.workflow.configuration import read_configuration
from pathomix.workflow.dry_run import planned_jobs, remaining_jobs
from pathomix.workflow.estimate import Estimate, current_estimate, job_hours
from pathomix.workflow.plan import Plan
from pathomix.workflow.price import Price, in_all, price_jobs
from pathomix.workflow.rates import measured_rates
from pathomix.workflow.screen import show_table

ROOT = Path(__file__).resolve().parents[2]
_GB = 1e-9


def summary(figures: Estimate) -> dict[str, str]:
    """The whole in a few numbers."""
    loads = figures.encoders.values()
    return {
        "slides": figures.slides.text(),
        "patients": figures.patients.text(),
        "to download": (figures.download * _GB).text("GB"),
        "features": (figures.features * _GB).text("GB"),
        "to keep": (figures.keep * _GB).text("GB"),
        "embedding": total(load.gpu_hours for load in loads).text("GPU-hours"),
        "reading tiles": total(figures.read_hours.values()).text("core-hours"),
    }


def show(figures: Estimate) -> None:
    """Print the estimate."""
    show_table(
        "Cohorts; those that share a slide lock share its slides",
        ("cohort", "patients", "slides", "GB of slides", "GB to fetch", "from"),
        [
            (name, s.patients.text(), s.slides.text(), _gb(s.slide_bytes), _gb(s.to_fetch), s.source or _why(s.slides))
            for name, s in figures.cohorts.items()
        ],
    )
    show_table(
        "Tile encoders",
        ("encoder", "tiles", "GPU-hours", "GB of features", "reckoned with"),
        [
            (
                name,
                load.tiles.text(),
                load.gpu_hours.text(),
                _gb(load.feature_bytes),
                f"{load.rate.amount.text('tiles/s')}: {load.rate.source}" if load.rate else _why(load.gpu_hours),
            )
            for name, load in figures.encoders.items()
        ],
    )
    show_table("In all", ("", ""), list(summary(figures).items()))
    show_table("Reckoned with", ("", ""), list(figures.sources.items()))
    reasons = list(dict.fromkeys((*figures.download.unknown, *figures.keep.unknown)))
    if reasons:
        show_table("Not known", ("",), [(reason,) for reason in reasons])


def show_jobs(plan: Plan, files: Sequence[Path], changes: Sequence[str]) -> None:
    """Print how many jobs are left, and the hours of those whose like has run here before."""
    jobs, why = remaining_jobs(ROOT, files, changes)
    if why:
        show_table("Jobs", ("", ""), [("unknown", why)])
        return
    hours = job_hours(jobs, measured_rates(plan.root / plan.results))
    rows = [(rule, str(jobs[rule]), hours[rule].text("h")) for rule in jobs]
    rows.append(("in all", str(sum(jobs.values())), total(hours.values()).text("h")))
    show_table("Jobs that are left; hours one after the other, as measured here", ("rule", "jobs", "hours"), rows)


def price(plan: Plan, files: Sequence[Path], changes: Sequence[str], profile: str) -> dict[str, Price]:
    """Price, by rule, of what would run under a configuration, given what is there now.

    Raises:
        PathomixError: Snakemake is not here, or could not plan.
    """
    jobs = planned_jobs(ROOT, files, changes, profile=profile)
    return price_jobs(jobs, plan.root, measured_rates(plan.root / plan.results))


def show_difference(prices: Sequence[dict[str, Price]], names: Sequence[str]) -> None:
    """Print, for two configurations, how many jobs would run now and what they cost."""
    one, two = prices
    nothing = Price(0, exactly(0), exactly(0))
    rows = [(rule, one.get(rule, nothing), two.get(rule, nothing)) for rule in dict.fromkeys((*two, *one))]
    rows.append(("in all", in_all(one.values()), in_all(two.values())))
    show_table(
        f"Jobs that would run now: {names[0]} | {names[1]}; hours as measured here",
        ("rule", "jobs", "CPU-hours", "GPU-hours", "| jobs", "CPU-hours", "GPU-hours"),
        [(rule, *_cells(first), *_cells(second, "| ")) for rule, first, second in rows],
    )


def compare(plans: Sequence[Plan], given: argparse.Namespace) -> None:
    """Print two configurations side by side: what each takes as a whole, and what would run now."""
    figures = [summary(current_estimate(plan)[0]) for plan in plans]
    names = [" ".join(map(str, files)) for files in (given.configuration, given.against)]
    rows = zip(figures[0].items(), figures[1].values(), strict=True)
    show_table("As a whole", ("", *names), [(name, one, two) for (name, one), two in rows])
    if given.no_jobs:
        return
    try:
        files = (given.configuration, given.against)
        prices = [price(plan, each, given.config, given.profile) for plan, each in zip(plans, files, strict=True)]
    except PathomixError as error:
        show_table("Jobs", ("", ""), [("unknown", error.fact)])
    else:
        show_difference(prices, names)


def main() -> int:
    """Print the plan."""
    arguments = argparse.ArgumentParser(prog="python -m pathomix.plan", description=__doc__, allow_abbrev=False)
    arguments.add_argument("configuration", type=Path, nargs="+", help="configuration files, later over earlier")
    arguments.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="as Snakemake's option")
    arguments.add_argument("--against", type=Path, nargs="+", help="configuration files of another plan: what changes")
    arguments.add_argument("--profile", default="", help="with --against: Snakemake's profile the results were made by")
    arguments.add_argument("--no-jobs", action="store_true", help="do not ask Snakemake for the number of jobs")
    given = arguments.parse_args()
    try:
        plan = Plan(read_configuration(given.configuration, ROOT, given.config), ROOT)
        if given.against:
            compare([plan, Plan(read_configuration(given.against, ROOT, given.config), ROOT)], given)
            return 0
        show(current_estimate(plan)[0])
        if not given.no_jobs:
            show_jobs(plan, given.configuration, given.config)
    except PathomixError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _cells(price: Price, mark: str = "") -> tuple[str, str, str]:
    return f"{mark}{price.jobs}", price.cpu_hours.text(), price.gpu_hours.text()


def _gb(amount: Amount) -> str:
    return (amount * _GB).text()


def _why(amount: Amount) -> str:
    return "; ".join(amount.unknown)


if __name__ == "__main__":
    raise SystemExit(main())
