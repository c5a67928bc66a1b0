"""The feature file of a slide: features and their places, written in one atomic step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pathomix.core.files import atomic_path
from pathomix.core.provenance import METADATA_KEY, Provenance
from pathomix.slides.engine.parameters import JobError

_CHUNK = 1024


def write_features(
    target: Path,
    features: NDArray[np.float16],
    coords: NDArray[np.int64],
    feature_attributes: Mapping[str, Any],
    coord_attributes: Mapping[str, Any],
    provenance: Provenance,
) -> None:
    """Write `features` float16 [tiles, dim] and `coords` int32 [tiles, 2].

    Raises:
        JobError: It cannot be written; nothing is left under its name.
    """
    count = max(1, min(len(features), _CHUNK))
    try:
        with atomic_path(target) as temporary, h5py.File(temporary, "w") as file:
            data = file.create_dataset("features", data=features, chunks=(count, features.shape[1]))
            places = file.create_dataset("coords", data=coords.astype(np.int32))
            for name, value in feature_attributes.items():
                data.attrs[name] = value
            for name, value in coord_attributes.items():
                places.attrs[name] = value
            file.attrs[METADATA_KEY] = provenance.to_json()
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
        reason = " ".join(str(error).split())
        raise JobError(
            f"{target}: cannot be written ({reason})", remedy="free space there (no feature is lost) and run again"
        ) from error
