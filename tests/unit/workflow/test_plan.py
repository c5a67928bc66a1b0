"""What the configurations in the repository plan."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from pathomix.core.errors import PathomixError
from pathomix.methods.build import build_method
from pathomix.workflow.plan import Plan

# Names of the published tables to rows of the configuration; OOD rows of ModalTune: the paper does not say from where.
MAIN = {
    "ABMIL": ["mt_abmil"],
    "ABMIL (cat)": ["mt_abmil_cat"],
    "Gene Mixer": ["mt_gene_mixer"],
    "MCAT": ["mt_mcat"],
    "MLP": ["mt_mlp"],
    "ModalTune": ["mt_modaltune"],
    "ModalTune Pan-Cancer": ["mt_modaltune_pan"],
    "Prov-Gigapath (Tuned)": ["mt_gigapath_tuned"],
    "Prov-Gigapath (cat)": ["mt_gigapath_cat"],
    "Prov-Gigapath LP": ["mt_gigapath_lp"],
    "S-MLP": ["mt_s_mlp"],
    "SurvPath": ["mt_survpath"],
    "TransMIL": ["mt_transmil"],
    "TransMIL (cat)": ["mt_transmil_cat"],
}
SITES = ("brca", "gbmlgg", "nsclc", "rcc")
OOD = {
    "ModalTune": [f"mt_from_{site}" for site in SITES],
    "ModalTune Pan-Cancer": ["mt_modaltune_pan"],
    "Prov-Gigapath LP": ["mt_gigapath_lp"],
    "Prov-Gigapath Sup. (cat)": ["mt_gigapath_sup_cat"],
    "Prov-Gigapath Cls. (cat)": [f"mt_cls_cat_from_{site}" for site in SITES],
    "Prov-Gigapath Surv. (cat)": [f"mt_surv_cat_from_{site}" for site in SITES],
}


def with_defaults(config: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the schema's defaults, as Snakemake's validation fills them in."""
    for key, part in schema.get("properties", {}).items():
        if "default" in part:
            config.setdefault(key, copy.deepcopy(part["default"]))
        if isinstance(config.get(key), dict):
            with_defaults(config[key], part)
    if isinstance(schema.get("additionalProperties"), dict):
        for value in config.values():
            if isinstance(value, dict):
                with_defaults(value, schema["additionalProperties"])
    return config


def plan_of(root: Path, *names: str, **changes: Any) -> Plan:
    schema = yaml.safe_load((root / "config/schemas/config.schema.yaml").read_text())
    config: dict[str, Any] = {}
    for name in names:
        config |= yaml.safe_load((root / name).read_text())
    return Plan(with_defaults(config | changes, schema), root)


def published(root: Path) -> pd.DataFrame:
    table = pd.read_csv(root / "resources/published/modaltune.csv")
    return table[table["cohort"] != "Overall"]


def test_every_published_cell_of_modaltune_is_a_run_of_the_plan(root: Path) -> None:
    plan = plan_of(root, "config/config.yaml")
    cells = {study: set(plan.study_cells(study)) for study in ("modaltune", "modaltune_ood")}
    counted: Counter[str] = Counter()
    for row in published(root).itertuples():
        study, rows = ("modaltune", MAIN) if row.table == "main" else ("modaltune_ood", OOD)
        assert row.task in plan.studies[study]["tasks"] and plan.studies[study]["seeds"] == [0, 1, 2]
        for method in rows[row.method]:
            path = f"results/tcga/runs/{study}/{method}/modaltune_{row.cohort.lower()}/modaltune.parquet"
            assert path in cells[study], f"{row.method} on {row.cohort} is not planned"
        counted[f"{row.table} {row.task}"] += 1
    assert counted == {"main subtype": 56, "main survival": 56, "ood subtype": 12, "ood survival": 12}


def test_every_published_cell_of_path_gptomic_is_a_run_or_said_to_be_carried(root: Path) -> None:
    plan = plan_of(root, "config/config.yaml")
    table = pd.read_csv(root / "resources/published/path_gptomic.csv")
    counted: Counter[str] = Counter()
    for study in ("path_gptomic", "path_gptomic_ablation"):
        given, cells = plan.published(study), set(plan.study_cells(study))
        ours = {name: row for row, name in given["rows"].items()}
        cohorts = {name: cohort for cohort, name in given["cohorts"].items()}
        for row in table[table["table"].isin(given["tables"])].itertuples():
            if row.method in ours:
                run = f"results/tcga/runs/{study}/{ours[row.method]}/{cohorts[row.cohort]}/mc15.parquet"
                assert run in cells, f"{row.method} on {row.cohort} is not planned"
            else:
                assert row.method in given["carried"], row.method
            counted[f"{row.table} {'run' if row.method in ours else 'carried'}"] += 1
    assert counted == {"Table1 run": 6, "Table1 carried": 3, "Table2 run": 6, "Table2 carried": 1, "Table3 run": 6}


def test_what_the_runs_of_path_gptomic_read(root: Path) -> None:
    plan = plan_of(root, "config/config.yaml", data="tables")
    assert plan.expression_vectors("pg_exp6", "pg_kirc") == [
        "results/tcga/expression_vectors/scgpt_smoothed/pg_kirc.h5ad"
    ]
    assert plan.expression_vectors("pg_exp2", "pg_kirc") == ["results/tcga/expression_vectors/scgpt/pg_kirc.h5ad"]
    assert plan.expression_vectors("pg_exp1", "pg_kirc") == []
    assert plan.region_files("pg_exp1", "pg_kirc") == ["results/tcga/regions/pathomic/pg_kirc.h5"]
    assert plan.method_weights("pg_exp1") == ["tables/weights/t2t_vit_14/81.5_T2T_ViT_14.pth.tar"]
    assert plan.embeddings("both_papers", "pg_slides", "pg_kirc")[0].startswith(
        "results/tcga/embeddings/gigapath/pg_kirc"
    )


def test_what_the_runs_of_modaltune_read(root: Path) -> None:
    plan = plan_of(root, "config/config.yaml", data="tables")
    folder = "results/tcga/embeddings/modaltune"
    vectors = plan.embeddings("modaltune", "mt_modaltune_pan", "modaltune_brca")
    assert vectors == [f"{folder}/modaltune_pan/modaltune_brca/modaltune-seed{seed}.h5ad" for seed in range(3)]
    own = plan.embeddings("modaltune", "mt_modaltune", "modaltune_brca")
    assert own[0] == f"{folder}/modaltune_brca/modaltune_brca/modaltune-seed0.h5ad"
    assert (
        len(plan.vectors.features("modaltune", "modaltune_pan"))
        == 4
        == len(plan.vectors.prompts("modaltune", "modaltune_pan", "modaltune"))
    )
    assert plan.vectors.prompts("gigapath", "modaltune_brca", "modaltune") == [], "the linear probe reads no texts"
    assert plan.vectors.foreign("modaltune_pan", "modaltune_blca")
    assert not plan.vectors.foreign("modaltune_pan", "modaltune_rcc")
    assert plan.vectors.weights("modaltune") == ["tables/weights/prov-gigapath/slide_encoder.pth"]
    tuned = plan.method_parameters("mt_gigapath_cat")
    assert tuned["slide_encoder"]["architecture"] == "longnet" and tuned["blocks"] == ["expression"]


def test_rows_of_a_slide_encoder_the_user_does_not_have_are_left_out(root: Path, tmp_path: Path) -> None:
    plan = plan_of(root, "tests/workflow/config.yaml")
    assert plan.left_out == {"modaltune_titan": "slide encoder absent has no copy at data/weights/absent"}
    assert "modaltune_titan" not in plan.studies["vectors"]["methods"]
    (tmp_path / "weights/absent").mkdir(parents=True)
    assert not plan_of(root, "tests/workflow/config.yaml", data=str(tmp_path)).left_out


@pytest.mark.parametrize(
    ("section", "name", "entry", "message"),
    [
        ("cohorts", "all", {"union": ["sim_a", "nowhere"]}, "cohorts.all.union names what is not defined: nowhere"),
        ("texts", "t", {"encoder": "runes"}, "texts.t.encoder names what is not defined: runes"),
        ("texts", "t", {"widht": 3}, "texts.t: unknown parameters: widht"),
        ("slide_encoders", "s", {"architecture": "cnn"}, "slide_encoders.s.architecture names .*cnn"),
        ("slide_encoders", "s", {"architecture": "longnet", "deep": 1}, "slide_encoders.s: unknown parameters: deep"),
        ("methods", "m", {"method": "probe"}, "methods.m: the probe reads nothing"),
        ("methods", "m", {"method": "probe", "representation": "x"}, "methods.m.representation names .*x"),
        ("methods", "m", {"method": "clinical", "source": "x"}, "methods.m.source names what is not defined: x"),
    ],
)
def test_names_and_parameters_that_are_not_known(
    root: Path, section: str, name: str, entry: dict[str, Any], message: str
) -> None:
    config = yaml.safe_load((root / "tests/workflow/config.yaml").read_text())
    with pytest.raises(PathomixError, match=message):
        plan_of(root, "tests/workflow/config.yaml", **{section: {**config[section], name: entry}})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("epochz", 3, "representations.modaltune: unknown parameters: epochz"),
        ("text", "none", "representations.modaltune.text names what is not defined: none"),
        ("slide_encoder", "none", "representations.modaltune.slide_encoder names what is not defined: none"),
        ("encoder", "none", "representations.modaltune.encoder names what is not defined: none"),
        ("representation", "none", "representations.modaltune.representation names what is not defined: none"),
    ],
)
def test_representations_are_checked_before_any_job(root: Path, key: str, value: object, message: str) -> None:
    entries = yaml.safe_load((root / "tests/workflow/config.yaml").read_text())["representations"]
    changed = {**entries, "modaltune": {**entries["modaltune"], key: value}}
    with pytest.raises(PathomixError, match=message):
        plan_of(root, "tests/workflow/config.yaml", representations=changed)


@pytest.mark.parametrize("name", ["config/config.yaml", "config/demo.yaml"])
def test_every_row_of_the_configurations_can_be_built(root: Path, name: str) -> None:
    plan = plan_of(root, name)
    for row in plan.methods:
        build_method(plan.method_parameters(row))
