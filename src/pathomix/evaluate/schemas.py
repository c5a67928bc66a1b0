"""The two tables evaluation writes, and the one it reads beside PREDICTIONS."""

from __future__ import annotations

from pathomix.core.schemas import PREDICTIONS, TASKS
from pathomix.core.tables import Column, TableSchema
from pathomix.evaluate.common import PATIENTS
from pathomix.evaluate.units import REGION_ID, UNITS

# Predictions from elsewhere with several rows per patient; a run index may list them in place of PREDICTIONS.
REGION_PREDICTIONS = TableSchema(
    "region_predictions",
    ("task", "part", "patient_id", REGION_ID),
    {**PREDICTIONS.columns, REGION_ID: Column("str")},
    extra_prefixes=PREDICTIONS.extra_prefixes,
)

# One row per run and metric. A value is missing exactly where `reason` says why; `reason` may also stand beside a
# value (patients without prediction). Counts are of distinct test patients whose outcome is known.
FOLD_SCORES = TableSchema(
    "fold_scores",
    ("task", "metric", "cohort", "scheme", "method", "seed", "fold"),
    {
        "method": Column("str"),
        "cohort": Column("str"),
        "scheme": Column("str"),
        "task": Column("str", allowed=TASKS),
        "metric": Column("str"),
        "seed": Column("int64"),
        "fold": Column("int64"),
        "value": Column("float64", nullable=True),
        "n_patients": Column("Int64"),
        "n_events": Column("Int64", nullable=True),
        "n_missing": Column("Int64"),
        "reason": Column("object", nullable=True),
    },
)

# One row per cell of a results table.
#   mean        mean over folds of the fold values, a fold value being the mean over its seeds
#   sd_folds    sample standard deviation of the fold values
#   half_width  half-width of the 95 % t-interval over folds, t(0.975, k - 1) sd / sqrt(k)
#   sd_seeds    sample standard deviation of the seeds' fold means, over the folds every seed has
#   lower/upper 95 % percentile interval of the patient bootstrap of `mean`
#   difference  `mean` less the mean of the study's reference row, with the paired bootstrap's interval of it (both rows
#               meet the same resamples); missing for the reference, without one, and where the folds used differ
#   resampled_t, resampled_p  corrected resampled t-test of that difference over folds, where test parts overlap, with
#   test_ratio  test patients per training patient
#   wilcoxon_p  paired signed-rank test of the same; each is missing where `test_reason` says why
#   bootstrap_p two-sided p of the same paired bootstrap: the level at which its interval just reaches 0
#   holm_p      Holm's adjustment, over the rows compared with the reference in one cohort, scheme and metric, of
#               resampled_p where test parts overlap and of bootstrap_p elsewhere
#   resolvable  smallest true difference of two rows that these tests would show with 80 % power at two-sided 5 % in
#               this cohort with its events, folds and seeds, the same in all rows of a cohort, scheme and metric;
#               missing where `resolvable_reason` says why, which may also state beside a value what was assumed
#   unit        what one observation is; patients are counted and resampled whatever it is
#   patients    whose predictions count: the row's own test patients, or those common to all rows of the study
SCORES = TableSchema(
    "scores",
    ("task", "metric", "cohort", "scheme", "method"),
    {
        "method": Column("str"),
        "cohort": Column("str"),
        "scheme": Column("str"),
        "task": Column("str", allowed=TASKS),
        "metric": Column("str"),
        "mean": Column("float64", nullable=True),
        "sd_folds": Column("float64", nullable=True),
        "half_width": Column("float64", nullable=True),
        "sd_seeds": Column("float64", nullable=True),
        "lower": Column("float64", nullable=True),
        "upper": Column("float64", nullable=True),
        "reference": Column("object", nullable=True),
        "difference": Column("float64", nullable=True),
        "difference_lower": Column("float64", nullable=True),
        "difference_upper": Column("float64", nullable=True),
        "resampled_t": Column("float64", nullable=True),
        "resampled_p": Column("float64", nullable=True),
        "wilcoxon_p": Column("float64", nullable=True),
        "bootstrap_p": Column("float64", nullable=True),
        "holm_p": Column("float64", nullable=True),
        "test_ratio": Column("float64", nullable=True),
        "test_reason": Column("object", nullable=True),
        "resolvable": Column("float64", nullable=True),
        "resolvable_reason": Column("object", nullable=True),
        "unit": Column("str", allowed=UNITS),
        "patients": Column("str", allowed=PATIENTS),
        "n_patients": Column("Int64"),
        "n_events": Column("Int64", nullable=True),
        "n_missing": Column("Int64"),
        "folds_used": Column("Int64"),
        "folds_total": Column("Int64"),
        "seeds": Column("Int64"),
        "resamples": Column("Int64"),
        "reason": Column("object", nullable=True),
    },
    version=3,
)

ALL_PATIENTS, WITHIN_CLASSES = "all patients", "within classes"

# How well one vector per patient tells the tissue source site; one row per group of patients (`class <label>` too).
#   value        balanced accuracy of a linear probe cross-validated by patient; missing where `reason` says why
#   lower/upper  95 % percentile interval of the patient bootstrap of it
#   chance       mean of the same with sites permuted within folds, with the central 95 % of the permutations
#   p            share of the permutations that reach `value`, itself counted
#   left_out     patients without a known site or of a site with too few patients, and how many such sites
SITE_PROBE = TableSchema(
    "site_probe",
    ("encoder", "cohort", "group"),
    {
        "encoder": Column("str"),
        "cohort": Column("str"),
        "group": Column("str"),
        "value": Column("float64", nullable=True),
        "lower": Column("float64", nullable=True),
        "upper": Column("float64", nullable=True),
        "chance": Column("float64", nullable=True),
        "chance_lower": Column("float64", nullable=True),
        "chance_upper": Column("float64", nullable=True),
        "p": Column("float64", nullable=True),
        "n_patients": Column("int64"),
        "n_sites": Column("int64"),
        "left_out_patients": Column("int64"),
        "left_out_sites": Column("int64"),
        "folds": Column("int64"),
        "permutations": Column("int64"),
        "resamples": Column("int64"),
        "reason": Column("object", nullable=True),
    },
)
