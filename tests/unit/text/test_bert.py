"""Against transformers' own forward pass, text by text without padding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel

from pathomix.core.errors import PathomixError
from pathomix.text.bert import BertEncoder

WORDS = [
    *("cancer", "location", "breast", "brain", "stage", "one", "two", "survival", "status", "patient", "died"),
    *("alive", "beyond", "12", "months", ":", ";"),
]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s"]
TEXTS = ["cancer location: breast; stage two", "brain", "patient alive beyond 12 months; patient died"]


def config() -> BertConfig:
    return BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=24, initializer_range=0.5,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config()).save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512})
    )
    return tmp_path


def reference(folder: Path, text: str, pooling: str) -> np.ndarray:
    model = BertModel.from_pretrained(folder, local_files_only=True).eval()
    vocabulary = {word: i for i, word in enumerate(VOCABULARY)}
    words = text.lower().replace(":", " : ").replace(";", " ; ").split()
    ids = torch.tensor([[2, *(vocabulary[w] for w in words), 3]])
    with torch.no_grad():
        output = model(ids)
    states = output.last_hidden_state[0]
    vector = {"cls": states[0], "mean": states.mean(0), "pooler": output.pooler_output[0]}[pooling]
    return (vector / vector.norm()).numpy()


@pytest.mark.parametrize("pooling", ["cls", "mean", "pooler"])
def test_pooling(folder: Path, pooling: str) -> None:
    encoder = BertEncoder(str(folder), pooling, batch_size=2)
    made = encoder.encode([text.upper() for text in TEXTS])
    assert made.dtype == np.float32 and encoder.dim == 32
    np.testing.assert_allclose(made, np.stack([reference(folder, t, pooling) for t in TEXTS]), atol=2e-6)
    np.testing.assert_array_equal(made, encoder.encode(TEXTS))
    assert encoder.encode([]).shape == (0, 32)


def test_keep_layout(folder: Path, tmp_path: Path) -> None:
    """Text tower under `text.` beside an image tower, its settings under `text_config` of an unknown model type."""
    keep = tmp_path / "keep"
    keep.mkdir()
    text = BertModel.from_pretrained(folder, local_files_only=True).state_dict()
    state = {f"text.{key}": value for key, value in text.items()} | {"visual.cls_token": torch.zeros(1)}
    torch.save(state, keep / "pytorch_model.bin")
    content = {"model_type": "keep", "text_config": config().to_dict(), "auto_map": {"AutoModel": "evil.Code"}}
    (keep / "config.json").write_text(json.dumps(content))
    (keep / "vocab.txt").write_text((folder / "vocab.txt").read_text())
    (keep / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    made, plain = BertEncoder(str(keep), "pooler"), BertEncoder(str(folder), "pooler")
    np.testing.assert_array_equal(made.encode(TEXTS), plain.encode(TEXTS))
    state.pop("text.embeddings.word_embeddings.weight")
    torch.save(state, keep / "pytorch_model.bin")
    with pytest.raises(PathomixError, match=r"missing embeddings\.word_embeddings.weight"):
        BertEncoder(str(keep))


def test_a_model_with_its_pretraining_head(folder: Path, tmp_path: Path) -> None:
    headed = tmp_path / "headed"
    model = BertForMaskedLM(config())
    model.bert.load_state_dict(BertModel.from_pretrained(folder, local_files_only=True).state_dict(), strict=False)
    model.save_pretrained(headed)
    for name in ("vocab.txt", "tokenizer_config.json"):
        (headed / name).write_text((folder / name).read_text())
    np.testing.assert_array_equal(BertEncoder(str(headed)).encode(TEXTS), BertEncoder(str(folder)).encode(TEXTS))
    with pytest.raises(PathomixError, match="missing pooler"):
        BertEncoder(str(headed), "pooler")


def test_long_texts_are_cut_and_said(folder: Path, caplog) -> None:
    encoder = BertEncoder(str(folder))
    long = "brain " * 30
    np.testing.assert_allclose(encoder.encode([long]), encoder.encode(["brain " * 22]), atol=1e-6)
    assert caplog.text.count("only the first 24 are read") == 1


def test_the_global_generator_is_left_alone_and_the_digest_follows_everything(folder: Path) -> None:
    before = torch.random.get_rng_state()
    base = BertEncoder(str(folder))
    assert torch.equal(before, torch.random.get_rng_state())
    assert BertEncoder(str(folder)).digest == base.digest != BertEncoder(str(folder), "mean").digest
    words = VOCABULARY.copy()
    words[5], words[6] = words[6], words[5]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    assert BertEncoder(str(folder)).digest != base.digest


def test_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PathomixError, match="pooling is 'max'"):
        BertEncoder(str(folder), "max")
    with pytest.raises(PathomixError, match=r"needs config\.json and one of"):
        BertEncoder(str(tmp_path / "nothing"))
    (folder / "vocab.txt").write_text("\n".join([*VOCABULARY, "more"]) + "\n")
    with pytest.raises(PathomixError, match="tokens for"):
        BertEncoder(str(folder))
    (folder / "config.json").write_text('{"model_type": "of_dreams"}')
    with pytest.raises(PathomixError, match="transformers cannot read"):
        BertEncoder(str(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(PathomixError, match=r"transformers cannot read.*Expecting property name"):
        BertEncoder(str(folder))
