"""Dilated attention against two oracles that share nothing with its indexing: dense masks, and loops over lists."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pathomix.core.errors import PathomixError
from pathomix.nn import dilated_attention as module
from pathomix.nn.dilated_attention import (
    SKIPPED_LSE,
    Branch,
    branch_lse,
    branches,
    dilated_attention,
    kernel_for,
    usable_kernels,
)

STOCK = ([1024, 5792, 32768, 185363, 1048576], [1, 2, 4, 8, 16])
CASES = [
    (1, 4, [8, 16], [1, 2]),
    (2, 16, *STOCK),
    (5, 4, [8, 16, 32], [1, 2, 4]),
    (38, 16, *STOCK),
    (41, 6, [5, 11, 23, 47, 100], [1, 2, 4, 8, 16]),
    (64, 4, [8, 16, 32, 64], [1, 2, 4, 8]),
    (150, 3, [7, 20, 33], [3, 2, 5]),
    (301, 16, [5, 11, 23, 47, 100], [1, 2, 4, 8, 16]),
    (90, 2, [8, 32], [1, 8]),
]


def random_inputs(length: int, heads: int, width: int = 8, batch: int = 1, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, length, heads, width, generator=generator) for _ in range(4)]


def branch_masks(length: int, heads: int, segment: int, ratio: int) -> tuple[Tensor, Tensor]:
    """[H, L, L] whether i attends to j, and [H, L] how many zero keys i sees, straight from the definition."""
    g = min(segment, length)
    place = torch.arange(length)
    group = torch.arange(heads) // math.ceil(heads / ratio)
    active = (place % g) % ratio == group[:, None]
    together = place[:, None] // g == place[None, :] // g
    mask = active[:, :, None] & active[:, None, :] & together
    slots = math.ceil(g / ratio)
    return mask, torch.where(active, slots - mask.sum(dim=2), 0)


def oracle(q: Tensor, k: Tensor, v: Tensor, lengths: list[int], ratios: list[int]) -> tuple[Tensor, Tensor]:
    """Softmax over the union of all branches' keys, and the same value with constant branch weights in the graph."""
    q, k, v = (x.double().transpose(1, 2) for x in (q, k, v))
    weight = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).exp()
    tops, sums, means = [], [], []
    for segment, ratio in zip(lengths, ratios, strict=True):
        mask, zeros = branch_masks(q.shape[2], q.shape[1], segment, ratio)
        tops.append((weight * mask) @ v)
        sums.append((weight * mask).sum(dim=3) + zeros)
        means.append(tops[-1] / sums[-1].clamp(min=1e-300)[..., None])
    total = sum(sums).clamp(min=1e-300)
    union = sum(tops) / total[..., None]
    frozen = sum((part / total).detach()[..., None] * mean for part, mean in zip(sums, means, strict=True))
    return union.transpose(1, 2).flatten(2), frozen.transpose(1, 2).flatten(2)


def looped(q: Tensor, k: Tensor, v: Tensor, lengths: list[int], ratios: list[int], shift: bool) -> Tensor:
    """Position by position; with `shift` a padded segment keeps its padding between segments."""
    _, length, heads, width = q.shape
    branch_out, branch_sum = [], []
    for segment, ratio in zip(lengths, ratios, strict=True):
        g = min(segment, length)
        stride = math.ceil(g / ratio) * ratio if shift else g
        count = math.ceil(length / g)
        room = max(count * math.ceil(g / ratio) * ratio, length)
        out, lse = torch.zeros(room, heads, width, dtype=torch.float64), torch.zeros(room, heads, dtype=torch.float64)
        for n in range(count):
            for head in range(heads):
                phase = head // math.ceil(heads / ratio)
                inside = [phase + ratio * slot for slot in range(math.ceil(g / ratio))]

                def rows(x: Tensor, head: int = head, inside: list[int] = inside, n: int = n, g: int = g) -> Tensor:
                    real = [p < g and n * g + p < length for p in inside]
                    picked = [
                        x[0, n * g + p, head] if ok else torch.zeros(width) for p, ok in zip(inside, real, strict=True)
                    ]
                    return torch.stack(picked).double()

                logits = rows(q) @ rows(k).T / math.sqrt(width)
                for slot, p in enumerate(inside):
                    if shift or p < g:
                        out[n * stride + p, head] = logits[slot].softmax(0) @ rows(v)
                        lse[n * stride + p, head] = logits[slot].logsumexp(0)
        branch_out.append(out[:length])
        branch_sum.append(torch.where(lse == 0, SKIPPED_LSE, lse)[:length])
    weights = torch.stack(branch_sum).softmax(0)
    return (weights[..., None] * torch.stack(branch_out)).sum(0).flatten(1)[None]


@pytest.mark.parametrize("kernel", usable_kernels(torch.zeros(1, 8)))
@pytest.mark.parametrize(("length", "heads", "lengths", "ratios"), CASES)
def test_equals_the_dense_oracle(length: int, heads: int, lengths: list[int], ratios: list[int], kernel: str) -> None:
    q, k, v, _ = random_inputs(length, heads, batch=2)
    ours = dilated_attention(q, k, v, lengths, ratios, kernel=kernel)
    torch.testing.assert_close(ours.double(), oracle(q, k, v, lengths, ratios)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [1030, 1501, 6000])
def test_stock_segments_equal_the_dense_oracle_where_last_segments_are_padded(length: int) -> None:
    q, k, v, _ = random_inputs(length, 16, 4)
    ours = dilated_attention(q, k, v, *STOCK).unflatten(2, (16, 4))
    some = torch.randperm(length, generator=torch.Generator().manual_seed(1))[:200]
    rows = torch.cat([some, torch.tensor([0, 1023, 1024, length - 1])])
    for head in range(16):
        want = some_rows(*(x[0, :, head].double() for x in (q, k, v)), head, rows)
        torch.testing.assert_close(ours[0, rows, head].double(), want, atol=1e-4, rtol=0)


def some_rows(q: Tensor, k: Tensor, v: Tensor, head: int, rows: Tensor) -> Tensor:
    """The dense oracle for some queries of one head: all of 6000 queries would take minutes."""
    place, top, total = torch.arange(len(q)), torch.zeros(len(rows), v.shape[1]), torch.zeros(len(rows))
    weight = (q[rows] @ k.T / math.sqrt(q.shape[1])).exp()
    for segment, ratio in zip(*STOCK, strict=True):
        g = min(segment, len(q))
        active = (place % g) % ratio == head * ratio // 16
        mask = active[rows, None] & active & (place[rows, None] // g == place // g)
        top = top + (weight * mask) @ v
        total = total + (weight * mask).sum(1) + active[rows] * (math.ceil(g / ratio) - mask.sum(1))
    return top / total.clamp(min=1e-300)[:, None]


@pytest.mark.parametrize("kernel", [*usable_kernels(torch.zeros(1, 8)), "plain"])
@pytest.mark.parametrize(("length", "heads", "lengths", "ratios"), CASES)
def test_gradients_treat_branch_weights_as_constants(
    length: int, heads: int, lengths: list[int], ratios: list[int], kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the log-sum-exp of this one has a gradient, of which nothing may come through
    monkeypatch.setitem(module.KERNELS["cpu"], "plain", module._plain)
    q, k, v, grad = random_inputs(length, heads)
    inputs = [x.requires_grad_() for x in (q, k, v)]
    ours = torch.autograd.grad(dilated_attention(*inputs, lengths, ratios, kernel=kernel), inputs, grad.flatten(2))
    want = torch.autograd.grad(oracle(*inputs, lengths, ratios)[1], inputs, grad.flatten(2).double())
    for a, b in zip(ours, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_gradients_would_differ_through_the_weights() -> None:
    q, k, v, grad = random_inputs(41, 4)
    q.requires_grad_()
    ours = torch.autograd.grad(dilated_attention(q, k, v, [8, 16], [1, 2]), q, grad.flatten(2))[0]
    through = torch.autograd.grad(oracle(q, k, v, [8, 16], [1, 2])[0], q, grad.flatten(2).double())[0]
    assert (ours - through).abs().max() > 1e-2


@pytest.mark.parametrize("shift", [False, True])
@settings(max_examples=25, deadline=None)
@given(
    length=st.integers(1, 40),
    heads=st.sampled_from([1, 2, 3, 4]),
    pairs=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 6)), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_both_indexings_equal_loops(
    shift: bool, length: int, heads: int, pairs: list[tuple[int, int]], seed: int
) -> None:
    q, k, v, _ = random_inputs(length, heads, 4, seed=seed)
    lengths, ratios = [s for s, _ in pairs], [r for _, r in pairs]
    ours = dilated_attention(q, k, v, lengths, ratios, indexing="compat" if shift else "aligned")
    torch.testing.assert_close(ours.double(), looped(q, k, v, lengths, ratios, shift), atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [11, 41, 150])
def test_compat_indexing_moves_results_only_where_a_ratio_does_not_divide_its_segment(length: int) -> None:
    q, k, v, _ = random_inputs(length, 16)
    for lengths, ratios in (([8, 16, 32], [1, 2, 4]), ([5, 11, 23, 47, 100], [1, 2, 4, 8, 16])):
        aligned, compat = (dilated_attention(q, k, v, lengths, ratios, indexing=i) for i in ("aligned", "compat"))
        shifted = any(branch.shifted for branch in branches(length, lengths, ratios))
        assert torch.equal(aligned, compat) is not shifted
        assert shifted is (lengths[0] == 5 and length > 11)


def test_published_segments_shift_beyond_185363_tokens_only() -> None:
    assert not any(branch.shifted for branch in branches(185_363, *STOCK))
    assert [branch.segment for branch in branches(185_364, *STOCK) if branch.shifted] == [185_363]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_kernels_agree(dtype: torch.dtype) -> None:
    q, k, v, grad = (x.to(dtype) for x in random_inputs(301, 16, 48))
    results = []
    for kernel in usable_kernels(q):
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        out = dilated_attention(*inputs, [64, 128, 512], [1, 2, 4], kernel=kernel)
        assert out.dtype == dtype
        results.append([out, *torch.autograd.grad(out, inputs, grad.flatten(2))])
    assert len(results) >= 2
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 0.05}[dtype]
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v, grad = (x.double() for x in random_inputs(77, 4))
    inputs = [x.requires_grad_() for x in (q, k, v)]
    results = []
    for size in (1 << 28, 1 << 13, 1):
        monkeypatch.setattr(module, "_CHUNK_BYTES", size)
        out = dilated_attention(*inputs, [16, 100], [1, 2], kernel="chunked")
        results.append([out, *torch.autograd.grad(out, inputs, grad.flatten(2))])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_large_logits_stay_finite() -> None:
    q, k, v, _ = random_inputs(50, 4)
    for kernel in usable_kernels(q):
        assert dilated_attention(100 * q, 100 * k, v, [8, 64], [1, 2], kernel=kernel).isfinite().all()


def test_log_sum_exp_of_zero_and_of_skipped_positions() -> None:
    branch = Branch(length=4, segment=4, ratio=4)
    q, k, v, _ = random_inputs(4, 2)
    q[0, 0] = 0.0
    out, lse = kernel_for(q)(branch.split(q), branch.split(k), branch.split(v))
    placed = branch_lse(branch, lse)
    # one key per query: position 0 has logit 0, position 1 (head 1) its own, the rest nobody visits
    assert placed[0, 0, 0] == SKIPPED_LSE
    torch.testing.assert_close(placed[0, 1, 1], (q[0, 1, 1] @ k[0, 1, 1]) / math.sqrt(8))
    assert (placed[0, 2:] == SKIPPED_LSE).all()
    torch.testing.assert_close(branch.join(out)[0, 0, 0], v[0, 0, 0])


def test_positions_that_no_branch_covers_are_zero() -> None:
    q, k, v, _ = random_inputs(20, 2)
    out = dilated_attention(q, k, v, [10], [5]).unflatten(2, (2, 8))
    covered = out.abs().sum(-1) > 0
    assert covered[0].nonzero().tolist() == [[0, 0], [1, 1], [5, 0], [6, 1], [10, 0], [11, 1], [15, 0], [16, 1]]


def test_padded_keys_count() -> None:
    q, k, v, _ = random_inputs(9, 1)
    out = dilated_attention(q, k, v, [8], [1])
    # the last token is alone with seven zero keys
    share = 1 / (1 + 7 * math.exp(-float(q[0, 8, 0] @ k[0, 8, 0]) / math.sqrt(8)))
    torch.testing.assert_close(out[0, 8], share * v[0, 8, 0])


def test_one_token_is_its_value() -> None:
    q, k, v, _ = random_inputs(1, 1)
    torch.testing.assert_close(dilated_attention(q, k, v, *STOCK), v.flatten(2))


@pytest.mark.parametrize(("lengths", "ratios"), [([8, 16], [1]), ([], []), ([8], [0]), ([0], [1])])
def test_impossible_branches_are_named(lengths: list[int], ratios: list[int]) -> None:
    q, k, v, _ = random_inputs(5, 2)
    with pytest.raises(PathomixError, match="segments"):
        dilated_attention(q, k, v, lengths, ratios)


def test_a_kernel_with_wrong_numbers_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def half_lse(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        out, lse = module._chunked(q, k, v)
        return out, lse / 2

    def wrong_gradient(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return module._chunked(q, k, v.detach() + 0 * v)

    def absent(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        raise AttributeError("no such operation in this version")

    bad = {"half_lse": half_lse, "wrong_gradient": wrong_gradient, "absent": absent}
    monkeypatch.setitem(module.KERNELS, "cpu", bad | {"chunked": module._chunked})
    q, _, _, _ = random_inputs(5, 2)
    assert usable_kernels(q) == ["chunked"]
    assert kernel_for(q) is module._chunked
    with pytest.raises(PathomixError, match=r"half_lse does not work on cpu.*chunked"):
        kernel_for(q, "half_lse")


def test_unknown_kernel_names_the_usable_ones() -> None:
    with pytest.raises(PathomixError, match="chunked"):
        kernel_for(torch.zeros(1, 8), "magic")


def test_self_test_leaves_the_random_stream_alone() -> None:
    before = torch.random.get_rng_state()
    module._works.cache_clear()
    with torch.inference_mode():
        kernel_for(torch.zeros(1, 8))
    assert torch.equal(before, torch.random.get_rng_state())
