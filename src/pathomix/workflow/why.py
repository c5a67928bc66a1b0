"""Why a file would be made again: the input, parameter, environment or function that changed, here or further up."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pathomix.workflow.digest import parts_of, read_record
from pathomix.workflow.dry_run import Job
from pathomix.workflow.made import Made, parameter_changes, read_made

_DIGEST = re.compile(r"[0-9a-f]{16}")
_FILES = re.compile(
    r"(Missing output files|Incomplete output files|Updated input files|Input files updated by another job): "
    r"(.*?)(?=; (?:Input files|Updated|Set of|Code has|Params have|Software|Incomplete)|$)"
)
_SHOWN = 3
_ABSENT = object()


@dataclass(frozen=True)
class Cause:
    """A job that runs again for reasons of its own.

    Attributes:
        job: The job.
        reasons: In words, most telling first.
        via: Rules that pass it on, from the job to the file that was asked for.
    """

    job: Job
    reasons: tuple[str, ...]
    via: tuple[str, ...]


def causes_of(file: str, jobs: Sequence[Job], root: Path, results: str) -> list[Cause]:
    """Why a file would be made again.

    Args:
        file: Path relative to the repository.
        jobs: What Snakemake would run to have it.
        root: The repository.
        results: Folder of results, relative to it.

    Returns:
        Jobs that run for reasons of their own, nearest to the file first; empty where it is up to date.
    """
    by_output = {output: job for job in jobs for output in job.outputs}
    found: list[Cause] = []
    seen: set[Job] = set()
    waiting = [(by_output[file], tuple[str, ...]())] if file in by_output else []
    while waiting:
        job, via = waiting.pop(0)
        if job not in seen:
            seen.add(job)
            reasons = tuple(own_reasons(job, root, results))
            if reasons:
                found.append(Cause(job, reasons, via))
            above = [by_output[path] for path in _named(job.reason).get("Input files updated by another job", ())
                     if path in by_output]  # fmt: skip
            waiting += [(other, (*via, job.rule)) for other in above]
    return found


def own_reasons(job: Job, root: Path, results: str) -> Iterator[str]:
    """What of a job itself has changed, in words; nothing where it only follows others."""
    made = next((found for path in job.outputs if (found := read_made(root, path))), None)
    named = _named(job.reason)
    if "Missing output files" in named:
        yield f"{_some(named['Missing output files'])} is not there"
    if "Incomplete output files" in named:
        yield f"its last run did not finish {_some(named['Incomplete output files'])}"
    yield from (_changed_input(path, made, root) for path in named.get("Updated input files", ()))
    if "Set of input files has changed" in job.reason:
        yield _inputs_reason(job, made)
    if "Code has changed" in job.reason:
        yield f"the command of rule {job.rule} changed{_rule_file(root, job.rule)}"
    if "Params have changed" in job.reason:
        yield from _parameter_reasons(job, made, root, results)
    if "Software environment definition has changed" in job.reason:
        yield _environment_reason(job, made, root)
    if "Forced execution" in job.reason:
        yield "it is forced"


def sentence(file: str, causes: Sequence[Cause]) -> str:
    """The answer in one line."""
    if not causes:
        return f"{file}: up to date"
    first = causes[0]
    like = [cause for cause in causes if (cause.job.rule, cause.reasons) == (first.job.rule, first.reasons)]
    others = len({(cause.job.rule, cause.reasons) for cause in causes}) - 1
    more = f" (and {others} other cause{'s' if others > 1 else ''}: --verbose)" if others else ""
    because = f"because {first.job.rule} runs again" if first.via else f"{first.job.rule} runs again"
    where = f" for {first.job.wildcards}" if first.job.wildcards else ""
    alike = f" and {len(like) - 1} more" if len(like) > 1 else ""
    return f"{file}: {because}{where}{alike}: {'; '.join(first.reasons)}{more}"


def _named(reason: str) -> dict[str, list[str]]:
    """Files that a reason names, by the phrase before them."""
    return {match[1]: match[2].split(", ") for match in _FILES.finditer(reason)}


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


# inputs


def _changed_input(path: str, made: Made | None, root: Path) -> str:
    algorithm, _, before = (made.checksums.get(path, "") if made else "").partition(":")
    file = root / path
    if before and algorithm in hashlib.algorithms_available and file.is_file():
        return f"the content of input {path} changed"
    return f"input {path} is newer than what was made of it"


def _inputs_reason(job: Job, made: Made | None) -> str:
    before, now = set(made.inputs if made else ()), set(job.inputs)
    told = [
        *([f"{_some(sorted(now - before))} is new among its inputs"] if now - before else []),
        *([f"{_some(sorted(before - now))} is no longer among its inputs"] if before - now else []),
    ]
    return "; ".join(told) or "the set of its inputs changed"


# parameters and code


def _parameter_reasons(job: Job, made: Made | None, root: Path, results: str) -> Iterator[str]:
    before, now = parameter_changes(job.reason)
    digests = [value for value in before if _DIGEST.fullmatch(value)]
    named_before = _by_option([v for v in before if not _DIGEST.fullmatch(v)], made.command if made else "")
    named_now = _by_option([v for v in now if not _DIGEST.fullmatch(v)], job.command)
    told = list(_value_changes(named_before, named_now))
    code = [reason for digest in digests for reason in _code_reasons(digest, root, results, quiet=bool(told))]
    yield from (*code, *told)
    if not code and not told:
        yield "a parameter changed"


def _by_option(values: Iterable[str], command: str) -> dict[str, str]:
    """Values by the command-line option that carries them; Snakemake does not record the names of parameters."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    found: dict[str, str] = {}
    for value in values:
        if value.startswith("--"):
            option, _, value = value.partition(" ")
        else:
            place = words.index(value) if value in words else 0
            option = next((word for word in reversed(words[:place]) if word.startswith("--")), "")
        if value:
            found[option.removeprefix("--") or "parameter"] = value
    return found


def _value_changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *now)):
        old, new = (_parsed(values[name]) if name in values else _ABSENT for values in (before, now))
        changes = list(_differences(old, new, ""))
        yield from (f"{name}.{path}: {text}" if path else f"{name}: {text}" for path, text in changes[:_SHOWN])
        if len(changes) > _SHOWN:
            yield f"and {len(changes) - _SHOWN} more of {name}"


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, str]]:
    """Key path and ``old → new`` of each place where two values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from _differences(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{path}.{key}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from _differences(*pair, f"{path}[{number}]")
    elif old is _ABSENT or new is _ABSENT or (type(old), old) != (type(new), new):
        yield path, f"{_shown(old)} → {_shown(new)}"


def _shown(value: Any) -> str:
    return "nothing" if value is _ABSENT else value if isinstance(value, str) else json.dumps(value)


def _code_reasons(digest: str, root: Path, results: str, *, quiet: bool) -> Iterator[str]:
    record = read_record(root / results, digest)
    if record is None:
        yield "the code it reaches changed; what it was is not on record"
        return
    entries, before = record
    try:
        now = parts_of(root, entries)
    except (OSError, SyntaxError) as error:
        yield f"the code it reaches cannot be read ({error})"
        return
    told = [text for name in before.keys() & now.keys() for text in _file_changes(name, before[name], now[name])]
    told += [f"{name} is read as well" for name in now.keys() - before.keys()]
    told += [f"{name} is no longer read" for name in before.keys() - now.keys()]
    if told:
        # A changed part says more than the files that come and go with it.
        told.sort(key=lambda text: (not text.endswith(("changed", "is new", "is gone")), text))
        yield _some(told)
    elif not quiet:
        yield "it loads other modules by name"


def _file_changes(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    if list(before.items()) == list(now.items()):
        return
    changed = [part for part in before if part in now and before[part] != now[part]]
    words = [
        *(f"{part} changed" for part in changed),
        *(f"{part} is new" for part in now if part not in before),
        *(f"{part} is gone" for part in before if part not in now),
    ]
    yield from (f"{name}, {word}" for word in words or ["the order of its parts changed"])


# environments


def _environment_reason(job: Job, made: Made | None, root: Path) -> str:
    path = _environment_file(root, job.rule)
    before = set(_pins(made.environment)) if made else set()
    now = set(_pins(path.read_text(encoding="utf-8"))) if path and path.is_file() else set()
    if not path or before == now:
        return "its software is deployed in another way than when it was made; give the --profile it was made with"
    told = [*(f"{pin} is gone" for pin in sorted(before - now)), *(f"{pin} is new" for pin in sorted(now - before))]
    return f"{path.relative_to(root)}: {', '.join(told)}"


def _pins(text: str) -> list[str]:
    return [line.strip().removeprefix("- ") for line in text.splitlines() if line.strip().startswith("- ")]


def _rule_text(root: Path, rule: str) -> tuple[Path, str] | None:
    for path in sorted((root / "rules").glob("*.smk")):
        found = re.search(rf"^rule {re.escape(rule)}:\n((?:[ \t].*\n|\n)*)", path.read_text(encoding="utf-8"), re.M)
        if found:
            return path, found[1]
    return None


def _rule_file(root: Path, rule: str) -> str:
    found = _rule_text(root, rule)
    return f" in {found[0].relative_to(root)}" if found else ""


def _environment_file(root: Path, rule: str) -> Path | None:
    found = _rule_text(root, rule)
    named = re.search(r'conda:\s*"\.\./(envs/[^"]+)"', found[1]) if found else None
    return root / named[1] if named else None
