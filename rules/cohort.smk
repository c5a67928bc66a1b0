"""From raw tables to the cohort artefacts and the splits."""


rule build_cohort:
    input:
        tables=lambda wildcards: plan.cohort_inputs(wildcards.cohort),
        description=lambda wildcards: plan.cohorts[wildcards.cohort]["description"],
    output:
        expand(f"{R}/cohort/{{{{cohort}}}}/{{file}}", file=plan.cohort_files),
    log:
        f"{R}/logs/build_cohort/{{cohort}}.log",
    benchmark:
        f"{R}/benchmarks/build_cohort/{{cohort}}.tsv"
    conda:
        "../envs/cohort.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=30,
    params:
        code=plan.code("build_cohort"),
        root=lambda wildcards: plan.cohorts[wildcards.cohort]["root"],
        endpoint=lambda wildcards: plan.endpoint_option(wildcards.cohort),
        folder=f"{R}/cohort/{{cohort}}",
    shell:
        "python workflow_scripts/build_cohort.py --threads {threads} --name {wildcards.cohort:q}"
        " --description {input.description:q} --root {params.root:q} {params.endpoint}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule split_cohort:
    input:
        patients=f"{R}/cohort/{{cohort}}/patients.parquet",
        given=f"{R}/cohort/{{cohort}}/given_splits.parquet",
    output:
        f"{R}/splits/{{cohort}}/{{scheme}}.parquet",
    log:
        f"{R}/logs/split_cohort/{{cohort}}-{{scheme}}.log",
    benchmark:
        f"{R}/benchmarks/split_cohort/{{cohort}}-{{scheme}}.tsv"
    conda:
        "../envs/cohort.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        code=plan.code("split_cohort"),
        json=lambda wildcards: as_json(plan.splits[wildcards.scheme]),
    shell:
        "python workflow_scripts/split_cohort.py --threads {threads} --name {wildcards.cohort:q}"
        " --patients {input.patients:q} --given {input.given:q} --parameters {params.json:q}"
        " --output {output:q} > {log:q} 2>&1"
