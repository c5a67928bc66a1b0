"""Slide locks in the form of the acquisition, made from published slide lists: for dry runs, never for a download.

Usage: python -m tests.real.locks FOLDER_WITH_PUBLIC_TABLES OUTPUT_FOLDER

The lists know slides, patients and projects, but neither file ids nor checksums nor sizes: ids are UUID5 of the file
name, md5 is empty and every size is the same round number. The `note` beside each lock says so.
"""

from __future__ import annotations

import argparse
import gzip
import json
import uuid
from pathlib import Path

import pandas as pd
import yaml

from pathomix.core.locks import LOCK_COLUMNS

PLACEHOLDER_SIZE = 1_000_000_000
NOTE = (
    "made from published slide lists, for tests and dry runs: file ids are UUID5 of the file name, md5 is not known, "
    "every size is a placeholder of 1 GB; make the real lock from the archive before any download"
)
PROJECTS = {
    "tcga_brca": ("BRCA",),
    "tcga_gbmlgg": ("GBM", "LGG"),
    "tcga_nsclc": ("LUAD", "LUSC"),
    "tcga_rcc": ("KICH", "KIRC", "KIRP"),
    "tcga_coadread": ("COAD", "READ"),
    "tcga_blca": ("BLCA",),
    "tcga_kirc": ("KIRC",),
}
# Kinds of tumour in published tables, and the project they are of.
_ONCOTREE = {"CCRCC": "KIRC", "PRCC": "KIRP", "CHRCC": "KICH"} | {p: p for p in ("LUAD", "LUSC", "COAD", "READ")}


def known_slides(data: Path) -> pd.DataFrame:
    """Every diagnostic slide the public tables name and whose project they know: `slide_id`, `file_name`, `project`.

    A slide that several tables name appears once; a file name with the archive's own suffix wins over one without.
    """
    frames = [_from_modaltune(data, site) for site in ("brca", "gbmlgg", "rcc", "blca")]
    for site in ("brca", "gbmlgg", "kirc", "blca", "luad"):
        table = pd.read_csv(data / f"porpoise/mutsig/tcga_{site}_all_clean.csv.zip", usecols=_wanted, dtype=str)
        project = site.upper()
        kinds = table["oncotree_code"].map({"GBM": "GBM"}).fillna("LGG") if site == "gbmlgg" else project
        frames.append(_named(table["slide_id"], kinds))
    for path in ("hipt/tcga_lung_subset.csv.zip", "hipt/tcga_kidney_subset.csv.zip",
                 "survpath/metadata/tcga_coadread.csv.gz"):  # fmt: skip
        table = pd.read_csv(data / path, usecols=_wanted, dtype=str)
        # Rare kinds (mucinous colorectal cancer) do not tell the project.
        frames.append(_named(table["slide_id"], table["oncotree_code"].map(_ONCOTREE)))
    slides = pd.concat(frames).dropna().drop_duplicates()
    slides["short"] = slides["file_name"].str.count(r"\.") == 1
    slides = slides.sort_values(["slide_id", "short", "project"]).drop_duplicates("slide_id")
    return slides.drop(columns="short").reset_index(drop=True)


def write_locks(data: Path, output: Path) -> dict[str, int]:
    """Write the lock of every cohort below `output`; returns cohort to number of slides.

    Args:
        data: Folder of the public tables.
        output: Folder for ``<cohort>.slides.tsv`` and ``<cohort>.slides.yaml``.
    """
    output.mkdir(parents=True, exist_ok=True)
    slides, counts = known_slides(data), {}
    for cohort, projects in PROJECTS.items():
        own = slides[slides["project"].isin(projects)].sort_values("slide_id")
        lock = pd.DataFrame({
            "file_id": [str(uuid.uuid5(uuid.NAMESPACE_URL, name)) for name in own["file_name"]],
            "file_name": own["file_name"], "md5": "", "size": PLACEHOLDER_SIZE, "project": "TCGA-" + own["project"],
            "patient_id": own["slide_id"].str[:12], "slide_id": own["slide_id"],
            "sample_id": own["slide_id"].str[:16], "sample_type": own["slide_id"].str[13:15].map(_SAMPLE_TYPES),
        })  # fmt: skip
        lock[list(LOCK_COLUMNS)].to_csv(output / f"{cohort}.slides.tsv", sep="\t", index=False, lineterminator="\n")
        beside = {
            "source": "published slide lists", "data_release": "none", "retrieved": "never", "note": NOTE,
            "projects": [f"TCGA-{project}" for project in projects], "filters": {},
        }  # fmt: skip
        (output / f"{cohort}.slides.yaml").write_text(yaml.safe_dump(beside, sort_keys=False))
        counts[cohort] = len(own)
    return counts


_SAMPLE_TYPES = {
    "01": "Primary Tumor", "02": "Recurrent Tumor", "05": "Additional - New Primary", "06": "Metastatic",
    "11": "Solid Tissue Normal",
}  # fmt: skip


def _wanted(column: str) -> bool:
    return column in ("slide_id", "oncotree_code")


def _named(files: pd.Series, project: pd.Series | str) -> pd.DataFrame:
    name = files.str.removesuffix(".svs")
    return pd.DataFrame({"slide_id": name.str.split(".").str[0], "file_name": name + ".svs", "project": project})


def _from_modaltune(data: Path, site: str) -> pd.DataFrame:
    rows = []
    for part in ("train", "val", "test"):
        with gzip.open(data / f"modaltune_nolicence/tcga_{site}/{part}_{site}_cls_feat.json.gz", "rt") as stream:
            rows += json.load(stream)["data"]
    table = pd.DataFrame(rows)
    return _named(table["slide_submitter_id"], table["project_id"].str.removeprefix("TCGA-"))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Slide locks from published lists, for dry runs.")
    arguments.add_argument("data", type=Path)
    arguments.add_argument("output", type=Path)
    options = arguments.parse_args()
    for made, count in write_locks(options.data, options.output).items():
        print(f"{made}: {count} slides")
