"""Text for the generator: a small text tokenizer of the captions' own words, or a pretrained one; a batch of texts as
ids.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

WORD = r"[\w']+(?:-[\w']+)*|[^\w\s]"  # `medium-light` is one word, and neither `medium` nor `light`
PADDING, UNKNOWN = "<pad>", "<unknown>"


def train_text_tokenizer(texts: Iterable[str], most: int = 20_000) -> PreTrainedTokenizerFast:
    """Return a text tokenizer of the most frequent words, at most `most`: the same for the same texts in any order."""
    counts = Counter(word for text in texts for word in re.findall(WORD, text.lower()))
    words = sorted(counts, key=lambda word: (-counts[word], word))[:most]
    vocabulary = {word: number for number, word in enumerate([PADDING, UNKNOWN, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "removed", invert=True)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PADDING, unk_token=UNKNOWN)


def load_text_tokenizer(path: str | Path, revision: str | None = None) -> Any:
    """Load a fast text tokenizer from a hub id or a folder. ValueError where there is none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), revision=revision, use_fast=True)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"no text tokenizer can be loaded from {path!r}: {str(error).splitlines()[0]}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def encode_texts(text_tokenizer: Any, texts: Sequence[str], longest: int) -> tuple[Tensor, Tensor]:
    """Return ids `[B, L]` and where there are words, bool `[B, L]`; L is the longest text's length, at most
    `longest`.
    """
    rows = token_rows(text_tokenizer, texts, longest)
    length = max((len(row) for row in rows), default=0)
    ids = torch.full((len(rows), length), int(text_tokenizer.pad_token_id), dtype=torch.long)
    present = torch.zeros(len(rows), length, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row, dtype=torch.long)
        present[number, : len(row)] = True
    return ids, present


def token_rows(text_tokenizer: Any, texts: Sequence[str], longest: int) -> list[list[int]]:
    """Return each text's ids, at most `longest`."""
    if not texts:
        return []
    found: list[list[int]] = text_tokenizer(list(texts), add_special_tokens=False, truncation=True, max_length=longest)[
        "input_ids"
    ]
    return found
