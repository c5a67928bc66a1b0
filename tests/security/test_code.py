"""No code of the repository loads what could run, unpacks what could escape, or goes through a shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.security.unsafe import Finding, findings

ROOT = Path(__file__).resolve().parents[2]
# The workflow itself, and what is run beside it. Unit tests load unsafely on purpose: they show what is refused.
SHIPPED = ("src", "workflow_scripts")
BESIDE = ("benchmarks", "docs", "tests/stand_in", "tests/golden", "tests/slurm", "tests/chaos", "tests/workflow")
# Where something on the list is meant, and why it is no hole.
MEANT = {
    # The code of TITAN is in the user's own copy of its gated folder and nowhere else; nothing is fetched for it.
    ("src/pathomix/foundation/titan.py", "trust_remote_code"): "local_files_only=True",
}


def files(folders: tuple[str, ...]) -> list[Path]:
    return [path for name in folders for path in sorted((ROOT / name).rglob("*.py"))]


def excused(path: Path, text: str, finding: Finding) -> bool:
    """Whether a finding is meant, and the line holds what makes it harmless."""
    needed = MEANT.get((path.relative_to(ROOT).as_posix(), finding.what.split(":")[0]))
    return needed is not None and needed in text.splitlines()[finding.line - 1]


@pytest.mark.parametrize("folders", [SHIPPED, BESIDE], ids=["shipped", "beside"])
def test_nothing_unsafe(folders: tuple[str, ...]) -> None:
    found, read = [], 0
    for path in files(folders):
        text = path.read_text(encoding="utf-8")
        read += 1
        where = path.relative_to(ROOT)
        found += [f"{where}:{f.line}: {f.what}" for f in findings(text) if not excused(path, text, f)]
    assert read > 20
    assert not found, "\n".join(found)


def test_what_is_meant_is_still_there() -> None:
    for (name, what), needed in MEANT.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        hits = [f for f in findings(text) if f.what.startswith(f"{what}:")]
        assert hits and all(needed in text.splitlines()[f.line - 1] for f in hits), name


UNSAFE = [
    "import torch\ntorch.load('x')",
    "import torch as t\nt.load('x', weights_only=False)",
    "from torch import load\nload('x', weights_only=safe)",
    "import pickle\npickle.load(f)",
    "import pickle as p\np.Unpickler(f).load()",
    "from pickle import loads",
    "import joblib\njoblib.load('x')",
    "import numpy as np\nnp.load('x', allow_pickle=True)",
    "import numpy\nnumpy.load('x', allow_pickle=wanted)",
    "import pandas as pd\npd.read_pickle('x')",
    "import yaml\nyaml.load(f, Loader=yaml.Loader)",
    "import yaml\nyaml.load(f, Loader=yaml.SafeLoader)",
    "from yaml import unsafe_load\nunsafe_load(f)",
    "eval('1')",
    "exec(text)",
    "import subprocess\nsubprocess.run(text, shell=True)",
    "import subprocess\nsubprocess.run(text, shell=maybe)",
    "import os\nos.system(text)",
    "import tempfile\ntempfile.mktemp()",
    "import tarfile\ntarfile.open('x').extractall('there')",
    "import tarfile\ntarfile.open('x').extractall('there', filter='fully_trusted')",
    "import zipfile\nzipfile.ZipFile('x').extractall('there')",
    "import shutil\nshutil.unpack_archive('x')",
    "from transformers import AutoModel\nAutoModel.from_pretrained('x', trust_remote_code=True)",
    "import requests\nrequests.get('https://x', verify=False)",
]
SAFE = [
    "import torch\ntorch.load('x', map_location='cpu', weights_only=True)",
    "import pickle\ntry:\n    f()\nexcept pickle.UnpicklingError:\n    pass",
    "import yaml\nyaml.safe_load(f)",
    "import numpy as np\nnp.load('x', allow_pickle=False)",
    "model.eval()\nframe.eval",
    "import re\nre.compile('x')",
    "import subprocess\nsubprocess.run(['a', text])",
    "import tarfile\ntarfile.open('x').extractall('there', filter='data')",
]


@pytest.mark.parametrize("source", UNSAFE)
def test_the_scan_finds(source: str) -> None:
    assert findings(source)


@pytest.mark.parametrize("source", SAFE)
def test_the_scan_lets_pass(source: str) -> None:
    assert not findings(source)
