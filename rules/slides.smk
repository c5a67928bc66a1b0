"""From slides to tile features. A job handles a stable shard of a cohort's slides; a bad slide is quarantined."""


rule segment_tissue:
    input:
        slides=f"{R}/cohort/{{cohort}}/slides.parquet",
        files=lambda wildcards: plan.cohorts.slide_inputs(
            wildcards.cohort, wildcards.shard
        ),
    output:
        f"{R}/slides/{{cohort}}/tissue-{{shard}}.parquet",
    log:
        f"{R}/logs/segment_tissue/{{cohort}}-{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/segment_tissue/{{cohort}}-{{shard}}.tsv"
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=240,
    params:
        code=plan.code("segment_tissue"),
        json=as_json(plan.tissue),
        root=lambda wildcards: plan.cohorts.slide_root(wildcards.cohort),
        shards=plan.shards,
        results=lambda wildcards: R,
    shell:
        "python workflow_scripts/segment_tissue.py --threads {threads} --slides {input.slides:q} --root {params.root:q}"
        " --shard {wildcards.shard} --shards {params.shards} --parameters {params.json:q}"
        " --results {params.results:q} --index {output:q} > {log:q} 2>&1"


rule cut_tiles:
    input:
        tissue=f"{R}/slides/{{cohort}}/tissue-{{shard}}.parquet",
        slides=f"{R}/cohort/{{cohort}}/slides.parquet",
    output:
        f"{R}/slides/{{cohort}}/tiles-{{shard}}.parquet",
    log:
        f"{R}/logs/cut_tiles/{{cohort}}-{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/cut_tiles/{{cohort}}-{{shard}}.tsv"
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        code=plan.code("cut_tiles"),
        json=as_json(plan.tiles),
        root=lambda wildcards: plan.cohorts.slide_root(wildcards.cohort),
        results=lambda wildcards: R,
    shell:
        "python workflow_scripts/cut_tiles.py --threads {threads} --tissue {input.tissue:q} --slides {input.slides:q}"
        " --root {params.root:q} --parameters {params.json:q}"
        " --results {params.results:q} --index {output:q} > {log:q} 2>&1"


rule embed_tiles:
    input:
        tiles=f"{R}/slides/{{cohort}}/tiles-{{shard}}.parquet",
        weights=lambda wildcards: plan.weights(wildcards.encoder),
        slides=f"{R}/cohort/{{cohort}}/slides.parquet",
    output:
        f"{R}/features/{{encoder}}/{{cohort}}-{{shard}}.parquet",
    log:
        f"{R}/logs/embed_tiles/{{encoder}}-{{cohort}}-{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/embed_tiles/{{encoder}}-{{cohort}}-{{shard}}.tsv"
    conda:
        "../envs/encode.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=480,
    params:
        code=plan.code("embed_tiles"),
        json=lambda wildcards: as_json(plan.encoders[wildcards.encoder]),
        root=lambda wildcards: plan.cohorts.slide_root(wildcards.cohort),
        results=lambda wildcards: R,
    shell:
        "python workflow_scripts/embed_tiles.py --threads {threads} --tiles {input.tiles:q} --slides {input.slides:q}"
        " --root {params.root:q} --encoder {wildcards.encoder:q} --parameters {params.json:q}"
        " --results {params.results:q} --index {output:q} > {log:q} 2>&1"


rule index_features:
    input:
        shards=expand(
            f"{R}/features/{{{{encoder}}}}/{{{{cohort}}}}-{{shard}}.parquet",
            shard=range(plan.shards),
        ),
        slides=f"{R}/cohort/{{cohort}}/slides.parquet",
    output:
        index=f"{R}/features/{{encoder}}/{{cohort}}.parquet",
        quarantine=f"{R}/features/{{encoder}}/{{cohort}}.quarantine.tsv",
    log:
        f"{R}/logs/index_features/{{encoder}}-{{cohort}}.log",
    benchmark:
        f"{R}/benchmarks/index_features/{{encoder}}-{{cohort}}.tsv"
    conda:
        "../envs/cohort.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        code=plan.code("index_features"),
        lost=plan.max_lost_share,
    shell:
        "python workflow_scripts/index_features.py --threads {threads} --indices {input.shards:q}"
        " --slides {input.slides:q} --max-lost-share {params.lost}"
        " --output {output.index:q} --quarantine {output.quarantine:q} > {log:q} 2>&1"
