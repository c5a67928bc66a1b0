from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pathomix.acquire.http import Client, RemoteError
from pathomix.acquire.xena import (
    COHORT_TABLES,
    HUBS,
    PANCAN_TABLES,
    check_table,
    cohort_table,
    fetch_xena,
    xena_url,
)
from pathomix.core.errors import PathomixError
from pathomix.simulate.archive.server import Seen, serve

from .conftest import SURVIVAL, LocalArchive

MATRIX = "TCGA.AAA.sampleMap/HiSeqV2.gz"


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("expression", "TCGA.BRCA.sampleMap/HiSeqV2.gz"),
        ("copy_number", "TCGA.BRCA.sampleMap/Gistic2_CopyNumber_Gistic2_all_data_by_genes.gz"),
        ("copy_number_thresholded", "TCGA.BRCA.sampleMap/Gistic2_CopyNumber_Gistic2_all_thresholded.by_genes.gz"),
        ("mutation", "mc3_gene_level/BRCA_mc3_gene_level.txt.gz"),
        ("mutation_calls", "mc3/BRCA_mc3.txt.gz"),
        ("clinical", "TCGA.BRCA.sampleMap/BRCA_clinicalMatrix"),
        ("survival", "survival/BRCA_survival.txt"),
    ],
)
def test_paths_of_the_specification(kind: str, path: str) -> None:
    assert cohort_table(kind, "BRCA") == path and kind in COHORT_TABLES


def test_unknown_kind() -> None:
    with pytest.raises(PathomixError, match="no Xena table 'protein'; use one of expression"):
        cohort_table("protein", "BRCA")


def test_addresses() -> None:
    base = "https://tcga-xena-hub.s3.us-east-1.amazonaws.com/download/"
    assert xena_url("survival/BRCA_survival.txt") == base + "survival%2FBRCA_survival.txt"
    assert xena_url("survival/BRCA_survival.txt", escape_slash=False) == base + "survival/BRCA_survival.txt"
    url = xena_url(PANCAN_TABLES["expression"], HUBS["pancanatlas"])
    assert url.endswith("/download/EB%2B%2BAdjustPANCAN_IlluminaHiSeq_RNASeqV2.geneExp.xena.gz")


def test_either_form_of_the_slash(
    archive: LocalArchive, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(archive.folder) as url:
        assert fetch_xena(MATRIX, tmp_path / "a.gz", client=client, hub=url).size
        real = xena_url
        monkeypatch.setattr(
            "pathomix.acquire.xena.xena_url",
            lambda d, hub, escaped=True: real(d if not escaped else "nothing", hub, escaped),
        )
        assert fetch_xena(MATRIX, tmp_path / "b.gz", client=client, hub=url).size


def test_plus_signs_arrive(archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    journal: list[Seen] = []
    with serve(archive.folder, journal=journal) as url:
        fetch_xena("EB++Adjusted.gz", tmp_path / "x.gz", client=client, hub=url)
    assert [seen.status for seen in journal] == [200]


def test_missing_table_names_the_form_that_is_there(archive: LocalArchive, client: Client, tmp_path: Path) -> None:
    with serve(archive.folder) as url:
        with pytest.raises(RemoteError, match=r"404.*the hub has survival/AAA_survival.txt: name that one"):
            fetch_xena("survival/AAA_survival.txt.gz", tmp_path / "x", client=client, hub=url)
        with pytest.raises(RemoteError, match=r"404.*does not have it"):
            fetch_xena("survival/BBB_survival.txt", tmp_path / "x", client=client, hub=url)
    assert not list(tmp_path.iterdir())


def table(folder: Path, header: str, packed: bool) -> Path:
    text = (header + "row" + "\t0" * header.count("\t") + "\n").encode()
    path = folder / "part"
    path.write_bytes(gzip.compress(text) if packed else text)
    return path


SURVIVAL_NAME = "survival/AAA_survival.txt"
SUPPLEMENT = PANCAN_TABLES["survival"]
RIGHT = [
    (MATRIX, "sample\tTCGA-AA-0001-01\tTCGA-AA-0002-11\n"),
    (MATRIX, "Gene Symbol\tTCGA-AA-0001-01\n"),
    ("mc3_gene_level/AAA_mc3_gene_level.txt.gz", "x\tTCGA-AA-0001-01\r\n"),
    ("mc3/AAA_mc3.txt.gz", "sample\tchr\tstart\tgene\teffect\n"),
    (SURVIVAL_NAME, SURVIVAL),
    (SURVIVAL_NAME, "anything" + SURVIVAL.removeprefix("sample").replace("\tRedaction", "")),
    (SUPPLEMENT, SURVIVAL.replace("Redaction", "cancer type abbreviation")),
    ("TCGA.AAA.sampleMap/AAA_clinicalMatrix", "sampleID\tage\tstage\n"),
    (PANCAN_TABLES["phenotype"], "sample\tsample_type\n"),
    ("gene_sets/some.gmt", "SET\tA\tA\n"),
]
CHANGED = [
    (MATRIX, "sample\tTCGA-AA-0001-01\tmean\n", "not all sample barcodes: mean"),
    (MATRIX, "sample\n", "not all sample barcodes"),
    (MATRIX, "", "not all sample barcodes"),
    (MATRIX, "sample\tTCGA-AA-0001-01\tTCGA-AA-0001-01\n", "repeated or without a name: TCGA-AA-0001-01"),
    (PANCAN_TABLES["expression"], "sample\tnew\n", "not all sample barcodes: new"),
    (SURVIVAL_NAME, SURVIVAL.replace("OS.time", "OS_time"), "lacks: OS.time"),
    (SURVIVAL_NAME, SURVIVAL.replace("\tPFI\tPFI.time", ""), "lacks: PFI, PFI.time"),
    (SURVIVAL_NAME, SURVIVAL.replace("_PATIENT", "patient"), "lacks: _PATIENT"),
    (SUPPLEMENT, SURVIVAL, "lacks: cancer type abbreviation"),
    ("mc3/AAA_mc3.txt.gz", "sample\tGene\teffect\n", "lacks: gene"),
    ("TCGA.AAA.sampleMap/AAA_clinicalMatrix", "\tage\n", "without a name"),
]


@pytest.mark.parametrize(("dataset", "header"), RIGHT)
def test_tables_as_they_were(tmp_path: Path, dataset: str, header: str) -> None:
    check_table(table(tmp_path, header, dataset.endswith(".gz")), dataset)


@pytest.mark.parametrize(("dataset", "header", "said"), CHANGED)
def test_changed_columns_are_named(tmp_path: Path, dataset: str, header: str, said: str) -> None:
    with pytest.raises(PathomixError, match=f"Xena table .*{said}") as caught:
        check_table(table(tmp_path, header, dataset.endswith(".gz")), dataset)
    assert dataset in str(caught.value)


@pytest.mark.parametrize("spoil", [lambda data: data[:-4], lambda data: data[:-6] + b"xx" + data[-4:], lambda d: b"no"])
def test_damaged_gzip(tmp_path: Path, spoil: object) -> None:
    path = table(tmp_path, "sample\tTCGA-AA-0001-01\n", packed=True)
    path.write_bytes(spoil(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(PathomixError, match="damaged"):
        check_table(path, MATRIX)


def test_other_files_are_not_read_as_text(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"\x89HDF\r\n\x1a\n")
    check_table(tmp_path / "part", "atlas.h5ad")
    with pytest.raises(PathomixError, match="damaged"):
        check_table(tmp_path / "part", "survival/AAA_survival.txt")
