"""What regions of interest hand to methods: square images of one patient, and lazy access to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Regions:
    """Regions of interest of one patient, in the order of their ids.

    Attributes:
        images: uint8 [regions, size, size, 3], RGB.
        region_ids: Names, one per region.
    """

    images: NDArray[np.uint8]
    region_ids: tuple[str, ...]


class RegionStore(Protocol):
    """Lazy access to the regions of a cohort."""

    @property
    def size(self) -> int:
        """Edge of a region in pixels."""
        ...

    @property
    def patient_ids(self) -> frozenset[str]:
        """Patients with at least one region."""
        ...

    def of(self, patient_id: str) -> Regions:
        """Read one patient's regions."""
        ...
