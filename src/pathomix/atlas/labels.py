"""Labels of cells to the configured classes, many to one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError

NO_LABEL = ""
NO_CLASS = -1


@dataclass(frozen=True)
class Labels:
    """Labels and classes of the cells.

    Attributes:
        given: Label of each cell as the file has it, ``""`` where there is none.
        codes: Number of the class of each cell, -1 where there is none.
        classes: The configured classes.
        unseen: Labels of the map that no cell has.
    """

    given: NDArray[np.object_]
    codes: NDArray[np.int64]
    classes: tuple[str, ...]
    unseen: tuple[str, ...]

    def table(self, rows: NDArray[np.bool_], kept: NDArray[np.bool_]) -> list[dict[str, Any]]:
        """Every label of `rows`, its class (None where it has none), its cells, and how many of them are `kept`."""
        frame = pd.DataFrame({"label": self.given[rows], "code": self.codes[rows], "kept": kept[rows]})
        grouped = frame.groupby(["label", "code"])["kept"].agg(["size", "sum"]).reset_index()
        return [
            {
                "label": str(label),
                "class": None if code == NO_CLASS else self.classes[code],
                "cells": int(size),
                "kept": int(total),
            }
            for label, code, size, total in zip(*(grouped[name] for name in grouped), strict=True)
        ]


def read_label_map(given: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Class to its labels, in the order given.

    Classes are the keys, because a label that stands twice as a key of YAML would silently take its last class.

    Args:
        given: The mapping, or a YAML file with the mapping under `classes`.

    Raises:
        PathomixError: The file cannot be read, the shape is another, or a label stands under two classes.
    """
    source = "label_map"
    content: object = given
    if not isinstance(given, Mapping):
        source = str(given)
        try:
            parsed = yaml.safe_load(Path(given).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise PathomixError(f"{source}: cannot be read ({error})", remedy="correct the path or the file") from error
        content = parsed.get("classes") if isinstance(parsed, Mapping) else None
    if not isinstance(content, Mapping) or not content:
        raise PathomixError(f"{source}: no mapping of classes to labels", remedy="write `class: [label, label]`")
    wrong = [name for name, labels in content.items() if not isinstance(labels, Sequence) or isinstance(labels, str)]
    if wrong:
        raise PathomixError(f"{source}: not a list of labels", offending=wrong, remedy="write `class: [label, label]`")
    result = {str(name): tuple(str(label) for label in labels) for name, labels in content.items()}
    counts = pd.Series([label for labels in result.values() for label in labels], dtype=object).value_counts()
    if (counts > 1).any():
        raise PathomixError(
            f"{source}: labels stand more than once", offending=sorted(counts.index[counts > 1]), remedy="keep one each"
        )
    return result


def assign_classes(
    values: pd.Series, label_map: Mapping[str, Sequence[str]] | None, classes: Sequence[str] | None
) -> Labels:
    """Class of each cell.

    Args:
        values: Labels of the cells, missing where there is none.
        label_map: Class to labels; None: a label is its own class.
        classes: Configured classes; a label of another class of the map has no class. None: all.

    Raises:
        PathomixError: A configured class is not in the map.
    """
    missing = values.isna().to_numpy()
    given = np.array([str(value) for value in values.astype(object)], dtype=object)
    given[missing] = NO_LABEL
    seen = sorted(set(given) - {NO_LABEL})
    members = {label: (label,) for label in seen} if label_map is None else label_map
    names = tuple(members) if classes is None else tuple(classes)
    absent = [name for name in names if name not in members] if label_map is not None else []
    if absent:
        raise PathomixError("classes that the label map does not have", offending=absent, remedy=f"use {list(members)}")
    code = {label: number for number, name in enumerate(names) for label in members.get(name, ())}
    unseen = () if label_map is None else tuple(sorted(set(code) - set(seen)))
    codes = pd.Series(given, dtype=object).map(code).fillna(NO_CLASS).to_numpy(np.int64)
    return Labels(given, codes, names, unseen)
