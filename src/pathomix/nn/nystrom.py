"""Self-attention through landmarks (Xiong et al. 2021, Nystroemformer) in the form that TransMIL uses."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

KeptRows = Literal["last", "first"]


def iterative_pseudo_inverse(matrices: Tensor, iterations: int, independent: bool) -> Tensor:
    """Moore-Penrose inverse by the third-order iteration of Razavi et al. (2014).

    The start is scaled by the largest row and column sums over several matrices.

    Args:
        matrices: [B, heads, m, m].
        iterations: Number of iterations.
        independent: Whether these are the matrices of one bag, or (as in the published package) those of the whole
            batch, so that the result for a bag depends on the others.
    """
    sizes = matrices.abs()
    over = (1, 2) if independent else (0, 1, 2)
    largest = sizes.sum(dim=-1).amax(over, keepdim=True) * sizes.sum(dim=-2).amax(over, keepdim=True)
    inverse = matrices.mT / largest[..., None]
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    for _ in range(iterations):
        product = matrices @ inverse
        inner = 15 * identity - product @ (7 * identity - product)
        inverse = 0.25 * inverse @ (13 * identity - product @ inner)
    return inverse


class NystromAttention(nn.Module):
    """Multi-head self-attention approximated through means of consecutive tokens.

    Tokens are padded with zeros IN FRONT to a multiple of the number of landmarks; these zeros are not masked: they
    take part in the softmaxes and in the landmark means. The two token-by-landmark matrices are never stored: the
    product of three softmaxes and the values is taken from the right, as two calls of exact attention.

    Args:
        dim: Token width.
        dim_head: Width of a head.
        heads: Number of heads.
        landmarks: Number of landmarks.
        iterations: Of the pseudo-inverse.
        kernel: Length of the convolution over tokens that is added to the result; odd.
        dropout: After the output projection.
        kept: Which rows of the padded result are the tokens': ``last`` (nystrom-attention 0.0.14), or ``first``:
            the result is shifted by the padding (0.0.9, the version TransMIL pins).
        independent: See `iterative_pseudo_inverse`.
    """

    def __init__(
        self,
        dim: int,
        dim_head: int = 64,
        heads: int = 8,
        landmarks: int = 256,
        iterations: int = 6,
        kernel: int = 33,
        dropout: float = 0.0,
        kept: KeptRows = "last",
        independent: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.landmarks, self.iterations = heads, landmarks, iterations
        self.kept, self.independent = kept, independent
        inner = heads * dim_head
        self.to_qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, dim), nn.Dropout(dropout))
        self.res_conv = nn.Conv2d(heads, heads, (kernel, 1), padding=(kernel // 2, 0), groups=heads, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [B, n, dim] to [B, n, dim]; memory grows with n, not with n times the landmarks."""
        batch, count, _ = tokens.shape
        front = -count % self.landmarks
        qkv = pad(self.to_qkv(tokens), (0, 0, front, 0))
        query, key, value = qkv.reshape(batch, front + count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        groups = (self.landmarks, (count + front) // self.landmarks)
        query_marks, key_marks = (each.unflatten(2, groups).mean(dim=3) for each in (query, key))
        between = torch.softmax(query_marks @ key_marks.mT * query.shape[-1] ** -0.5, dim=-1)
        seen = scaled_dot_product_attention(query_marks, key, value)
        mixed = iterative_pseudo_inverse(between, self.iterations, self.independent) @ seen
        result = scaled_dot_product_attention(query, key_marks, mixed) + self.res_conv(value)
        result = self.to_out(result.transpose(1, 2).reshape(batch, count + front, -1))
        return result[:, front:] if self.kept == "last" else result[:, :count]
