"""Expression encoders, mixtures of atlas cells, the smoother trained on them, and vectors of a cohort's patients."""


rule fit_expression_encoder:
    input:
        atlas=lambda wildcards: plan.expression.encoder_atlas(
            wildcards.expression_encoder
        ),
        expression=lambda wildcards: plan.expression.tables(
            wildcards.expression_encoder
        ),
        weights=lambda wildcards: plan.expression.weights(wildcards.expression_encoder),
    output:
        f"{R}/expression_encoders/{{expression_encoder}}.safetensors",
    log:
        f"{R}/logs/fit_expression_encoder/{{expression_encoder}}.log",
    benchmark:
        f"{R}/benchmarks/fit_expression_encoder/{{expression_encoder}}.tsv"
    conda:
        "../envs/smoothing.yaml"
    threads: 1
    resources:
        mem_mb=memory(16000),
        runtime=120,
    params:
        code=lambda wildcards: plan.expression.code(
            "fit_expression_encoder", wildcards.expression_encoder
        ),
        json=lambda wildcards: as_json(
            plan.expression.encoder_parameters(wildcards.expression_encoder)
        ),
    shell:
        "python workflow_scripts/fit_expression_encoder.py --threads {threads} --atlas {input.atlas:q}"
        " --expression {input.expression:q} --parameters {params.json:q} --output {output:q} > {log:q} 2>&1"


rule mix_atlas:
    input:
        atlas=lambda wildcards: plan.expression.smoothing_atlas(wildcards.smoothing),
        encoder=lambda wildcards: plan.expression.encoder_file(wildcards.smoothing),
        weights=lambda wildcards: plan.expression.weights(
            plan.expression.encoder_of(wildcards.smoothing)
        ),
    output:
        f"{R}/smoothing/{{smoothing}}/pool.parquet",
    log:
        f"{R}/logs/mix_atlas/{{smoothing}}.log",
    benchmark:
        f"{R}/benchmarks/mix_atlas/{{smoothing}}.tsv"
    conda:
        "../envs/smoothing.yaml"
    threads: 1
    resources:
        mem_mb=memory(32000),
        runtime=2880,
        gpu=lambda wildcards: plan.gpus.expression(
            plan.expression.encoder_of(wildcards.smoothing)
        ),
    params:
        code=lambda wildcards: plan.expression.code(
            "mix_atlas", plan.expression.encoder_of(wildcards.smoothing)
        ),
        encoder=lambda wildcards: as_json(
            plan.expression.encoder_parameters(
                plan.expression.encoder_of(wildcards.smoothing)
            )
        ),
        mixing=lambda wildcards: as_json(plan.expression.mixing(wildcards.smoothing)),
        # No output: Snakemake would delete the blocks of an interrupted run.
        folder=f"{R}/smoothing/{{smoothing}}/pool",
    shell:
        "python workflow_scripts/mix_atlas.py --threads {threads} --atlas {input.atlas:q}"
        " --encoder {input.encoder:q} --encoder-parameters {params.encoder:q} --mixing {params.mixing:q}"
        " --folder {params.folder:q} --index {output:q} > {log:q} 2>&1"


rule train_smoother:
    input:
        pool=f"{R}/smoothing/{{smoothing}}/pool.parquet",
        atlas=lambda wildcards: plan.expression.smoothing_atlas(wildcards.smoothing),
        encoder=lambda wildcards: plan.expression.encoder_file(wildcards.smoothing),
        weights=lambda wildcards: plan.expression.weights(
            plan.expression.encoder_of(wildcards.smoothing)
        ),
    output:
        model=f"{R}/smoothing/{{smoothing}}/model.safetensors",
        history=f"{R}/smoothing/{{smoothing}}/history.parquet",
        validation=f"{R}/smoothing/{{smoothing}}/validation.json",
        predictions=f"{R}/smoothing/{{smoothing}}/validation.parquet",
    log:
        f"{R}/logs/train_smoother/{{smoothing}}.log",
    benchmark:
        f"{R}/benchmarks/train_smoother/{{smoothing}}.tsv"
    conda:
        "../envs/smoothing.yaml"
    threads: 1
    resources:
        mem_mb=memory(16000),
        runtime=2880,
        gpu=lambda wildcards: plan.gpus.expression(
            plan.expression.encoder_of(wildcards.smoothing)
        ),
    params:
        code=lambda wildcards: plan.expression.code(
            "train_smoother", plan.expression.encoder_of(wildcards.smoothing)
        ),
        encoder=lambda wildcards: as_json(
            plan.expression.encoder_parameters(
                plan.expression.encoder_of(wildcards.smoothing)
            )
        ),
        mixing=lambda wildcards: as_json(plan.expression.mixing(wildcards.smoothing)),
        training=lambda wildcards: as_json(
            plan.expression.training(wildcards.smoothing)
        ),
    shell:
        "python workflow_scripts/train_smoother.py --threads {threads} --pool {input.pool:q}"
        " --atlas {input.atlas:q} --encoder {input.encoder:q} --encoder-parameters {params.encoder:q}"
        " --mixing {params.mixing:q} --training {params.training:q} --model {output.model:q}"
        " --history {output.history:q} --validation {output.validation:q}"
        " --predictions {output.predictions:q} > {log:q} 2>&1"


rule embed_expression:
    input:
        expression=f"{R}/cohort/{{cohort}}/expression.h5ad",
        patients=f"{R}/cohort/{{cohort}}/patients.parquet",
        encoder=f"{R}/expression_encoders/{{expression_encoder}}.safetensors",
        weights=lambda wildcards: plan.expression.weights(wildcards.expression_encoder),
    output:
        f"{R}/expression_vectors/{{expression_encoder}}/{{cohort}}.h5ad",
    log:
        f"{R}/logs/embed_expression/{{expression_encoder}}-{{cohort}}.log",
    benchmark:
        f"{R}/benchmarks/embed_expression/{{expression_encoder}}-{{cohort}}.tsv"
    conda:
        "../envs/smoothing.yaml"
    threads: 1
    resources:
        mem_mb=memory(16000),
        runtime=480,
        gpu=lambda wildcards: plan.gpus.expression(wildcards.expression_encoder),
    params:
        code=lambda wildcards: plan.expression.code(
            "embed_expression", wildcards.expression_encoder
        ),
        json=lambda wildcards: as_json(
            plan.expression.encoder_parameters(wildcards.expression_encoder)
        ),
        folder=lambda wildcards, input: str(Path(input.expression).parent),
    shell:
        "python workflow_scripts/embed_expression.py --threads {threads} --cohort-dir {params.folder:q}"
        " --encoder {input.encoder:q} --parameters {params.json:q} --output {output:q} > {log:q} 2>&1"


rule smooth_expression:
    input:
        vectors=lambda wildcards: plan.expression.raw_vectors(
            wildcards.smoothing, wildcards.cohort
        ),
        model=f"{R}/smoothing/{{smoothing}}/model.safetensors",
    output:
        f"{R}/expression_vectors/{{smoothing}}/{{cohort}}.h5ad",
    log:
        f"{R}/logs/smooth_expression/{{smoothing}}-{{cohort}}.log",
    benchmark:
        f"{R}/benchmarks/smooth_expression/{{smoothing}}-{{cohort}}.tsv"
    conda:
        "../envs/smoothing.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=30,
    params:
        code=lambda wildcards: plan.code("smooth_expression"),
    shell:
        "python workflow_scripts/smooth_expression.py --threads {threads} --vectors {input.vectors:q}"
        " --model {input.model:q} --output {output:q} > {log:q} 2>&1"
