"""Verified downloads: resumed, checked for size and checksum, complete or not there at all."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from pathomix.acquire.http import Client, remote_error, shown
from pathomix.acquire.part import Part, part_path, require_space
from pathomix.acquire.progress import Progress
from pathomix.acquire.verified import known_digest, note
from pathomix.core.errors import PathomixError

log = logging.getLogger(__name__)

_AGAIN = "start again later; if it stays so, lock or pin the file again"
Check = Callable[[Path], None]


@dataclass(frozen=True)
class Fetched:
    """A file that is there and right.

    Attributes:
        path: The file.
        size: Bytes.
        digest: Its md5 if that was asked for, else its sha256.
    """

    path: Path
    size: int
    digest: str


@dataclass(frozen=True)
class Wanted:
    """One file of a list.

    Attributes:
        name: What the user calls it.
        url: Where it is.
        target: Where it goes.
        size: Bytes, None where not known.
        md5: Hexadecimal; at most one of `md5` and `sha256`.
        sha256: Hexadecimal.
    """

    name: str
    url: str
    target: Path
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None


class WrongContentError(PathomixError):
    """A file was fetched twice and was not the expected one; `size` and `digest` are what came."""

    size: int = 0
    digest: str = ""


class FetchErrors(PathomixError):
    """Some files of a list could not be fetched; `failures` maps each name to its error."""

    def __init__(self, failures: Mapping[str, PathomixError], count: int) -> None:
        self.failures, self.count = dict(sorted(failures.items())), count
        super().__init__(
            f"{len(failures)} of {count} files could not be fetched",
            remedy="mend these and start again: the other files are kept",
        )

    def __str__(self) -> str:
        listed = "".join(f"\n  {name}: {error}" for name, error in self.failures.items())
        return f"{self.fact}:{listed}\n{self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.failures, self.count)


def fetch(
    url: str,
    target: Path,
    *,
    client: Client,
    size: int | None = None,
    md5: str | None = None,
    sha256: str | None = None,
    check: Check | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """Fetch one file, or find it already there.

    Bytes go to ``NAME.part``, which a later call continues. Only a file of the right size and checksum gets its name.
    A file that is there is hashed once; after that its size and modification time stand for its content.

    Args:
        url: Where the file is.
        target: Its final name.
        client: Shared HTTP client.
        size: Bytes, None where not known.
        md5: Hexadecimal; at most one of `md5` and `sha256`.
        sha256: Hexadecimal; with neither the file is accepted as it comes.
        check: Called with the path of the complete bytes before they get their name; raises PathomixError.
        progress: Told how far it is.

    Raises:
        PathomixError: The server refuses, the bytes are wrong twice, the disk is full, or `check` objects.
    """
    algorithm, expected = ("md5", md5) if md5 is not None else ("sha256", sha256)
    wanted = _Expected(url, target, algorithm, size, expected.lower() if expected else None)
    found = _present(wanted)
    if found is not None and expected is None and check is not None:
        check(target)
    if found is None:
        with Part(target, algorithm, progress.add if progress else lambda count: None) as part:
            # Another job may have completed the file while this one waited for the part.
            found = _present(wanted)
            if found is None:
                found = _fetched(part, wanted, client, check)
            else:
                part.discard()
    if progress:
        progress.finish()
    return found


def fetch_all(wanted: Sequence[Wanted], client: Client, parallel: int = 4) -> dict[str, Fetched]:
    """Fetch a list of files, a few side by side; one that fails does not stop the others.

    Raises:
        FetchErrors: After all others were tried: which failed, and why.
    """
    missing = [w for w in wanted if not _probably_there(w)]
    sizes = [w.size for w in missing]
    known = sum(size or 0 for size in sizes)
    if missing:
        begun = sum(part_path(w.target).stat().st_size for w in missing if part_path(w.target).exists())
        require_space(missing[0].target.parent, max(0, known - begun))
    with Progress(len(wanted), None if None in sizes else known) as progress:
        jobs = {
            w.name: partial(
                fetch, w.url, w.target, client=client, size=w.size, md5=w.md5, sha256=w.sha256, progress=progress
            )
            for w in wanted
        }
        return side_by_side(jobs, client, parallel)


def side_by_side(jobs: Mapping[str, Callable[[], Fetched]], client: Client, parallel: int) -> dict[str, Fetched]:
    """Run named downloads a few at a time; one that fails does not stop the others.

    Raises:
        FetchErrors: After all others were tried: which failed, and why.
    """
    results: dict[str, Fetched] = {}
    failures: dict[str, PathomixError] = {}
    with ThreadPoolExecutor(parallel) as pool:
        names = {pool.submit(job): name for name, job in jobs.items()}
        try:
            for done in as_completed(names):
                try:
                    results[names[done]] = done.result()
                except PathomixError as error:
                    log.error("%s: %s", names[done], error)
                    failures[names[done]] = error
        except BaseException:
            client.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failures:
        raise FetchErrors(failures, len(jobs))
    return {name: results[name] for name in jobs}


@dataclass(frozen=True)
class _Expected:
    url: str
    target: Path
    algorithm: str
    size: int | None
    digest: str | None


def _probably_there(wanted: Wanted) -> bool:
    """For the plan of disk and progress: cheap, so by name and size only."""
    return wanted.target.is_file() and wanted.size in (None, wanted.target.stat().st_size)


def _present(wanted: _Expected) -> Fetched | None:
    """The file if it is there and right; a wrong one is left to be replaced."""
    target = wanted.target
    if not target.is_file():
        return None
    size = target.stat().st_size
    if wanted.size not in (None, size):
        log.warning("%s: has %d bytes instead of %d; fetching it again", target, size, wanted.size)
        return None
    digest = known_digest(target, wanted.algorithm)
    if wanted.digest not in (None, digest):
        log.warning("%s: has another %s than expected; fetching it again", target, wanted.algorithm)
        return None
    return Fetched(target, size, digest)


def _fetched(part: Part, wanted: _Expected, client: Client, check: Check | None) -> Fetched:
    """Complete the part, verify it (a wrong one is fetched once more, from nothing), name it."""
    for last in (False, True):
        client.patiently(lambda: _grow(part, wanted, client), lambda: part.size)
        problem = _problem(part, wanted)
        if problem is None:
            break
        if last:
            error = WrongContentError(f"{wanted.target}: {problem}, twice ({shown(wanted.url)})", remedy=_AGAIN)
            error.size, error.digest = part.size, part.hexdigest
            part.discard()
            raise error
        log.warning("%s: %s; fetching it once more", wanted.target, problem)
        part.restart()
    if check is not None:
        try:
            check(part.path)
        except PathomixError:
            part.discard()
            raise
    part.publish()
    note(wanted.target, wanted.algorithm, part.hexdigest)
    return Fetched(wanted.target, part.size, part.hexdigest)


def _problem(part: Part, wanted: _Expected) -> str | None:
    if wanted.size not in (None, part.size):
        return f"expected {wanted.size} bytes, got {part.size}"
    if wanted.digest not in (None, part.hexdigest):
        return f"expected {wanted.algorithm} {wanted.digest}, got {part.hexdigest}"
    return None


def _grow(part: Part, wanted: _Expected, client: Client) -> None:
    """One request that adds what is missing."""
    if wanted.size is not None and part.size >= wanted.size:
        if part.size == wanted.size:
            return
        part.restart()
    # Without a checksum nothing would notice a part whose file has changed since, so the server is asked to.
    if part.size and wanted.digest is None and not part.validator:
        part.restart()
    headers = {"Accept-Encoding": "identity"}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if wanted.digest is None:
            headers["If-Range"] = part.validator
    with client.open("GET", wanted.url, headers=headers, accepted=(200, 206, 416)) as response:
        if response.status_code == 416:
            _complete_or_restart(part, wanted, response)
            return
        total: int | None
        if response.status_code == 206:
            total = _continued(part, wanted, response)
        else:
            part.begin(_validator(response))
            length = response.headers.get("Content-Length")
            total = int(length) if length else None
        _receive(part, wanted, response, total, client)


def _receive(part: Part, wanted: _Expected, response: httpx.Response, total: int | None, client: Client) -> None:
    if total is not None and wanted.size not in (None, total):
        raise remote_error(
            f"{wanted.target}: expected {wanted.size} bytes, the server offers {total} ({shown(wanted.url)})",
            _AGAIN,
            again=True,
        )
    if total is not None:
        require_space(part.path.parent, total - part.size)
    for chunk in response.iter_raw():
        if client.stopped.is_set():
            raise remote_error("stopped", "start again: nothing is lost")
        part.append(chunk, total)
    if total is not None and part.size != total:
        if part.size > total:
            part.restart()
        raise remote_error(f"{shown(wanted.url)}: ended at {part.size} of {total} bytes", _AGAIN, again=True)


def _continued(part: Part, wanted: _Expected, response: httpx.Response) -> int:
    """Total size named by a 206 that begins where the part ends; any other one is not trusted."""
    text = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", text.strip())
    if match is None or int(match[1]) != part.size or wanted.size not in (None, int(match[3])):
        at = part.size
        part.restart()
        raise remote_error(
            f"{shown(wanted.url)}: asked for bytes from {at}, the answer says {text or 'nothing'!r}", _AGAIN, again=True
        )
    return int(match[3])


def _complete_or_restart(part: Part, wanted: _Expected, response: httpx.Response) -> None:
    """416: nothing is missing, if the total the server names is what is there."""
    match = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != part.size:
        at = part.size
        part.restart()
        raise remote_error(f"{shown(wanted.url)}: has no bytes from {at}", _AGAIN, again=True)


def _validator(response: httpx.Response) -> str:
    """A strong ETag, else the date."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
