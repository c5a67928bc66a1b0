"""Parameters of the tissue stage; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pathomix.core.errors import PathomixError
from pathomix.slides.scale import ScaleRules

# Networks of `pathomix.slides.tissue_networks` by what they find, with the file the user has to bring.
TISSUE_NETWORKS = {
    "hest": "deeplabv3_seg_v4.ckpt of MahmoodLab/hest-tissue-seg",
    "grandqc": "Tissue_Detection_MPP10.pth of GrandQC",
}
ARTEFACT_NETWORKS = {"grandqc_artefacts": "GrandQC_MPP1_state_dict.pth of GrandQC"}


@dataclass(frozen=True)
class TissueParameters:
    """Parameters of the tissue stage.

    Attributes:
        masker: Name in `pathomix.slides.tissue.MASKERS`, or `hest` or `grandqc` with weights.
        masker_weights: Weights file by name of the network.
        artefact_model: `grandqc_artefacts` adds its pen and out-of-focus classes to the rules', or None.
        thumbnail_mpp: µm per pixel at which the masker looks.
        min_area_mm2: Smaller pieces are dropped.
        max_hole_mm2: Smaller holes are filled.
        close_um: Radius of the closing.
        exclude_pen: Take ink out of the tissue.
        exclude_blur: Take tissue out of focus out; reads the tissue once at about 1 µm per pixel.
        blur_share: Share of the slide's own sharp contrast below which tissue counts as out of focus.
        min_blur_mm2: Smaller regions out of focus are kept.
        allow_objective: Believe the objective power where no mpp is known.
        mpp_window: Smallest and largest plausible µm per pixel.
    """

    masker: str = "colour"
    masker_weights: Mapping[str, str] = field(default_factory=dict)
    artefact_model: str | None = None
    thumbnail_mpp: float = 8.0
    min_area_mm2: float = 0.05
    max_hole_mm2: float = 0.01
    close_um: float = 24.0
    exclude_pen: bool = True
    exclude_blur: bool = True
    blur_share: float = 0.2
    min_blur_mm2: float = 0.01
    allow_objective: bool = False
    mpp_window: tuple[float, float] = (0.05, 5.0)

    def __post_init__(self) -> None:
        """Check the networks.

        Raises:
            PathomixError: An unknown network, or one without weights.
        """
        unknown = sorted(set(self.masker_weights) - {*TISSUE_NETWORKS, *ARTEFACT_NETWORKS})
        if unknown:
            raise PathomixError(
                "slides.tissue.masker_weights names networks that are not known",
                offending=unknown,
                remedy=f"known are {sorted({*TISSUE_NETWORKS, *ARTEFACT_NETWORKS})}",
            )
        if self.artefact_model is not None and self.artefact_model not in ARTEFACT_NETWORKS:
            remedy = f"slides.tissue.artefact_model is one of {sorted(ARTEFACT_NETWORKS)}, or left out"
            raise PathomixError(f"no artefact network {self.artefact_model!r}", remedy=remedy)
        for name in self.networks(self.masker):
            self.check_weights(name)

    @property
    def rules(self) -> ScaleRules:
        """What may be believed about the scale."""
        return ScaleRules(self.allow_objective, self.mpp_window)

    def networks(self, masker: str) -> list[str]:
        """Networks that a slide with this masker needs."""
        return [name for name in (masker, self.artefact_model) if name in {*TISSUE_NETWORKS, *ARTEFACT_NETWORKS}]

    def check_weights(self, name: str) -> None:
        """Say what to bring.

        Raises:
            PathomixError: The network has no weights file configured.
        """
        if name not in self.masker_weights:
            wanted = {**TISSUE_NETWORKS, **ARTEFACT_NETWORKS}[name]
            raise PathomixError(
                f"the network {name} needs its weights", remedy=f"set slides.tissue.masker_weights.{name} to {wanted}"
            )
