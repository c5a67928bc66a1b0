"""BERT-like text encoders from a local folder: KEEP's text side, PubMedBERT and other models of transformers.

Code that comes with a model is never run. KEEP's released folder was not at hand: its layout (the text model's settings
under ``text_config``, its tensors under ``text.``) is tested with random weights only.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertTokenizer

from pathomix.core.errors import PathomixError
from pathomix.core.weights import load_strictly, read_state, state_digest
from pathomix.text.encoders import unit_rows

log = logging.getLogger(__name__)

_POOLINGS = ("cls", "mean", "pooler")
_FILES = ("model.safetensors", "pytorch_model.bin")
_CONTEXT = 256


class BertEncoder:
    """A BERT-like model.

    Args:
        weights: Folder with config.json, the tokeniser's files and model.safetensors or pytorch_model.bin.
        pooling: ``cls``: the first position's state. ``mean``: of all positions that are no padding. ``pooler``: the
            model's own pooled output.
        batch_size: Texts per forward pass.

    Raises:
        PathomixError: The folder is not complete, or the weights do not fit its configuration.
    """

    def __init__(self, weights: str, pooling: str = "cls", batch_size: int = 64) -> None:
        if pooling not in _POOLINGS:
            raise PathomixError(f"text encoder bert: pooling is {pooling!r}", remedy=f"use one of {list(_POOLINGS)}")
        folder = Path(weights)
        found = [folder / name for name in ("config.json", *_FILES) if (folder / name).is_file()]
        if len(found) < 2 or found[0].name != "config.json":
            raise PathomixError(
                f"{folder}: needs config.json and one of {', '.join(_FILES)}",
                offending=[path.name for path in found],
                remedy="set the key weights of the texts to the folder of the downloaded model",
            )
        config, self._tokenizer, nested = _configuration(folder)
        self._model = _model(config, found[1], nested, pooling)
        self._pooling = pooling
        self._batch_size = batch_size
        self._context = min(_CONTEXT, config.max_position_embeddings, self._tokenizer.model_max_length)
        if len(self._tokenizer) > config.vocab_size:
            raise PathomixError(
                f"{folder}: {len(self._tokenizer)} tokens for {config.vocab_size} rows",
                remedy="give the tokeniser that belongs to the weights",
            )
        self.dim = int(config.hidden_size)
        self.identity = f"bert dim={self.dim} pooling={pooling} context={self._context}"
        vocabulary = json.dumps(self._tokenizer.get_vocab(), sort_keys=True)
        rules = self._tokenizer.backend_tokenizer.to_str()
        self.digest = state_digest(
            self._model.state_dict(), self.identity.encode(), vocabulary.encode(), rules.encode()
        )

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [texts, dim]."""
        vectors = [np.zeros((0, self.dim), np.float32)]
        for start in range(0, len(texts), self._batch_size):
            vectors.append(self._pooled(list(texts[start : start + self._batch_size])))
        return unit_rows(np.concatenate(vectors), texts, self.identity)

    def _pooled(self, texts: list[str]) -> NDArray[np.float32]:
        lengths = [len(ids) for ids in self._tokenizer(texts)["input_ids"]]
        for text, length in zip(texts, lengths, strict=True):
            if length > self._context:
                log.warning("prompt of %d tokens, only the first %d are read: %s", length, self._context, text)
        batch = self._tokenizer(texts, padding=True, truncation=True, max_length=self._context, return_tensors="pt")
        output = self._model(**batch)
        if self._pooling == "pooler":
            return np.asarray(output.pooler_output.float().numpy())
        states: Tensor = output.last_hidden_state
        if self._pooling == "cls":
            return np.asarray(states[:, 0].float().numpy())
        weight = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
        return np.asarray(((states * weight).sum(1) / weight.sum(1)).float().numpy())


def _configuration(folder: Path) -> tuple[Any, Any, bool]:
    """Configuration and tokeniser of a folder, from its files only, and whether the text model is one of several."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if "text_config" in content:  # the outer type is one that transformers does not know
            tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
            return BertConfig(**content["text_config"]), tokenizer, True
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return config, tokenizer, False
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise PathomixError(
            f"{folder}: transformers cannot read configuration or tokeniser ({str(error).splitlines()[0]})",
            remedy="give a complete folder of a model type that transformers knows",
        ) from error


def _model(config: Any, path: Path, nested: bool, pooling: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        model: nn.Module = AutoModel.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    state = read_state(path)
    prefix = "text." if nested else f"{model.base_model_prefix}."
    if nested or any(key.startswith(prefix) for key in state):  # other keys are image towers and pre-training heads
        state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    optional = ["embeddings.position_ids", *([] if pooling == "pooler" else ["pooler."])]
    load_strictly(model, state, path, optional)
    return model.float().eval().requires_grad_(False)
