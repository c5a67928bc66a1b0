"""Linear probes on embeddings: logistic regression, ridge Cox plain and stratified by site."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from checking import GoldenSet, Result, checker

from pathomix.survival.concordance import harrell_c
from pathomix.survival.probe_cox import probe_cox
from pathomix.training.probes import fit_logistic

# README_slide_encoders.md: liblinear stops early; all else in units of the largest expected magnitude, at least 1.
COEFFICIENTS, PROBABILITIES, OTHER = 5e-4, 1e-4, 1e-5


@checker("modaltune_probes")
def probes(golden: GoldenSet) -> Iterator[Result]:
    """Every case: what is fitted on the training rows and said about the test rows."""
    for case, settings in golden.config["cases"].items():
        yield from _logistic(golden, case)
        yield from _cox(golden, case, float(settings["penalizer"]))


def _logistic(golden: GoldenSet, case: str) -> Iterator[Result]:
    """Classes and predictions are exact."""
    probe = fit_logistic(golden.input(f"{case}/in/x_train"), golden.input(f"{case}/in/y_train"))
    test = golden.input(f"{case}/in/x_test")
    golden.input(f"{case}/in/y_test")
    yield golden.compare(f"{case}/out/lr_classes", probe.classes, 0.0)
    yield golden.compare(f"{case}/out/lr_pred_test", probe.predict(test), 0.0)
    yield golden.compare(f"{case}/out/lr_coef", probe.coefficients, COEFFICIENTS)
    yield golden.compare(f"{case}/out/lr_intercept", probe.intercepts, COEFFICIENTS)
    yield golden.compare(f"{case}/out/lr_prob_test", probe.probabilities(test), PROBABILITIES)


def _cox(golden: GoldenSet, case: str, penalty: float) -> Iterator[Result]:
    """The stratified score counts pairs across strata, as lifelines does."""
    x, time, event, site = (
        {part: golden.input(f"{case}/in/{name}_{part}") for part in ("train", "test")}
        for name in ("x", "durations", "event", "site")
    )

    def compared(name: str, ours: object) -> Result:
        scale = max(1.0, float(np.abs(golden.tensors[f"{case}/out/{name}"]).max()))
        return golden.compare(f"{case}/out/{name}", ours, OTHER * scale)

    plain = probe_cox(x["train"], time["train"], event["train"], penalty, convergence="lifelines")
    yield compared("cox_coef", plain.coefficients)
    for part in ("train", "test"):
        yield compared(f"cox_cindex_{part}", harrell_c(time[part], event[part], plain.log_hazard(x[part])))
    yield compared("cox_log_partial_hazard_test", plain.log_hazard(x["test"]))
    by_site = probe_cox(
        x["train"], time["train"], event["train"], penalty, strata=site["train"], convergence="lifelines"
    )
    yield compared("cox_site_strata_coef", by_site.coefficients)
    yield compared("cox_site_strata_cindex_test", harrell_c(time["test"], event["test"], by_site.log_hazard(x["test"])))
