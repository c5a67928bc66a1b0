"""Embedding jobs that are killed, starved or doubled: feature files are those of an undisturbed job, to the byte."""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest

from pathomix.slides.engine.partial import Layout, PartialFile

BLOCK = 64
# Imports once, then forks a job per request: a fresh interpreter would spend seconds on torch for each.
SERVER = """
import json, os, pickle, resource, signal, sys, time
import timm, torch
import pathomix.slides.encoders.families.any_timm
torch.set_num_threads(1)
from pathomix.core.errors import PathomixError
from pathomix.slides import embed
from pathomix.slides.engine.device import Runner

with open(sys.argv[1], "rb") as stream:
    arguments = pickle.load(stream)
log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
submit = Runner.submit

def counted(self, count, receive):
    os.write(log, f"{self.encoder.name} {count}\\n".encode())
    submit(self, count, receive)

Runner.submit = counted

def start(limit):
    pid = os.fork()
    if pid:
        return pid
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        embed.embed_shard(**arguments)
    except PathomixError as error:
        sys.stderr.write(f"{type(error).__name__} {error}\\n")
        os._exit(1)
    except BaseException as error:
        sys.stderr.write(f"{error!r}\\n")
        os._exit(2)
    os._exit(0)

for line in sys.stdin:
    request = json.loads(line)
    begin = time.perf_counter()
    pids = [start(request.get("limit")) for _ in range(request.get("jobs", 1))]
    if "kill" in request:
        time.sleep(request["kill"])
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    print(json.dumps({"codes": codes, "seconds": time.perf_counter() - begin}), flush=True)
"""


class Server:
    """Jobs on one slide with two encoders of different tilings."""

    def __init__(self, shop, folder: Path) -> None:
        self.shop, self.counts, self.errors = shop, folder / "counts", folder / "errors"
        self.encoders = {"tiny": shop.entry(32, 0.5, input_size=32), "large": shop.entry(64, 0.5)}
        shop.cut({"a": "coarse.tiff"}, (32, 0.5), (64, 0.5))
        arguments = shop.arguments(self.encoders, workers=0, batch_size=16, block=BLOCK)
        (folder / "arguments").write_bytes(pickle.dumps(arguments))
        command = [sys.executable, "-c", SERVER, str(folder / "arguments"), str(self.counts)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors.open("w"), text=True
        )

    def ask(self, **request):
        """Run a job to its end: exit codes and seconds."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def content(self):
        """Bytes of both feature files."""
        return {name: self.shop.path("a", name).read_bytes() for name in self.encoders}

    def forget(self):
        """Remove all features and what was counted."""
        for path in (self.shop.results / "features").rglob("*.*"):
            path.unlink()
        self.counts.write_text("")

    def encoded(self):
        """Tiles that were put through each encoder since the last `forget`."""
        total = dict.fromkeys(self.encoders, 0)
        for line in self.counts.read_text().splitlines():
            name, count = line.split()
            total[name] += int(count)
        return total


@pytest.fixture
def server(shop, tmp_path):
    server = Server(shop, tmp_path)
    yield server
    server.process.stdin.close()
    server.process.wait()


def kill_often(server, kills, seed):
    """Kill jobs at random moments; each round ends with the files of the undisturbed job."""
    assert server.ask()["codes"] == [0]
    whole, tiles = server.content(), server.encoded()
    assert tiles == {"tiny": 1024, "large": 256}
    server.forget()
    seconds = server.ask()["seconds"]
    draw = random.Random(seed)
    server.forget()
    killed = resumed = since = 0
    while killed < kills:
        code = server.ask(kill=draw.uniform(0.1, 0.9) * seconds)["codes"][0]
        killed += code == -9
        since += code == -9
        resumed += any(server.shop.results.rglob("*.partial"))
        assert code in (-9, 0)
        if code == 0:
            assert_like(server, whole, tiles, since)
            since = 0
    assert server.ask()["codes"] == [0]
    assert_like(server, whole, tiles, since)
    assert resumed


def assert_like(server, whole, tiles, kills):
    assert server.content() == whole
    assert server.shop.leftovers() == []
    for name, count in server.encoded().items():
        assert tiles[name] <= count <= tiles[name] + kills * BLOCK
    server.forget()


def test_killed_jobs_go_on_inside_the_slide(server):
    kill_often(server, 5, seed=0)


@pytest.mark.slow
def test_jobs_killed_at_twenty_moments(server):
    kill_often(server, 20, seed=1)


def test_two_jobs_on_the_same_slide_both_end_right(server):
    assert server.ask()["codes"] == [0]
    whole = server.content()
    server.forget()
    assert server.ask(jobs=2)["codes"] == [0, 0]
    assert server.content() == whole and server.shop.leftovers() == []
    server.forget()
    assert server.ask(jobs=2, kill=0.3)["codes"] == [-9, -9]
    assert server.ask(jobs=3)["codes"] == [0, 0, 0]
    assert server.content() == whole and server.shop.leftovers() == []


def test_a_full_disk_names_the_file_and_leaves_no_half(server):
    assert server.ask()["codes"] == [0]
    whole = server.content()
    layout = layout_of(server)
    partial = layout.offset(layout.blocks - 1) + 32 + layout.size(layout.blocks - 1)
    for limit, name in ((partial // 2, ".partial"), ((partial + len(whole["tiny"])) // 2, "tiny/a.h5")):
        server.forget()
        index = server.shop.index.read_bytes()
        assert server.ask(limit=limit)["codes"] == [1]
        said = server.errors.read_text().splitlines()[-1]
        assert said.startswith("JobError ") and f"{name}: cannot be written" in said and "free space there" in said
        assert not server.shop.path("a", "tiny").exists() and server.shop.index.read_bytes() == index
        before = server.encoded()["tiny"]
        assert server.ask()["codes"] == [0]
        assert server.content() == whole
        assert server.encoded()["tiny"] <= 1024 + BLOCK and before > 256
        assert list(server.shop.results.rglob("*.partial")) == []


def layout_of(server):
    import h5py

    with h5py.File(server.shop.path("a", "tiny")) as file:
        return Layout(file["features"].attrs["key"], len(file["features"]), file["features"].shape[1], BLOCK, 16)


def test_a_partial_file_of_the_job_is_resumed_with_its_bad_tiles(shop):
    """A job killed behind the bad tiles must count them when it goes on."""
    shop.cut({"bad": "damaged.tiff"}, (64, 0.5))
    seen = []
    original = PartialFile.append

    class Stop(Exception):
        pass

    def stop(self, features, good):
        original(self, features, good)
        seen.append(self.bad)
        if self.blocks == 3:
            raise Stop

    encoders = {"tiny": shop.entry(64, 0.5)}
    engine = {"workers": 0, "batch_size": 16, "block": 64}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PartialFile, "append", stop)
        with pytest.raises(Stop):
            shop.embed(encoders, **engine, max_bad_share=0.1)
    assert seen[-1] == 16
    index = shop.embed(encoders, **engine, max_bad_share=16 / 256 - 1e-6).droplevel(0)
    assert "16 or more of its 256 tiles" in index.loc["bad", "reason"]
    assert shop.leftovers() == []
