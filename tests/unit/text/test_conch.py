"""The tower against a slow oracle written token by token from the spec's words; tokeniser and loader by property."""

from __future__ import annotations

import math

import numpy as np
import pytest
import safetensors.torch
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from pathomix.core.errors import PathomixError
from pathomix.text.conch import CONTEXT, ConchEncoder, build_tower, visible_keys

WIDTH, HIDDEN, LAYERS, DIM = 128, 96, 3, 20
CORPUS = ["cancer location: breast; overall stage: stage two; survival status: patient died before 12 months"] * 3


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> str:
    """A tokeniser of the released kind: byte-level, uncased, accents stripped, special tokens first."""
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = decoders.ByteLevel()
    special = ["<pad>", "<start_of_text>", "<end_of_text>", "<|person|>", "<|mrn|>", "<|specimen_id|>", "<|date|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(CORPUS, trainer)
    made.enable_truncation(16)  # whatever the file says, our own rule holds
    made.enable_padding(pad_id=5, length=20)
    path = tmp_path_factory.mktemp("conch") / "tokenizer.json"
    made.save(str(path))
    return str(path)


def random_state(rows: int = 340, context: int = CONTEXT) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, gain: float = 1.0) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * gain

    state = {
        "text.token_embedding.weight": draw(rows, WIDTH),
        "text.positional_embedding": draw(context + 1, WIDTH, gain=0.3),
        "text.cls_emb": draw(WIDTH),
        "text.ln_final.weight": 1 + draw(WIDTH, gain=0.2),
        "text.ln_final.bias": draw(WIDTH, gain=0.2),
        "text.text_projection": draw(WIDTH, DIM, gain=0.1),
        "visual.trunk.cls_token": draw(1, 1, 8),
        "logit_scale": torch.tensor(4.0),
    }
    for i in range(LAYERS):
        b = f"text.transformer.resblocks.{i}."
        state |= {
            f"{b}ln_1.weight": 1 + draw(WIDTH, gain=0.2), f"{b}ln_1.bias": draw(WIDTH, gain=0.2),
            f"{b}ln_2.weight": 1 + draw(WIDTH, gain=0.2), f"{b}ln_2.bias": draw(WIDTH, gain=0.2),
            f"{b}attn.in_proj_weight": draw(3 * WIDTH, WIDTH, gain=0.1), f"{b}attn.in_proj_bias": draw(3 * WIDTH),
            f"{b}attn.out_proj.weight": draw(WIDTH, WIDTH, gain=0.1), f"{b}attn.out_proj.bias": draw(WIDTH, gain=0.1),
            f"{b}mlp.c_fc.weight": draw(HIDDEN, WIDTH, gain=0.1), f"{b}mlp.c_fc.bias": draw(HIDDEN),
            f"{b}mlp.c_proj.weight": draw(WIDTH, HIDDEN, gain=0.1), f"{b}mlp.c_proj.bias": draw(WIDTH, gain=0.1),
        }  # fmt: skip
    return state


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("conch") / "pytorch_model.bin"
    torch.save(random_state(), path)
    return str(path)


def oracle(state: dict[str, torch.Tensor], ids: list[int]) -> np.ndarray:
    """float64, loops over queries and keys; `ids` without the last one, of any length."""
    w = {k.removeprefix("text."): v.double().numpy() for k, v in state.items() if k.startswith("text.")}
    length = len(ids)

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w[name + ".weight"] + w[name + ".bias"]

    x = np.stack([w["token_embedding.weight"][i] for i in ids] + [w["cls_emb"]]) + w["positional_embedding"]
    for i in range(LAYERS):
        b = f"transformer.resblocks.{i}."
        joint = norm(x, b + "ln_1") @ w[b + "attn.in_proj_weight"].T + w[b + "attn.in_proj_bias"]
        mixed = np.zeros_like(x)
        for head in range(WIDTH // 64):
            q, k, v = (joint[:, part * WIDTH + head * 64 : part * WIDTH + head * 64 + 64] for part in range(3))
            for query in range(length + 1):
                if query < length:
                    seen = list(range(query + 1))
                else:
                    seen = [0] + [key for key in range(1, length + 1) if ids[key - 1] != 0]
                logits = np.array([q[query] @ k[key] / math.sqrt(64) for key in seen])
                share = np.exp(logits - logits.max())
                mixed[query, head * 64 : head * 64 + 64] = (share / share.sum()) @ v[seen]
        x = x + mixed @ w[b + "attn.out_proj.weight"].T + w[b + "attn.out_proj.bias"]
        hidden = norm(x, b + "ln_2") @ w[b + "mlp.c_fc.weight"].T + w[b + "mlp.c_fc.bias"]
        hidden = 0.5 * hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
        x = x + hidden @ w[b + "mlp.c_proj.weight"].T + w[b + "mlp.c_proj.bias"]
    out = norm(x[-1:], "ln_final") @ w["text_projection"]
    return out[0] / np.linalg.norm(out[0])


def test_the_tower_equals_the_oracle(tokenizer: str, weights: str) -> None:
    encoder = ConchEncoder(weights, tokenizer, batch_size=2)
    texts = ["breast", CORPUS[0], "survival " * 60 + "months"]
    state = random_state()
    lengths = {sum(i != 0 for i in encoder.tokenise(t)) for t in texts}
    assert len(lengths) == 3
    expected = np.stack([oracle(state, encoder.tokenise(text)[:-1]) for text in texts])
    made = encoder.encode(texts)
    assert made.dtype == np.float32 and encoder.dim == DIM
    np.testing.assert_allclose(made, expected, atol=2e-6)


def test_the_mask_of_the_class_vector() -> None:
    mask = visible_keys(torch.tensor([[1, 9, 2, 0, 0], [1, 7, 8, 9, 2]]))[:, 0]
    expected = torch.ones(6, 6, dtype=torch.bool).tril()
    assert (mask[:, :-1] == expected[:-1]).all()
    assert mask[0, -1].tolist() == [True, True, True, True, False, False]  # the first pad is seen, itself not
    assert mask[1, -1].tolist() == [True] * 6


def test_tokens(tokenizer: str, weights: str, caplog) -> None:
    encoder = ConchEncoder(weights, tokenizer)
    raw = Tokenizer.from_file(tokenizer)
    raw.no_truncation()
    raw.no_padding()
    body = raw.encode("Breast", add_special_tokens=False).ids
    assert encoder.tokenise("BRÉAST") == [1, *body, 2] + [0] * (126 - len(body))
    assert not caplog.text
    long = "stage " * 200
    ids = encoder.tokenise(long)
    assert len(ids) == 128 and ids[126:] == [2, 0] and ids[0] == 1 and 0 not in ids[:127]
    assert ids[1:126] == raw.encode(long, add_special_tokens=False).ids[:125]
    assert "only the first 125 are read" in caplog.text
    fits = "stage " * 125
    while len(raw.encode(fits, add_special_tokens=False).ids) > 125:
        fits = fits[:-1]
    caplog.clear()
    assert encoder.tokenise(fits)[126:] == [2, 0] and not caplog.text


def test_equal_texts_and_other_batches(tokenizer: str, weights: str) -> None:
    encoder = ConchEncoder(weights, tokenizer, batch_size=2)
    texts = ["breast", "patient died", "stage two", "breast"]
    once = encoder.encode(texts)
    np.testing.assert_array_equal(once, encoder.encode(texts))
    np.testing.assert_allclose(once, np.concatenate([encoder.encode([t]) for t in texts]), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(once, axis=1), 1, atol=1e-6)
    assert encoder.encode([]).shape == (0, DIM)


def test_digest_follows_weights_and_vocabulary(tokenizer: str, weights: str, tmp_path) -> None:
    state = {key: value.contiguous() for key, value in random_state().items()}
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    base = ConchEncoder(weights, tokenizer).digest
    assert ConchEncoder(str(tmp_path / "w.safetensors"), tokenizer).digest == base
    state["text.cls_emb"] = state["text.cls_emb"] + 1
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    assert ConchEncoder(str(tmp_path / "w.safetensors"), tokenizer).digest != base
    state["visual.trunk.cls_token"] = state["visual.trunk.cls_token"] + 1
    other = tmp_path / "tokenizer.json"
    changed = Tokenizer.from_file(tokenizer)
    changed.add_tokens(["new"])
    changed.save(str(other))
    assert ConchEncoder(weights, str(other)).digest != base


def test_every_mismatch_is_named(tmp_path, caplog) -> None:
    state = random_state()
    state["text.stranger"] = torch.zeros(1)
    state["text.ln_final.bias"] = torch.zeros(WIDTH + 1)
    for key in [key for key in state if "resblocks.1.attn" in key]:
        state.pop(key)
    state.pop("text.cls_emb")
    with pytest.raises(PathomixError, match="7 tensors do not fit") as error:
        build_tower(state, tmp_path / "w.bin")
    named = "\n".join(error.value.offending)
    assert "missing cls_emb" in named and "unexpected stranger" in named and "ln_final.bias has shape (129,)" in named
    assert named.count("missing transformer.resblocks.1.attn.") == 4 and "unexpected stranger" in caplog.text


def test_files_that_do_not_fit(tokenizer: str, weights: str, tmp_path) -> None:
    def refused(fact: str, weights: str = weights, tokenizer: str = tokenizer) -> None:
        with pytest.raises(PathomixError, match=fact):
            ConchEncoder(weights, tokenizer)

    refused("no such weights file", weights=str(tmp_path / "absent.bin"))
    refused("no such file", tokenizer=str(tmp_path / "absent.json"))
    (tmp_path / "bad.json").write_text("{}")
    refused("not a tokenizer.json", tokenizer=str(tmp_path / "bad.json"))
    (tmp_path / "bad.bin").write_bytes(b"nothing")
    refused("not a weights-only file", weights=str(tmp_path / "bad.bin"))
    torch.save({"visual.x": torch.zeros(1)}, tmp_path / "visual.bin")
    refused("not a CONCH checkpoint: missing text.token_embedding.weight", weights=str(tmp_path / "visual.bin"))
    torch.save(random_state(rows=100), tmp_path / "small.bin")
    refused("do not fit the 100 rows", weights=str(tmp_path / "small.bin"))
    plain = Tokenizer(models.BPE({"a": 0}, []))
    plain.save(str(tmp_path / "plain.json"))
    refused("<start_of_text> None", tokenizer=str(tmp_path / "plain.json"))
    torch.save([torch.zeros(1)], tmp_path / "list.bin")
    refused("holds no state dict", weights=str(tmp_path / "list.bin"))
