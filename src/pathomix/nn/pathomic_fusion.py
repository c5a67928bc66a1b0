"""Pathomic Fusion (Chen et al. 2020; Path-GPTomic section 8): gated Kronecker product of vectors, official names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathomix.core.errors import PathomixError
from pathomix.nn.abmil import GatedAttention
from pathomix.nn.segments import segment_softmax, segment_sum
from pathomix.nn.snn import Activation, PathomicSNN, init_max


def rectified(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    """Linear, ReLU, Dropout."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout))


class _ConcatenationGate(nn.Sequential):
    """Gate that is linear in both vectors side by side."""

    def __init__(self, width_image: int, width_omic: int, outputs: int) -> None:
        super().__init__(nn.Linear(width_image + width_omic, outputs))

    def forward(self, image: Tensor, omic: Tensor) -> Tensor:  # type: ignore[override]
        result: Tensor = self[0](torch.cat([image, omic], dim=1))
        return result


class GatedBilinearFusion(nn.Module):
    """Each vector gated by the other one, a 1 appended to both, their outer product reduced to `out` dimensions.

    Vector 1 of the official names is the image. The product is flattened with the omic vector running fastest. Layers
    of a gate that is off do not exist. Linear weights start from N(0, 1/fan_in), biases from 0, bilinear forms from
    torch's own initialisation.

    Args:
        width_image: Width of the image vector.
        width_omic: Width of the omic vector.
        hidden: Width of the layer on the product.
        out: Width of the result.
        scale_image: Factor by which the gated image vector is narrower than the given one.
        scale_omic: The same of the omic vector.
        gate_image: Whether the image vector is gated.
        gate_omic: Whether the omic vector is gated.
        skip: Whether both gated vectors, with their ones, are concatenated to the hidden layer.
        bilinear: Whether gates are bilinear in both vectors; otherwise linear in their concatenation.
        dropout: Dropout probability.

    Raises:
        PathomixError: A scale that leaves no dimension.
    """

    def __init__(
        self,
        width_image: int,
        width_omic: int,
        *,
        hidden: int = 64,
        out: int = 64,
        scale_image: int = 1,
        scale_omic: int = 1,
        gate_image: bool = True,
        gate_omic: bool = True,
        skip: bool = False,
        bilinear: bool = True,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        if not (1 <= scale_image <= width_image and 1 <= scale_omic <= width_omic):
            raise PathomixError(
                f"scales {scale_image} and {scale_omic} of vectors of width {width_image} and {width_omic}",
                remedy="set each scale to at least 1 and at most the width",
            )
        self.out, self.gate_image, self.gate_omic, self.skip = out, gate_image, gate_omic, skip

        def gate(outputs: int) -> nn.Module:
            if bilinear:
                return nn.Bilinear(width_image, width_omic, outputs)
            return _ConcatenationGate(width_image, width_omic, outputs)

        small_image, small_omic = width_image // scale_image, width_omic // scale_omic
        if gate_image:
            self.linear_h1 = nn.Sequential(nn.Linear(width_image, small_image), nn.ReLU())
            self.linear_z1 = gate(small_image)
        self.linear_o1 = rectified(small_image if gate_image else width_image, small_image, dropout)
        if gate_omic:
            self.linear_h2 = nn.Sequential(nn.Linear(width_omic, small_omic), nn.ReLU())
            self.linear_z2 = gate(small_omic)
        self.linear_o2 = rectified(small_omic if gate_omic else width_omic, small_omic, dropout)
        self.post_fusion_dropout = nn.Dropout(dropout)
        self.encoder1 = rectified((small_image + 1) * (small_omic + 1), hidden, dropout)
        skipped = small_image + small_omic + 2 if skip else 0
        self.encoder2 = rectified(hidden + skipped, out, dropout)
        init_max(self)

    def gated(self, image: Tensor, omic: Tensor) -> tuple[Tensor, Tensor]:
        """Gated vectors with their 1 at the end: [n, width_image / scale_image + 1] and the same of the omic one."""
        first, second = image, omic
        if self.gate_image:
            first = torch.sigmoid(self.linear_z1(image, omic)) * self.linear_h1(image)
        if self.gate_omic:
            second = torch.sigmoid(self.linear_z2(image, omic)) * self.linear_h2(omic)
        first, second = self.linear_o1(first), self.linear_o2(second)
        one = first.new_ones(len(first), 1)
        return torch.cat([first, one], dim=1), torch.cat([second, one], dim=1)

    def forward(self, image: Tensor, omic: Tensor) -> Tensor:
        """Joint vectors [n, out] of image vectors [n, width_image] and omic vectors [n, width_omic]."""
        first, second = self.gated(image, omic)
        product = first[:, :, None] * second[:, None, :]
        joint = self.encoder1(self.post_fusion_dropout(product.flatten(1)))
        if self.skip:
            joint = torch.cat([joint, first, second], dim=1)
        return self.encoder2(joint)


class PathomicNet(PathomicSNN):
    """Omic network and fusion, under the linear head of `PathomicSNN` with its output activation.

    The head of the omic network itself is not used.

    Args:
        omic_net: Genomic network; its features are fused.
        fusion: Fusion whose `width_omic` is the width of these features.
        label_dim: Outputs.
        act: Output activation, see `PathomicSNN`.
    """

    def __init__(
        self, omic_net: PathomicSNN, fusion: GatedBilinearFusion, label_dim: int = 1, act: Activation = "Sigmoid"
    ) -> None:
        super().__init__(fusion.out, (), label_dim, act)
        init_max(self)
        self.omic_net = omic_net
        self.fusion = fusion

    def forward(self, image: Tensor, omic: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Joint vectors [n, fusion.out] and outputs [n, label_dim] of `image` [n, width_image] and `omic` [n, p]."""
        return super().forward(self.fusion(image, self.omic_net.encoder(omic)))


class PooledTiles(nn.Module):
    """Tiles of a patient embedded, attended to and pooled as in ABMIL, and projected to one vector.

    Args:
        input_dim: Tile feature width.
        out: Width of the result.
        width: Tile embedding width.
        attention: Width of the attention layer.
        dropout: Of the embedding and the attention.
        last_dropout: Of the result.
    """

    def __init__(
        self,
        input_dim: int,
        out: int = 32,
        *,
        width: int = 128,
        attention: int = 64,
        dropout: float = 0.25,
        last_dropout: float = 0.05,
    ) -> None:
        super().__init__()
        self.embedding = rectified(input_dim, width, dropout)
        self.attention = GatedAttention(width, attention, dropout)
        self.projection = rectified(width, out, last_dropout)

    def forward(self, tiles: Tensor, bag: Tensor, bags: int) -> Tensor:
        """Vectors [bags, out] of tiles [t, input_dim]; `bag` [t] is the number 0..bags-1 of each tile's bag."""
        hidden = self.embedding(tiles)
        weights = segment_softmax(self.attention(hidden), bag, bags)
        return self.projection(segment_sum(weights[:, None] * hidden, bag, bags))
