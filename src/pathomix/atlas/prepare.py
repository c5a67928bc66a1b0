"""The stage: from any labelled AnnData file to the atlas of the smoothing stage and the report of what was dropped."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse
from numpy.typing import NDArray

from pathomix.atlas.counts import Expression, find_expression
from pathomix.atlas.labels import NO_CLASS, NO_LABEL, Labels, assign_classes, read_label_map
from pathomix.atlas.parameters import AtlasParameters
from pathomix.atlas.quality import cell_metrics, failures
from pathomix.atlas.reader import AtlasFile
from pathomix.atlas.report import atlas_report
from pathomix.atlas.selection import Cells, Chosen, choose
from pathomix.core.errors import PathomixError
from pathomix.core.files import atomic_path, write_json
from pathomix.core.provenance import METADATA_KEY, Provenance

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

log = logging.getLogger(__name__)


def prepare_atlas(
    name: str,
    path: str | os.PathLike[str],
    given: Mapping[str, Any],
    output: str | os.PathLike[str],
    report: str | os.PathLike[str],
) -> None:
    """Write the atlas (AnnData) and its report (JSON).

    The atlas has X (CSR float32, cells in the order of their names), ``obs``: `class_label`, `label`, `group`, `part`;
    ``uns``: `scale` (``counts`` or ``linear``), `classes`, and the provenance.

    Args:
        name: Name of the atlas in the configuration.
        path: Any labelled AnnData file.
        given: `AtlasParameters` as configured.
        output: ``.h5ad`` to write.
        report: ``.json`` to write.

    Raises:
        PathomixError: No counts, fewer than two classes, nobody to hold out, or any other input that cannot be used.
    """
    parameters = AtlasParameters.of(given, name)
    label_map = None if parameters.label_map is None else read_label_map(parameters.label_map)
    with AtlasFile(path) as file:
        cells = Cells(file.cells())
        _keep_only(file, cells, parameters.only or {})
        looked_at = cells.reason == ""
        values = file.column(parameters.label_key).astype(object).where(looked_at)
        labels = assign_classes(values, label_map, parameters.classes)
        _check_labels(name, cells, labels, parameters)
        groups = _groups(file, cells, parameters.group_key)
        _some_left(name, cells)
        expression = find_expression(file, cells.rows, cells.names, parameters)
        _control_quality(file, cells, expression, parameters)
        _some_left(name, cells)
        chosen = choose(name, cells, labels, groups, parameters)
        rows = cells.rows
        matrix = scipy.sparse.vstack(
            [expression.of(chunk.matrix) for chunk in file.chunks(expression.source, rows)], format="csr"
        )
    _write(path, parameters, cells, labels, expression, chosen, matrix, output)
    write_json(report, atlas_report(name, path, cells, labels, expression, chosen, looked_at))
    log.info("atlas %s: %d of %d cells, %d classes", name, len(rows), len(cells.names), len(chosen.classes))


def _keep_only(file: AtlasFile, cells: Cells, only: Mapping[str, Any]) -> None:
    for key, values in only.items():
        wanted = {str(value) for value in (values if isinstance(values, list | tuple) else [values])}
        column = file.column(key)
        text = column.astype(object).map(str)
        absent = wanted - set(text)
        if absent:
            raise PathomixError(
                f"{file.path}: no cell has these values in {key}",
                offending=sorted(absent),
                remedy=f"use one of {sorted(set(text))[:20]}",
            )
        cells.drop(~text.isin(wanted).to_numpy(), f"{key} is none of {', '.join(sorted(wanted))}")


def _check_labels(name: str, cells: Cells, labels: Labels, parameters: AtlasParameters) -> None:
    here = cells.reason == ""
    unmapped = here & (labels.codes == NO_CLASS)
    if unmapped.any() and parameters.unmapped == "refuse":
        values, numbers = np.unique(labels.given[unmapped].astype(str), return_counts=True)
        raise PathomixError(
            f"atlas {name}: labels of no class",
            offending=[f"{value or '(empty)'} ({n} cells)" for value, n in zip(values, numbers, strict=True)],
            remedy="add them to label_map, or say `unmapped: drop`",
        )
    cells.drop(labels.given == NO_LABEL, f"no {parameters.label_key}")
    cells.drop(labels.codes == NO_CLASS, "label of no class")


def _groups(file: AtlasFile, cells: Cells, key: str | None) -> NDArray[np.object_]:
    """Donor of each cell, ``""`` without `key`."""
    if key is None:
        return np.full(len(cells.names), "", dtype=object)
    column = file.column(key)
    cells.drop(column.isna().to_numpy(), f"no {key}")
    return np.array([str(value) for value in column.astype(object)], dtype=object)


def _some_left(name: str, cells: Cells) -> None:
    if not len(cells.rows):
        raise PathomixError(
            f"atlas {name}: no cell is left",
            offending=[f"{reason} ({number})" for reason, number in cells.dropped().items()],
            remedy="correct label_map, only or the quality limits",
        )


def _control_quality(file: AtlasFile, cells: Cells, expression: Expression, parameters: AtlasParameters) -> None:
    rows = cells.rows
    matrices = (expression.of(chunk.matrix) for chunk in file.chunks(expression.source, rows))
    metrics = cell_metrics(matrices, expression.genes, parameters.mitochondrial_prefix)
    cells.reason[rows] = failures(metrics, parameters)


def _write(
    path: str | os.PathLike[str],
    parameters: AtlasParameters,
    cells: Cells,
    labels: Labels,
    expression: Expression,
    chosen: Chosen,
    matrix: csr_matrix,
    output: str | os.PathLike[str],
) -> None:
    import anndata

    rows = cells.rows
    order = np.argsort(cells.names[rows].astype(str))
    rows = rows[order]
    class_names = np.array(chosen.classes, dtype=object)
    obs = pd.DataFrame(
        {
            "class_label": pd.Categorical(class_names[chosen.codes[rows]], categories=class_names, ordered=True),
            "label": pd.Categorical(labels.given[rows]),
            "group": pd.Categorical(chosen.groups[rows]),
            "part": pd.Categorical(np.where(chosen.valid[rows], "valid", "train"), categories=["train", "valid"]),
        },
        index=pd.Index(cells.names[rows], dtype=object),
    )
    settings, inputs = asdict(parameters), {"atlas": path}
    if isinstance(parameters.label_map, str):
        # An artefact carries the content of a file it read, never the path of a machine.
        inputs["label_map"], settings["label_map"] = parameters.label_map, Path(parameters.label_map).name
    data = anndata.AnnData(matrix[order], obs=obs, var=pd.DataFrame(index=pd.Index(expression.genes, dtype=object)))
    data.uns["scale"] = expression.scale
    data.uns["classes"] = class_names
    data.uns[METADATA_KEY] = Provenance.of("atlas", inputs, settings).to_json()
    with atomic_path(output) as temporary:
        data.write_h5ad(temporary, compression="gzip")
