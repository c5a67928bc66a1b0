from __future__ import annotations

from pathomix.core.files import file_digest
from pathomix.representations.files import input_digests, without_paths


def test_every_input_counts_by_its_content_and_not_by_its_path(tmp_path):
    def written(root):
        for name in ("patients.parquet", "expression.h5ad", "alterations.h5ad", "pathways.json", "f1", "f2", "t"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(name)
        (root / "weights" / "deep").mkdir(parents=True)
        (root / "weights" / "deep" / "w.pt").write_text("w")
        return input_digests(root, [root / "f1", root / "f2"], [root / "t"], {"weights": str(root / "weights")})

    first = written(tmp_path / "a")
    assert first == written(tmp_path / "b")
    assert set(first) == {"patients.parquet", "expression.h5ad", "alterations.h5ad", "pathways.json", "features",
                          "features1", "texts", "weights/deep/w.pt"}  # fmt: skip
    assert first["features1"] == file_digest(tmp_path / "a" / "f2")
    alone = input_digests(tmp_path / "a", [], [], {"weights": str(tmp_path / "a" / "weights" / "deep" / "w.pt")})
    assert "weights/." in alone and alone["weights/."] == first["weights/deep/w.pt"]
    assert "weights/." not in input_digests(tmp_path / "a", [], [], {"weights": ""})


def test_weights_are_no_part_of_the_parameters():
    assert without_paths({"architecture": "longnet", "weights": "/x"}) == {"architecture": "longnet"}
