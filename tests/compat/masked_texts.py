"""Texts with [MASK] for the fill-mask pipeline, and what must come out by `reference.py` and Google's tokenization."""

from __future__ import annotations

from typing import Any

import numpy as np
from conftest import google
from google_tokenization import google_ids

from electra_convert import open_checkpoint
from electra_convert.electra.battery import Batch
from electra_convert.electra.reference import Network, run
from electra_convert.hf.vocabulary import read_vocabulary

CHECKPOINT = "default_small"
GENERATOR = Network(body="generator", embeddings="electra", head="generator_predictions", layers=2, heads=1)
TEXTS = ["Thou art a [MASK], my lord!", "[MASK]", "the [MASK] of the [MASK], and no other"]
TOP = 5


def fill_masks() -> list[list[list[dict[str, Any]]]]:
    """Return for each text and each mask the likeliest tokens: `token`, `token_str` and `score`, likeliest first."""
    vocabulary = read_vocabulary(google(CHECKPOINT) / "vocab.txt")
    with open_checkpoint(google(CHECKPOINT)) as checkpoint:
        rows = [_ids(text, vocabulary.ids) for text in TEXTS]
        batches = [Batch("text", *_inputs(row)) for row in rows]
        answers = run(GENERATOR, checkpoint.read, batches)
    filled = []
    for row, answer in zip(rows, answers, strict=True):
        assert answer.logits is not None
        masked = [place for place, token in enumerate(row) if token == vocabulary.ids["[MASK]"]]
        filled.append([_likeliest(answer.logits[0, place], vocabulary.tokens) for place in masked])
    return filled


def _ids(text: str, ids: dict[str, int]) -> list[int]:
    """Google's code sets the token [MASK] itself and never reads it from text."""
    first, *others = (google_ids(part, ids, lower_case=True, strip_accents=True)[1:-1] for part in text.split("[MASK]"))
    row = [ids["[CLS]"], *first]
    for part in others:
        row += [ids["[MASK]"], *part]
    return [*row, ids["[SEP]"]]


def _inputs(row: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ids = np.array([row], np.int64)
    return ids, np.ones_like(ids), np.zeros_like(ids)


def _likeliest(logits: np.ndarray, tokens: tuple[str, ...]) -> list[dict[str, Any]]:
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    best = np.argsort(-shares)[:TOP]
    return [{"token": int(i), "token_str": tokens[i], "score": float(shares[i])} for i in best]
