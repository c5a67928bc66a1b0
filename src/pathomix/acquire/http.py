"""HTTP with patience: retries with jitter, `Retry-After`, readable refusals, a token for one host only."""

from __future__ import annotations

import html
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, TypeVar

import httpx
import tenacity

from pathomix import __version__
from pathomix.acquire.tokens import Token
from pathomix.core.errors import PathomixError

log = logging.getLogger(__name__)

# Worth another try: timeouts, limits, and servers that are down or overloaded.
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_PROGRESS = 1 << 16
_SHOWN = 300
_REMEDIES = {
    401: "give a valid token",
    403: "give a token that allows this file, or leave it out",
    404: "check the name: the archive does not have it (any more)",
    429: "try again later, with fewer downloads side by side",
}
Answer = TypeVar("Answer")


class RemoteError(PathomixError):
    """A server refused or a connection failed.

    Attributes:
        status: HTTP status, None where there was no answer.
        again: Whether another try may help.
        wait_s: What the server asks to wait, None where it does not.
    """

    status: int | None = None
    again: bool = False
    wait_s: float | None = None


def remote_error(
    fact: str, remedy: str, *, status: int | None = None, again: bool = False, wait_s: float | None = None
) -> RemoteError:
    """A RemoteError with its attributes set."""
    error = RemoteError(fact, remedy=remedy)
    error.status, error.again, error.wait_s = status, again, wait_s
    return error


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Attributes:
        attempts: Tries in a row that bring nothing.
        wait_s: First wait; it doubles with every try.
        longest_wait_s: Upper bound of a wait that the server did not ask for.
        total_s: Time in a row that brings nothing.
        connect_s: Limit of connecting.
        read_s: Limit of silence while reading.
    """

    attempts: int = 6
    wait_s: float = 0.5
    longest_wait_s: float = 60.0
    total_s: float = 900.0
    connect_s: float = 20.0
    read_s: float = 60.0


class Client:
    """HTTP client that is used by several threads.

    Args:
        token: Sent as ``X-Auth-Token`` to the origin of `token_url`, to no other, also not after a redirect.
        token_url: Any address of the archive the token belongs to.
        patience: How long to try.
        remedies: HTTP status to what the user should do about a refusal of that archive.
    """

    def __init__(
        self,
        token: Token | None = None,
        token_url: str | None = None,
        patience: Patience | None = None,
        remedies: Mapping[int, str] | None = None,
    ) -> None:
        # Both libraries log whole addresses, and a signed address is a secret.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.patience = patience or Patience()
        self._remedies = dict(remedies or {})
        self.stopped = threading.Event()
        self._token = token
        self._origin = _origin(httpx.URL(token_url)) if token_url else None
        loopback = httpx.HTTPTransport()
        self._http = httpx.Client(
            follow_redirects=True,
            timeout=httpx.Timeout(self.patience.read_s, connect=self.patience.connect_s),
            headers={"User-Agent": f"pathomix/{__version__}"},
            event_hooks={"request": [self._authorise]},
            mounts={"all://127.0.0.1": loopback, "all://localhost": loopback},
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, url: str) -> httpx.Response:
        """The whole answer to a GET, tried with patience.

        Raises:
            RemoteError: It was refused, or all tries failed.
        """
        return self._whole("GET", url)

    def head(self, url: str) -> httpx.Response:
        """The headers of an address."""
        return self._whole("HEAD", url)

    def post(self, url: str, content: Any) -> httpx.Response:
        """The whole answer to a POST of JSON (a search: it changes nothing, so it may be repeated)."""
        return self._whole("POST", url, json=content)

    def _whole(self, method: str, url: str, json: Any = None) -> httpx.Response:
        def once() -> httpx.Response:
            with self.open(method, url, json=json) as response:
                response.read()
                return response

        return self.patiently(once)

    @contextmanager
    def open(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        accepted: Collection[int] = (200,),
    ) -> Iterator[httpx.Response]:
        """One try: the response with its body unread.

        Raises:
            RemoteError: Another status than `accepted`, or the connection failed, also while the body was read.
        """
        what = f"{method} {shown(url)}"
        try:
            with self._http.stream(method, url, json=json, headers=dict(headers or {})) as response:
                if response.status_code not in accepted:
                    raise self._refusal(what, response)
                yield response
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            final = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.TooManyRedirects, httpx.InvalidURL)
            cause = str(error) or type(error).__name__
            raise remote_error(
                f"{what}: {cause}",
                "check the network, and the proxy if there is one ($HTTPS_PROXY), and start again: nothing is lost",
                again=not isinstance(error, final),
            ) from None

    def patiently(self, once: Callable[[], Answer], progress: Callable[[], int] = lambda: 0) -> Answer:
        """Call `once` until it works.

        Args:
            once: Raises RemoteError with `again` where another try may help.
            progress: Bytes there so far; tries that add to them do not count as failed.

        Raises:
            RemoteError: Of the last try.
        """
        tries = _Tries(self.patience, progress)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, RemoteError) and e.again),
            stop=tries.stop,
            wait=tries.wait,
            sleep=self._sleep,
            before_sleep=_log_retry,
            reraise=True,
        )
        try:
            return retrying(once)
        except RemoteError as error:
            count = retrying.statistics.get("attempt_number", 1)
            if error.again and count > 1:
                error.fact += f" (after {count} tries)"
            raise

    def _sleep(self, seconds: float) -> None:
        if self.stopped.wait(seconds):
            raise remote_error("stopped", "start again: nothing is lost")

    def _authorise(self, request: httpx.Request) -> None:
        """Called for every request, also those that follow a redirect."""
        request.headers.pop("X-Auth-Token", None)
        if self._token is not None and _origin(request.url) == self._origin:
            request.headers["X-Auth-Token"] = self._token.secret

    def _refusal(self, what: str, response: httpx.Response) -> RemoteError:
        status = response.status_code
        response.read()
        said = _said(response)
        again = status in _TRANSIENT
        known = {**_REMEDIES, **(self._remedies if _origin(response.url) == self._origin else {})}
        remedy = known.get(status, "start again later: nothing is lost" if again else "correct the request")
        return remote_error(
            f"{what}: {status} {response.reason_phrase}" + (f" ({said})" if said else ""),
            remedy,
            status=status,
            again=again,
            wait_s=_retry_after(response.headers.get("Retry-After")),
        )


class _Tries:
    """Counts the tries, and the time, since something was gained."""

    def __init__(self, patience: Patience, progress: Callable[[], int]) -> None:
        self._patience, self._progress = patience, progress
        self._mark, self._since = progress(), time.monotonic()
        self._before = self._seen = 0

    def _count(self, state: tenacity.RetryCallState) -> int:
        if state.attempt_number != self._seen:
            self._seen = state.attempt_number
            if self._progress() >= self._mark + _PROGRESS:
                self._mark, self._since = self._progress(), time.monotonic()
                self._before = state.attempt_number - 1
        return state.attempt_number - self._before

    def wait(self, state: tenacity.RetryCallState) -> float:
        """Doubling, with jitter so that many jobs do not come back together; at least what the server asks for."""
        patience = self._patience
        longest = min(patience.longest_wait_s, patience.wait_s * 2.0 ** min(self._count(state) - 1, 30))
        return max(random.uniform(0.5, 1.0) * longest, _asked(state) or 0.0)

    def stop(self, state: tenacity.RetryCallState) -> bool:
        """Too many tries, or the next wait would end after the time allowed."""
        ends = time.monotonic() - self._since + state.upcoming_sleep
        return self._count(state) >= self._patience.attempts or ends > self._patience.total_s


def _asked(state: tenacity.RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome else None
    return error.wait_s if isinstance(error, RemoteError) else None


def _log_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    fact = error.fact if isinstance(error, PathomixError) else error
    log.warning("%s; trying again in %.1f s", fact, state.upcoming_sleep)


def shown(url: str) -> str:
    """An address without what may be secret: user, password and query."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return url.partition("?")[0]
    return str(parsed.copy_with(userinfo=b"", query=None, fragment=None))


def json_of(response: httpx.Response) -> Any:
    """The JSON of an answer.

    Raises:
        RemoteError: It is something else (the page of a proxy, for instance).
    """
    try:
        return response.json()
    except ValueError:
        raise remote_error(
            f"{shown(str(response.url))}: the answer is not JSON ({_said(response)})",
            "check the address, and the proxy if there is one",
            status=response.status_code,
        ) from None


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _said(response: httpx.Response) -> str:
    """The server's own words: the message of JSON or XML, else the text without markup, shortened."""
    text = response.text
    try:
        content = response.json()
        found = next((content[k] for k in ("message", "Message", "error", "detail") if k in content), None)
        text = str(found) if found else text
    except (ValueError, TypeError):
        named = re.search(r"<(Message|title)>(.*?)</\1>", text, re.IGNORECASE | re.DOTALL)
        text = html.unescape(named[2] if named else re.sub(r"<[^>]*>", " ", text))
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _retry_after(value: str | None) -> float | None:
    """Seconds of a `Retry-After` header, given as seconds or as an HTTP date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
