"""From public identifiers to raw files: slides by their lock, tables and other files by their pins.

The simulated cohorts are acquired by the same rules, from an archive that the scripts serve over HTTP while they run.
"""

WEIGHTS = Path(workflow.basedir) / "resources" / "weights.yaml"
REGISTRY = read_registry(WEIGHTS)
WEIGHT_TARGETS = weight_targets(REGISTRY)


rule lock_slides:
    input:
        lambda wildcards: plan.acquisition.archive_of(wildcards.cohort),
    output:
        table=f"{plan.cohorts.locks}/{{cohort}}.slides.tsv",
        header=f"{plan.cohorts.locks}/{{cohort}}.slides.yaml",
    log:
        f"{R}/logs/lock_slides/{{cohort}}.log",
    benchmark:
        f"{R}/benchmarks/lock_slides/{{cohort}}.tsv"
    wildcard_constraints:
        cohort=alternatives(plan.cohorts.simulation.get("cohorts", {})),
    conda:
        "../envs/acquire.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=30,
    params:
        code=lambda wildcards: plan.code("lock_slides"),
        project=lambda wildcards: wildcards.cohort.upper().replace("_", "-"),
        archive=lambda wildcards, input: Path(input[0]).parent,
    shell:
        "python workflow_scripts/lock_slides.py --threads {threads} --projects {params.project:q}"
        " --data-format TIFF --archive {params.archive:q} --output {output.table:q} > {log:q} 2>&1"


rule fetch_slides:
    input:
        lock=lambda wildcards: plan.acquisition.lock(wildcards.cohort),
        archive=lambda wildcards: plan.acquisition.archive_of(wildcards.cohort),
    output:
        f"{R}/acquired/{{cohort}}/slides-{{shard}}.tsv",
    log:
        f"{R}/logs/fetch_slides/{{cohort}}-{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/fetch_slides/{{cohort}}-{{shard}}.tsv"
    wildcard_constraints:
        cohort=alternatives(plan.acquisition.locked),
    conda:
        "../envs/acquire.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=1440,
        downloads=1,
    params:
        code=lambda wildcards: plan.code("fetch_slides"),
        shards=lambda wildcards: plan.cohorts.shards(wildcards.cohort),
        archive=lambda wildcards, input: option("--archive", folders(input.archive)),
        token=plan.acquisition.token_env,
        parallel=plan.acquisition.parallel,
        folder=lambda wildcards: plan.acquisition.slide_folder,
    shell:
        "python workflow_scripts/fetch_slides.py --threads {threads} --lock {input.lock:q} --shard {wildcards.shard}"
        " --shards {params.shards} --output-dir {params.folder:q} {params.archive} --token-env {params.token:q}"
        " --parallel {params.parallel} --index {output:q} > {log:q} 2>&1"


rule fetch_file:
    input:
        archive=lambda wildcards: plan.acquisition.archive_with(wildcards.file),
    output:
        f"{plan.acquisition.folder}/{{file}}",
    log:
        f"{R}/logs/fetch_file/{{file}}.log",
    benchmark:
        f"{R}/benchmarks/fetch_file/{{file}}.tsv"
    wildcard_constraints:
        file=alternatives(plan.acquisition.files),
    conda:
        "../envs/acquire.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=240,
        downloads=1,
    params:
        code=lambda wildcards: plan.code("fetch_files"),
        json=lambda wildcards: as_json(plan.acquisition.request(wildcards.file)),
        archive=lambda wildcards, input: option("--archive", folders(input.archive)),
        pins=option("--pins", [plan.acquisition.pins] if plan.acquisition.pins else []),
        folder=lambda wildcards: plan.acquisition.folder,
    shell:
        "python workflow_scripts/fetch_files.py --threads {threads} --requests {params.json:q} {params.pins}"
        " {params.archive} --output-dir {params.folder:q} > {log:q} 2>&1"


rule fetch_weights:
    output:
        f"{plan.cohorts.data}/{{weights}}",
    log:
        f"{R}/logs/fetch_weights/{{weights}}.log",
    benchmark:
        f"{R}/benchmarks/fetch_weights/{{weights}}.tsv"
    wildcard_constraints:
        weights=alternatives(WEIGHT_TARGETS),
    conda:
        "../envs/acquire.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=240,
        downloads=1,
    params:
        code=lambda wildcards: plan.code("fetch_weights", data=[WEIGHTS]),
        name=lambda wildcards: WEIGHT_TARGETS[wildcards.weights],
        folder=lambda wildcards: plan.cohorts.data,
        pins=lambda wildcards: f"{plan.cohorts.locks}/pins.yaml",
    shell:
        "python workflow_scripts/fetch_weights.py --threads {threads} {params.name:q} --output-dir {params.folder:q}"
        " --pins {params.pins:q} > {log:q} 2>&1"
