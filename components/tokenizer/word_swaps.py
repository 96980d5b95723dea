"""Captions that are wrong by one word: the hardest negatives of an image-text model that is to tell whether a caption
is true of its picture, and the rivals that a caption is compared with.

Two words may stand for each other where both were seen between the same two words: `a red circle`, `a blue circle`.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

FILE = "word_swaps.safetensors"


class WordSwaps:
    """Which words stand between which, counted over captions given as word numbers `[L]`, padded with 0."""

    def __init__(self, captions: Iterable[Tensor] = ()) -> None:
        self._between: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
        for ids in captions:
            words = [0, *(word for word in ids.tolist() if word), 0]
            for before, word, after in zip(words, words[1:], words[2:], strict=False):
                self._between[before, after][word] += 1

    def swapped(self, ids: Tensor, seed: int) -> Tensor:
        """Return a caption `[L]` with one word in another's place, drawn from the seed; as it is where no word of it
        has another.
        """
        # Which negatives a model sees is no secret.
        draw = random.Random(seed)  # noqa: S311 # nosec B311
        words = [word for word in ids.tolist() if word]
        padded = [0, *words, 0]
        found = ids.clone()
        for place in draw.sample(range(len(words)), len(words)):
            others = self._between[padded[place], padded[place + 2]]
            if len(others) > 1:
                choices = [word for word in others if word != words[place]]
                found[place] = draw.choices(choices, [others[word] for word in choices])[0]
                break
        return found

    def rivals(self, ids: Tensor, most: int) -> Tensor:
        """Return the captions `[n, L]` that differ from one, `[L]`, by a word: the `most` likeliest where there are
        more.
        """
        words = [word for word in ids.tolist() if word]
        padded = [0, *words, 0]
        found = []
        for place, own in enumerate(words):
            others = self._between.get((padded[place], padded[place + 2]), Counter())
            total = others.total()
            found += [(-count / total, place, word) for word, count in others.items() if word != own]
        chosen = sorted(found)[:most]
        made = ids.repeat(len(chosen), 1)
        for row, (_, place, word) in enumerate(chosen):
            made[row, place] = word
        return made

    def save(self, folder: Path) -> None:
        """Write the counts into a folder."""
        rows = [(*between, word, n) for between, words in self._between.items() for word, n in words.items()]
        save_file({"counts": torch.tensor(sorted(rows), dtype=torch.int32).view(-1, 4)}, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> WordSwaps:
        """Read what `save` wrote; ValueError where it is damaged."""
        try:
            counts = load_file(folder / FILE)["counts"]
        except (OSError, KeyError, SafetensorError) as error:
            raise ValueError(f"{folder} holds no word swaps of pixsem: {error}") from error
        made = cls()
        for before, after, word, count in counts.tolist():
            made._between[before, after][word] = count
        return made
