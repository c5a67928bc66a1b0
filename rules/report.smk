"""Evaluation, tables, figures and the report. Nothing here reads anything but predictions and what follows from them."""

TASKS = ["survival", "subtype"]


rule evaluate_study:
    input:
        indices=lambda wildcards: plan.study_cells(wildcards.study),
    output:
        folds=f"{R}/evaluation/{{study}}/folds.parquet",
        scores=f"{R}/evaluation/{{study}}/scores.parquet",
        calibration=f"{R}/evaluation/{{study}}/calibration.parquet",
        d_calibration=f"{R}/evaluation/{{study}}/d_calibration.parquet",
        leaks=f"{R}/evaluation/{{study}}/declared_leaks.tsv",
    log:
        f"{R}/logs/evaluate_study/{{study}}.log",
    benchmark:
        f"{R}/benchmarks/evaluate_study/{{study}}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 2
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        code=lambda wildcards: plan.code("evaluate_study"),
        json=lambda wildcards: as_json(plan.evaluation_of(wildcards.study)),
        results=lambda wildcards: R,
        folder=f"{R}/evaluation/{{study}}",
    shell:
        "python workflow_scripts/evaluate_study.py --threads {threads} --indices {input.indices:q}"
        " --results {params.results:q} --parameters {params.json:q}"
        " --output-dir {params.folder:q} --leaks {output.leaks:q} > {log:q} 2>&1"


rule probe_site:
    input:
        features=f"{R}/features/{{encoder}}/{{cohort}}.parquet",
        patients=f"{R}/cohort/{{cohort}}/patients.parquet",
    output:
        f"{R}/evaluation/site_probe/{{encoder}}/{{cohort}}.parquet",
    log:
        f"{R}/logs/probe_site/{{encoder}}-{{cohort}}.log",
    benchmark:
        f"{R}/benchmarks/probe_site/{{encoder}}-{{cohort}}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=60,
    params:
        code=lambda wildcards: plan.code("probe_site"),
        json=as_json(plan.site_probe),
        results=lambda wildcards: R,
    shell:
        "python workflow_scripts/probe_site.py --threads {threads} --encoder {wildcards.encoder:q}"
        " --cohort {wildcards.cohort:q} --patients {input.patients:q} --features {input.features:q}"
        " --parameters {params.json:q} --results {params.results:q} --output {output:q} > {log:q} 2>&1"


rule make_tables:
    input:
        scores=f"{R}/evaluation/{{study}}/scores.parquet",
        published=lambda wildcards: plan.published_files(wildcards.study),
    output:
        expand(
            f"{R}/tables/{{{{study}}}}/{{task}}.{{suffix}}",
            task=TASKS,
            suffix=["csv", "md", "tex"],
        ),
        report(
            expand(f"{R}/tables/{{{{study}}}}/{{task}}.html", task=TASKS),
            category="Tables",
            subcategory="{study}",
        ),
    log:
        f"{R}/logs/make_tables/{{study}}.log",
    benchmark:
        f"{R}/benchmarks/make_tables/{{study}}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        code=lambda wildcards: plan.code("make_tables", data=plan.report.templates),
        cohorts=lambda wildcards: plan.studies[wildcards.study]["cohorts"],
        labels=lambda wildcards: as_json(plan.labels(wildcards.study), sort=False),
        published=lambda wildcards: as_json(plan.published(wildcards.study)),
        tuning=lambda wildcards: option(
            "--tuning", filter(None, [plan.tuning_caption(wildcards.study)])
        ),
        folder=f"{R}/tables/{{study}}",
    shell:
        "python workflow_scripts/make_tables.py --threads {threads} --scores {input.scores:q}"
        " --cohort-order {params.cohorts:q} --method-labels {params.labels:q} --published {params.published:q}"
        " {params.tuning} --output-dir {params.folder:q} > {log:q} 2>&1"


rule plot_kaplan_meier:
    input:
        indices=lambda wildcards: plan.study_cells(wildcards.study, wildcards.cohort),
        scores=f"{R}/evaluation/{{study}}/scores.parquet",
    output:
        multiext(f"{R}/figures/{{study}}/kaplan_meier_{{cohort}}", ".pdf", ".png"),
    log:
        f"{R}/logs/plot_kaplan_meier/{{study}}-{{cohort}}.log",
    benchmark:
        f"{R}/benchmarks/plot_kaplan_meier/{{study}}-{{cohort}}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        code=lambda wildcards: plan.code("plot_kaplan_meier"),
        method=lambda wildcards: plan.studies[wildcards.study]["kaplan_meier"],
        labels=lambda wildcards: as_json(plan.labels(wildcards.study), sort=False),
        results=lambda wildcards: R,
        folder=f"{R}/figures/{{study}}",
    shell:
        "python workflow_scripts/plot_kaplan_meier.py --threads {threads} --indices {input.indices:q}"
        " --scores {input.scores:q} --results {params.results:q} --cohort {wildcards.cohort:q}"
        " --method {params.method:q} --method-labels {params.labels:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule plot_forest:
    input:
        scores=f"{R}/evaluation/{{study}}/scores.parquet",
    output:
        multiext(f"{R}/figures/{{study}}/forest_survival", ".pdf", ".png"),
        multiext(f"{R}/figures/{{study}}/forest_subtype", ".pdf", ".png"),
    log:
        f"{R}/logs/plot_forest/{{study}}.log",
    benchmark:
        f"{R}/benchmarks/plot_forest/{{study}}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        code=lambda wildcards: plan.code("plot_forest"),
        cohorts=lambda wildcards: plan.studies[wildcards.study]["cohorts"],
        labels=lambda wildcards: as_json(plan.labels(wildcards.study), sort=False),
        order=lambda wildcards: plan.colour_order(wildcards.study),
        folder=f"{R}/figures/{{study}}",
    shell:
        "python workflow_scripts/plot_forest.py --threads {threads} --scores {input.scores:q}"
        " --cohort-order {params.cohorts:q} --method-labels {params.labels:q}"
        " --method-order {params.order:q} --output-dir {params.folder:q} > {log:q} 2>&1"


rule write_profiles:
    input:
        tables=plan.report.tables(),
    output:
        expand(
            f"{R}/tables/{{name}}.{{suffix}}",
            name=["profiles", "profile_worth"],
            suffix=["csv", "md"],
        ),
    log:
        f"{R}/logs/write_profiles.log",
    benchmark:
        f"{R}/benchmarks/write_profiles.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        code=lambda wildcards: plan.code("write_profiles"),
        config=lambda wildcards: as_json(plan.config),
        studies=[f"{study}={R}/tables/{study}" for study in plan.report.studies],
        folder=lambda wildcards: f"{R}/tables",
    shell:
        "python workflow_scripts/write_profiles.py --threads {threads} --config {params.config:q}"
        " --study {params.studies:q} --output-dir {params.folder:q} > {log:q} 2>&1"


rule write_report:
    input:
        **plan.report.inputs(),
    output:
        page=report(f"{R}/report/index.html", category="Report"),
        crate=f"{R}/ro-crate-metadata.json",
    log:
        f"{R}/logs/write_report.log",
    benchmark:
        f"{R}/benchmarks/write_report.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        code=lambda wildcards: plan.code("write_report", data=plan.report.templates),
        studies=plan.report.study_options(),
        config=lambda wildcards: as_json(plan.config),
        left_out=lambda wildcards: as_json(plan.left_out),
        sources=lambda wildcards: plan.report.sources(),
        command=lambda wildcards: run_command(),
        profiles=lambda wildcards, input: option("--profiles", input.profiles),
        probes=lambda wildcards, input: option("--site-probe", input.probes),
        galleries=lambda wildcards, input: " ".join(
            option(f"--gallery {kind}", input[kind])
            for kind in plan.report.galleries()
        ),
    shell:
        "python workflow_scripts/write_report.py --threads {threads} {params.studies}"
        " --config {params.config:q} --left-out {params.left_out:q} {params.profiles} {params.galleries}"
        " {params.probes} --leaks {input.leaks:q}"
        " --quarantine {input.quarantines:q} --oracle {input.oracles:q}"
        " --published {input.published:q} --sources {params.sources:q} --command {params.command:q}"
        " --locks {input.locks:q} --crate {output.crate:q} --output {output.page:q} > {log:q} 2>&1"
