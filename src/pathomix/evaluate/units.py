"""What one observation is: a patient, or a region of a patient's slide.

The methods of this library predict one value per patient. Predictions imported from elsewhere may hold several rows per
patient, told apart by `region_id`; the same predictions can score 0.808 or 0.824 depending on the unit alone.
"""

from __future__ import annotations

import pandas as pd

from pathomix.core.parameters import choice

PATIENT, REGION = "patient", "region"
UNITS = (PATIENT, REGION)
REGION_ID = "region_id"
_KEY = ("run", "task", "part", "patient_id")


def average_units(predictions: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Rows of the unit that is scored.

    Args:
        predictions: PREDICTIONS columns, perhaps with `run` (number of the file) and `region_id` (missing in rows that
            are a patient's already).
        unit: ``patient``: risks and probabilities averaged over the regions of a patient that have one (spec
            path_gptomic section 9); ``region``: every row as it is.

    Returns:
        One row per unit; without the column `region_id` when the unit is the patient.

    Raises:
        PathomixError: The unit is unknown.
    """
    choice(unit, UNITS, "evaluation.unit")
    if unit == REGION or REGION_ID not in predictions:
        return predictions
    regional = predictions[REGION_ID].notna()
    whole = predictions[~regional].drop(columns=REGION_ID)
    parts = predictions[regional].drop(columns=REGION_ID)
    if parts.empty:
        return whole
    key = [name for name in _KEY if name in parts]
    scores = {name for name in parts if name == "risk" or str(name).startswith("probability_")}
    how = {name: "mean" if name in scores else "first" for name in parts if name not in key}
    merged = parts.groupby(key, sort=False, as_index=False).agg(how)
    return merged[list(parts)] if whole.empty else pd.concat([whole, merged[list(parts)]], ignore_index=True)
