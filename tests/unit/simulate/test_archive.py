"""The local archive answers as the services do; asked with a plain HTTP client, not with ours."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from pathomix.core.errors import PathomixError
from pathomix.simulate.archive.describe import describe_simulation
from pathomix.simulate.archive.description import read_archive
from pathomix.simulate.archive.documents import BadQueryError, matches
from pathomix.simulate.archive.faults import Faults
from pathomix.simulate.archive.server import serve
from pathomix.simulate.archive.stand_in import served

FILTERS = {
    "op": "and",
    "content": [
        {"op": "in", "content": {"field": "cases.project.project_id", "value": ["SIM-A"]}},
        {"op": "=", "content": {"field": "experimental_strategy", "value": "Diagnostic Slide"}},
    ],
}


@pytest.fixture(scope="session")
def raw(simulation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small simulation; bytes that are no slides stand for the slides."""
    folder = tmp_path_factory.mktemp("raw")
    for path in simulation.rglob("*"):
        if path.is_file():
            (folder / path.relative_to(simulation)).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.relative_to(simulation)).write_bytes(path.read_bytes())
    (folder / "slides").mkdir()
    for table in folder.glob("*/slides.tsv"):
        for name in pd.read_csv(table, sep="\t")["file_name"]:
            seed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
            (folder / "slides" / name).write_bytes(np.random.default_rng(seed).bytes(3000))
    return folder


@pytest.fixture(scope="session")
def described(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("described")
    describe_simulation(raw, folder)
    return folder


@pytest.fixture(scope="module")
def http(described: Path) -> Iterator[httpx.Client]:
    with serve(described) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def slide(http: httpx.Client) -> dict[str, Any]:
    return search(http, size=1, sort="file_id:asc")[0][0]


def search(http: httpx.Client, endpoint: str = "files", **query: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    content = http.post(f"/{endpoint}", json=query).json()
    return content["data"]["hits"], content["data"]["pagination"]


def test_description_is_the_same_every_time(raw: Path, described: Path) -> None:
    describe_simulation(raw, described.parent / "again")
    for name in ("archive.json", "survival/SIM_A_survival.txt"):
        assert (described.parent / "again" / name).read_bytes() == (described / name).read_bytes()


def test_truth_is_not_handed_out(raw: Path, described: Path) -> None:
    content = read_archive(described).content
    handed = {*content["datasets"].values(), *content["tables"].values(), *(f["path"] for f in content["files"])}
    assert not any("truth" in path or "oracle" in path for path in handed)
    assert {"sim_a/clinical.tsv", "sim_b/expression.tsv.gz", "gene_sets.gmt"} <= set(content["datasets"])


def test_slides_of_the_tables_are_all_there(raw: Path, http: httpx.Client) -> None:
    hits, _ = search(http, filters=FILTERS, size=10_000)
    slides = pd.read_csv(raw / "sim_a" / "slides.tsv", sep="\t")
    assert sorted(hit["file_name"] for hit in hits) == sorted(slides["file_name"])
    for hit in hits:
        data = (raw / "slides" / hit["file_name"]).read_bytes()
        assert hit["md5sum"] == hashlib.md5(data).hexdigest() and hit["file_size"] == len(data)


def test_both_verbs_and_both_forms_of_filters(http: httpx.Client) -> None:
    fields = "file_id,file_name"
    query = {"filters": json.dumps(FILTERS), "fields": fields, "size": "5", "sort": "file_name:desc"}
    got = http.get("/files", params=query).json()
    assert got == http.post("/files", json=query).json()
    assert got == http.post("/files", json={**query, "filters": FILTERS, "size": 5}).json()
    names = [hit["file_name"] for hit in got["data"]["hits"]]
    assert names == sorted(names, reverse=True) and len(names) == 5


def test_pages(http: httpx.Client) -> None:
    hits, page = search(http, filters=FILTERS)
    assert len(hits) == 10 and page["count"] == 10 and page["from"] == 0
    total = page["total"]
    found: list[str] = []
    while len(found) < total:
        hits, page = search(http, filters=FILTERS, size=7, sort="file_id:asc", **{"from": len(found)})
        assert page["total"] == total and page["pages"] == -(-total // 7) and page["page"] == len(found) // 7 + 1
        found += [hit["id"] for hit in hits]
    assert found == sorted(found) and len(set(found)) == total


def test_fields_are_nested_and_id_always_comes(http: httpx.Client) -> None:
    [hit], _ = search(http, size=1, fields="cases.samples.sample_type,cases.submitter_id,absent")
    assert set(hit) == {"id", "cases"} and set(hit["cases"][0]) == {"samples", "submitter_id"}
    assert hit["cases"][0]["samples"] == [{"sample_type": "Primary Tumor"}]
    [hit], _ = search(http, size=1, expand="cases.project")
    assert set(hit["cases"][0]["project"]) == {"project_id"}
    [hit], _ = search(http, size=1)
    assert "file_name" in hit and "cases" not in hit and "path" not in hit
    assert http.post("/files", json={"fields": "file_id,absent"}).json()["warnings"] == {
        "fields": "unrecognized values: [absent]"
    }


def leaf(op: str, field: str, value: Any) -> dict[str, Any]:
    return {"op": op, "content": {"field": field, "value": value}}


DOCUMENT = {"id": "x", "size": 5, "cases": [{"name": "a", "samples": [{"t": "p"}, {"t": "q"}]}]}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (leaf("=", "size", 5), True),
        (leaf("=", "files.size", [5]), True),
        (leaf("in", "cases.samples.t", ["q", "z"]), True),
        (leaf("in", "cases.samples.t", ["z"]), False),
        (leaf("!=", "cases.name", "a"), False),
        (leaf("exclude", "cases.name", ["b"]), True),
        (leaf("<", "size", 6), True),
        (leaf(">=", "size", 6), False),
        (leaf("is", "nothing", "missing"), True),
        (leaf("not", "nothing", "missing"), False),
        ({"op": "or", "content": [leaf("=", "size", 1), leaf("=", "id", "x")]}, True),
        ({"op": "and", "content": [leaf("=", "size", 1), leaf("=", "id", "x")]}, False),
    ],
)
def test_filters(filters: dict[str, Any], expected: bool) -> None:
    assert matches(DOCUMENT, filters, "files") is expected


@pytest.mark.parametrize(
    "filters", ["text", {"op": "and"}, {"op": "and", "content": {}}, leaf("near", "size", 1), leaf("<", "size", "x")]
)
def test_malformed_filters(filters: Any) -> None:
    with pytest.raises(BadQueryError):
        matches(DOCUMENT, filters, "files")


def test_bad_bodies_and_long_addresses(http: httpx.Client) -> None:
    for response in (
        http.post("/files", json={"filters": {"op": "x", "content": {}}}),
        http.post("/files", content=b"{", headers={"Content-Type": "application/json"}),
        http.post("/data", json={"ids": []}),
        http.get("/files", params={"filters": "{"}),
    ):
        assert response.status_code == 400 and response.json()["message"]
    assert http.get("/files", params={"filters": "x" * 9000}).status_code == 414


def test_cases(raw: Path, http: httpx.Client) -> None:
    hits, page = search(http, "cases", filters=leaf("=", "project.project_id", "SIM-B"), size=1000,
                        fields="submitter_id,demographic.days_to_death,diagnoses.age_at_diagnosis")  # fmt: skip
    clinical = pd.read_csv(raw / "sim_b" / "clinical.tsv", sep="\t").set_index("bcr_patient_barcode")
    assert page["total"] == len(clinical)
    for hit in hits:
        row = clinical.loc[hit["submitter_id"]]
        assert hit["diagnoses"][0]["age_at_diagnosis"] == round(row["age_at_diagnosis_years"] * 365.25)
        # What is not known is left out, not null.
        assert ("demographic" in hit and bool(hit["demographic"])) == (row["vital_status"] == "Dead")
    projects, _ = search(http, "projects", fields="project_id")
    assert sorted(p["project_id"] for p in projects) == ["SIM-A", "SIM-B", "SIM-C"]


def test_data_and_ranges(raw: Path, http: httpx.Client, slide: dict[str, Any]) -> None:
    content = (raw / "slides" / slide["file_name"]).read_bytes()
    address = f"/data/{slide['id']}"
    whole = http.get(address)
    assert whole.content == content and whole.headers["Content-MD5"] == slide["md5sum"]
    assert whole.headers["Content-Disposition"] == f"attachment; filename={slide['file_name']}"
    assert whole.headers["Content-Length"] == "3000"
    for asked, part, bounds in (
        ("bytes=10-19", content[10:20], "10-19"),
        ("bytes=2990-", content[2990:], "2990-2999"),
        ("bytes=2990-9999", content[2990:], "2990-2999"),
        ("bytes=-5", content[-5:], "2995-2999"),
    ):
        answer = http.get(address, headers={"Range": asked})
        assert answer.status_code == 206 and answer.content == part
        assert answer.headers["Content-Range"] == f"bytes {bounds}/3000"
    for asked in ("bytes=5-1", "bytes=-", "lines=1-2", "bytes=0-1,5-6"):
        assert http.get(address, headers={"Range": asked}).status_code == 200
    beyond = http.get(address, headers={"Range": "bytes=3000-"})
    assert beyond.status_code == 416 and beyond.headers["Content-Range"] == "bytes */3000"
    head = http.head(address)
    assert head.headers["Content-Length"] == "3000" and not head.content
    tag = whole.headers["ETag"]
    assert http.get(address, headers={"Range": "bytes=1-2", "If-Range": tag}).status_code == 206
    assert http.get(address, headers={"Range": "bytes=1-2", "If-Range": '"old"'}).status_code == 200


def test_several_files_are_one_archive(raw: Path, http: httpx.Client) -> None:
    hits, _ = search(http, size=3)
    ids = [hit["id"] for hit in hits]
    names = [f"{hit['id']}/{hit['file_name']}" for hit in hits]
    for response, mode in (
        (http.get(f"/data/{','.join(ids)}"), "r:gz"),
        (http.post("/data", json={"ids": ids}), "r:gz"),
        (http.post("/data?tarfile", json={"ids": ids}), "r:"),
    ):
        assert "Content-Length" not in response.headers and "Content-MD5" not in response.headers
        with tarfile.open(fileobj=io.BytesIO(response.content), mode=mode) as bundle:  # type: ignore[call-overload]
            assert bundle.getnames() == [*names, "MANIFEST.txt"]
            member = bundle.extractfile(names[0])
            assert member is not None
            assert member.read() == (raw / "slides" / hits[0]["file_name"]).read_bytes()


def test_manifest_versions_status(described: Path, http: httpx.Client, slide: dict[str, Any]) -> None:
    row = [slide["id"], slide["file_name"], slide["md5sum"], str(slide["file_size"]), "released"]
    for text in (
        http.get(f"/manifest/{slide['id']}").text,
        http.post("/manifest", json={"ids": [slide["id"]]}).text,
        http.get(
            "/files", params={"return_type": "manifest", "filters": json.dumps(leaf("=", "file_id", slide["id"]))}
        ).text,
    ):
        assert text == "id\tfilename\tmd5\tsize\tstate\n" + "\t".join(row) + "\n"
    assert http.post("/files/versions", json={"ids": [slide["id"]]}).json() == [
        {"id": slide["id"], "latest_id": slide["id"]}
    ]
    with serve(described, Faults(superseded=(slide["file_name"],))) as url:
        [entry] = httpx.post(f"{url}/files/versions", json={"ids": [slide["id"]]}).json()
        assert entry["latest_id"] != slide["id"] and httpx.get(f"{url}/data/{slide['id']}").status_code == 404
    status = http.get("/status")
    assert "data_release" in status.json() and status.headers["Date"] == "Thu, 01 Jan 2026 00:00:00 GMT"


def test_unknown_ids(http: httpx.Client) -> None:
    for response in (http.get("/data/unknown"), http.post("/manifest", json={"ids": ["unknown"]})):
        assert response.status_code == 404 and "unknown" in response.json()["message"]


def test_xena(raw: Path, http: httpx.Client) -> None:
    expected = (raw / "sim_a" / "expression.tsv.gz").read_bytes()
    for name in ("TCGA.SIM_A.sampleMap%2FHiSeqV2.gz", "TCGA.SIM_A.sampleMap/HiSeqV2.gz", "sim_a/expression.tsv.gz"):
        answer = http.get(f"/download/{name}")
        assert answer.content == expected and answer.headers["ETag"] and answer.headers["Last-Modified"]
    part = http.get("/download/sim_a%2Fexpression.tsv.gz", headers={"Range": "bytes=5-9"})
    assert part.status_code == 206 and part.content == expected[5:10]
    missing = http.get("/download/TCGA.SIM_A.sampleMap%2FHiSeqV3.gz")
    assert missing.status_code == 404 and "<Code>NoSuchKey</Code>" in missing.text


def test_survival_is_what_the_clinical_table_says(raw: Path, http: httpx.Client) -> None:
    survival = pd.read_csv(io.StringIO(http.get("/download/survival%2FSIM_C_survival.txt").text), sep="\t")
    clinical = pd.read_csv(raw / "sim_c" / "clinical.tsv", sep="\t")
    assert list(survival.columns) == (
        ["sample", "_PATIENT", "OS", "OS.time", "DSS", "DSS.time", "DFI", "DFI.time", "PFI", "PFI.time", "Redaction"]
    )
    assert (survival["OS"] == (clinical["vital_status"] == "Dead")).all()
    days = clinical["days_to_death"].fillna(clinical["days_to_last_follow_up"])
    assert (survival["OS.time"] == days).all() and survival["PFI"].isna().all()


def test_cellxgene(raw: Path, http: httpx.Client) -> None:
    [collection] = http.get("/curation/v1/collections", params={"visibility": "PUBLIC"}).json()
    assert http.get(f"/curation/v1/collections/{collection['collection_id']}").json() == collection
    [listed] = http.get("/curation/v1/datasets").json()
    [version] = http.get(f"/curation/v1/datasets/{listed['dataset_id']}/versions").json()
    [asset] = version["assets"]
    assert asset["filetype"] == "H5AD" and asset["filesize"] == (raw / "atlas.h5ad").stat().st_size
    assert httpx.get(asset["url"]).content == (raw / "atlas.h5ad").read_bytes()
    assert version["cell_count"] == 400 and version["dataset_version_id"] in asset["url"]
    assert http.get("/curation/v1/datasets/unknown/versions").status_code == 404
    assert http.get("/00000000-0000-0000-0000-000000000000.h5ad").status_code == 403


def test_faults_concern_what_they_are_told(described: Path, slide: dict[str, Any]) -> None:
    faults = Faults(only="^/data/|^/download/gene", unavailable=1, retry_after="3")
    with serve(described, faults) as url:
        assert httpx.get(f"{url}/status").status_code == 200
        busy = httpx.get(f"{url}/data/{slide['id']}")
        assert busy.status_code == 503 and busy.headers["Retry-After"] == "3"
        assert "html" in busy.headers["Content-Type"]
        assert httpx.get(f"{url}/data/{slide['id']}").status_code == 200
        assert httpx.get(f"{url}/download/gene_sets.gmt").status_code == 503
    with serve(described, Faults(cut_after=100)) as url:
        received = bytearray()
        with (
            pytest.raises(httpx.RemoteProtocolError),
            httpx.stream("GET", f"{url}/data/{slide['id']}") as response,
        ):
            for chunk in response.iter_raw():
                received += chunk
        assert len(received) == 100


def test_served_or_not(described: Path) -> None:
    with served(None, {}, "https://elsewhere") as url:
        assert url == "https://elsewhere"
    with served(described, {"unavailable": 1}, "https://elsewhere") as url:
        assert httpx.get(f"{url}/status").status_code == 503
    with pytest.raises(PathomixError, match="unknown parameters: unavailble"), served(described, {"unavailble": 1}, ""):
        pass


def test_what_is_absent_is_named(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(PathomixError, match=r"archive.json is absent; run workflow_scripts/describe_archive.py"):
        read_archive(tmp_path)
    with pytest.raises(PathomixError, match="no cohort in it"):
        describe_simulation(tmp_path, tmp_path / "out")
    (tmp_path / "sim_a").mkdir()
    for name in ("clinical.tsv", "slides.tsv"):
        (tmp_path / "sim_a" / name).write_bytes((raw / "sim_a" / name).read_bytes())
    with pytest.raises(PathomixError, match=r"DX1.tiff is absent; run .*simulate_slides.py"):
        describe_simulation(tmp_path, tmp_path / "out")
