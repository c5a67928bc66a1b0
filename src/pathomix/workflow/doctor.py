"""Whether a run can begin: everything that is cheap to look at before the first job, and what to type where not."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pathomix.acquire.lock import read_lock
from pathomix.acquire.tokens import read_token
from pathomix.acquire.weights import Missing, read_registry
from pathomix.core.errors import PathomixError
from pathomix.slides.overrides import read_overrides
from pathomix.workflow import machine
from pathomix.workflow.amounts import Amount
from pathomix.workflow.cohorts import FETCHED
from pathomix.workflow.configuration import read_configuration
from pathomix.workflow.dry_run import snakemake_command
from pathomix.workflow.estimate import REGISTRY, Estimate, current_estimate
from pathomix.workflow.needs import needed_cohorts, weight_entries
from pathomix.workflow.plan import Plan

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"
_PYTHON = (3, 11)
_GIB = 2**30
_SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """One line of the screen.

    Attributes:
        status: ``ok``, ``warn`` (the run can begin), ``fail`` (it cannot) or ``skip`` (not looked at).
        topic: What was looked at.
        fact: What was found.
        todo: What to type, empty where nothing has to be done.
    """

    status: str
    topic: str
    fact: str
    todo: str = ""


@dataclass(frozen=True)
class Options:
    """How to look.

    Attributes:
        files: Configuration files.
        changes: ``key=value`` laid over them.
        offline: Whether to leave the network alone.
        hub_token_env: Environment variable with the hub's token.
        token_files: Token files by archive (``gdc``, ``hub``).
    """

    files: tuple[Path, ...]
    changes: tuple[str, ...] = ()
    offline: bool = False
    hub_token_env: str = "HF_TOKEN"
    token_files: tuple[tuple[str, Path], ...] = ()


def examine(root: Path, options: Options, reach: Callable[[str], str] = machine.unreachable) -> list[Finding]:
    """Look at everything.

    Args:
        root: The repository.
        options: How to look.
        reach: Says why a server does not answer, empty where it does.
    """
    found = check_environment(root)
    try:
        plan = Plan(read_configuration(options.files, root, options.changes), root)
    except PathomixError as error:
        return [*found, *check_machine(root), Finding(FAIL, "configuration", str(error), error.remedy)]
    found.append(Finding(OK, "configuration", ", ".join(map(str, options.files))))
    found += check_tables(plan)
    figures, missing = current_estimate(plan)
    found += check_weights(plan, missing)
    found += check_disk(plan, figures) + check_machine(root, needs_gpu=bool(figures.encoders))
    found += check_tokens(plan, options, missing)
    if options.offline:
        return [*found, Finding(SKIP, "network", "not looked at (--offline)")]
    return found + check_network(plan, missing, reach)


def is_ready(findings: Iterable[Finding]) -> bool:
    """Whether the run can begin."""
    return all(finding.status != FAIL for finding in findings)


def check_environment(root: Path) -> list[Finding]:
    """Python, Snakemake and the rules' packages."""
    python = ".".join(map(str, sys.version_info[:3]))
    found = [Finding(OK if sys.version_info >= _PYTHON else FAIL, "python", python)]
    setup = "type `make demo` once: it sets up .venv/, or install the packages of locks/"
    command, release = snakemake_command(root), machine.installed("snakemake")
    if command is None:
        found.append(Finding(FAIL, "snakemake", "not found", setup))
    else:
        found.append(Finding(OK, "snakemake", f"{command[0]} {release}".strip()))
    rules = machine.rules_environment(root)
    status = Finding(OK, "rules", rules) if rules else Finding(FAIL, "rules", "no environment for the rules", setup)
    return [*found, status]


def check_tables(plan: Plan) -> list[Finding]:
    """Locks, the user's own tables and the table of overrides, of the cohorts that are reported."""
    found, wrong = [], 0
    for cohort in needed_cohorts(plan):
        try:
            absent = _absent_tables(plan, cohort)
        except PathomixError as error:
            absent = [Finding(FAIL, f"cohort {cohort}", _without_remedy(error), error.remedy)]
        found += absent
        wrong += bool(absent)
    count = len(needed_cohorts(plan)) - wrong
    if count:
        found.insert(0, Finding(OK, "cohorts", f"{count} can be built"))
    for file in plan.slides.overrides():
        try:
            found.append(Finding(OK, "overrides", f"{file}: {len(read_overrides(plan.root / file))} slides"))
        except PathomixError as error:
            found.append(Finding(FAIL, "overrides", _without_remedy(error), error.remedy))
    published = {file for study in plan.report.studies for file in plan.published_files(study)}
    gone = sorted(file for file in published if not (plan.root / file).is_file())
    return [*found, *(Finding(FAIL, "published values", f"{file} is not there", "correct the path") for file in gone)]


def _absent_tables(plan: Plan, cohort: str) -> list[Finding]:
    inputs = plan.cohorts.raw_inputs(cohort)
    for lock in plan.cohorts.lock_paths(cohort)[:1]:
        if (plan.root / lock).is_file():
            read_lock(plan.root / lock)
    made = plan.cohorts.is_simulated(cohort)
    fetched = {f"{plan.acquisition.folder}/{name}" for name in plan.acquisition.files}
    own = [path for path in inputs if not made and path not in fetched and f"/{FETCHED}" not in f"/{path}"]
    absent = [path for path in own if not (plan.root / path).exists()]
    if not absent:
        return []
    todo = "put them there (config/README.md says from where), or give the folder: --config data=FOLDER"
    return [Finding(FAIL, f"cohort {cohort}", f"tables are not there: {_listed(absent)}", todo)]


def check_weights(plan: Plan, missing: Sequence[Missing]) -> list[Finding]:
    """Weights that are there, missing or left out."""
    wanted = sum(bool(entry.get("weights")) for entry in weight_entries(plan).values())
    absent = [
        Finding(WARN if item.optional else FAIL, "weights", str(item).removesuffix(f"; {item.todo}"), item.todo)
        for item in missing
    ]
    left = [Finding(WARN, "rows", f"{row} is left out: {why}") for row, why in plan.left_out.items()]
    if absent or left:
        return absent + left
    return [Finding(OK, "weights", f"{wanted} of {wanted} are there" if wanted else "none are needed")]


def check_disk(plan: Plan, figures: Estimate) -> list[Finding]:
    """Space for what is fetched and made; what of the features is there already is counted as if it were not."""
    needs: dict[int, tuple[Path, Amount]] = {}
    for folder, need in ((plan.acquisition.folder, figures.download), (plan.results, figures.features)):
        place = machine.existing(plan.root / folder)
        device = place.stat().st_dev
        needs[device] = (place, needs[device][1] + need) if device in needs else (place, need)
    found = []
    for place, need in needs.values():
        free = machine.free_bytes(place)
        why = f" ({_listed(need.unknown)})" if need.unknown else ""
        text = f"{place}: {free / 1e9:,.0f} GB free, {(need * 1e-9).text('GB')} needed{why}"
        low, high = need.low or 0.0, need.high or 0.0
        if low > free:
            todo = f"make room for {(low - free) / 1e9:,.0f} GB more, or give other folders (results, data)"
            found.append(Finding(FAIL, "disk", text, todo))
        else:
            found.append(Finding(WARN if need.unknown or high > free else OK, "disk", text))
    return found


def check_machine(root: Path, needs_gpu: bool = False) -> list[Finding]:
    """Memory, cores and GPU."""
    memory, largest = machine.memory_bytes(), machine.largest_job_mb(root) * 10**6
    text = f"{memory / _GIB:,.0f} GiB, {machine.cores()} cores; the largest job asks for {largest / _GIB:,.0f} GiB"
    fits = memory >= largest
    todo = "" if fits else "run on a larger machine, or with profiles/slurm, if the large jobs are among yours"
    found = [Finding(OK if fits else WARN, "memory", text, todo)]
    gpus = machine.gpus()
    if gpus:
        return [*found, *(Finding(OK, "gpu", gpu) for gpu in gpus)]
    todo = "for more than a few slides, run where one is (profiles/slurm)" if needs_gpu else ""
    return [*found, Finding(WARN if needs_gpu else OK, "gpu", "none: networks run on the processor", todo)]


def check_tokens(plan: Plan, options: Options, missing: Sequence[Missing]) -> list[Finding]:
    """Tokens: whether they are there and fit to be used; never what they are."""
    gated = [item for item in missing if item.weight and item.weight.gated and not item.optional]
    asked = {
        "gdc": (plan.acquisition.token_env, "open slides need none", False),
        "hub": (
            options.hub_token_env,
            "gated weights need one" if gated else "nothing to fetch needs one",
            bool(gated),
        ),
    }
    files = dict(options.token_files)
    found = []
    for archive, (variable, note, needed) in asked.items():
        topic = f"token {archive}"
        try:
            token = read_token(variable, files.get(archive))
        except PathomixError as error:
            found.append(Finding(FAIL, topic, _without_remedy(error), error.remedy))
            continue
        if token:
            found.append(Finding(OK, topic, f"from {token.source}"))
        else:
            todo = f"export {variable}=..." if needed else ""
            found.append(Finding(WARN if needed else OK, topic, f"${variable} is not set; {note}", todo))
    return found


def check_network(plan: Plan, missing: Sequence[Missing], reach: Callable[[str], str]) -> list[Finding]:
    """Servers that something has to be fetched from."""
    found = []
    for name, url in addresses(plan, missing).items():
        why = reach(url)
        if why:
            todo = "check the network, and the proxy if there is one ($HTTPS_PROXY); --offline leaves this out"
            found.append(Finding(FAIL, f"network {name}", f"{url}: {why}", todo))
        else:
            found.append(Finding(OK, f"network {name}", f"{machine.origin(url)} answers"))
    return found or [Finding(OK, "network", "nothing has to be fetched")]


def addresses(plan: Plan, missing: Sequence[Missing]) -> dict[str, str]:
    """Addresses to try, by what they are called."""
    acquire = plan.source / "pathomix" / "acquire"
    found: dict[str, str] = {}
    if not plan.acquisition.archive:
        needed = set(needed_cohorts(plan))
        if needed & set(plan.acquisition.locked):
            found["gdc"] = f"{_constant(acquire / 'gdc.py', 'URL')}/status"
        hubs: dict[str, str] = _constant(acquire / "xena.py", "HUBS")
        read = {name for cohort in needed for name in plan.cohorts.description_inputs(cohort)}
        for name, source in plan.acquisition.files.items():
            if name in read and not (plan.root / plan.acquisition.folder / name).is_file():
                found |= _address(source, hubs)
    registry = read_registry(plan.root / REGISTRY)
    for item in missing:
        if item.weight:
            url = registry.address(item.weight, item.weight.files[0]) if item.weight.hub else item.weight.page
            found.setdefault(machine.origin(url).partition("://")[2], machine.origin(url))
    return found


def _address(source: str, hubs: dict[str, str]) -> dict[str, str]:
    if source.startswith(("http://", "https://")):
        return {machine.origin(source).partition("://")[2]: machine.origin(source)}
    if source.startswith("cellxgene:"):
        return {"cellxgene": "https://datasets.cellxgene.cziscience.com"}
    hub = source.partition(":")[0] if ":" in source else "tcga"
    return {f"xena {hub}": hubs[hub]} if hub in hubs else {}


def _constant(module: Path, name: str) -> Any:
    """A literal of a module that cannot be imported here: the runner's environment has no HTTP library of ours."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return ast.literal_eval(node.value)
    raise LookupError(f"no {name} in {module}")


def _without_remedy(error: PathomixError) -> str:
    return str(error).removesuffix(error.remedy).rstrip("; \n")


def _listed(items: Sequence[str]) -> str:
    more = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
