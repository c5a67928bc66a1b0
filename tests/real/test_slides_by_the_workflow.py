"""Real slides and the edge-case files through the rules: features or a reason, and the run goes on."""

from __future__ import annotations

from pathlib import Path

import h5py
import pandas as pd
import yaml

from pathomix.core.schemas import SLIDE_INDEX
from pathomix.core.tables import read_table
from tests.workflow.conftest import copy_repository, runner

GOOD = {
    "slides/CMU-1-Small-Region.svs": None,
    "roi:TCGA-06-0174": 0.5,
    "roi:TCGA-26-1442": 0.5,
}


def files_of(shared_data: Path) -> dict[str, tuple[Path, float | None]]:
    """Slide name to its file and the mpp the user's table gives."""
    found: dict[str, tuple[Path, float | None]] = {}
    for name, mpp in GOOD.items():
        if name.startswith("roi:"):
            patient = name.removeprefix("roi:")
            path = next((shared_data / "pathomicfusion/roi/imgs").glob(f"{patient}*"))
            found[patient] = path, mpp
        else:
            found[Path(name).stem] = shared_data / name, mpp
    for path in sorted((shared_data / "slides/edge_synthetic").iterdir()):
        found[path.name.replace(".", "_")] = path, None
    found["kidney"] = shared_data / "slides/kidney-48-5.tif", None
    return found


def test_every_slide_ends_as_features_or_with_a_reason(root: Path, shared_data: Path, tmp_path: Path) -> None:
    folder = copy_repository(root, tmp_path / "copy")
    slides = files_of(shared_data)
    table = pd.DataFrame(
        {
            "patient": list(slides),
            "days": range(100, 100 + len(slides)),
            "dead": [i % 2 for i in range(len(slides))],
            "file": [str(path) for path, _ in slides.values()],
            "mpp": [mpp for _, mpp in slides.values()],
        }
    )
    table.to_csv(tmp_path / "cases.csv", index=False)
    description = {
        "tables": {"cases": {"path": "cases.csv", "id": "patient"}},
        "patients": "cases",
        "id": {"kind": "verbatim"},
        "survival": {
            "default_endpoint": "OS",
            "endpoints": {
                "OS": {
                    "time": {"column": "days", "unit": "days"},
                    "event": {"column": "dead", "event_values": [1], "censored_values": [0]},
                }
            },
        },
        "slides": {"table": "cases", "id": "patient", "path": "{file}", "mpp": "mpp"},
    }
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(description))
    config = yaml.safe_load((folder / "tests/workflow/config.yaml").read_text())
    config |= {
        "results": "results/real",
        "data": str(tmp_path),
        "simulation": {},
        "cohorts": {"real": {"description": str(tmp_path / "real.yaml")}},
        "slides": {"shards": 2, "max_lost_share": 1.0},
        "encoders": {"demo": {"model": "demo", "tile_size": 224, "mpp": 0.5}},
        "acquire": {},
    }
    small = {**config["studies"]["small"], "cohorts": ["real"]}
    config |= {
        "studies": {"small": small},
        "methods": {name: config["methods"][name] for name in small["methods"]},
        **{key: {} for key in ("explanations", "atlases", "expression_encoders", "smoothing", "regions")},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    target = "results/real/features/demo/real.parquet"
    runner(root, folder)("--cores", "2", "--configfile", str(tmp_path / "config.yaml"), "--", target)

    index = read_table(folder / target, SLIDE_INDEX).set_index("slide_id")
    assert set(index.index) == set(slides)
    done = index[index["status"] == "done"]
    assert set(done.index) == {"CMU-1-Small-Region", "TCGA-06-0174", "TCGA-26-1442"}
    for path, tiles in zip(done["path"], done["tiles"], strict=True):
        with h5py.File(folder / "results/real" / path) as stored:
            assert stored["features"].shape[0] == stored["coords"].shape[0] == tiles > 0
    lost = index[index["status"] == "quarantined"]
    assert lost["reason"].str.len().gt(20).all()
    quarantine = pd.read_csv(folder / "results/real/features/demo/real.quarantine.tsv", sep="\t")
    assert set(quarantine["slide_id"]) == set(lost.index)
