"""The embedded simulated cohorts: raw files as an archive would hand them out, with known truth beside them."""

RAW = f"{R}/raw/simulated"


rule simulate_tables:
    output:
        plan.cohorts.simulated_tables(),
    log:
        f"{R}/logs/simulate_tables.log",
    benchmark:
        f"{R}/benchmarks/simulate_tables.tsv"
    conda:
        "../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        code=lambda wildcards: plan.code("simulate_tables"),
        json=as_json(plan.cohorts.simulation),
        folder=lambda wildcards: RAW,
    shell:
        "python workflow_scripts/simulate_tables.py --threads {threads} --parameters {params.json:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule simulate_slides:
    input:
        f"{RAW}/{{cohort}}/slides.tsv",
        f"{RAW}/{{cohort}}/truth.parquet",
    output:
        f"{RAW}/{{cohort}}/slides-{{shard}}.tsv",
    log:
        f"{R}/logs/simulate_slides/{{cohort}}-{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/simulate_slides/{{cohort}}-{{shard}}.tsv"
    conda:
        "../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        code=lambda wildcards: plan.code("simulate_slides"),
        json=as_json(plan.cohorts.simulation),
        folder=lambda wildcards: RAW,
        shards=lambda wildcards: plan.cohorts.shards(wildcards.cohort),
    shell:
        "python workflow_scripts/simulate_slides.py --threads {threads} --parameters {params.json:q}"
        " --cohort {wildcards.cohort:q} --shard {wildcards.shard} --shards {params.shards}"
        " --tables {params.folder:q} --index {output:q} > {log:q} 2>&1"


rule describe_archive:
    input:
        tables=expand(
            f"{RAW}/{{{{cohort}}}}/{{table}}",
            table=[
                "clinical.tsv",
                "slides.tsv",
                "expression.tsv.gz",
                "copy_number.tsv.gz",
                "mutation.tsv.gz",
            ],
        ),
        shared=expand(f"{RAW}/{{file}}", file=["gene_sets.gmt", "atlas.h5ad"]),
        slides=lambda wildcards: expand(
            f"{RAW}/{wildcards.cohort}/slides-{{shard}}.tsv",
            shard=plan.slides.shards(wildcards.cohort),
        ),
    output:
        f"{RAW}/archive/{{cohort}}/archive.json",
    log:
        f"{R}/logs/describe_archive/{{cohort}}.log",
    benchmark:
        f"{R}/benchmarks/describe_archive/{{cohort}}.tsv"
    conda:
        "../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        code=lambda wildcards: plan.code("describe_archive"),
        raw=lambda wildcards: RAW,
        output=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "python workflow_scripts/describe_archive.py --threads {threads} --raw {params.raw:q}"
        " --cohorts {wildcards.cohort:q} --output-dir {params.output:q} > {log:q} 2>&1"


rule simulate_oracle:
    input:
        truth=f"{RAW}/{{cohort}}/truth.parquet",
        patients=f"{R}/cohort/{{cohort}}/patients.parquet",
        splits=f"{R}/splits/{{cohort}}/{{scheme}}.parquet",
    output:
        expand(
            f"{R}/runs/{{{{study}}}}/{{oracle}}/{{{{cohort}}}}/{{{{scheme}}}}.parquet",
            oracle=ORACLES,
        ),
    log:
        f"{R}/logs/simulate_oracle/{{study}}-{{cohort}}-{{scheme}}.log",
    benchmark:
        f"{R}/benchmarks/simulate_oracle/{{study}}-{{cohort}}-{{scheme}}.tsv"
    conda:
        "../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        code=lambda wildcards: plan.code("simulate_oracle"),
        results=lambda wildcards: R,
    shell:
        "python workflow_scripts/simulate_oracle.py --threads {threads} --truth {input.truth:q}"
        " --patients {input.patients:q} --splits {input.splits:q} --study {wildcards.study:q}"
        " --cohort {wildcards.cohort:q} --scheme {wildcards.scheme:q} --results {params.results:q} > {log:q} 2>&1"
