"""The device: settled numerics, the batch found by doubling, and batches answered in order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pathomix.core.errors import PathomixError
from pathomix.slides.engine.device import Numerics, Runner, largest_batch, prepare
from pathomix.slides.engine.parameters import EngineParameters, JobError


class Fake:
    """Mean of each tile's channels; out of memory above `limit` tiles."""

    name, dim, tile_size = "fake", 3, 8

    def __init__(self, limit=10**9):
        self.limit, self.sizes, self.moved = limit, [], None

    def to(self, device, precision, compile=False):
        self.moved = device, precision, compile
        return self

    def encode(self, tiles):
        self.sizes.append(len(tiles))
        if len(tiles) > self.limit:
            raise torch.OutOfMemoryError("out")
        return tiles.float().mean(dim=(1, 2))


@pytest.mark.parametrize(("limit", "found"), [(16, 16), (100, 64), (10**9, 512)])
def test_the_batch_is_the_largest_that_fits(limit, found):
    assert largest_batch(Fake(limit), "cpu") == found


def test_an_encoder_that_does_not_fit_at_all():
    with pytest.raises(JobError, match="encoder fake: 16 tiles do not fit"):
        largest_batch(Fake(15), "cpu")
    runner = Runner(Fake(15), "cpu", 16)
    with pytest.raises(JobError, match="a batch of 16 tiles does not fit"):
        runner.submit(16, lambda _: None)


@pytest.mark.parametrize("fixed", [False, True])
def test_batches_are_answered_in_order(fixed):
    fake, answers = Fake(), []
    runner = Runner(fake, "cpu", 4, fixed)
    for number, count in enumerate((4, 4, 2)):
        runner.stage[:count] = np.arange(count)[:, None, None, None] + 10 * number
        runner.submit(count, answers.append)
    runner.drain()
    assert [part[:, 0].tolist() for part in answers] == [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21]]
    assert fake.sizes == ([4, 4, 4] if fixed else [4, 4, 2]) and runner.tiles == 10 and runner.busy > 0
    assert answers[0].dtype == np.float16


def test_numerics():
    if not torch.cuda.is_available():
        assert Numerics.of(EngineParameters()) == Numerics("cpu", "fp32", False)
        with pytest.raises(PathomixError, match="torch sees no GPU"):
            Numerics.of(EngineParameters(device="cuda"))
    fake = Fake()
    runner = prepare(fake, Numerics.of(EngineParameters(device="cpu", precision="bf16", compile=True)), "auto")
    assert fake.moved == ("cpu", "bf16", True) and runner.batch == 32
    assert prepare(fake, Numerics("cpu", "fp32", False), 7).batch == 7


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same_answers():
    answers = {}
    for device in ("cpu", "cuda"):
        runner, kept = Runner(Fake(), device, 64), []
        for number in range(20):
            runner.stage[:] = np.random.default_rng(number).integers(0, 255, runner.stage.shape)
            runner.submit(64, kept.append)
        runner.drain()
        answers[device] = np.concatenate(kept)
    np.testing.assert_allclose(answers["cpu"], answers["cuda"], rtol=2e-3)
