"""Forward and backward pass of dilated attention (16 heads x 48, stock segments) against naive exact branches.

The naive form does each branch with plain matrix products and keeps its softmax for the backward pass. Every
measurement is a process of its own, so that peak memory is its own too.

Usage: python -m benchmarks.dilated_attention [--tokens 1000 4000 10000 25000] [--device cpu] [--memory 12]
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from pathomix.nn.dilated_attention import branch_lse, branches, dilated_attention, usable_kernels
from pathomix.nn.longnet import STOCK_RATIOS, stock_segments

HEADS, WIDTH = 16, 48
SEGMENTS = stock_segments()


def naive(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Exact branches that materialise their softmax."""
    plan = branches(q.shape[1], SEGMENTS, STOCK_RATIOS)
    outs, sums = [], []
    for branch in plan:
        a, b, c = branch.split(q), branch.split(k), branch.split(v)
        logits = (a @ b.transpose(2, 3)) / math.sqrt(WIDTH)
        outs.append(branch.join(logits.softmax(dim=3) @ c))
        sums.append(branch_lse(branch, logits.detach().logsumexp(dim=3)))
    weights = torch.stack(sums).softmax(dim=0).unsqueeze(-1)
    return (weights * torch.stack(outs)).sum(dim=0).flatten(2)


def naive_bytes(tokens: int, item: int) -> int:
    """Bytes of the softmax matrices alone: logits, their softmax, and one gradient."""
    cells = sum(branch.segments * branch.slots**2 for branch in branches(tokens, SEGMENTS, STOCK_RATIOS))
    return 3 * cells * HEADS * item


def measure(form: str, tokens: int, device: str, repeats: int) -> dict[str, float]:
    """Seconds and CPU seconds of the fastest of `repeats` passes, and bytes above what was there before."""
    where = torch.device(device)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    generator = torch.Generator().manual_seed(0)
    q, k, v, grad = (torch.randn(1, tokens, HEADS, WIDTH, generator=generator).to(where, dtype) for _ in range(4))
    inputs = [x.requires_grad_() for x in (q, k, v)]
    mix: Callable[..., Tensor] = naive
    if form != "naive":

        def mix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return dilated_attention(q, k, v, SEGMENTS, STOCK_RATIOS, kernel=form)

        mix(*(x[:, :64] for x in inputs))  # the kernel's self-test is done once per process
    on_gpu = where.type == "cuda"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    seconds, cpu = [], []
    for _ in range(repeats):
        start, busy = time.perf_counter(), time.process_time()
        torch.autograd.grad(mix(*inputs), inputs, grad.flatten(2))
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": min(seconds), "cpu": min(cpu), "bytes": float(peak - before)}


def in_a_process(form: str, tokens: int, device: str, repeats: int) -> dict[str, float]:
    """`measure` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.dilated_attention", "--one", form, "--tokens", str(tokens)]
    command += ["--device", device, "--repeats", str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise SystemExit(f"{form} at {tokens} tokens: {last[0]}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    """Print one line per number of tokens and form, with ratios against the naive form."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tokens", type=int, nargs="+", default=[1000, 4000, 10000, 25000])
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--memory", type=float, default=8.0, help="GB above which the naive form is left out")
    options.add_argument("--repeats", type=int, default=3, help="passes per measurement; the fastest counts")
    options.add_argument("--one", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given.tokens[0], given.device, given.repeats)))
        return
    dtype, item = (torch.float32, 4) if given.device == "cpu" else (torch.bfloat16, 2)
    kernels = usable_kernels(torch.zeros(1, WIDTH, dtype=dtype, device=given.device))
    print(f"{HEADS} heads x {WIDTH}, {dtype}, {given.device}, {torch.get_num_threads()} threads; forward + backward")
    for tokens in given.tokens:
        base = None
        if naive_bytes(tokens, item) >= given.memory * 1e9:
            print(f"{tokens:6d} naive      left out: needs {naive_bytes(tokens, item) / 1e9:.1f} GB or more")
        for form in ["naive", *kernels] if naive_bytes(tokens, item) < given.memory * 1e9 else kernels:
            result = in_a_process(form, tokens, given.device, given.repeats)
            base = result if form == "naive" else base
            line = f"{tokens:6d} {form:10s} {result['seconds']:8.3f} s {tokens / result['seconds']:10.0f} tokens/s"
            line += f" {result['cpu']:8.2f} CPU s {result['bytes'] / 1e9:7.2f} GB"
            if base is not None and form != "naive":
                line += f"   {base['seconds'] / result['seconds']:.1f} x as fast"
                line += f" ({base['cpu'] / result['cpu']:.1f} x by CPU time),"
                line += f" {result['bytes'] / max(base['bytes'], 1.0):.2f} of the memory"
            print(line, flush=True)


if __name__ == "__main__":
    main()
