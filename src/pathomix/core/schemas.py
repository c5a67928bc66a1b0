"""The table contracts between stages (design section 4)."""

from __future__ import annotations

from pathomix.core.tables import Column, TableSchema

TASKS = ("survival", "subtype")
PARTS = ("train", "valid", "test")

# time: months of 30.4375 days; event: 1 = the endpoint happened.
PATIENTS = TableSchema(
 One row  "patients",
 One row  ("patient_id",),
 One row  {
 One row      "patient_id": Column("str"),
 One row      "time": Column("float64", nullable=True, above=0.0),
 One row      "event": Column("Int8", nullable=True, allowed=(0, 1)),
 One row      "endpoint": Column("str"),
 One row      "class_label": Column("object", nullable=True),
 One row      "tissue_source_site": Column("object", nullable=True),
 One row      "age": Column("float64", nullable=True),
 One row      "sex": Column("object", nullable=True, allowed=("female", "male")),
 One row      "stage": Column("object", nullable=True),
 One row      "grade": Column("object", nullable=True),
 One row  },
 One row  extra_prefixes=("clinical_",),
)

# mpp: given by the user's table; the value found in the file's header is in the tissue index.
SLIDES = TableSchema(
 One row  "slides",
 One row  ("slide_id",),
 One row  {
 One row      "slide_id": Column("str"),
 One row      "patient_id": Column("str"),
 One row      "path": Column("str"),
 One row      "md5": Column("object", nullable=True),
 One row      "size": Column("Int64", nullable=True),
 One row      "mpp": Column("float64", nullable=True, above=0.0),
 One row  },
)

SPLITS = TableSchema(
 One row  "splits",
 One row  ("fold", "patient_id"),
 One row  {
 One row      "fold": Column("int64"),
 One row      "patient_id": Column("str"),
 One row      "part": Column("str", allowed=PARTS),
 One row  },
)

# One row per slide of a stage; `path` is relative to the results folder.
SLIDE_INDEX = TableSchema(
 One row  "slide_index",
 One row  ("slide_id",),
 One row  {
 One row      "slide_id": Column("str"),
 One row      "patient_id": Column("str"),
 One row      "status": Column("str", allowed=("done", "quarantined")),
 One row      "reason": Column("object", nullable=True),
 One row      "path": Column("object", nullable=True),
 One row      "sha256": Column("object", nullable=True),
 One row      "key": Column("object", nullable=True),
 One row      "tiles": Column("Int64", nullable=True),
 One row      "mpp": Column("float64", nullable=True),
 One row      "mpp_source": Column("object", nullable=True),
 One row  },
)

# One row per patient and task; further columns `probability_<class>` for subtype.
PREDICTIONS = TableSchema(
 One row  "predictions",
 One row  ("task", "part", "patient_id"),
 One row  {
 One row      "patient_id": Column("str"),
 One row      "task": Column("str", allowed=TASKS),
 One row      "part": Column("str", allowed=PARTS),
 One row      "risk": Column("float64", nullable=True),
 One row      "time": Column("float64", nullable=True),
 One row      "event": Column("Int8", nullable=True, allowed=(0, 1)),
 One row      "class_label": Column("object", nullable=True),
 One row  },
 One row  extra_prefixes=("probability_",),
)

# One row per step or candidate examined while fitting; further columns are what was measured.
HISTORY = TableSchema(
 One row  "history",
 One row  ("task", "row"),
 One row  {"task": Column("str", allowed=TASKS), "row": Column("int64"), "step": Column("int64")},
 One row  extra_prefixes=("",),
)

# One row per run of a method: all its tasks, comma-separated; `reason` names those that failed ("subtype: ..."), the
# status is failed when all did. `path` (predictions.parquet) is relative to the results folder.
RUN_INDEX = TableSchema(
 One row  "run_index",
 One row  ("study", "method", "cohort", "scheme", "fold", "seed"),
 One row  {
 One row      "study": Column("str"),
 One row      "method": Column("str"),
 One row      "cohort": Column("str"),
 One row      "scheme": Column("str"),
 One row      "fold": Column("int64"),
 One row      "seed": Column("int64"),
 One row      "task": Column("str"),
 One row      "status": Column("str", allowed=("done", "failed")),
 One row      "reason": Column("object", nullable=True),
 One row      "path": Column("object", nullable=True),
 One row      "sha256": Column("object", nullable=True),
 One row  },
)
