"""The table contracts between stages (design section 4)."""

from __future__ import annotations

from pathomix.core.tables import Column, TableSchema

TASKS = ("survival", "subtype")
PARTS = ("train", "valid", "test")

# time: months of 30.4375 days; event: 1 = the endpoint happened.
PATIENTS = TableSchema(
    "patients",
    ("patient_id",),
    {
        "patient_id": Column("str"),
        "time": Column("float64", nullable=True, above=0.0),
        "event": Column("Int8", nullable=True, allowed=(0, 1)),
        "endpoint": Column("str"),
        "class_label": Column("object", nullable=True),
        "tissue_source_site": Column("object", nullable=True),
        "age": Column("float64", nullable=True),
        "sex": Column("object", nullable=True, allowed=("female", "male")),
        "stage": Column("object", nullable=True),
        "grade": Column("object", nullable=True),
    },
    extra_prefixes=("clinical_",),
)

# mpp: given by the user's table; the value found in the file's header is in the tissue index.
SLIDES = TableSchema(
    "slides",
    ("slide_id",),
    {
        "slide_id": Column("str"),
        "patient_id": Column("str"),
        "path": Column("str"),
        "md5": Column("object", nullable=True),
        "size": Column("Int64", nullable=True),
        "mpp": Column("float64", nullable=True, above=0.0),
    },
)

SPLITS = TableSchema(
    "splits",
    ("fold", "patient_id"),
    {
        "fold": Column("int64"),
        "patient_id": Column("str"),
        "part": Column("str", allowed=PARTS),
    },
)

# One row per slide of a stage; `path` is relative to the results folder.
SLIDE_INDEX = TableSchema(
    "slide_index",
    ("slide_id",),
    {
        "slide_id": Column("str"),
        "patient_id": Column("str"),
        "status": Column("str", allowed=("done", "quarantined")),
        "reason": Column("object", nullable=True),
        "path": Column("object", nullable=True),
        "sha256": Column("object", nullable=True),
        "key": Column("object", nullable=True),
        "tiles": Column("Int64", nullable=True),
        "mpp": Column("float64", nullable=True),
        "mpp_source": Column("object", nullable=True),
    },
)

# One row per slide and encoder of an embedding pass: encoders that share the decoding of slides.
PASS_INDEX = TableSchema("pass_index", ("encoder", "slide_id"), {"encoder": Column("str"), **SLIDE_INDEX.columns})

# One row per patient and task; further columns `probability_<class>` for subtype.
PREDICTIONS = TableSchema(
    "predictions",
    ("task", "part", "patient_id"),
    {
        "patient_id": Column("str"),
        "task": Column("str", allowed=TASKS),
        "part": Column("str", allowed=PARTS),
        "risk": Column("float64", nullable=True),
        "time": Column("float64", nullable=True),
        "event": Column("Int8", nullable=True, allowed=(0, 1)),
        "class_label": Column("object", nullable=True),
    },
    extra_prefixes=("probability_",),
)

# One row per step or candidate examined while fitting; further columns are what was measured.
HISTORY = TableSchema(
    "history",
    ("task", "row"),
    {"task": Column("str", allowed=TASKS), "row": Column("int64"), "step": Column("int64")},
    extra_prefixes=("",),
)

# One row per run of a method: all its tasks, comma-separated; `reason` names those that failed ("subtype: ..."), the
# status is failed when all did. `path` (predictions.parquet) is relative to the results folder.
RUN_INDEX = TableSchema(
    "run_index",
    ("study", "method", "cohort", "scheme", "fold", "seed"),
    {
        "study": Column("str"),
        "method": Column("str"),
        "cohort": Column("str"),
        "scheme": Column("str"),
        "fold": Column("int64"),
        "seed": Column("int64"),
        "task": Column("str"),
        "status": Column("str", allowed=("done", "failed")),
        "reason": Column("object", nullable=True),
        "path": Column("object", nullable=True),
        "sha256": Column("object", nullable=True),
    },
)

# One row per fitted representation: `inner` 0 is the model of the fold, 1 to K the models of cross-fitting, each fitted
# without one part of the training patients. `path` (model.safetensors) is relative to the results folder.
MODEL_INDEX = TableSchema(
    "model_index",
    ("representation", "source", "scheme", "fold", "seed", "inner"),
    {
        "representation": Column("str"),
        "source": Column("str"),
        "scheme": Column("str"),
        "fold": Column("int64"),
        "seed": Column("int64"),
        "inner": Column("int64"),
        "status": Column("str", allowed=("done", "failed")),
        "reason": Column("object", nullable=True),
        "path": Column("object", nullable=True),
        "sha256": Column("object", nullable=True),
    },
)

# One row per epoch of a representation; further columns are what was measured.
MODEL_HISTORY = TableSchema("model_history", ("step",), {"step": Column("int64")}, extra_prefixes=("",))
