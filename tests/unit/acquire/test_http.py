from __future__ import annotations

import logging
from email.utils import formatdate
from time import time

import httpx
import pytest

from pathomix.acquire.http import Client, Patience, RemoteError, _retry_after, json_of, remote_error, shown
from pathomix.acquire.tokens import Token
from pathomix.simulate.archive.faults import ALWAYS, Faults
from pathomix.simulate.archive.server import Seen, serve

from .conftest import NO_TIME, LocalArchive

SECRET = "very-secret-token"


@pytest.fixture
def waits(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits of the client, not waited."""
    asked: list[float] = []
    monkeypatch.setattr(client, "_sleep", asked.append)
    return asked


def test_busy_then_success(archive: LocalArchive, client: Client, waits: list[float]) -> None:
    journal: list[Seen] = []
    with serve(archive.folder, Faults(unavailable=3), journal=journal) as url:
        assert json_of(client.get(f"{url}/status"))["status"] == "OK"
    assert [seen.status for seen in journal] == [503, 503, 503, 200]
    for number, wait in enumerate(waits):
        longest = min(NO_TIME.longest_wait_s, NO_TIME.wait_s * 2**number)
        assert longest / 2 <= wait <= longest


def test_busy_for_ever(archive: LocalArchive, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    journal: list[Seen] = []
    with (
        serve(archive.folder, Faults(unavailable=ALWAYS), journal=journal) as url,
        pytest.raises(RemoteError) as caught,
    ):
        client.get(f"{url}/status?secret=1")
    assert len(journal) == NO_TIME.attempts
    # The words are those of the page's title, without markup.
    assert "/status: 503 Service Unavailable (503 Service Temporarily Unavailable) (after 4 tries)" in str(caught.value)
    assert "secret" not in str(caught.value) + caplog.text
    assert caplog.text.count("trying again") == NO_TIME.attempts - 1


@pytest.mark.parametrize(("said", "low", "high"), [("7", 7, 7), ("date", 0, 1), ("soon", 0, 0.02)])
def test_retry_after(
    archive: LocalArchive, client: Client, waits: list[float], said: str, low: float, high: float
) -> None:
    with serve(archive.folder, Faults(too_many=1, retry_after=said)) as url:
        client.get(f"{url}/status")
    assert len(waits) == 1 and low <= waits[0] <= high


def test_retry_after_as_date() -> None:
    wait = _retry_after(formatdate(time() + 100, usegmt=True))
    assert wait is not None and 90 < wait <= 100
    assert _retry_after(formatdate(time() - 100, usegmt=True)) == 0


def test_wait_that_is_too_long_is_not_begun(archive: LocalArchive, client: Client, waits: list[float]) -> None:
    with (
        serve(archive.folder, Faults(too_many=ALWAYS, retry_after="3600")) as url,
        pytest.raises(RemoteError, match=r"429 .*Too many requests"),
    ):
        client.get(f"{url}/status")
    assert not waits


@pytest.mark.parametrize(("path", "status"), [("/data/unknown", 404), ("/data/x?" + "y" * 9000, 414)])
def test_refusals_are_not_repeated(archive: LocalArchive, client: Client, path: str, status: int) -> None:
    journal: list[Seen] = []
    with serve(archive.folder, journal=journal) as url, pytest.raises(RemoteError) as caught:
        client.get(url + path)
    assert caught.value.status == status and len(journal) == 1
    assert "yyy" not in str(caught.value)


def test_nobody_there(client: Client) -> None:
    with pytest.raises(RemoteError, match=r"GET http://127.0.0.1:9/x: .*after 4 tries.*check the network"):
        client.get("http://127.0.0.1:9/x")


def test_not_json(archive: LocalArchive, client: Client) -> None:
    with serve(archive.folder) as url, pytest.raises(RemoteError, match="is not JSON"):
        json_of(client.get(f"{url}/download/gene_sets%2Fsets.gmt"))


def test_token_goes_to_its_host_only(archive: LocalArchive, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    first: list[Seen] = []
    second: list[Seen] = []
    slide = archive.slides[0]
    with (
        serve(archive.folder, journal=second) as other,
        serve(archive.folder, Faults(only="/data/", redirect_to=other), journal=first) as url,
        Client(Token(SECRET, "$T"), url, NO_TIME) as client,
    ):
        assert client.get(f"{url}/data/{slide['id']}").content == archive.path(slide).read_bytes()
        client.get(f"{other}/status")
        with pytest.raises(RemoteError) as caught:
            client.get(f"{url}/files/nothing")
    assert {seen.token for seen in first} == {SECRET}
    assert len(second) == 2 and {seen.token for seen in second} == {""}
    assert SECRET not in caplog.text + str(caught.value) + repr(caught.value) + repr(vars(caught.value))
    # The address of a redirect is signed: it is a secret as well.
    assert "signature" not in caplog.text


def test_controlled_file_needs_the_token(archive: LocalArchive) -> None:
    address = "/data/00000009-0000-5000-8000-000000000000"
    with serve(archive.folder, tokens=[SECRET]) as url:
        with Client(Token(SECRET, "$T"), url, NO_TIME) as client:
            assert len(client.get(url + address).content) == 300_009
        with Client(Token("expired", "$T"), url, NO_TIME) as client, pytest.raises(RemoteError, match=r"403.*expired"):
            client.get(url + address)


def test_progress_makes_patience_new(client: Client) -> None:
    done = 0

    def once() -> int:
        nonlocal done
        done += 1 << 16
        if done < 20 << 16:
            raise remote_error("cut", "again", again=True)
        return done

    assert client.patiently(once, lambda: done) == 20 << 16
    done = 0
    with pytest.raises(RemoteError, match="after 4 tries"):
        client.patiently(once, lambda: 0)


def test_patience_ends_with_the_time() -> None:
    with Client(patience=Patience(attempts=1000, wait_s=0.2, total_s=0.1)) as client, pytest.raises(RemoteError):
        client.patiently(lambda: (_ for _ in ()).throw(remote_error("cut", "again", again=True)))


def test_stopped_client_does_not_wait() -> None:
    with Client(patience=Patience(wait_s=3600, longest_wait_s=3600, total_s=1e6)) as client:
        client.stopped.set()
        with pytest.raises(RemoteError, match="stopped"):
            client.patiently(lambda: (_ for _ in ()).throw(remote_error("cut", "again", again=True)))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:pass@host.org/a%2Fb?token=x#y", "https://host.org/a%2Fb"),
        ("https://host.org/data", "https://host.org/data"),
    ],
)
def test_shown(url: str, expected: str) -> None:
    assert shown(url) == expected


def test_xml_message_is_read(archive: LocalArchive, client: Client) -> None:
    with serve(archive.folder) as url, pytest.raises(RemoteError, match=r"404 Not Found \(The specified key"):
        client.get(f"{url}/download/nothing.gz")


def test_proxy_is_not_used_for_this_machine(archive: LocalArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with serve(archive.folder) as url, Client(patience=NO_TIME) as client:
        assert client.get(f"{url}/status").status_code == httpx.codes.OK
