"""Regions of interest: cut from the tissue of a cohort's slides, or imported from a folder of images."""


rule cut_regions:
    input:
        tissue=lambda wildcards: plan.slides.tissue_indices(wildcards.cohort),
        slides=f"{R}/cohort/{{cohort}}/slides.parquet",
        target=lambda wildcards: plan.regions.stain_target(wildcards.regions),
    output:
        regions=f"{R}/regions/{{regions}}/{{cohort}}.h5",
        quarantine=f"{R}/regions/{{regions}}/{{cohort}}.quarantine.tsv",
    log:
        f"{R}/logs/cut_regions/{{regions}}-{{cohort}}.log",
    benchmark:
        f"{R}/benchmarks/cut_regions/{{regions}}-{{cohort}}.tsv"
    wildcard_constraints:
        regions=alternatives(plan.regions.cut),
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=480,
    params:
        code=lambda wildcards: plan.code("cut_regions"),
        json=lambda wildcards: as_json(plan.regions.cut[wildcards.regions]),
        root=lambda wildcards: plan.cohorts.slide_root(wildcards.cohort),
        lost=plan.slides.max_lost_share,
        results=lambda wildcards: R,
    shell:
        "python workflow_scripts/cut_regions.py --threads {threads} --tissue {input.tissue:q} --slides {input.slides:q}"
        " --root {params.root:q} --name {wildcards.regions:q} --parameters {params.json:q}"
        " --max-lost-share {params.lost} --results {params.results:q}"
        " --output {output.regions:q} --quarantine {output.quarantine:q} > {log:q} 2>&1"


rule import_regions:
    input:
        files=lambda wildcards: plan.regions.files(wildcards.regions, wildcards.cohort),
        patients=f"{R}/cohort/{{cohort}}/patients.parquet",
    output:
        regions=f"{R}/regions/{{regions}}/{{cohort}}.h5",
        quarantine=f"{R}/regions/{{regions}}/{{cohort}}.quarantine.tsv",
    log:
        f"{R}/logs/import_regions/{{regions}}-{{cohort}}.log",
    benchmark:
        f"{R}/benchmarks/import_regions/{{regions}}-{{cohort}}.tsv"
    wildcard_constraints:
        regions=alternatives(plan.regions.imported),
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=120,
    params:
        code=lambda wildcards: plan.code("import_regions"),
        json=lambda wildcards: as_json(plan.regions.imported[wildcards.regions]),
        folder=lambda wildcards: plan.regions.folder(
            wildcards.regions, wildcards.cohort
        ),
        lost=plan.slides.max_lost_share,
    shell:
        "python workflow_scripts/import_regions.py --threads {threads} --folder {params.folder:q}"
        " --patients {input.patients:q} --name {wildcards.regions:q} --parameters {params.json:q}"
        " --max-lost-share {params.lost}"
        " --output {output.regions:q} --quarantine {output.quarantine:q} > {log:q} 2>&1"
