"""Partial files: whatever a killed job leaves is a valid beginning, and nobody else's file is touched."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from pathomix.slides.engine import partial
from pathomix.slides.engine.parameters import JobError
from pathomix.slides.engine.partial import Layout, PartialFile

KEY = "0123456789abcdef" * 2
LAYOUT = Layout(KEY, tiles=25, dim=3, block=10, batch=5)


def block(number, seed=0):
    rng = np.random.default_rng([seed, number])
    count = LAYOUT.count(number)
    return rng.normal(size=(count, 3)).astype(np.float16), rng.random(count) < 0.8


@pytest.fixture
def target(tmp_path):
    return tmp_path / "features" / "slide.1.h5"


def written(target, blocks=3):
    file = PartialFile(target, LAYOUT)
    for number in range(file.blocks, blocks):
        file.append(*block(number))
    return file


def test_what_was_written_is_read_in_the_wanted_order(target):
    file = written(target)
    order = np.random.default_rng(1).permutation(25)
    features, good = file.read(order)
    expected = [np.concatenate(parts) for parts in zip(*(block(k) for k in range(3)), strict=True)]
    np.testing.assert_array_equal(features[order], expected[0])
    np.testing.assert_array_equal(good[order], expected[1])
    assert file.complete and file.tiles == 25 and file.bad == (~expected[1]).sum()
    file.discard()
    assert list(target.parent.iterdir()) == []


def test_every_truncation_is_a_valid_beginning(target):
    file = written(target)
    content = file.path.read_bytes()
    file.close()
    for length in range(0, len(content) + 1):
        file.path.write_bytes(content[:length])
        again = PartialFile(target, LAYOUT)
        whole = sum(length >= end for end in (LAYOUT.offset(1), LAYOUT.offset(2), len(content)))
        assert again.blocks == whole and again.bad == sum((~block(k)[1]).sum() for k in range(whole))
        again.close()
        if length % 17 == 0:
            again = written(target)
            assert again.path.read_bytes() == content
            again.close()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_changed_byte_costs_its_block_and_those_behind(target, number):
    file = written(target)
    content = bytearray(file.path.read_bytes())
    file.close()
    content[LAYOUT.offset(number) + 40] ^= 1
    file.path.write_bytes(bytes(content))
    again = PartialFile(target, LAYOUT)
    assert again.blocks == number
    again.close()


@pytest.mark.parametrize("change", [{"batch": 2}, {"block": 5}, {"dim": 4}, {"tiles": 30}])
def test_a_file_of_another_layout_is_started_again(target, change):
    written(target, 2).close()
    again = PartialFile(target, Layout(**{**vars(LAYOUT), **change}))
    assert again.blocks == 0 and again.bad == 0
    again.close()


def test_what_other_weights_left_is_swept_but_not_other_slides(target):
    written(target, 1).close()
    other = target.with_name("slide.h5")
    neighbour = PartialFile(other, LAYOUT)
    neighbour.append(*block(0))
    neighbour.close()
    new = PartialFile(other, Layout(**{**vars(LAYOUT), "key": KEY[::-1]}))
    left = sorted(path.name for path in target.parent.iterdir())
    assert left == [f".slide.1.{KEY}.partial", f".slide.{KEY[::-1]}.partial"]
    new.close()


def test_a_second_writer_gets_a_file_of_its_own(target):
    first = written(target, 1)
    second = PartialFile(target, LAYOUT)
    assert second.blocks == 0
    for number in range(3):
        second.append(*block(number, seed=5))
    first.append(*block(1))
    assert second.complete and not first.complete
    second.discard()
    first.close()
    assert PartialFile(target, LAYOUT).blocks == 2


def test_a_file_that_is_in_use_is_not_swept(target):
    first = written(target, 1)
    PartialFile(target, Layout(**{**vars(LAYOUT), "key": KEY[::-1]})).discard()
    assert first.path.exists()
    first.close()


def test_without_locks_a_file_of_its_own_is_written(target, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(partial.fcntl, "flock", refuse)
    file = written(target)
    assert file.complete and len(file.read(np.arange(25))[0]) == 25
    file.discard()


def test_a_full_disk_is_said_with_the_file_and_costs_no_finished_block(target, monkeypatch):
    file = written(target, 1)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(partial.os, "fsync", full)
        with pytest.raises(JobError, match=rf"{KEY}\.partial: cannot be written .*No space left.*; free space"):
            file.append(*block(1, seed=9))
    file.close()
    again = written(target)
    features, _ = again.read(np.arange(25))
    assert again.complete and np.isfinite(features).all()
    again.close()


def test_a_block_of_the_wrong_size_is_a_fault_of_the_program(target):
    file = PartialFile(target, LAYOUT)
    with pytest.raises(ValueError, match="a block of 70 bytes was given as 63"):
        file.append(*(part[:9] for part in block(0)))
    file.close()
