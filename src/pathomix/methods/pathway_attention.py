"""What MCAT and SurvPath share: tiles and pathway-wise expression, both needed."""

from __future__ import annotations

from dataclasses import dataclass

from pathomix.cohort.cases import Cases
from pathomix.methods.molecular import PathwayVectors
from pathomix.methods.slide_network import TileNetwork, TileSettings


@dataclass(frozen=True, kw_only=True)
class PathwayAttentionSettings(TileSettings):
    """Parameters common to both.

    Attributes:
        width: Token width.
    """

    width: int = 256
    survival_loss: str = "nll"
    epochs: int = 20
    constant_epochs: int | None = None


class PathwayAttention(TileNetwork):
    """Fits a network of tiles and of the cohort's pathways (331 of SurvPath, 6 families of MCAT: its gene-set file)."""

    modality = "tile features and expression"
    tiles_at_once = 32768

    def molecular(self, train: Cases) -> PathwayVectors:
        """See `NetworkMethod.molecular`."""
        return PathwayVectors.fit(train, self.tile_settings.clip)
