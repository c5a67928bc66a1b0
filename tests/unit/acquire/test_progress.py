from __future__ import annotations

import logging

import pytest

from pathomix.acquire.progress import Progress


def test_lines_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Progress(2, 3_000_000_000, every_s=0, terminal=False) as progress:
        progress.add(1_000_000_000)
        progress.finish()
    assert "0 of 2 files, 1.00 of 3.00 GB" in caplog.text and "1 of 2 files" in caplog.text


def test_not_too_many_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Progress(1, None, every_s=3600, terminal=False) as progress:
        for _ in range(100):
            progress.add(1)
    assert not caplog.text and progress.bytes == 100


def test_bar_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3, 1000, terminal=True) as progress:
        progress.add(500)
        progress.finish()
    assert "1 of 3 files" in capsys.readouterr().err
