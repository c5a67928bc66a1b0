"""Appended to the workflow by the tests: a job that ends as one that is killed for memory, until Slurm books it more."""


rule hungry:
    output:
        "results/cluster/hungry.txt",
    resources:
        mem_mb=memory(200),
        runtime=5,
    shell:
        "scontrol show job $SLURM_JOB_ID | grep -o 'MinMemoryNode=[0-9]*' | cut -d = -f 2 > {output};"
        " test $(cat {output}) -ge 400 || exit 137"
