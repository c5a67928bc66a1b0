"""Tissue and artefacts by networks whose weights the user has: HEST and GrandQC (spec slides_and_encoders 2.1).

Nothing is downloaded. A weights file is read without running code in it and has to fit tensor by tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pathomix.core.errors import PathomixError
from pathomix.core.weights import load_strictly, read_state
from pathomix.slides.reader import Slide, Thumbnail, resample

TILE = 512
_MARGIN = 64  # pixels at the edge of a tile whose prediction lacks context and is not used
_CELL = 8  # pixels at most per cell of the probability map
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_JPEG_QUALITY = 80

Shares = NDArray[np.float32]


@dataclass(frozen=True)
class NetworkMasker:
    """A published segmentation network.

    Attributes:
        build: Its architecture, with the official names of the tensors after `rename`.
        mpp: µm per pixel it was trained at.
        classes: Names of its outputs, in order.
        rename: Official state to ours.
        jpeg: Its input went through a JPEG of quality 80.
        source: Where the weights come from.
    """

    build: Callable[[], nn.Module]
    mpp: float
    classes: tuple[str, ...]
    rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    jpeg: bool
    source: str


def _hest() -> nn.Module:
    from torchvision.models.segmentation import deeplabv3_resnet50

    model: nn.Module = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=2, aux_loss=False)
    return model


class _LogitsOnly(nn.Module):
    """torchvision answers with a dictionary."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        answer = self.model(x)
        logits: Tensor = answer["out"] if isinstance(answer, dict) else answer
        return logits


def _grandqc_tissue() -> nn.Module:
    from tiatoolbox.models.architecture.grandqc import GrandQCModel

    model: nn.Module = GrandQCModel(num_output_channels=2)
    return model


class GrandQCArtefacts(nn.Module):
    """U-Net with the encoder EfficientNet-B0, 8 outputs, of the parts that tiatoolbox ships.

    The names of the tensors follow segmentation_models_pytorch; nobody could compare them with the official file here.
    """

    def __init__(self) -> None:
        from tiatoolbox.models.architecture.efficientunet_tissue_mask_model import UnetDecoder
        from tiatoolbox.models.architecture.timm_efficientnet import EfficientNetEncoder
        from tiatoolbox.models.architecture.utils import SegmentationHead

        super().__init__()
        self.encoder = EfficientNetEncoder(
            out_channels=[3, 32, 24, 40, 112, 320],
            stage_idxs=[2, 3, 5],
            channel_multiplier=1.0,
            depth_multiplier=1.0,
            drop_rate=0.2,
        )
        self.decoder = UnetDecoder()
        self.segmentation_head = SegmentationHead(in_channels=16, out_channels=8, kernel_size=3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, 8, h, w] of a normalised image [n, 3, h, w]."""
        features = self.encoder(x)
        logits: Tensor = self.segmentation_head(self.decoder(features[1:]))
        return logits


def _without_aux(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix("model."): value for key, value in state.items() if "aux" not in key}


NETWORKS: dict[str, NetworkMasker] = {
    "hest": NetworkMasker(
        _hest, 1.0, ("background", "tissue"), _without_aux, False, "MahmoodLab/hest-tissue-seg, deeplabv3_seg_v4.ckpt"
    ),
    "grandqc": NetworkMasker(
        _grandqc_tissue, 10.0, ("tissue", "background"), dict, True, "GrandQC, Tissue_Detection_MPP10.pth"
    ),
    "grandqc_artefacts": NetworkMasker(
        GrandQCArtefacts,
        1.0,
        ("unused", "normal", "fold", "dark", "pen", "edge", "blurred", "background"),
        dict,
        False,
        "GrandQC, GrandQC_MPP1_state_dict.pth",
    ),
}


class TissueNetwork:
    """A network with its weights, ready to look at slides.

    Args:
        name: Name in `NETWORKS`.
        weights: The official file, as it was published.

    Raises:
        PathomixError: The file is missing, holds code, or does not fit.
    """

    def __init__(self, name: str, weights: Path) -> None:
        self.masker = NETWORKS[name]
        model = self.masker.build()
        load_strictly(model, self.masker.rename(read_state(weights)), weights)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = _LogitsOnly(model).to(self._device).eval()

    def probabilities(self, rgb: NDArray[np.uint8]) -> Shares:
        """float32 [classes, h, w] of an image uint8 [h, w, 3] at the network's scale; sides multiples of 32."""
        if self.masker.jpeg:
            quality = [int(cv2.IMWRITE_JPEG_QUALITY), _JPEG_QUALITY]
            _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)
            decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
            rgb = np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        image = torch.from_numpy(np.ascontiguousarray(rgb)).to(self._device).permute(2, 0, 1)[None].float() / 255
        mean, std = (torch.tensor(v, device=self._device).view(1, 3, 1, 1) for v in (_MEAN, _STD))
        with torch.inference_mode():
            result: Shares = torch.softmax(self._model((image - mean) / std), 1)[0].float().cpu().numpy()
        return result

    def class_shares(self, slide: Slide, thumbnail: Thumbnail) -> dict[str, Shares]:
        """Mean probability of each class on the thumbnail's grid, float32 [h, w] by name.

        The scanned area is covered by tiles of 512 pixels that overlap by 128; of each the inner part is used.

        Raises:
            PathomixError: The pixels cannot be read, or are too coarse for the network.
        """
        mpp = self.masker.mpp
        step = mpp / slide.scale.x, mpp / slide.scale.y
        if min(step) < 1 / 1.15:
            raise PathomixError(
                f"{slide.path.name}: {slide.scale.mean:.2f} µm per pixel is too coarse for a network of {mpp:g}",
                remedy="choose the masker colour for this slide (table slides.overrides)",
            )
        _, _, width, height = slide.bounds
        cell = max(1, min(_CELL, 2 ** math.floor(math.log2(max(1.0, thumbnail.mpp / mpp)))))
        inner = TILE - 2 * _MARGIN
        columns, rows = math.ceil(width / step[0] / inner), math.ceil(height / step[1] / inner)
        side = inner // cell
        canvas = np.zeros((len(self.masker.classes), rows * side, columns * side), dtype=np.float32)
        for row in range(rows):
            for column in range(columns):
                shares = self.probabilities(self._tile(slide, column * inner - _MARGIN, row * inner - _MARGIN, step))
                part = shares[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
                means = part.reshape(len(part), side, cell, side, cell).mean(axis=(2, 4))
                canvas[:, row * side : (row + 1) * side, column * side : (column + 1) * side] = means
        return {
            name: self._on_grid(layer, thumbnail, step, cell)
            for name, layer in zip(self.masker.classes, canvas, strict=True)
        }

    @staticmethod
    def _tile(slide: Slide, column: int, row: int, step: tuple[float, float]) -> NDArray[np.uint8]:
        level = max((i for i, d in enumerate(slide.level_downsamples) if d <= min(step) * 1.01), default=0)
        downsample = slide.level_downsamples[level]
        x, y = round(slide.bounds[0] + column * step[0]), round(slide.bounds[1] + row * step[1])
        size = [max(1, round(TILE * s / downsample)) for s in step]
        return resample(slide.read(x, y, level, size[0], size[1]), (TILE, TILE))

    @staticmethod
    def _on_grid(layer: Shares, thumbnail: Thumbnail, step: tuple[float, float], cell: int) -> Shares:
        """One class from its own grid to the thumbnail's: both begin at the corner of the scanned area."""
        height, width = thumbnail.rgb.shape[:2]
        x = (np.arange(width, dtype=np.float32) + 0.5) * np.float32(thumbnail.step[0] / (step[0] * cell)) - 0.5
        y = (np.arange(height, dtype=np.float32) + 0.5) * np.float32(thumbnail.step[1] / (step[1] * cell)) - 0.5
        grid = np.meshgrid(x, y)
        return np.asarray(
            cv2.remap(layer, grid[0], grid[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.float32
        )
