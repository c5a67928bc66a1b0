"""The released size: written, strictly loaded, and 8 bulk profiles of 19,000 genes embedded within 4 GB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pathomix.scgpt.checkpoint import write_random_checkpoint
from pathomix.scgpt.model import Sizes

# The first profile expresses all its genes, the longest there can be. The others express about a third of them at
# 1 TPM: attention over 19,000 tokens takes minutes on two cores, and memory is decided by the longest.
SCRIPT = """
import json, resource, sys
from pathlib import Path
import numpy as np
from pathomix.scgpt.checkpoint import load_checkpoint
from pathomix.scgpt.embed import Embedder
from pathomix.scgpt.parameters import embedding_settings

checkpoint = load_checkpoint(Path(sys.argv[1]))
generator = np.random.default_rng(0)
tpm = np.exp(generator.normal(-1.5, 3.0, (8, 19_000)))
tpm[0] += 1.0
names = checkpoint.vocabulary.genes[:19_000]
ids = [f"P{i}" for i in range(8)]
found = Embedder(checkpoint, embedding_settings({"length": "full"})).embed(tpm, ids, names)
print(json.dumps({
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "tokens": found.profiles["tokens"].tolist(),
    "shape": found.vectors.shape,
    "lengths": np.linalg.norm(found.vectors, axis=1).tolist(),
    "matched": len(checkpoint.report.matched),
}))
"""


@pytest.mark.slow
def test_bulk_profiles_of_the_released_size(tmp_path: Path) -> None:
    write_random_checkpoint(tmp_path, [f"GENE{i}" for i in range(60_694)], Sizes(60_697, 512, 8, 512, 12, 0.2), seed=0)
    state = torch.load(tmp_path / "best_model.pt", weights_only=True, mmap=True)
    assert sum(tensor.numel() for tensor in state.values()) == 51_330_049
    run = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["peak"] < 4e9
    assert result["tokens"][0] == 19_001 and all(4_000 < tokens < 8_000 for tokens in result["tokens"][1:])
    assert result["shape"] == [8, 512]
    assert result["lengths"] == pytest.approx([1.0] * 8, abs=1e-5)
    assert result["matched"] == 3 + 6 + 12 * 12
