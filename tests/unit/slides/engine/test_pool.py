"""Decode processes: order, and a process that dies is named, replaced, and never waited for."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from pathomix.slides.engine import decode, plan, pool
from pathomix.slides.engine.parameters import JobError
from pathomix.slides.reader import open_slide


class Stream:
    """Reads of the zoo through decode processes that misbehave at chosen places."""

    def __init__(self, zoo, scale):
        self.zoo, self.scale = zoo, scale

    def items(self, names):
        for number, name in enumerate(names):
            part = plan.Part("t", 64, 1.0, 0, np.array([[0, 128 * number]]))
            yield number, decode.Read(self.zoo / name, self.scale, (part,))
            yield -1, None


def run_stream(zoo, names, body, monkeypatch, workers=2):
    with open_slide(zoo / "coarse.tiff") as slide:
        stream = Stream(zoo, slide.scale)
    monkeypatch.setattr(pool, "decode_process", body)
    processes = pool.Processes(workers, 3, plan.slot_bytes([64]))
    try:
        result = [(d.tag, d.reply, [p.copy() for p in d.pixels]) for d in processes.stream(stream.items(names))]
    finally:
        processes.close()
    assert [tag for tag, _, _ in result] == [t for number in range(len(names)) for t in (number, -1)]
    return {tag: (reply, pixels) for tag, reply, pixels in result if tag >= 0}


def dies_on_fine(connection, memory, slot_bytes):
    original = decode.Decoder.decode

    def deadly(self, read, buffer):
        if read.path.name == "fine.tiff":
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, read, buffer)

    decode.Decoder.decode = deadly
    decode.decode_process(connection, memory, slot_bytes)


def dies_once(connection, memory, slot_bytes):
    original = decode.Decoder.decode

    def deadly(self, read, buffer):
        mark = read.path.with_name("died")
        if read.path.name == "fine.tiff" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        return original(self, read, buffer)

    decode.Decoder.decode = deadly
    decode.decode_process(connection, memory, slot_bytes)


def dies_at_once(connection, memory, slot_bytes):
    os._exit(3)


def is_broken(connection, memory, slot_bytes):
    decode.Decoder.decode = lambda *_: 1 / 0
    decode.decode_process(connection, memory, slot_bytes)


def test_a_dead_decode_process_is_named_and_replaced(zoo, monkeypatch, caplog):
    names = ["coarse.tiff", "fine.tiff", *["coarse.tiff"] * 5]
    result = run_stream(zoo, names, dies_on_fine, monkeypatch)
    assert "fine.tiff: the decode process ended 2 times (code -9) while reading at (0, 128)" in str(result[1][0].error)
    assert all(result[k][0].error is None and result[k][0].good[0].all() for k in (0, 2, 3, 4, 5, 6))
    assert not np.array_equal(result[2][1][0], result[3][1][0])
    assert "reading again" in caplog.text


def test_a_process_that_died_by_chance_costs_nothing(zoo, tmp_path, monkeypatch):
    for name in ("coarse.tiff", "fine.tiff"):
        (tmp_path / name).write_bytes((zoo / name).read_bytes())
    result = run_stream(tmp_path, ["coarse.tiff", "fine.tiff", "coarse.tiff"], dies_once, monkeypatch, workers=1)
    assert (tmp_path / "died").exists() and all(reply.error is None for reply, _ in result.values())


def test_processes_that_cannot_start_or_are_broken_end_the_job(zoo, monkeypatch):
    with pytest.raises(JobError, match=r"ended with code 3 before its first read; set embedding\.workers to 0"):
        run_stream(zoo, ["coarse.tiff"], dies_at_once, monkeypatch)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run_stream(zoo, ["coarse.tiff"], is_broken, monkeypatch)
