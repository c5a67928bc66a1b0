"""UCSC Xena: addresses of cohort tables, and whether a table is still of the shape that is read."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from pathlib import Path
from urllib.parse import quote

from pathomix.acquire.download import Check, Fetched, fetch
from pathomix.acquire.http import Client, RemoteError
from pathomix.acquire.progress import Progress
from pathomix.core.barcodes import is_barcode
from pathomix.core.errors import PathomixError

HUBS = {
    "tcga": "https://tcga-xena-hub.s3.us-east-1.amazonaws.com",
    "pancanatlas": "https://tcga-pancan-atlas-hub.s3.us-east-1.amazonaws.com",
    "gdc": "https://gdc-hub.s3.us-east-1.amazonaws.com",
    "toil": "https://toil-xena-hub.s3.us-east-1.amazonaws.com",
}

# Tables of one cohort.
COHORT_TABLES = {
    "expression": "TCGA.{cohort}.sampleMap/HiSeqV2.gz",
    "expression_pancan_normalised": "TCGA.{cohort}.sampleMap/HiSeqV2_PANCAN.gz",
    "copy_number": "TCGA.{cohort}.sampleMap/Gistic2_CopyNumber_Gistic2_all_data_by_genes.gz",
    "copy_number_thresholded": "TCGA.{cohort}.sampleMap/Gistic2_CopyNumber_Gistic2_all_thresholded.by_genes.gz",
    "mutation": "mc3_gene_level/{cohort}_mc3_gene_level.txt.gz",
    "mutation_calls": "mc3/{cohort}_mc3.txt.gz",
    "clinical": "TCGA.{cohort}.sampleMap/{cohort}_clinicalMatrix",
    "survival": "survival/{cohort}_survival.txt",
}

# Tables over all cohorts, on the hub `pancanatlas`.
PANCAN_TABLES = {
    "expression": "EB++AdjustPANCAN_IlluminaHiSeq_RNASeqV2.geneExp.xena.gz",
    "mutation": "mc3.v0.2.8.PUBLIC.nonsilentGene.xena.gz",
    "phenotype": "TCGA_phenotype_denseDataOnlyDownload.tsv.gz",
    "survival": "Survival_SupplementalTable_S1_20171025_xena_sp",
}

_PANCAN_MATRICES = (PANCAN_TABLES["expression"], PANCAN_TABLES["mutation"])
_ENDPOINTS = tuple(f"{name}{part}" for name in ("OS", "DSS", "DFI", "PFI") for part in ("", ".time"))
_LONGEST_HEADER = 1 << 24
_MISSING_KEY = (403, 404)
_AGAIN = "look at the hub for what has changed, and name another table in the configuration"


def cohort_table(kind: str, cohort: str) -> str:
    """Dataset path of a table of `COHORT_TABLES`; `cohort` as Xena calls it (``BRCA``, ``LUNG``).

    Raises:
        PathomixError: The kind is not known.
    """
    if kind not in COHORT_TABLES:
        raise PathomixError(f"no Xena table {kind!r}", remedy=f"use one of {', '.join(COHORT_TABLES)}")
    return COHORT_TABLES[kind].format(cohort=cohort)


def xena_url(dataset: str, hub: str = HUBS["tcga"], escape_slash: bool = True) -> str:
    """Download address: inner slashes as ``%2F`` (or plain), plus signs always as ``%2B``."""
    return f"{hub.rstrip('/')}/download/{quote(dataset, safe='' if escape_slash else '/')}"


def fetch_xena(
    dataset: str,
    target: Path,
    *,
    client: Client,
    hub: str = HUBS["tcga"],
    sha256: str | None = None,
    check: Check | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """Fetch a table in whichever of the two forms of the address the hub knows.

    Raises:
        RemoteError: It has neither; if it has the table with (or without) ``.gz``, the message says so.
    """
    first: RemoteError | None = None
    for escaped in (True, False):
        url = xena_url(dataset, hub, escaped)
        try:
            return fetch(url, target, client=client, sha256=sha256, check=check, progress=progress)
        except RemoteError as error:
            first = first or error
            if error.status not in _MISSING_KEY:
                raise
    assert first is not None
    other = dataset.removesuffix(".gz") if dataset.endswith(".gz") else f"{dataset}.gz"
    for escaped in (True, False):
        try:
            client.head(xena_url(other, hub, escaped))
        except RemoteError:
            continue
        first.remedy = f"the hub has {other}: name that one in the configuration"
        break
    raise first


def table_check(dataset: str) -> Check:
    """A check of the bytes of a table, for `fetch`; what it demands follows from the dataset's name."""

    def check(path: Path) -> None:
        check_table(path, dataset)

    return check


def check_table(path: Path, dataset: str) -> None:
    """Whether a table is intact and still has the columns that are read.

    The first column is known by its position, its name differs between tables. Of a data set that is none of the
    tables named in this module only the compressed bytes are checked.

    Raises:
        PathomixError: The compressed bytes are damaged, or the header is another one; names which columns.
    """
    line = _first_line(path, dataset)
    survival, calls = dataset.startswith(("survival/", "Survival_SupplementalTable")), dataset.startswith("mc3/")
    clinical = dataset.endswith("_clinicalMatrix")
    matrix = not clinical and (
        ".sampleMap/" in dataset or dataset.startswith("mc3_gene_level/") or dataset in _PANCAN_MATRICES
    )
    if not (survival or calls or clinical or matrix):
        return
    header = _cells(line, dataset)
    required: tuple[str, ...] = ("gene", "effect") if calls else ()
    if survival:
        required = ("_PATIENT", *_ENDPOINTS, *(() if "/" in dataset else ("cancer type abbreviation",)))
    if matrix:
        strange = [cell for cell in header[1:] if not is_barcode(cell)]
        if strange or len(header) < 2:
            raise PathomixError(
                f"Xena table {dataset}: changed columns: those after the first are not all sample barcodes",
                offending=strange or header,
                remedy=_AGAIN,
            )
    missing = [column for column in required if column not in header]
    if missing:
        raise PathomixError(
            f"Xena table {dataset}: changed columns: has {', '.join(header[:20])}, lacks",
            offending=missing,
            remedy=_AGAIN,
        )
    repeated = sorted(cell for cell, count in Counter(header).items() if count > 1)
    if repeated or not header[0]:
        raise PathomixError(
            f"Xena table {dataset}: columns are repeated or without a name", offending=repeated, remedy=_AGAIN
        )


def _first_line(path: Path, dataset: str) -> bytes:
    """The first line; the whole of a compressed file is read, because its checksum stands at the end."""
    try:
        with gzip.open(path, "rb") if dataset.endswith(".gz") else path.open("rb") as stream:
            line = stream.readline(_LONGEST_HEADER)
            while dataset.endswith(".gz") and stream.read(1 << 20):
                pass
            return line
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(dataset, error) from error


def _cells(line: bytes, dataset: str) -> list[str]:
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise _damaged(dataset, error) from error
    return next(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE), [""])


def _damaged(dataset: str, error: Exception) -> PathomixError:
    return PathomixError(f"Xena table {dataset}: damaged ({error})", remedy="start again: it is fetched anew")
