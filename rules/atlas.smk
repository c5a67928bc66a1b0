"""Labelled single-cell atlases, from whatever file they come in to classes and held-out donors."""


rule prepare_atlas:
    input:
        atlas=lambda wildcards: plan.expression.atlas_file(wildcards.atlas),
        label_map=lambda wildcards: plan.expression.label_map(wildcards.atlas),
    output:
        atlas=f"{R}/atlas/{{atlas}}.h5ad",
        report=f"{R}/atlas/{{atlas}}.json",
    log:
        f"{R}/logs/prepare_atlas/{{atlas}}.log",
    benchmark:
        f"{R}/benchmarks/prepare_atlas/{{atlas}}.tsv"
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=240,
    params:
        code=lambda wildcards: plan.code("prepare_atlas"),
        # The order of a label map is the order of the classes.
        json=lambda wildcards: as_json(
            plan.expression.atlas_parameters(wildcards.atlas), sort=False
        ),
    shell:
        "python workflow_scripts/prepare_atlas.py --threads {threads} --name {wildcards.atlas:q}"
        " --atlas {input.atlas:q} --parameters {params.json:q}"
        " --output {output.atlas:q} --report {output.report:q} > {log:q} 2>&1"
