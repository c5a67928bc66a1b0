"""workflow_scripts/embed_tiles.py as a command."""

from __future__ import annotations

import subprocess
import time

import psutil


def test_the_command_leaves_no_process_behind_when_killed(shop):
    shop.cut({"a": "fine.tiff", "b": "fine_one_level.tiff"}, (32, 0.25))
    job = subprocess.Popen(shop.command(workers=2, batch_size=1, block=1), stderr=subprocess.PIPE)
    children = []
    while not any(shop.results.rglob("*.partial")) or len(children) < 2:
        assert job.poll() is None, job.stderr.read().decode()
        children = psutil.Process(job.pid).children()
        time.sleep(0.05)
    job.kill()
    job.wait()
    job.stderr.close()
    gone, alive = psutil.wait_procs(children, timeout=20)
    assert len(gone) >= 2 and not alive


def test_the_command_writes_index_and_features(shop):
    shop.cut({"a": "coarse.tiff"}, (64, 1.0))
    done = subprocess.run(shop.command(workers=1), capture_output=True, text=True, check=True)
    assert shop.read_index()["status"].tolist() == ["done"] and len(shop.features("a")[0]) == 64
    assert "limit=" in done.stderr
    failed = subprocess.run(shop.command(workers="some"), capture_output=True, text=True)
    assert failed.returncode == 1 and "error: embedding: workers is auto" in failed.stderr
