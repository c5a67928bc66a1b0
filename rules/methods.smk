"""One job per cell of a study: all folds and seeds of one method on one cohort."""


rule fit_method:
    input:
        cohort=lambda wildcards: plan.cohorts.files(wildcards.cohort),
        features=lambda wildcards: plan.features(wildcards.method, wildcards.cohort),
        vectors=lambda wildcards: plan.embeddings(
            wildcards.study, wildcards.method, wildcards.cohort
        ),
        expression_vectors=lambda wildcards: plan.expression_vectors(
            wildcards.method, wildcards.cohort
        ),
        regions=lambda wildcards: plan.region_files(wildcards.method, wildcards.cohort),
        weights=lambda wildcards: plan.method_weights(wildcards.method),
        inner=lambda wildcards: plan.tuning.files(
            wildcards.method, wildcards.cohort, wildcards.scheme
        ),
        splits=f"{R}/splits/{{cohort}}/{{scheme}}.parquet",
    output:
        f"{R}/runs/{{study}}/{{method}}/{{cohort}}/{{scheme}}.parquet",
    log:
        f"{R}/logs/fit_method/{{study}}-{{method}}-{{cohort}}-{{scheme}}.log",
    benchmark:
        f"{R}/benchmarks/fit_method/{{study}}-{{method}}-{{cohort}}-{{scheme}}.tsv"
    conda:
        "../envs/methods.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=480,
        gpu=lambda wildcards: plan.gpus.method(wildcards.method),
    params:
        code=lambda wildcards: plan.method_code(wildcards.method),
        json=lambda wildcards: as_json(plan.method_parameters(wildcards.method)),
        folder=f"{R}/cohort/{{cohort}}",
        features=lambda wildcards, input: option("--features", input.features),
        vectors=lambda wildcards, input: option("--vectors", input.vectors),
        expression=lambda wildcards, input: option(
            "--expression-vectors", input.expression_vectors
        ),
        regions=lambda wildcards, input: option("--regions", input.regions),
        weights=lambda wildcards, input: option("--weights", input.weights),
        inner=lambda wildcards, input: option("--inner", input.inner),
        tuning=lambda wildcards: option(
            "--tuning", filter(None, [plan.tuning.parameters(wildcards.method)])
        ),
        token=lambda wildcards: plan.token_option(wildcards.method),
        seeds=lambda wildcards: ",".join(
            map(str, plan.seeds(wildcards.study, wildcards.method))
        ),
        tasks=lambda wildcards: ",".join(plan.studies[wildcards.study]["tasks"]),
        results=lambda wildcards: R,
    shell:
        "python workflow_scripts/fit_method.py --threads {threads} --study {wildcards.study:q}"
        " --method {wildcards.method:q} --parameters {params.json:q} --code-digest {params.code}"
        " --cohort {wildcards.cohort:q} --cohort-dir {params.folder:q} {params.features} {params.vectors} {params.token}"
        " {params.expression} {params.regions} {params.weights} {params.inner} {params.tuning}"
        " --splits {input.splits:q} --scheme {wildcards.scheme:q} --seeds {params.seeds:q} --tasks {params.tasks:q}"
        " --results {params.results:q} --index {output:q} > {log:q} 2>&1"
