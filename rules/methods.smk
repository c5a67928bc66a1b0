"""One job per cell of a study: all folds and seeds of one method on one cohort."""


rule fit_method:
    input:
        cohort=lambda wildcards: expand(
            f"{R}/cohort/{{cohort}}/{{file}}",
            cohort=wildcards.cohort,
            file=plan.case_files,
        ),
        features=lambda wildcards: plan.features(wildcards.method, wildcards.cohort),
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
    params:
        code=lambda wildcards: plan.method_code(wildcards.method),
        json=lambda wildcards: as_json(plan.method_parameters(wildcards.method)),
        folder=f"{R}/cohort/{{cohort}}",
        features=lambda wildcards, input: (
            f"--features {input.features}" if input.features else ""
        ),
        seeds=lambda wildcards: ",".join(
            map(str, plan.studies[wildcards.study]["seeds"])
        ),
        tasks=lambda wildcards: ",".join(plan.studies[wildcards.study]["tasks"]),
        results=lambda wildcards: R,
    shell:
        "python workflow_scripts/fit_method.py --threads {threads} --study {wildcards.study:q}"
        " --method {wildcards.method:q} --parameters {params.json:q} --code-digest {params.code}"
        " --cohort {wildcards.cohort:q} --cohort-dir {params.folder:q} {params.features}"
        " --splits {input.splits:q} --scheme {wildcards.scheme:q} --seeds {params.seeds} --tasks {params.tasks}"
        " --results {params.results:q} --index {output:q} > {log:q} 2>&1"
