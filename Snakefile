from snakemake.utils import min_version, validate

min_version("9.27")


if not config:

    configfile: "config/config.yaml"


validate(config, "config/schemas/config.schema.yaml")


include: "rules/common.smk"


plan = Plan(config, Path(workflow.basedir))
R = plan.results
# Rules find the library without an installation: conda environments hold its dependencies only. Packages that a user
# installed for themselves must not shadow an environment's.
shell.prefix(
    f"set -euo pipefail; export PYTHONNOUSERSITE=1 PYTHONPATH={shlex.quote(str(plan.source))}; "
)


wildcard_constraints:
    cohort=alternatives(plan.cohorts.names),
    scheme=alternatives(plan.splits),
    study=alternatives(plan.studies),
    method=alternatives(plan.methods),
    encoder=alternatives(plan.slides.encoders),
    embedding=alternatives(plan.slides.passes),
    tiling=alternatives(plan.slides.tilings),
    representation=alternatives(plan.vectors.representations),
    source=alternatives(plan.cohorts.names),
    text=alternatives(plan.vectors.texts),
    atlas=alternatives(plan.expression.atlases),
    expression_encoder=alternatives(plan.expression.encoders),
    smoothing=alternatives(plan.expression.smoothing),
    regions=alternatives(plan.regions.names),
    explanation=alternatives(plan.explanations),
    seed=r"\d+",
    shard=r"\d+",


include: "rules/simulate.smk"
include: "rules/acquire.smk"
include: "rules/cohort.smk"
include: "rules/slides.smk"
include: "rules/regions.smk"
include: "rules/representations.smk"
include: "rules/atlas.smk"
include: "rules/smoothing.smk"
include: "rules/methods.smk"
include: "rules/figures.smk"
include: "rules/report.smk"


onstart:
    check_folder(executor_name(), os.getcwd())
    # Temporary files of writers that were killed; nobody else writes here while this run holds the lock.
    for folder in (R, plan.acquisition.folder, plan.cohorts.locks):
        sweep(folder)
    check_weights(plan, REGISTRY, token="HF_TOKEN" in os.environ)
    # What stands behind each code digest, for `python -m pathomix.why`; a dry-run writes nothing.
    RECORD.keep(plan.root / R)
    lift_own_limit(workflow.scheduler)
    watch_run()


onsuccess:
    tell_summary(True)


onerror:
    tell_summary(False)


rule all:
    default_target: True
    input:
        plan.report.targets(),
    localrule: True
