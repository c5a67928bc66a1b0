"""Figures of the smoothing and of the balance of two modalities in training."""


rule plot_smoothing:
    input:
        validation=f"{R}/smoothing/{{smoothing}}/validation.json",
        predictions=f"{R}/smoothing/{{smoothing}}/validation.parquet",
        before=lambda wildcards: [
            plan.expression.raw_vectors(wildcards.smoothing, cohort)
            for cohort in plan.smoothed_cohorts(wildcards.smoothing)
        ],
        after=lambda wildcards: [
            plan.expression.vectors(wildcards.smoothing, cohort)
            for cohort in plan.smoothed_cohorts(wildcards.smoothing)
        ],
        patients=lambda wildcards: [
            f"{R}/cohort/{cohort}/patients.parquet"
            for cohort in plan.smoothed_cohorts(wildcards.smoothing)
        ],
    output:
        multiext(f"{R}/figures/smoothing/{{smoothing}}/validation", ".pdf", ".png"),
        multiext(f"{R}/figures/smoothing/{{smoothing}}/patients", ".pdf", ".png"),
    log:
        f"{R}/logs/plot_smoothing/{{smoothing}}.log",
    benchmark:
        f"{R}/benchmarks/plot_smoothing/{{smoothing}}.tsv"
    conda:
        "../envs/smoothing.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=30,
    params:
        code=plan.code("plot_smoothing"),
        cohorts=lambda wildcards: plan.smoothed_cohorts(wildcards.smoothing),
        folder=f"{R}/figures/smoothing/{{smoothing}}",
    shell:
        "python workflow_scripts/plot_smoothing.py --threads {threads} --name {wildcards.smoothing:q}"
        " --validation {input.validation:q} --predictions {input.predictions:q} --cohorts {params.cohorts:q}"
        " --before {input.before:q} --after {input.after:q} --patients {input.patients:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule plot_balance:
    input:
        indices=lambda wildcards: plan.balance_cells(wildcards.study, wildcards.cohort),
    output:
        multiext(f"{R}/figures/{{study}}/balance_{{cohort}}", ".pdf", ".png"),
        f"{R}/tables/{{study}}/balance_{{cohort}}.csv",
    log:
        f"{R}/logs/plot_balance/{{study}}-{{cohort}}.log",
    benchmark:
        f"{R}/benchmarks/plot_balance/{{study}}-{{cohort}}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        code=plan.code("plot_balance"),
        labels=lambda wildcards: as_json(plan.labels(wildcards.study), sort=False),
        results=lambda wildcards: R,
        figures=f"{R}/figures/{{study}}",
        tables=f"{R}/tables/{{study}}",
    shell:
        "python workflow_scripts/plot_balance.py --threads {threads} --indices {input.indices:q}"
        " --results {params.results:q} --cohort {wildcards.cohort:q} --method-labels {params.labels:q}"
        " --figure-dir {params.figures:q} --table-dir {params.tables:q} > {log:q} 2>&1"
