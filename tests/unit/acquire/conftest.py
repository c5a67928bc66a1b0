"""A small archive over real HTTP, and clients that do not wait long."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pathomix.acquire.http import Client, Patience

NO_TIME = Patience(attempts=4, wait_s=0.01, longest_wait_s=0.02, total_s=30, connect_s=5, read_s=5)
BARCODES = ("TCGA-AA-0001-01", "TCGA-AA-0002-01", "TCGA-AA-0003-11")
SURVIVAL = "sample\t_PATIENT\tOS\tOS.time\tDSS\tDSS.time\tDFI\tDFI.time\tPFI\tPFI.time\tRedaction\n"


@dataclass(frozen=True)
class LocalArchive:
    """Folder to serve, and what is in it."""

    folder: Path
    slides: tuple[dict[str, Any], ...]

    def path(self, slide: dict[str, Any]) -> Path:
        return self.folder / slide["path"]


def _slide(folder: Path, number: int, project: str, access: str = "open") -> dict[str, Any]:
    name = f"TCGA-AA-{number:04d}-01Z-00-DX1.{number:08d}.svs"
    content = np.random.default_rng(number).bytes(300_000 + number)
    (folder / name).write_bytes(content)
    identity = f"{number:08d}-0000-5000-8000-000000000000"
    sample = {"sample_type": "Primary Tumor", "submitter_id": f"TCGA-AA-{number:04d}-01Z"}
    return {
        "id": identity, "file_id": identity, "file_name": name, "md5sum": hashlib.md5(content).hexdigest(),
        "file_size": len(content), "data_format": "SVS", "data_type": "Slide Image",
        "experimental_strategy": "Diagnostic Slide", "access": access, "state": "released", "path": name,
        "cases": [{"case_id": f"c{number}", "submitter_id": f"TCGA-AA-{number:04d}",
                   "project": {"project_id": project}, "samples": [sample]}],
    }  # fmt: skip


def _case(number: int, project: str, diagnoses: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"c{number}", "case_id": f"c{number}", "submitter_id": f"TCGA-AA-{number:04d}",
        "project": {"project_id": project}, "demographic": {"gender": "female", "vital_status": "Alive"},
        "diagnoses": diagnoses,
        "samples": [{"submitter_id": f"TCGA-AA-{number:04d}-{kind}A", "sample_type": name}
                    for kind, name in (("01", "Primary Tumor"), ("11", "Solid Tissue Normal"))],
    }  # fmt: skip


def build_archive(folder: Path) -> LocalArchive:
    """Five open slides of two projects, a controlled one, three cases, four tables and an atlas."""
    folder.mkdir(parents=True, exist_ok=True)
    slides = [_slide(folder, number, "TCGA-AAA" if number < 4 else "TCGA-BBB") for number in range(1, 6)]
    controlled = _slide(folder, 9, "TCGA-AAA", access="controlled")
    matrix = "sample\t" + "\t".join(BARCODES) + "\nTP53\t1.5\t2.5\t3.5\nNA\t0\t1\t2\n"
    (folder / "matrix.gz").write_bytes(gzip.compress(matrix.encode(), mtime=0))
    (folder / "survival.txt").write_text(SURVIVAL + "TCGA-AA-0001-01\tTCGA-AA-0001\t1\t30\t\t\t\t\t\t\t\n")
    (folder / "sets.gmt").write_text("SET\tfrom nowhere\tTP53\tTP53\n")
    (folder / "atlas.h5ad").write_bytes(np.random.default_rng(0).bytes(200_000))
    atlas = {
        "dataset_id": "d1", "dataset_version_id": "a97bb1f2-04fb-51fc-86b7-6f358e78947e", "title": "Cells",
        "cell_count": 7, "citation": "nobody", "path": "atlas.h5ad", "filesize": 200_000,
    }  # fmt: skip
    description = {
        "data_release": "Data Release 1", "date": "Thu, 01 Jan 2026 00:00:00 GMT", "root": ".",
        "projects": [{"id": p, "project_id": p, "name": p} for p in ("TCGA-AAA", "TCGA-BBB", "TCGA-CCC")],
        "files": [*slides, controlled],
        "cases": [
            _case(1, "TCGA-AAA", [{"age_at_diagnosis": 20000, "tumor_grade": "G1"}]),
            _case(2, "TCGA-AAA", [{"age_at_diagnosis": 21000}, {"age_at_diagnosis": 22000}]),
            _case(4, "TCGA-BBB", []),
        ],
        "datasets": {
            "TCGA.AAA.sampleMap/HiSeqV2.gz": "matrix.gz", "survival/AAA_survival.txt": "survival.txt",
            "gene_sets/sets.gmt": "sets.gmt", "EB++Adjusted.gz": "matrix.gz",
        },
        "tables": {},
        "atlases": [atlas],
    }  # fmt: skip
    (folder / "archive.json").write_text(json.dumps(description))
    return LocalArchive(folder, tuple(slides))


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> LocalArchive:
    """The archive, only read."""
    return build_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def own_archive(tmp_path: Path) -> LocalArchive:
    """An archive that a test may change."""
    return build_archive(tmp_path / "own_archive")


@pytest.fixture
def client() -> Iterator[Client]:
    """A client that does not wait long and knows the local archive for the GDC."""
    with Client(patience=NO_TIME) as made:
        yield made
