"""Exact dilated attention of LongNet (Ding et al. 2023) as the Prov-GigaPath slide encoder uses it (spec 4.6).

A branch cuts the sequence into segments; in each segment a group of heads attends among the positions of its own
phase only. Branches are averaged with softmax weights of their log-sum-exp (LSE), which carry no gradient. Keys that
pad a segment are zeros and are not masked: each adds a logit 0 and a value 0.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pathomix.core.errors import PathomixError

Indexing = Literal["aligned", "compat"]
Kernel = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

SKIPPED_LSE = -1e8
"""LSE of positions that a branch does not visit, and of an LSE of exactly 0 (a rule of the reference)."""

_CHUNK_BYTES = 1 << 28
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 4e-2, torch.float16: 1e-2}


@dataclass(frozen=True)
class Branch:
    """Which positions one branch gathers for which head.

    Attributes:
        length: Tokens L.
        segment: Segment length, not above L.
        ratio: Dilation r. Heads form r consecutive groups; group j visits positions j, j + r, ... of each segment.
    """

    length: int
    segment: int
    ratio: int

    @property
    def segments(self) -> int:
        """Number of segments, the last one padded."""
        return -(-self.length // self.segment)

    @property
    def slots(self) -> int:
        """Positions of one phase in one segment, padding included."""
        return -(-self.segment // self.ratio)

    @property
    def shifted(self) -> bool:
        """Whether the `compat` indexing moves anything."""
        return self.segments > 1 and self.segment % self.ratio != 0

    def split(self, x: Tensor) -> Tensor:
        """Gather: `x` [B, L, H, d] to [B * segments, H, slots, d]."""
        batch, _, heads, _ = x.shape
        x = _cut(x, 1, self.segments, self.segment)
        if self.ratio == 1:
            return x.flatten(0, 1).transpose(1, 2)
        group = -(-heads // self.ratio)
        x = _cut(_cut(x, 2, self.slots, self.ratio), 4, self.ratio, group)
        x = x.diagonal(dim1=3, dim2=4)  # batch, segment, slot, head of the group, channel, phase = group
        x = x.permute(0, 1, 5, 3, 2, 4).reshape(batch * self.segments, self.ratio * group, self.slots, -1)
        return x[:, :heads]

    def join(self, x: Tensor, indexing: Indexing = "aligned") -> Tensor:
        """Scatter: `x` [B * segments, H, slots, d] to [B, L, H, d], zero where the branch does not go.

        Args:
            x: Results in gathered form.
            indexing: `aligned` puts every result back where its query came from. `compat` keeps the padding of each
                segment between segments, as the released code does, which moves segment n by n paddings to the right.
        """
        heads = x.shape[1]
        x = torch.unflatten(x, 0, (-1, self.segments))
        if self.ratio == 1:
            return x.transpose(2, 3).flatten(1, 2)[:, : self.length]
        group = -(-heads // self.ratio)
        x = torch.diag_embed(_cut(x, 2, self.ratio, group).permute(0, 1, 4, 3, 5, 2), dim1=3, dim2=4)
        x = x.flatten(4, 5).flatten(2, 3)[..., :heads, :]
        if indexing == "aligned":
            x = x[:, :, : self.segment]
        return x.flatten(1, 2)[:, : self.length]


def branches(length: int, segment_length: Sequence[int], dilated_ratio: Sequence[int]) -> list[Branch]:
    """Branches for a sequence of `length` tokens.

    Raises:
        PathomixError: Lists of different lengths, or values below 1.
    """
    pairs = list(zip(segment_length, dilated_ratio, strict=False))
    if len(segment_length) != len(dilated_ratio) or not pairs or min(*segment_length, *dilated_ratio, length) < 1:
        raise PathomixError(
            f"dilated attention over {length} tokens with segments {list(segment_length)} and ratios "
            f"{list(dilated_ratio)}",
            remedy="give at least one token and one positive ratio for every positive segment length",
        )
    return [Branch(length, min(segment, length), ratio) for segment, ratio in pairs]


def dilated_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    segment_length: Sequence[int],
    dilated_ratio: Sequence[int],
    *,
    indexing: Indexing = "aligned",
    kernel: str = "auto",
) -> Tensor:
    """Mix all branches.

    Args:
        q: Queries [B, L, H, d]; softmax scale 1/sqrt(d).
        k: Keys [B, L, H, d].
        v: Values [B, L, H, d].
        segment_length: Segment length of each branch; longer ones are cut to L.
        dilated_ratio: Dilation of each branch.
        indexing: See `Branch.join`.
        kernel: Name of a kernel (`KERNELS`) or `auto`.

    Returns:
        [B, L, H * d], heads side by side; 0 where no branch goes.

    Raises:
        PathomixError: Impossible branches, or a kernel that does not work here.
    """
    attend = _chunked if _mixing_gradient else kernel_for(q, kernel)
    plan = branches(q.shape[1], segment_length, dilated_ratio)
    results = [attend(branch.split(q), branch.split(k), branch.split(v)) for branch in plan]
    with torch.set_grad_enabled(_mixing_gradient and torch.is_grad_enabled()):
        lse = torch.stack([branch_lse(branch, lse, indexing) for branch, (_, lse) in zip(plan, results, strict=True)])
        weights = lse.softmax(dim=0).unsqueeze(-1)
    mixed = torch.zeros_like(q, dtype=weights.dtype)
    for branch, weight, (out, _) in zip(plan, weights, results, strict=True):
        mixed = mixed + weight * branch.join(out, indexing)
    return mixed.flatten(2).to(q.dtype)


_mixing_gradient = False


@contextmanager
def mixing_gradient() -> Iterator[None]:
    """Inside the block the weights that mix branches carry their gradient too, by the chunked kernel.

    Training leaves it out as the reference does, so its backward pass is not the derivative of the forward pass;
    explanations that integrate gradients need the derivative.
    """
    global _mixing_gradient  # not a context variable: the backward pass of a GPU runs in threads of its own
    before, _mixing_gradient = _mixing_gradient, True
    try:
        yield
    finally:
        _mixing_gradient = before


def branch_lse(branch: Branch, lse: Tensor, indexing: Indexing = "aligned") -> Tensor:
    """LSE of a branch in place [B, L, H], at least float32, from its gathered form [B * segments, H, slots]."""
    placed = branch.join(at_least_float32(lse).unsqueeze(-1), indexing).squeeze(-1)
    return placed.masked_fill(placed == 0, SKIPPED_LSE)


class _Chunked(torch.autograd.Function):
    """Attention by chunks of queries; the backward pass computes the probabilities again. The LSE has a gradient."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(q.device.type, enabled=False):
            queries, keys, values = _scaled(q), at_least_float32(k), at_least_float32(v)
            out, lse = torch.empty_like(queries), torch.empty_like(queries[..., 0])
            for rows in _chunks(queries, keys):
                logits = queries[:, :, rows] @ keys.transpose(2, 3)
                lse[:, :, rows] = logits.logsumexp(dim=3)
                out[:, :, rows] = (logits - lse[:, :, rows, None]).exp_() @ values
        ctx.save_for_backward(q, k, v, out, lse)
        return out.to(q.dtype), lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor, grad_lse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, out, lse = ctx.saved_tensors
        with torch.autocast(q.device.type, enabled=False):
            queries, keys, values, grad = _scaled(q), *(at_least_float32(x) for x in (k, v, grad_out))
            delta = (grad * out).sum(dim=3, keepdim=True) - grad_lse[..., None]
            dq, dk, dv = torch.empty_like(queries), torch.zeros_like(keys), torch.zeros_like(values)
            for rows in _chunks(queries, keys):
                probability = (queries[:, :, rows] @ keys.transpose(2, 3) - lse[:, :, rows, None]).exp_()
                dv += probability.transpose(2, 3) @ grad[:, :, rows]
                slope = (grad[:, :, rows] @ values.transpose(2, 3)).sub_(delta[:, :, rows]).mul_(probability)
                dq[:, :, rows] = slope @ keys
                dk += slope.transpose(2, 3) @ queries[:, :, rows]
        return (dq / math.sqrt(q.shape[-1])).to(q.dtype), dk.to(k.dtype), dv.to(v.dtype)


def _scaled(q: Tensor) -> Tensor:
    return at_least_float32(q) / math.sqrt(q.shape[-1])


def _chunks(q: Tensor, k: Tensor) -> Iterator[slice]:
    row = q.shape[0] * q.shape[1] * k.shape[2] * q.element_size()
    size = max(1, _CHUNK_BYTES // max(1, row))
    return (slice(start, start + size) for start in range(0, q.shape[2], size))


def _chunked(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    result: tuple[Tensor, Tensor] = _Chunked.apply(q, k, v)  # type: ignore[no-untyped-call]
    return result


def _flash_cpu(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)
    return out, lse


def _flash_cuda(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)
    return out, lse[..., : q.shape[2]]


def _efficient_cuda(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    out, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, True)
    return out, lse[..., : q.shape[2]]


def _flash_package(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    attend = importlib.import_module("flash_attn").flash_attn_func
    out, lse, _ = attend(*(x.transpose(1, 2) for x in (q, k, v)), return_attn_probs=True)
    return out.transpose(1, 2), lse[..., : q.shape[2]]


KERNELS: dict[str, dict[str, Kernel]] = {
    "cpu": {"flash": _flash_cpu, "chunked": _chunked},
    "cuda": {
        "flash_attn": _flash_package,
        "flash": _flash_cuda,
        "efficient": _efficient_cuda,
        "chunked": _chunked,
    },
}
"""Kernels by device, best first: (q, k, v), each [N, H, m, d], to output [N, H, m, d] and natural-log LSE [N, H, m]."""


def kernel_for(example: Tensor, name: str = "auto") -> Kernel:
    """The kernel for tensors like `example` [..., d]: the first that passes its self-test, or the named one.

    Raises:
        PathomixError: The named kernel does not exist here or fails its self-test.
    """
    key = (example.device.type, example.device.index, example.dtype, example.shape[-1])
    known = KERNELS.get(example.device.type, {"chunked": _chunked})
    if name == "auto":
        return next((known[candidate] for candidate in known if _works(candidate, *key)), _chunked)
    if name not in known or not _works(name, *key):
        raise PathomixError(
            f"attention kernel {name} does not work on {key[0]} with {example.dtype} and head width {key[3]}",
            remedy=f"choose auto or one of {', '.join(usable_kernels(example))}",
        )
    return known[name]


def usable_kernels(example: Tensor) -> list[str]:
    """Names of the kernels that pass their self-test for tensors like `example` [..., d], best first."""
    key = (example.device.type, example.device.index, example.dtype, example.shape[-1])
    return [name for name in KERNELS.get(example.device.type, {"chunked": _chunked}) if _works(name, *key)]


@cache
def _works(name: str, device: str, index: int | None, dtype: torch.dtype, width: int) -> bool:
    """Whether a kernel gives output, LSE and gradients of plain attention on a small case (spec 4.6: private ops)."""
    tolerance = _TOLERANCE.get(dtype, 0.0)
    if name == "flash_attn" and importlib.util.find_spec("flash_attn") is None:
        return False
    where = torch.device(device, index) if index is not None else torch.device(device)
    shape = (2, 3, 37, width)
    phase = torch.arange(4 * math.prod(shape), dtype=torch.float64)
    values = (torch.sin(phase * 1.7) + torch.cos(phase * phase * 0.31)).to(dtype).view(4, *shape)
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False):
            have = _evaluate(KERNELS.get(device, {}).get(name, _chunked), values.to(where))
            want = _evaluate(_plain, values.double())
    except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError, ImportError):
        return False
    return all(
        a.shape == b.shape and bool(((a.double().cpu() - b).abs() <= tolerance * b.abs().max()).all())
        for a, b in zip(have, want, strict=True)
    )


def _evaluate(kernel: Kernel, values: Tensor) -> list[Tensor]:
    # transposed views are what `Branch.split` hands over
    q, k, v, grad = (x.transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for x in values)
    out, lse = kernel(q, k, v)
    # Of a scalar: for a given gradient torch imports its symbolic shapes, half as long again as importing torch.
    return [out.detach(), lse.detach(), *torch.autograd.grad((out * grad.detach()).sum(), (q, k, v))]


def _plain(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    logits = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    return logits.softmax(dim=3) @ v, logits.logsumexp(dim=3)


def at_least_float32(x: Tensor) -> Tensor:
    """`x` itself in float32 and float64, else as float32."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _cut(x: Tensor, dim: int, count: int, size: int) -> Tensor:
    """Axis `dim` padded with zeros to count * size and split into (count, size)."""
    missing = count * size - x.shape[dim]
    padded = F.pad(x, [0, 0] * (x.dim() - 1 - dim) + [0, missing]) if missing else x
    return torch.unflatten(padded, dim, (count, size))
