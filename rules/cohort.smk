"""From raw tables to the cohort artefacts and the splits; unions put cohorts together (pan-cancer)."""


rule build_cohort:
    input:
        tables=lambda wildcards: plan.cohorts.raw_inputs(wildcards.cohort),
        description=lambda wildcards: plan.cohorts.described[wildcards.cohort][
            "description"
        ],
    output:
        expand(f"{R}/cohort/{{{{cohort}}}}/{{file}}", file=COHORT_FILES),
    log:
        f"{R}/logs/build_cohort/{{cohort}}.log",
    benchmark:
        f"{R}/benchmarks/build_cohort/{{cohort}}.tsv"
    wildcard_constraints:
        cohort=alternatives(plan.cohorts.described),
    conda:
        "../envs/cohort.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=30,
    params:
        code=lambda wildcards: plan.code("build_cohort"),
        # Snakemake looks at the content of an input only where its time is newer than the outputs'.
        described=lambda wildcards: file_digest(
            plan.cohorts.described[wildcards.cohort]["description"]
        ),
        root=lambda wildcards: plan.cohorts.described[wildcards.cohort]["root"],
        locks=plan.cohorts.locks,
        endpoint=lambda wildcards: plan.cohorts.endpoint_option(wildcards.cohort),
        folder=f"{R}/cohort/{{cohort}}",
    shell:
        "python workflow_scripts/build_cohort.py --threads {threads} --name {wildcards.cohort:q}"
        " --description {input.description:q} --root {params.root:q} --locks {params.locks:q} {params.endpoint}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule split_cohort:
    input:
        patients=f"{R}/cohort/{{cohort}}/patients.parquet",
        given=f"{R}/cohort/{{cohort}}/given_splits.parquet",
        expression=lambda wildcards: plan.measured(wildcards.cohort, wildcards.scheme),
    output:
        splits=f"{R}/splits/{{cohort}}/{{scheme}}.parquet",
        audit=f"{R}/splits/{{cohort}}/{{scheme}}.audit.json",
    log:
        f"{R}/logs/split_cohort/{{cohort}}-{{scheme}}.log",
    benchmark:
        f"{R}/benchmarks/split_cohort/{{cohort}}-{{scheme}}.tsv"
    wildcard_constraints:
        cohort=alternatives(plan.cohorts.described),
    conda:
        "../envs/cohort.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        code=lambda wildcards: plan.code("split_cohort"),
        json=lambda wildcards: as_json(plan.splits[wildcards.scheme]),
        expression=lambda wildcards, input: option("--expression", input.expression),
    shell:
        "python workflow_scripts/split_cohort.py --threads {threads} --name {wildcards.cohort:q}"
        " --patients {input.patients:q} --given {input.given:q} {params.expression} --parameters {params.json:q}"
        " --output {output.splits:q} > {log:q} 2>&1"


rule nest_splits:
    input:
        patients=f"{R}/cohort/{{cohort}}/patients.parquet",
        splits=f"{R}/splits/{{cohort}}/{{scheme}}.parquet",
    output:
        f"{R}/splits/{{cohort}}/{{scheme}}.inner.parquet",
    log:
        f"{R}/logs/nest_splits/{{cohort}}-{{scheme}}.log",
    benchmark:
        f"{R}/benchmarks/nest_splits/{{cohort}}-{{scheme}}.tsv"
    wildcard_constraints:
        scheme=alternatives(plan.inner_splits),
    conda:
        "../envs/cohort.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        code=lambda wildcards: plan.code("nest_splits"),
        json=lambda wildcards: as_json(plan.inner_splits[wildcards.scheme]),
    shell:
        "python workflow_scripts/nest_splits.py --threads {threads} --name {wildcards.cohort:q}"
        " --patients {input.patients:q} --splits {input.splits:q} --parameters {params.json:q}"
        " --output {output:q} > {log:q} 2>&1"


rule unite_cohorts:
    input:
        lambda wildcards: plan.cohorts.member_files(wildcards.cohort),
    output:
        expand(f"{R}/cohort/{{{{cohort}}}}/{{file}}", file=COHORT_FILES),
    log:
        f"{R}/logs/unite_cohorts/{{cohort}}.log",
    benchmark:
        f"{R}/benchmarks/unite_cohorts/{{cohort}}.tsv"
    wildcard_constraints:
        cohort=alternatives(plan.cohorts.unions),
    conda:
        "../envs/cohort.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=30,
    params:
        code=lambda wildcards: plan.code("unite_cohorts"),
        members=lambda wildcards: plan.cohorts.member_options(
            wildcards.cohort, f"{R}/cohort/{{member}}"
        ),
        folder=f"{R}/cohort/{{cohort}}",
    shell:
        "python workflow_scripts/unite_cohorts.py --threads {threads} --name {wildcards.cohort:q}"
        " {params.members} --output-dir {params.folder:q} > {log:q} 2>&1"


rule unite_splits:
    input:
        splits=lambda wildcards: expand(
            f"{R}/splits/{{member}}/{wildcards.scheme}.parquet",
            member=plan.cohorts.members(wildcards.cohort),
        ),
        patients=f"{R}/cohort/{{cohort}}/patients.parquet",
    output:
        splits=f"{R}/splits/{{cohort}}/{{scheme}}.parquet",
        audit=f"{R}/splits/{{cohort}}/{{scheme}}.audit.json",
    log:
        f"{R}/logs/unite_splits/{{cohort}}-{{scheme}}.log",
    benchmark:
        f"{R}/benchmarks/unite_splits/{{cohort}}-{{scheme}}.tsv"
    wildcard_constraints:
        cohort=alternatives(plan.cohorts.unions),
    conda:
        "../envs/cohort.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        code=lambda wildcards: plan.code("unite_splits"),
        members=lambda wildcards: plan.cohorts.member_options(
            wildcards.cohort, f"{R}/splits/{{member}}/{wildcards.scheme}.parquet"
        ),
    shell:
        "python workflow_scripts/unite_splits.py --threads {threads} --name {wildcards.cohort:q} {params.members}"
        " --patients {input.patients:q} --output {output.splits:q} > {log:q} 2>&1"
