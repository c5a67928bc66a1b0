"""Label texts, representations trained on a cohort or a union, and the vectors they give the patients of a cohort."""


rule write_texts:
    input:
        patients=f"{R}/cohort/{{cohort}}/patients.parquet",
        splits=f"{R}/splits/{{cohort}}/{{scheme}}.parquet",
        weights=lambda wildcards: plan.vectors.text_weights(wildcards.text),
    output:
        prompts=f"{R}/text/{{text}}/{{cohort}}/{{scheme}}.parquet",
        embeddings=f"{R}/text/{{text}}/{{cohort}}/{{scheme}}.safetensors",
        cleaning=f"{R}/text/{{text}}/{{cohort}}/{{scheme}}.cleaning.tsv",
    log:
        f"{R}/logs/write_texts/{{text}}-{{cohort}}-{{scheme}}.log",
    benchmark:
        f"{R}/benchmarks/write_texts/{{text}}-{{cohort}}-{{scheme}}.tsv"
    conda:
        "../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        code=lambda wildcards: plan.vectors.text_code(wildcards.text),
        json=lambda wildcards: as_json(plan.vectors.texts[wildcards.text]),
    shell:
        "python workflow_scripts/write_texts.py --threads {threads} --name {wildcards.cohort:q}"
        " --patients {input.patients:q} --splits {input.splits:q} --parameters {params.json:q}"
        " --output {output.prompts:q} --embeddings {output.embeddings:q} --cleaning {output.cleaning:q}"
        " > {log:q} 2>&1"


rule train_representation:
    input:
        cohort=lambda wildcards: plan.cohorts.files(wildcards.source),
        features=lambda wildcards: plan.vectors.features(
            wildcards.representation, wildcards.source
        ),
        texts=lambda wildcards: plan.vectors.prompts(
            wildcards.representation, wildcards.source, wildcards.scheme
        ),
        weights=lambda wildcards: plan.vectors.weights(wildcards.representation),
        splits=f"{R}/splits/{{source}}/{{scheme}}.parquet",
    output:
        f"{R}/representations/{{representation}}/{{source}}/{{scheme}}-seed{{seed}}.parquet",
    log:
        f"{R}/logs/train_representation/{{representation}}-{{source}}-{{scheme}}-{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/train_representation/{{representation}}-{{source}}-{{scheme}}-{{seed}}.tsv"
    conda:
        "../envs/representations.yaml"
    threads: 1
    resources:
        mem_mb=memory(16000),
        runtime=2880,
        gpu=lambda wildcards: plan.gpus.representation(wildcards.representation),
    params:
        code=lambda wildcards: plan.vectors.code(
            "train_representation", wildcards.representation
        ),
        json=lambda wildcards: as_json(
            plan.vectors.parameters(wildcards.representation)
        ),
        slide_encoder=lambda wildcards: as_json(
            plan.vectors.slide_encoder_of(wildcards.representation)
        ),
        folder=f"{R}/cohort/{{source}}",
        texts=lambda wildcards, input: option("--texts", input.texts),
        results=lambda wildcards: R,
    shell:
        "python workflow_scripts/train_representation.py --threads {threads}"
        " --representation {wildcards.representation:q} --parameters {params.json:q}"
        " --slide-encoder {params.slide_encoder:q} --source {wildcards.source:q} --cohort-dir {params.folder:q}"
        " --features {input.features:q} {params.texts} --splits {input.splits:q} --scheme {wildcards.scheme:q}"
        " --seed {wildcards.seed} --results {params.results:q} --code-digest {params.code}"
        " --index {output:q} > {log:q} 2>&1"


rule embed_cohort:
    input:
        models=f"{R}/representations/{{representation}}/{{source}}/{{scheme}}-seed{{seed}}.parquet",
        cohort=lambda wildcards: plan.cohorts.files(wildcards.cohort),
        features=lambda wildcards: plan.vectors.features(
            wildcards.representation, wildcards.cohort
        ),
        weights=lambda wildcards: plan.vectors.weights(wildcards.representation),
        splits=f"{R}/splits/{{cohort}}/{{scheme}}.parquet",
    output:
        f"{R}/embeddings/{{representation}}/{{source}}/{{cohort}}/{{scheme}}-seed{{seed}}.h5ad",
    log:
        f"{R}/logs/embed_cohort/{{representation}}-{{source}}-{{cohort}}-{{scheme}}-{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/embed_cohort/{{representation}}-{{source}}-{{cohort}}-{{scheme}}-{{seed}}.tsv"
    conda:
        "../envs/representations.yaml"
    threads: 1
    resources:
        mem_mb=memory(16000),
        runtime=480,
        gpu=lambda wildcards: plan.gpus.representation(wildcards.representation),
    params:
        code=lambda wildcards: plan.vectors.code(
            "embed_cohort", wildcards.representation
        ),
        json=lambda wildcards: as_json(
            plan.vectors.parameters(wildcards.representation)
        ),
        slide_encoder=lambda wildcards: as_json(
            plan.vectors.slide_encoder_of(wildcards.representation)
        ),
        folder=f"{R}/cohort/{{cohort}}",
        foreign=lambda wildcards: (
            "--foreign"
            if plan.vectors.foreign(wildcards.source, wildcards.cohort)
            else ""
        ),
        results=lambda wildcards: R,
    shell:
        "python workflow_scripts/embed_cohort.py --threads {threads}"
        " --representation {wildcards.representation:q} --parameters {params.json:q}"
        " --slide-encoder {params.slide_encoder:q} --models {input.models:q}"
        " --cohort {wildcards.cohort:q} --cohort-dir {params.folder:q} --features {input.features:q}"
        " --splits {input.splits:q} {params.foreign} --results {params.results:q}"
        " --output {output:q} > {log:q} 2>&1"


rule explain_representation:
    input:
        models=lambda wildcards: plan.explained(wildcards.explanation).models,
        runs=lambda wildcards: plan.explained(wildcards.explanation).runs,
        cohort=lambda wildcards: plan.cohorts.files(
            plan.explanations[wildcards.explanation]["cohort"]
        ),
        features=lambda wildcards: plan.vectors.features(
            plan.explained(wildcards.explanation).representation,
            plan.explanations[wildcards.explanation]["cohort"],
        ),
        texts=lambda wildcards: plan.explained(wildcards.explanation).texts,
        splits=lambda wildcards: plan.explained(wildcards.explanation).splits,
        other_models=lambda wildcards: plan.explained(
            wildcards.explanation
        ).other_models,
    output:
        expand(
            f"{R}/explanations/{{{{explanation}}}}/{{table}}.parquet",
            table=["cases", "scalars", "pathways", "pathway_models", "controls"],
        ),
    log:
        f"{R}/logs/explain_representation/{{explanation}}.log",
    benchmark:
        f"{R}/benchmarks/explain_representation/{{explanation}}.tsv"
    conda:
        "../envs/representations.yaml"
    threads: 1
    resources:
        mem_mb=memory(16000),
        runtime=240,
        gpu=lambda wildcards: plan.gpus.representation(
            plan.explained(wildcards.explanation).representation
        ),
    params:
        code=lambda wildcards: plan.vectors.code(
            "explain_representation",
            plan.explained(wildcards.explanation).representation,
        ),
        json=lambda wildcards: as_json(
            plan.vectors.parameters(
                plan.explained(wildcards.explanation).representation
            )
        ),
        slide_encoder=lambda wildcards: as_json(
            plan.vectors.slide_encoder_of(
                plan.explained(wildcards.explanation).representation
            )
        ),
        cohort=lambda wildcards: plan.explanations[wildcards.explanation]["cohort"],
        folder=lambda wildcards: (
            f"{R}/cohort/{plan.explanations[wildcards.explanation]['cohort']}"
        ),
        probe=lambda wildcards: plan.explained(wildcards.explanation).probe,
        others=lambda wildcards, input: option("--other-models", input.other_models),
        other_probes=lambda wildcards: option(
            "--other-probes", plan.explained(wildcards.explanation).other_probes
        ),
        foreign=lambda wildcards: (
            "--foreign" if plan.explained(wildcards.explanation).foreign else ""
        ),
        fold=lambda wildcards: plan.explanations[wildcards.explanation]["fold"],
        first=lambda wildcards: plan.explanations[wildcards.explanation]["patients"],
        results=lambda wildcards: R,
        output=f"{R}/explanations/{{explanation}}",
    shell:
        "python workflow_scripts/explain_representation.py --threads {threads}"
        " --parameters {params.json:q} --slide-encoder {params.slide_encoder:q} --models {input.models:q}"
        " --cohort {params.cohort:q} --cohort-dir {params.folder:q} --features {input.features:q}"
        " --texts {input.texts:q} --splits {input.splits:q} --fold {params.fold} {params.foreign}"
        " --probe {params.probe:q} {params.others} {params.other_probes} --first {params.first} --results {params.results:q}"
        " --output {params.output:q} > {log:q} 2>&1"
