"""Parameter totals of the published models with the pathways they were published with (ModalTune 2.7)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from pathomix.nn.gene_mixer import GeneMixer
from pathomix.nn.modaltune import ModalTune, ModalTuneSettings


class Frozen(nn.Module):
    """Stands for a backbone: only its width and depth count here."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.width, self.depth = 768, depth


@pytest.mark.parametrize(
    ("depth", "settings", "total"),
    [
        (12, ModalTuneSettings(), 33_524_890),
        (6, ModalTuneSettings(stages=((0, 1), (2, 3), (4, 5)), fusion="cat", drop_path=0.2), 33_921_178),
        (12, ModalTuneSettings(clinical_dim=5), 33_825_178),
    ],
)
def test_totals(shared_data: Path, depth: int, settings: ModalTuneSettings, total: int) -> None:
    table = pd.read_csv(shared_data / "modaltune_nolicence/gene_pathway_processed_v2.csv.gz", index_col=0)
    sizes = [int(size) for size in table.sum()]
    assert len(sizes) == 331 and sum(sizes) == 9731
    with torch.device("meta"):
        model = ModalTune(Frozen(depth), GeneMixer(sizes), settings)
    assert sum(parameter.numel() for parameter in model.parameters()) == total
