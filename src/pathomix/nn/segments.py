"""Sums, means and softmax within segments of a joined axis: the tiles of several bags without padding."""

from __future__ import annotations

import torch
from torch import Tensor


def segment_sum(values: Tensor, segment: Tensor, segments: int) -> Tensor:
    """Sum of `values` [t, d] within each segment [segments, d]; `segment` [t] numbers them 0..segments-1."""
    return values.new_zeros(segments, values.shape[1]).index_add(0, segment, values)


def segment_mean(values: Tensor, segment: Tensor, segments: int) -> Tensor:
    """Mean of `values` [t, d] within each segment [segments, d]; zeros for a segment without any."""
    counts = segment.bincount(minlength=segments).clamp(min=1)
    return segment_sum(values, segment, segments) / counts[:, None]


def segment_softmax(scores: Tensor, segment: Tensor, segments: int) -> Tensor:
    """Softmax of `scores` [t] within each segment; `segment` [t] numbers them 0..segments-1."""
    top = scores.new_full((segments,), -torch.inf).scatter_reduce(0, segment, scores.detach(), "amax")
    weights = (scores - top[segment]).exp()
    total = scores.new_zeros(segments).index_add(0, segment, weights)
    return weights / total[segment]
