"""From slides to tile features. A job handles a stable shard of a cohort's slides; a bad slide is quarantined."""


rule segment_tissue:
    input:
        slides=f"{R}/cohort/{{cohort}}/slides.parquet",
        files=lambda wildcards: plan.acquisition.slide_indices(
            wildcards.cohort, wildcards.shard
        ),
        overrides=plan.slides.overrides(),
        known=plan.slides.known_slides(),
        weights=plan.slides.masker_weights(),
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
        gpu=plan.gpus.tissue(),
    params:
        code=lambda wildcards: plan.code("segment_tissue"),
        json=as_json(plan.slides.tissue),
        root=lambda wildcards: plan.cohorts.slide_root(wildcards.cohort),
        shards=lambda wildcards: plan.cohorts.shards(wildcards.cohort),
        overrides=lambda wildcards, input: option("--overrides", input.overrides),
        known=lambda wildcards, input: option("--known-slides", input.known),
        results=lambda wildcards: R,
    shell:
        "python workflow_scripts/segment_tissue.py --threads {threads} --slides {input.slides:q} --root {params.root:q}"
        " --shard {wildcards.shard} --shards {params.shards} --parameters {params.json:q} {params.overrides} {params.known}"
        " --results {params.results:q} --index {output:q} > {log:q} 2>&1"


rule cut_tiles:
    input:
        tissue=f"{R}/slides/{{cohort}}/tissue-{{shard}}.parquet",
        slides=f"{R}/cohort/{{cohort}}/slides.parquet",
    output:
        f"{R}/slides/{{cohort}}/tiles-{{tiling}}-{{shard}}.parquet",
    log:
        f"{R}/logs/cut_tiles/{{cohort}}-{{tiling}}-{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/cut_tiles/{{cohort}}-{{tiling}}-{{shard}}.tsv"
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        code=lambda wildcards: plan.code("cut_tiles"),
        json=as_json(plan.slides.tiles),
        size=lambda wildcards: plan.slides.tilings[wildcards.tiling][0],
        mpp=lambda wildcards: plan.slides.tilings[wildcards.tiling][1],
        imported=lambda wildcards: option(
            "--imported", plan.slides.imported(wildcards.tiling)
        ),
        root=lambda wildcards: plan.cohorts.slide_root(wildcards.cohort),
        results=lambda wildcards: R,
    shell:
        "python workflow_scripts/cut_tiles.py --threads {threads} --tissue {input.tissue:q} --slides {input.slides:q}"
        " --root {params.root:q} --size {params.size} --mpp {params.mpp} --parameters {params.json:q} {params.imported}"
        " --results {params.results:q} --index {output:q} > {log:q} 2>&1"


rule embed_tiles:
    input:
        tiles=lambda wildcards: plan.slides.tile_indices(
            wildcards.embedding, wildcards.cohort, wildcards.shard
        ),
        weights=lambda wildcards: plan.slides.pass_weights(wildcards.embedding),
        slides=f"{R}/cohort/{{cohort}}/slides.parquet",
    output:
        f"{R}/features/passes/{{embedding}}/{{cohort}}-{{shard}}.parquet",
    log:
        f"{R}/logs/embed_tiles/{{embedding}}-{{cohort}}-{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/embed_tiles/{{embedding}}-{{cohort}}-{{shard}}.tsv"
    conda:
        "../envs/encode.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=480,
        gpu=plan.gpus.tiles(),
    params:
        code=lambda wildcards: plan.code(
            "embed_tiles", modules=plan.slides.pass_modules(wildcards.embedding)
        ),
        encoders=lambda wildcards: as_json(
            plan.slides.pass_encoders(wildcards.embedding)
        ),
        engine=as_json(plan.slides.engine),
        root=lambda wildcards: plan.cohorts.slide_root(wildcards.cohort),
        results=lambda wildcards: R,
    shell:
        "python workflow_scripts/embed_tiles.py --threads {threads} --tiles {input.tiles:q} --slides {input.slides:q}"
        " --root {params.root:q} --pass {wildcards.embedding:q} --encoders {params.encoders:q}"
        " --engine {params.engine:q} --results {params.results:q} --index {output:q} > {log:q} 2>&1"


rule index_features:
    input:
        shards=lambda wildcards: plan.slides.pass_indices(
            wildcards.encoder, wildcards.cohort
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
        code=lambda wildcards: plan.code("index_features"),
        lost=plan.slides.max_lost_share,
    shell:
        "python workflow_scripts/index_features.py --threads {threads} --indices {input.shards:q}"
        " --encoder {wildcards.encoder:q} --slides {input.slides:q} --max-lost-share {params.lost}"
        " --output {output.index:q} --quarantine {output.quarantine:q} > {log:q} 2>&1"
