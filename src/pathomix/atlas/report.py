"""What the report of an atlas says: cells in and out per reason, classes, donors, and the label table."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathomix.atlas.counts import Expression
from pathomix.atlas.labels import Labels
from pathomix.atlas.selection import Cells, Chosen

log = logging.getLogger(__name__)

_WEAKNESS = (
    "no group_key: cells of one donor lie on both sides, so the validation loss says nothing of cells of another donor"
)


def atlas_report(
    name: str,
    path: str | os.PathLike[str],
    cells: Cells,
    labels: Labels,
    expression: Expression,
    chosen: Chosen,
    looked_at: NDArray[np.bool_],
) -> dict[str, Any]:
    """Content of the report; classes that were dropped or cannot be validated are also logged as warnings.

    Args:
        name: Name of the atlas.
        path: The file it was made of.
        cells: All cells with the reasons of those dropped.
        labels: Their labels.
        expression: What X holds.
        chosen: Classes, donors and parts.
        looked_at: Cells that `only` lets in: the label table is about these.
    """
    rows = cells.rows
    frame = pd.DataFrame(
        {
            "class": np.array(chosen.classes, dtype=object)[chosen.codes[rows]],
            "group": chosen.groups[rows],
            "part": np.where(chosen.valid[rows], "valid", "train"),
        }
    )
    parts = frame.groupby(["class", "part"]).size().unstack(fill_value=0)
    grouped = bool((frame["group"] != "").any())
    not_validated = sorted(parts.index[parts["valid"] == 0])
    for fact, items in (("too few cells", chosen.too_few), ("no cells in the valid part", not_validated)):
        if items:
            log.warning("atlas %s: classes with %s: %s", name, fact, ", ".join(items))
    of_groups = frame.groupby("group").agg(cells=("part", "size"), part=("part", "first"))
    return {
        "atlas": name,
        "file": Path(path).name,
        "expression": {
            "source": expression.source,
            "form": expression.form,
            "scale": expression.scale,
            "genes": len(expression.genes),
        },
        "cells": {
            "in": len(cells.names),
            "dropped": cells.dropped(),
            "out": len(rows),
            "train": int((frame["part"] == "train").sum()),
            "valid": int((frame["part"] == "valid").sum()),
        },
        "classes": {
            label: {
                **{part: int(number) for part, number in parts.loc[label].items()},
                "groups": _sizes(frame.loc[frame["class"] == label, "group"]) if grouped else {},
            }
            for label in chosen.classes
        },
        "classes_with_too_few_cells": chosen.too_few,
        "classes_without_valid_cells": not_validated,
        "split_by": "group" if grouped else "cell",
        "weakness": None if grouped else _WEAKNESS,
        "groups": of_groups.to_dict("index") if grouped else {},
        "labels": labels.table(looked_at, cells.reason == ""),
        "labels_of_the_map_not_seen": list(labels.unseen),
    }


def _sizes(values: pd.Series) -> dict[str, int]:
    return {str(value): int(number) for value, number in values.value_counts().items()}
