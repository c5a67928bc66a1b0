"""Figures of splits, slides, smoothing and the balance of two modalities in training, and maps over slides."""


rule plot_smoothing:
    input:
        validation=f"{R}/smoothing/{{smoothing}}/validation.json",
        predictions=f"{R}/smoothing/{{smoothing}}/validation.parquet",
        before=lambda wildcards: [
            plan.expression.raw_vectors(wildcards.smoothing, cohort)
            for cohort in plan.report.smoothed_cohorts(wildcards.smoothing)
        ],
        after=lambda wildcards: [
            plan.expression.vectors(wildcards.smoothing, cohort)
            for cohort in plan.report.smoothed_cohorts(wildcards.smoothing)
        ],
        patients=lambda wildcards: [
            f"{R}/cohort/{cohort}/patients.parquet"
            for cohort in plan.report.smoothed_cohorts(wildcards.smoothing)
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
        code=lambda wildcards: plan.code("plot_smoothing"),
        cohorts=lambda wildcards: plan.report.smoothed_cohorts(wildcards.smoothing),
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
        code=lambda wildcards: plan.code("plot_balance"),
        labels=lambda wildcards: as_json(plan.labels(wildcards.study), sort=False),
        results=lambda wildcards: R,
        figures=f"{R}/figures/{{study}}",
        tables=f"{R}/tables/{{study}}",
    shell:
        "python workflow_scripts/plot_balance.py --threads {threads} --indices {input.indices:q}"
        " --results {params.results:q} --cohort {wildcards.cohort:q} --method-labels {params.labels:q}"
        " --figure-dir {params.figures:q} --table-dir {params.tables:q} > {log:q} 2>&1"


rule draw_heatmaps:
    input:
        cases=f"{R}/explanations/{{explanation}}/cases.parquet",
        features=lambda wildcards: plan.vectors.features(
            plan.explained(wildcards.explanation).representation,
            plan.explanations[wildcards.explanation]["cohort"],
        ),
        slides=lambda wildcards: plan.explained_slides(wildcards.explanation)["tables"],
    output:
        f"{R}/explanations/{{explanation}}/heatmaps/heatmaps.parquet",
    log:
        f"{R}/logs/draw_heatmaps/{{explanation}}.log",
    benchmark:
        f"{R}/benchmarks/draw_heatmaps/{{explanation}}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        code=lambda wildcards: plan.code("draw_heatmaps"),
        json=as_json(plan.heatmaps),
        roots=lambda wildcards: plan.explained_slides(wildcards.explanation)["roots"],
        task=lambda wildcards: plan.explanations[wildcards.explanation]["task"],
        explanation=lambda wildcards, input: Path(input.cases).parent,
        results=lambda wildcards: R,
        output=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "python workflow_scripts/draw_heatmaps.py --threads {threads} --explanation {params.explanation:q}"
        " --features {input.features:q} --slides {input.slides:q} --roots {params.roots:q} --task {params.task:q}"
        " --parameters {params.json:q} --results {params.results:q} --output {params.output:q} > {log:q} 2>&1"


rule draw_splits:
    input:
        plan.report.audits(),
    output:
        plan.report.split_figures(),
        [Path(figure).with_suffix(".pdf") for figure in plan.report.split_figures()],
    log:
        f"{R}/logs/draw_splits.log",
    benchmark:
        f"{R}/benchmarks/draw_splits.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=30,
    params:
        code=lambda wildcards: plan.code("draw_splits"),
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "python workflow_scripts/draw_splits.py --threads {threads} --audits {input:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule contact_sheet:
    input:
        slides=f"{R}/cohort/{{cohort}}/slides.parquet",
        indices=lambda wildcards: plan.slides.tissue_indices(wildcards.cohort),
    output:
        f"{R}/figures/slides/{{cohort}}/page-001.png",
    log:
        f"{R}/logs/contact_sheet/{{cohort}}.log",
    benchmark:
        f"{R}/benchmarks/contact_sheet/{{cohort}}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=60,
    params:
        code=lambda wildcards: plan.code("contact_sheet"),
        results=lambda wildcards: R,
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "python workflow_scripts/contact_sheet.py --threads {threads} --slides {input.slides:q}"
        " --indices {input.indices:q} --results {params.results:q} --output {params.folder:q} > {log:q} 2>&1"


rule plot_calibration:
    input:
        calibration=f"{R}/evaluation/{{study}}/calibration.parquet",
        d_calibration=f"{R}/evaluation/{{study}}/d_calibration.parquet",
    output:
        multiext(f"{R}/figures/{{study}}/calibration", ".pdf", ".png"),
    log:
        f"{R}/logs/plot_calibration/{{study}}.log",
    benchmark:
        f"{R}/benchmarks/plot_calibration/{{study}}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        code=lambda wildcards: plan.code("plot_calibration"),
        cohorts=lambda wildcards: plan.studies[wildcards.study]["cohorts"],
        labels=lambda wildcards: as_json(plan.labels(wildcards.study), sort=False),
        order=lambda wildcards: plan.colour_order(wildcards.study),
        folder=f"{R}/figures/{{study}}",
    shell:
        "python workflow_scripts/plot_calibration.py --threads {threads} --calibration {input.calibration:q}"
        " --d-calibration {input.d_calibration:q} --cohort-order {params.cohorts:q} --method-labels {params.labels:q}"
        " --method-order {params.order:q} --output-dir {params.folder:q} > {log:q} 2>&1"


rule plot_training:
    input:
        indices=lambda wildcards: plan.study_cells(wildcards.study, wildcards.cohort),
        models=lambda wildcards: [
            file
            for files in plan.trained_by(wildcards.study, wildcards.cohort).values()
            for file in files
        ],
    output:
        multiext(f"{R}/figures/{{study}}/training_{{cohort}}", ".pdf", ".png"),
    log:
        f"{R}/logs/plot_training/{{study}}-{{cohort}}.log",
    benchmark:
        f"{R}/benchmarks/plot_training/{{study}}-{{cohort}}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        code=lambda wildcards: plan.code("plot_training"),
        labels=lambda wildcards: as_json(plan.labels(wildcards.study), sort=False),
        representations=lambda wildcards: as_json(
            plan.trained_by(wildcards.study, wildcards.cohort)
        ),
        order=lambda wildcards: plan.colour_order(wildcards.study),
        results=lambda wildcards: R,
        folder=f"{R}/figures/{{study}}",
    shell:
        "python workflow_scripts/plot_training.py --threads {threads} --indices {input.indices:q}"
        " --results {params.results:q} --cohort {wildcards.cohort:q} --method-labels {params.labels:q}"
        " --representations {params.representations:q} --method-order {params.order:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule plot_attribution:
    input:
        models=f"{R}/explanations/{{explanation}}/pathway_models.parquet",
        controls=f"{R}/explanations/{{explanation}}/controls.parquet",
    output:
        multiext(f"{R}/explanations/{{explanation}}/attribution", ".pdf", ".png"),
    log:
        f"{R}/logs/plot_attribution/{{explanation}}.log",
    benchmark:
        f"{R}/benchmarks/plot_attribution/{{explanation}}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        code=lambda wildcards: plan.code("plot_attribution"),
        name=lambda wildcards: plan.explanation_title(wildcards.explanation),
        explanation=lambda wildcards, input: Path(input.controls).parent,
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "python workflow_scripts/plot_attribution.py --threads {threads} --explanation {params.explanation:q}"
        " --name {params.name:q} --output-dir {params.folder:q} > {log:q} 2>&1"
