"""The machine-readable twin of the page: an RO-Crate 1.1 with files, hashes, the run, and every verdict.

Sources: RO-Crate Metadata Specification 1.1 (w3id.org/ro/crate/1.1), sections Root Data Entity, Data Entities and
Provenance of entities. The crate's root is the results folder, because files of a crate lie below its root.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pathomix import __version__
from pathomix.core.errors import PathomixError
from pathomix.core.files import file_digest, write_json
from pathomix.report.certificate import Line
from pathomix.report.lineage import Step

METADATA_FILE = "ro-crate-metadata.json"
_PROFILE = "https://w3id.org/ro/crate/1.1"
_CONTEXT: list[Any] = [f"{_PROFILE}/context", {"sha256": "https://schema.org/sha256"}]
_FORMATS = {".html": "text/html", ".csv": "text/csv", ".md": "text/markdown", ".tex": "application/x-tex"}
_FORMATS |= {".parquet": "application/vnd.apache.parquet", ".json": "application/json", ".png": "image/png"}


def write_crate(
    output: Path,
    title: str,
    files: Mapping[Path, str],
    sources: Iterable[Step],
    lines: Sequence[Line],
    configuration: str,
    command: str,
) -> None:
    """Write ``ro-crate-metadata.json``.

    Args:
        output: ``ro-crate-metadata.json`` in the results folder.
        title: Of the run.
        files: Files that the run made, below the results folder, with what each is.
        sources: Sources that the results were followed to (`Lineage.trace`).
        lines: The certificate.
        configuration: The configuration as YAML.
        command: What makes the results again.

    Raises:
        PathomixError: The name is not the one a crate must have, or a file is not below its folder.
    """
    root = output.parent.resolve()
    if output.name != METADATA_FILE:
        raise PathomixError(f"{output}: a crate's file has another name", remedy=f"call it {METADATA_FILE}")
    strange = [str(path) for path in files if not path.resolve().is_relative_to(root)]
    if strange:
        raise PathomixError(f"files are not below {root}", offending=strange, remedy="name files of the results folder")
    made = [_file(path, root, text) for path, text in sorted(files.items())]
    read = [_source(step) for step in sorted({s.digest: s for s in sources}.values(), key=lambda s: s.digest)]
    verdicts, values = _verdicts(lines)
    newest = max((path.stat().st_mtime for path in files), default=0.0)
    day = datetime.fromtimestamp(newest, UTC).date().isoformat()
    graph = [
        {"@id": METADATA_FILE, "@type": "CreativeWork", "about": {"@id": "./"}, "conformsTo": {"@id": _PROFILE}},
        {
            "@id": "./",
            "@type": "Dataset",
            "name": title,
            "description": "Results of a pathomix run with their lineage and the verdict on every published value.",
            "datePublished": day,
            "license": {"@id": "#terms"},
            "hasPart": _refs(made),
            "mentions": [{"@id": "#run"}],
            "variableMeasured": _refs(verdicts),
        },
        {
            "@id": "#terms",
            "@type": "CreativeWork",
            "name": "Terms of the sources",
            "description": "The results follow from the sources named here; the terms of each source apply to them.",
        },
        {
            "@id": "#run",
            "@type": "CreateAction",
            "name": f"Run of pathomix {__version__}",
            "description": command,
            "instrument": {"@id": "#pathomix"},
            "object": [{"@id": "#configuration"}, *_refs(read)],
            "result": _refs(made),
        },
        {"@id": "#pathomix", "@type": "SoftwareApplication", "name": "pathomix", "softwareVersion": __version__},
        {"@id": "#configuration", "@type": "CreativeWork", "name": "Configuration", "text": configuration},
        *made,
        *read,
        *verdicts,
        *values,
    ]
    write_json(output, {"@context": _CONTEXT, "@graph": graph})


def _refs(entities: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [{"@id": entity["@id"]} for entity in entities]


def _file(path: Path, root: Path, text: str) -> dict[str, Any]:
    shown = path.resolve().relative_to(root).as_posix()
    size = path.stat().st_size
    entity = {"@id": quote(shown), "@type": "File", "name": shown, "description": text, "sha256": file_digest(path)}
    kind = _FORMATS.get(path.suffix)
    return {**entity, "contentSize": str(size), **({"encodingFormat": kind} if kind else {})}


def _source(step: Step) -> dict[str, Any]:
    """A source is named by its content: it need not lie in the crate."""
    one = step.artefact
    entity: dict[str, Any] = {"@id": f"#sha256-{step.digest}", "@type": "CreativeWork", "sha256": step.digest}
    entity["name"] = one.path if one else step.name
    if one and one.origin:
        entity["isBasedOn"] = one.origin
    if one and one.md5:
        entity["description"] = "md5 of each slide: " + ", ".join(f"{k} {v}" for k, v in one.md5.items())
    return entity


def _verdicts(lines: Sequence[Line]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Per line of the certificate the verdict, and the values it stands on."""
    verdicts, values = [], []
    for number, line in enumerate(lines, 1):
        cell = line.printed
        name = f"{Path(cell.file).stem} {cell.table}, {cell.method}, {cell.cohort}, {cell.metric}"
        published: dict[str, Any] = {"@id": f"#published-{number}", "@type": "PropertyValue", "value": cell.value}
        published["name"] = f"{name}: published"
        if not math.isnan(cell.spread):
            published["description"] = f"± {cell.spread} as printed"
        values.append(published)
        verdict: dict[str, Any] = {"@id": f"#verdict-{number}", "@type": "PropertyValue", "name": name}
        verdict |= {"value": line.verdict, "valueReference": [{"@id": published["@id"]}]}
        if line.reason:
            verdict["description"] = line.reason
        if not math.isnan(line.ours.mean):
            ours: dict[str, Any] = {"@id": f"#ours-{number}", "@type": "PropertyValue", "name": f"{name}: ours"}
            ours |= {"value": line.ours.mean, "description": f"study {line.study}, row {line.row}, {line.cohort}"}
            limits = {"minValue": line.ours.lower, "maxValue": line.ours.upper}
            ours |= {key: value for key, value in limits.items() if not math.isnan(value)}
            values.append(ours)
            verdict["valueReference"].append({"@id": ours["@id"]})
        verdicts.append(verdict)
    return verdicts, values
