"""Small files in the shapes an acquisition leaves: Xena tables, HGNC aliases, GMT files and a slide lock."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from pathomix.cohort.importer import GeneTools, build_cohort
from pathomix.core.locks import LOCK_COLUMNS
from pathomix.genomics.gene_sets import read_measured
from pathomix.genomics.pathway_sets import select_sets
from pathomix.genomics.symbols import AliasTable

# Projects of each site, and the ICD-O-3 codes its patients get in turn.
SITES = {
    "brca": {"BRCA": ["8500/3", "8520/3", "8522/3"]},
    "gbmlgg": {"GBM": ["9440/3"], "LGG": ["9400/3", "9382/3", "9451/3"]},
    "nsclc": {"LUAD": ["8140/3", "8255/3", "8260/3"], "LUSC": ["8070/3", "8083/3"]},
    "rcc": {"KIRC": ["8310/3", "8312/3"], "KIRP": ["8260/3"], "KICH": ["8317/3", "8270/3"]},
    "coadread": {"COAD": ["8140/3", "8480/3"], "READ": ["8140/3"]},
    "blca": {"BLCA": ["8120/3", "8130/3", "8070/3"]},
    "kirc": {"KIRC": ["8310/3"]},
}
PER_PROJECT = 9
STAGED = {"BRCA", "LUAD", "LUSC", "KIRC", "KIRP", "KICH", "COAD", "READ", "BLCA"}
# MUT and YARS are old names; SEPT1 stands for a gene that is there too; FOO means two genes; NA is an alias of XK.
GENES = ["TP53", "EGFR", "MUT", "YARS", "NA", "SEPT1", "SEPTIN1", "FOO", "VHL", "IDH1", "?", "EGFR"]
APPROVED = ["TP53", "EGFR", "MMUT", "YARS1", "XK", "SEPT1", "SEPTIN1", "FOO", "VHL", "IDH1"]
HGNC = [
    ("TP53", "P53|LFS1", ""), ("EGFR", "ERBB1", "ERBB"), ("MMUT", "MCM", "MUT"), ("YARS1", "TyrRS", "YARS"),
    ("XK", "X1K|NA", ""), ("SEPTIN1", "", "SEPT1"), ("ONE", "FOO", ""), ("TWO", "", "FOO"), ("VHL", "", ""),
    ("IDH1", "", ""),
]  # fmt: skip
SETS = {
    "reactome": {"Tyrosine things": ["EGFR", "YARS1"], "Metabolism": ["MMUT", "IDH1"], "Unmeasured": ["AAA", "BBB"]},
    "hallmark": {"HALLMARK_P53_PATHWAY": ["TP53", "VHL", "XK"]},
}


def patients(project: str) -> list[str]:
    """Patients of a project; the tissue source site starts with a zero in some."""
    site = f"{sorted(p for s in SITES.values() for p in s).index(project):02d}"
    return [f"TCGA-{site}-{project[-2:]}{n:02d}" for n in range(PER_PROJECT)]


@dataclass
class Acquired:
    """The acquired files of one site, as frames that a test may spoil before they are written."""

    folder: Path
    site: str
    survival: dict[str, pd.DataFrame] = field(default_factory=dict)
    clinical: dict[str, pd.DataFrame] = field(default_factory=dict)
    expression: dict[str, pd.DataFrame] = field(default_factory=dict)
    lock: pd.DataFrame = field(default_factory=pd.DataFrame)
    note: str | None = None

    def __post_init__(self) -> None:
        for project, codes in SITES[self.site].items():
            self.survival[project] = _survival(project)
            self.clinical[project] = _clinical(project, codes)
            self.expression[project] = _expression(project)
        rows = [_slide(project, patient) for project in self.survival for patient in patients(project)]
        self.lock = pd.DataFrame(rows, columns=list(LOCK_COLUMNS)).sort_values("slide_id")

    def write(self) -> None:
        """Write everything below `folder`."""
        xena = self.folder / "raw" / "xena"
        for project in self.survival:
            hub = xena / f"TCGA.{project}.sampleMap"
            _write(self.survival[project], xena / "survival" / f"{project}_survival.txt")
            _write(self.clinical[project], hub / f"{project}_clinicalMatrix")
            _write(self.expression[project], hub / "HiSeqV2.gz")
            calls = self.expression[project].iloc[:10, 1:] // 1 % 5 - 2
            calls.insert(0, "Gene Symbol", GENES[:10])
            _write(calls, hub / "Gistic2_CopyNumber_Gistic2_all_thresholded.by_genes.gz")
            mutated = (self.expression[project].iloc[:8, 1:] > 5).astype(int)
            mutated.insert(0, "sample", GENES[:8])
            _write(mutated, xena / "mc3_gene_level" / f"{project}_mc3_gene_level.txt.gz")
        _write(
            pd.DataFrame(HGNC, columns=["symbol", "alias_symbol", "prev_symbol"]),
            self.folder / "raw" / "genes" / "hgnc_complete_set.tsv",
        )
        for name, sets in SETS.items():
            path = self.folder / "raw" / "gene_sets" / f"{name}.gmt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join("\t".join([pathway, "x", *genes]) + "\n" for pathway, genes in sets.items()))
        _write(self.lock, self.folder / "locks" / f"tcga_{self.site}.slides.tsv")
        beside = {"source": "test", "projects": list(self.survival), "note": self.note}
        (self.folder / "locks" / f"tcga_{self.site}.slides.yaml").write_text(yaml.safe_dump(beside))

    def build(self, root: Path, endpoint: str | None = None, output: str = "out") -> Path:
        """Write and import by the shipped description; returns the folder of artefacts."""
        self.write()
        out = self.folder / output
        build_cohort(
            self.site, root / f"config/cohorts/tcga_{self.site}.yaml", self.folder, out,
            genes=GeneTools(read_measured, AliasTable.read, select_sets), endpoint=endpoint, repository=root,
            locks=self.folder / "locks",
        )  # fmt: skip
        return out


def _write(frame: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = frame.to_csv(sep="\t", index=False, lineterminator="\n").encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def _survival(project: str) -> pd.DataFrame:
    rows = []
    for n, patient in enumerate(patients(project)):
        endpoints = {}
        for shift, name in enumerate(["OS", "DSS", "DFI", "PFI"]):
            known = not (name == "DFI" and n % 2)
            time = 100 * (n + 1) + shift
            endpoints |= {name: (n + shift) % 2 if known else "", f"{name}.time": time if known else ""}
        row = {"sample": f"{patient}-01", "_PATIENT": patient, **endpoints, "Redaction": ""}
        rows.append(row)
        # A patient may come again with normal tissue or a recurrence; such rows are not of the primary tumour.
        if n % 3 == 0:
            rows.append({**row, "sample": f"{patient}-11"})
        if n == 1:
            rows.append({**row, "sample": f"{patient}-02", "OS.time": 5})
    rows[-1]["Redaction"] = "Redacted"
    return pd.DataFrame(rows)


def _clinical(project: str, codes: list[str]) -> pd.DataFrame:
    rows = []
    for n, patient in enumerate(patients(project)):
        row = {
            "sampleID": f"{patient}-01", "_PATIENT": patient, "age_at_initial_pathologic_diagnosis": 40 + n,
            "gender": ["FEMALE", "MALE"][n % 2], "histological_type": "words of the project",
            "icd_o_3_histology": codes[n % len(codes)],
        }  # fmt: skip
        if project in STAGED:
            row |= {"pathologic_stage": "Stage II", "pathologic_T": "T2", "pathologic_N": "N0", "pathologic_M": "MX"}
        rows += [row, {**row, "sampleID": f"{patient}-11", "gender": ""}]
    return pd.DataFrame(rows)


def _expression(project: str) -> pd.DataFrame:
    random = np.random.default_rng(len(project))
    people = patients(project)
    samples = [f"{patient}-01" for patient in people[1:]] + [f"{people[0]}-11", f"{people[2]}-11"]
    values = random.uniform(0, 12, (len(GENES), len(samples))).round(4)
    values[:, -2:] = 1000  # normal tissue: seen if it ever slips in
    frame = pd.DataFrame(values, columns=samples)
    frame.insert(0, "sample", GENES)
    return frame


def _slide(project: str, patient: str) -> tuple[object, ...]:
    slide = f"{patient}-01Z-00-DX1"
    name = f"{slide}.{project}-{patient[-4:]}.svs"
    return (f"id-{patient}", name, "0" * 31 + "a", 1000, f"TCGA-{project}", patient, slide, slide[:16], "Primary Tumor")
