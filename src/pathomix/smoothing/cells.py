"""The labelled atlas as the smoothing reads it."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from pathomix.core.errors import PathomixError
from pathomix.scgpt.expression import Matrix, by_rows, check_expression

PARTS = ("train", "valid")
_COLUMNS = ("class_label", "group", "part")
_REMEDY = "run the rule that builds the atlas again"


@dataclass(frozen=True)
class AtlasCells:
    """Cells of an atlas.

    Attributes:
        counts: CSR [cells, genes].
        genes: Symbols as given.
        ids: Of the cells.
        classes: In the order of the outputs.
        labels: int64 [cells], position of each cell's class.
        part: [cells], ``train`` or ``valid``; whole donors.
        donors_held_out: Donors of the valid part; 0 where donors are not known and cells were held out one by one.
        are_counts: Whether `counts` are counts (up to a factor per cell), not normalised expression.
    """

    counts: Matrix
    genes: tuple[str, ...]
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    part: NDArray[np.str_]
    donors_held_out: int
    are_counts: bool = True

    def rows(self, part: str) -> NDArray[np.int64]:
        """Positions of the cells of a part.

        Raises:
            PathomixError: It has none.
        """
        found = np.flatnonzero(self.part == part)
        if not len(found):
            raise PathomixError(
                f"the atlas has no cell in the part {part}",
                remedy="give the atlas at least two donors, so that whole donors can be held out",
            )
        return found


def read_atlas(path: str | os.PathLike[str]) -> AtlasCells:
    """Read an atlas artefact.

    Args:
        path: AnnData: `X` counts, ``obs`` with `class_label` (categorical), `group` (donor, empty where unknown) and
            `part`, ``uns["classes"]`` and ``uns["scale"]`` (absent: counts).

    Raises:
        PathomixError: The file cannot be read or lacks a column, counts are negative or not finite, a donor is in
            both parts, or there are fewer than two classes.
    """
    import anndata

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            data = anndata.read_h5ad(path)
    except (OSError, KeyError, ValueError) as error:
        raise PathomixError(f"{path}: cannot be read ({error})", remedy=_REMEDY) from error
    absent = [name for name in _COLUMNS if name not in data.obs]
    if absent or "classes" not in data.uns:
        raise PathomixError(f"{path}: not an atlas", offending=absent or ["uns: classes"], remedy=_REMEDY)
    classes = tuple(str(name) for name in data.uns["classes"])
    place = {name: number for number, name in enumerate(classes)}
    given = data.obs["class_label"].astype(object)
    unknown = sorted({str(label) for label in given if label not in place})
    strange = sorted(set(map(str, data.obs["part"])) - set(PARTS))
    if unknown or strange or len(place) < 2 or len(place) < len(classes):
        raise PathomixError(
            f"{path}: classes {list(classes)} and the parts of its cells make no atlas of two classes or more",
            offending=unknown + strange,
            remedy=_REMEDY,
        )
    part = data.obs["part"].astype(str).to_numpy()
    donors = data.obs["group"].astype(str)
    held_out = set(donors[part == "valid"]) - {""}
    shared = sorted(held_out & set(donors[part == "train"]))
    if shared:
        raise PathomixError(f"{path}: donors are in both parts", offending=shared, remedy=_REMEDY)
    counts = by_rows(scipy.sparse.csr_matrix(data.X))
    ids, genes = tuple(map(str, data.obs_names)), tuple(map(str, data.var_names))
    check_expression(counts, ids, genes)
    labels = np.array([place[label] for label in given], dtype=np.int64)
    are_counts = str(data.uns.get("scale", "counts")) == "counts"
    return AtlasCells(counts, genes, ids, classes, labels, part, len(held_out), are_counts)
