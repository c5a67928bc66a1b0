"""What the published lists and pathway tables of ModalTune hold, through our own builder (spec 3.2, 4.2, 6.2, 6.3)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from pathomix.cohort.given_splits import GIVEN_SPLITS
from pathomix.cohort.importer import build_cohort
from pathomix.core.schemas import PATIENTS, SLIDES
from pathomix.core.tables import read_table
from pathomix.genomics.gene_sets import read_measured, read_membership
from pathomix.genomics.pathway_sets import select_sets, statistics
from pathomix.genomics.symbols import AliasTable
from pathomix.text.bins import survival_bins
from pathomix.text.parameters import TextParameters

# Spec 6.2, per part: listed, usable (with genomics), events among them, classes among them. None: no class.
SPLITS: dict[str, dict[str, tuple[int, int, int, dict[str | None, int]]]] = {
    "brca": {
        "train": (749, 747, 107, {"IDC": 506, "ILC": 130, None: 111}), "valid": (113, 113, 18, {"IDC": 90, "ILC": 23}),
        "test": (188, 188, 21, {"IDC": 150, "ILC": 38}),
    },
    "gbmlgg": {
        "train": (688, 401, 141, {"GBM": 70, "LGG": 331}), "valid": (71, 71, 25, {"GBM": 12, "LGG": 59}),
        "test": (118, 118, 34, {"GBM": 20, "LGG": 98}),
    },
    "rcc": {
        "train": (621, 574, 149, {"KIRP": 184, "KIRC": 346, "KICH": 44}),
        "valid": (102, 102, 26, {"KIRP": 33, "KIRC": 61, "KICH": 8}),
        "test": (170, 170, 44, {"KIRP": 54, "KIRC": 103, "KICH": 13}),
    },
    "blca": {
        "train": (263, 258, 110, {"TCC": 211, "papillary TCC": 45, None: 2}),
        "valid": (46, 46, 27, {"TCC": 38, "papillary TCC": 8}), "test": (76, 76, 34, {"TCC": 63, "papillary TCC": 13}),
    },
}  # fmt: skip
SLIDE_COUNTS = {"brca": 1117, "gbmlgg": 1701, "rcc": 923, "blca": 456}
# Tissue source sites of the test part, and how many of them are in the training part too.
SITES = {"brca": (22, 27), "gbmlgg": (20, 22), "rcc": (33, 33), "blca": (23, 24)}
CODES = {
    "brca": {0: "IDC", 1: "ILC"}, "gbmlgg": {0: "GBM", 1: "LGG"}, "rcc": {0: "KIRP", 1: "KIRC", 2: "KICH"},
    "blca": {0: "TCC", 1: "papillary TCC"},
}  # fmt: skip


@pytest.fixture(scope="module")
def records(shared_data: Path) -> Callable[[str], pd.DataFrame]:
    """The records of a site's lists, one per slide."""

    def read(site: str) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        for part in ("train", "val", "test"):
            path = shared_data / "modaltune_nolicence" / f"tcga_{site}" / f"{part}_{site}_cls_feat.json.gz"
            with gzip.open(path, "rt") as stream:
                rows += json.load(stream)["data"]
        return pd.DataFrame(rows)

    return read


@pytest.fixture(scope="module")
def built(shared_data: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A site by its shipped description, its class by our definition from the diagnosis in words."""
    done: dict[str, Path] = {}

    def run(site: str) -> Path:
        if site not in done:
            folder = tmp_path_factory.mktemp(site)
            (folder / "modaltune").symlink_to(shared_data / "modaltune_nolicence", target_is_directory=True)
            description = yaml.safe_load((root / f"config/cohorts/modaltune_{site}.yaml").read_text())
            del description["molecular"], description["pathways"]
            description["class_label"] = {
                "file": f"resources/classes/{site}.yaml",
                "columns": {"histology": "primary_diagnosis"},
            }
            description["clinical"]["extra"] = {"genes": "gene_availability", "vital": "vital_status"}
            (folder / "d.yaml").write_text(yaml.safe_dump(description))
            build_cohort(site, folder / "d.yaml", folder, folder / "out", read_gene_sets=read_measured, repository=root)
            done[site] = folder / "out"
        return done[site]

    return run


@pytest.mark.parametrize("site", SPLITS)
def test_split_class_and_event_counts(site: str, built: Callable[[str], Path]) -> None:
    patients = read_table(built(site) / "patients.parquet", PATIENTS)
    given = read_table(built(site) / "given_splits.parquet", GIVEN_SPLITS)
    table = given.merge(patients, on="patient_id")
    for part, (listed, usable, events, classes) in SPLITS[site].items():
        rows = table[table["part"] == part]
        measured = rows[rows["clinical_genes"] == "1"]
        assert (len(rows), len(measured)) == (listed, usable), part
        # The list's own word: a death on day 0 or before counts as an event there, its time is none for us.
        assert (measured["clinical_vital"] == "1").sum() == events, part
        labels = measured["class_label"].where(measured["class_label"].notna(), None)
        assert {c: int((labels.isna() if c is None else labels == c).sum()) for c in classes} == classes
        assert sum(classes.values()) == usable
    assert len(read_table(built(site) / "slides.parquet", SLIDES)) == SLIDE_COUNTS[site]


def test_the_pan_cancer_counts_that_can_be_checked(built: Callable[[str], Path]) -> None:
    """The pool is the union of four sites (2389/386/643 usable); NSCLC's lists are not at hand, the rest has to fit."""
    nsclc = {"train": (667, 248), "valid": (100, 41), "test": (167, 73)}
    pool = {"train": (2389, 645), "valid": (386, 110), "test": (643, 172)}
    for part, (usable, events) in pool.items():
        own = [SPLITS[site][part] for site in ("brca", "gbmlgg", "rcc")]
        assert sum(row[1] for row in own) + nsclc[part][0] == usable
        assert sum(row[2] for row in own) + nsclc[part][1] == events


@pytest.mark.parametrize("site", SPLITS)
def test_definitions_give_the_published_class_of_every_record(
    site: str, built: Callable[[str], Path], records: Callable[[str], pd.DataFrame]
) -> None:
    theirs = records(site).drop_duplicates("case_submitter_id").set_index("case_submitter_id")["primary_class"]
    ours = read_table(built(site) / "patients.parquet", PATIENTS).set_index("patient_id")["class_label"]
    expected = theirs.map(CODES[site]).reindex(ours.index)
    assert (ours.fillna("none") == expected.fillna("none")).all() and len(ours) == len(theirs)
    report = json.loads((built(site) / "report.json").read_text())
    step = next(s for s in report["steps"] if s["step"] == "classes")
    assert step["unseen_values"] == {} and step["without_value"] == 0


@pytest.mark.parametrize("site", SPLITS)
def test_the_published_split_is_not_site_preserving(site: str, built: Callable[[str], Path]) -> None:
    patients = read_table(built(site) / "patients.parquet", PATIENTS)
    given = read_table(built(site) / "given_splits.parquet", GIVEN_SPLITS)
    table = given.merge(patients[patients["clinical_genes"] == "1"], on="patient_id")
    sites = {part: set(rows["tissue_source_site"]) for part, rows in table.groupby("part")}
    assert (len(sites["test"] & sites["train"]), len(sites["test"])) == SITES[site]


def test_edges_of_the_four_sites_that_are_here(records: Callable[[str], pd.DataFrame]) -> None:
    """Spec 4.2's pool is BRCA, GBMLGG, NSCLC and RCC; without NSCLC's lists only minimum and maximum can be checked."""
    frames = [records(site).drop_duplicates("case_submitter_id") for site in ("brca", "gbmlgg", "rcc")]
    table = pd.concat(frames).set_index("case_submitter_id")
    outcome = pd.DataFrame({"time": table["durations"].abs(), "event": table["vital_status"]})
    found = survival_bins(outcome, table.index, 4, TextParameters(profile="released").rules, "pool")
    assert found is not None
    assert found.edges[0] == 0 and found.edges[4] == pytest.approx(282.7, abs=0.051)
    assert (np.diff(found.edges) > 0).all()


# --- pathways (spec 3.2)


@pytest.fixture(scope="module")
def pathways(shared_data: Path) -> dict[str, tuple[str, ...]]:
    return read_membership(shared_data / "modaltune_nolicence/gene_pathway_processed_v2.csv.gz")


def test_pathway_statistics(pathways: dict[str, tuple[str, ...]]) -> None:
    found = statistics(pathways)
    assert found == {
        "pathways": 331, "genes": 4987, "memberships": 9731, "smallest": 1, "median_genes": 8.0,
        "mean_genes": pytest.approx(29.4, abs=0.05), "largest": 199, "pathways_with_one_gene": 19,
        "pathways_with_up_to_five_genes": 135, "most_pathways_of_a_gene": 12,
    }  # fmt: skip
    hallmarks = [len(genes) for name, genes in pathways.items() if name.startswith("HALLMARK_")]
    assert len(hallmarks) == 50 and np.mean(hallmarks) == pytest.approx(142, abs=0.5)


def test_the_processed_table_is_the_public_one_with_other_names(
    pathways: dict[str, tuple[str, ...]], shared_data: Path
) -> None:
    """4,999 genes become 4,987: 12 are lost and 70 renamed to the name that the expression table uses."""
    public = read_membership(shared_data / "survpath/pathway_compositions/combine_comps.csv.gz")
    assert set(public) == set(pathways) and len(public) == 331
    before, after = ({g for genes in sets.values() for g in genes} for sets in (public, pathways))
    assert (len(before), len(after)) == (4999, 4987)
    assert len(after - before) == 70 and len(before - after) == 82
    aliases = AliasTable.read(shared_data / "genes/hgnchelper_alias_table.csv.gz")
    ours = aliases.matched(before - after, after - before)
    # Our table finds most of the 70 by itself, and never gives one gene to another pathway than the authors did.
    assert len(ours) >= 60
    for old, new in ours.items():
        assert {p for p, g in public.items() if old in g} == {p for p, g in pathways.items() if new in g}, (old, new)


def test_the_331_pathways_from_a_gmt_file(
    pathways: dict[str, tuple[str, ...]], shared_data: Path, tmp_path: Path
) -> None:
    """The public table written as GMT, asked for by the processed one: every pathway is found under its name."""
    public = read_membership(shared_data / "survpath/pathway_compositions/combine_comps.csv.gz")
    (tmp_path / "sets.gmt").write_text("".join("\t".join([n, "", *g]) + "\n" for n, g in public.items()))
    like = shared_data / "modaltune_nolicence/gene_pathway_processed_v2.csv.gz"
    aliases = AliasTable.read(shared_data / "genes/hgnchelper_alias_table.csv.gz")
    measured = {gene for genes in pathways.values() for gene in genes}
    sets, report = select_sets([tmp_path / "sets.gmt"], {}, like, measured, aliases)
    assert (len(sets), report["found_by_name"], report["not_found"]) == (331, 331, [])
    assert report["memberships"] > 0.99 * 9731 and len(report["genes_found_by_another_name"]) >= 60


# --- gene symbols (the data's trap 9)


def test_old_symbols_of_the_public_tables(shared_data: Path) -> None:
    aliases = AliasTable.read(shared_data / "genes/hgnchelper_alias_table.csv.gz")
    header = pd.read_csv(shared_data / "survpath/raw_rna_data/xena/blca/rna_clean.csv.gz", nrows=0, index_col=0)
    with gzip.open(shared_data / "genes/scgpt_default_census_vocab.json.gz", "rt") as stream:
        vocabulary = set(json.load(stream))
    names = list(header.columns)
    renamed, report = aliases.rename(names)
    assert len(set(names) - vocabulary) == 70
    assert report["renamed"]["MUT"] == "MMUT" and report["renamed"]["YARS"] == "YARS1"
    assert len(set(renamed) - vocabulary) < 10 and len(set(renamed)) == len(set(names))
    assert aliases.meanings("NA") == {"XK"} and "NA" not in aliases.approved
