"""Vocabularies read, completed and refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pathomix.core.errors import PathomixError
from pathomix.scgpt.vocabulary import CLS, EOC, PAD, Vocabulary


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_special_tokens_are_appended_in_order(tmp_path: Path) -> None:
    vocabulary = Vocabulary.read(written(tmp_path / "vocab.json", '{"B": 1, "A": 0, "<cls>": 2}'))
    assert vocabulary.tokens == ["A", "B", CLS, PAD, EOC]
    assert vocabulary.appended == (PAD, EOC)
    assert vocabulary.genes == ["A", "B"]
    assert Vocabulary.read(written(tmp_path / "again.json", json.dumps(vocabulary.to_json()))).appended == ()


def test_genes_are_found_by_case_and_special_tokens_never() -> None:
    vocabulary = Vocabulary(["C1orf112", "NA"])
    assert vocabulary.gene_ids(["NA", "C1ORF112", "C1orf112", PAD, ""]).tolist() == [1, -1, 0, -1, -1]
    assert vocabulary[PAD] == 2
    with pytest.raises(PathomixError, match="'<mask>' is not in the vocabulary"):
        vocabulary["<mask>"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"A": 0, "B": 2}', "each once: B"),
        ('{"A": 0, "B": 0}', "each once: A"),
        ('{"A": 0, "B": "1"}', "each once: B"),
        ('{"A": 0, "A": 1}', "more than once: A"),
        ('{"A": true}', "each once: A"),
        ("[]", "no object of tokens"),
        ('["A"]', "no object of tokens"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PathomixError, match=message):
        Vocabulary.read(written(tmp_path / "vocab.json", text))


def test_the_real_vocabulary(shared_data: Path, tmp_path: Path) -> None:
    with gzip.open(shared_data / "genes" / "scgpt_default_census_vocab.json.gz", "rt") as stream:
        vocabulary = Vocabulary.read(written(tmp_path / "vocab.json", stream.read()))
    assert len(vocabulary) == 60_697
    assert [vocabulary[token] for token in (PAD, CLS, EOC)] == [60_694, 60_695, 60_696]


def test_the_digest_knows_the_order() -> None:
    assert Vocabulary(["A", "B"]).digest != Vocabulary(["B", "A"]).digest
