"""Samples of the world by number: every drawing once, then compositions; each with captions and what they claim.

A sample depends on the seed and its number alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.pictures.captions import Said, caption, counted, on_ground, opened, phrase, related
from components.pictures.catalogue import HELD_OUT, RECONSTRUCTION, TRAIN, Catalogue, Entry
from components.pictures.composition import PAIRS, THREE, Composition
from components.pictures.options import BACKGROUNDS, COMPOSED, WHITE

FIRST = "a drawing of {}"  # the first caption of a drawing: curation reads it, and a bare name tells no language
SIDE_SHARE = 0.1  # of compositions with a held-out drawing


@dataclass(frozen=True)
class Claim:
    """What a text says of a picture: one `Said` and cell ("": anywhere) for each drawing, and the background ("": not
    said).
    """

    items: tuple[tuple[str, Said], ...]
    background: str = ""

    def right(self, read: Composition, catalogue: Catalogue) -> dict[str, bool]:
        """Return `exact`, and what is right of a picture as read: `concept` and each factor that is said, of all
        drawings together.
        """
        aspects = ["concept", *sorted({name for _, said in self.items for name in said.factors})]
        if len(read.items) != len(self.items):
            return {"exact": False} | dict.fromkeys(aspects, False)
        ground = self.background in ("", read.background) and not read.treatment
        best: dict[str, bool] = {}
        for order in itertools.permutations(read.items):
            placed = all(cell in ("", found) for (cell, _), (found, _) in zip(self.items, order, strict=True))
            each = [self._of(said, catalogue, key) for (_, said), (_, key) in zip(self.items, order, strict=True)]
            found = {name: all(one.get(name, True) for one in each) for name in aspects}
            found["exact"] = placed and ground and all(found.values())
            best = max(best or found, found, key=lambda values: (values["exact"], sum(values.values())))
        return best

    @staticmethod
    def _of(said: Said, catalogue: Catalogue, key: str) -> dict[str, bool]:
        """Of drawings that are alike, the best one counts: a reader cannot tell them apart."""
        alike = catalogue.classes[catalogue[key].alike]
        return max((said.of(entry) for entry in alike), key=lambda values: sum(values.values()))


@dataclass(frozen=True)
class Sample:
    """A composition with its captions (the first of a single drawing leaves nothing out), and its side of the split."""

    composition: Composition
    captions: tuple[str, ...]
    split: str
    category: str


@dataclass(frozen=True)
class Prompt:
    """A text, a composition it is true of, and what it claims."""

    text: str
    composition: Composition
    claim: Claim


def sample(catalogue: Catalogue, number: int, phrasings: int, rng: np.random.Generator) -> Sample:
    """Return the sample of a number: below the number of entries an entry alone, else a composition."""
    if number < len(catalogue.entries):
        entry = catalogue.entries[number]
        first = FIRST.format(phrase(entry, rng, everything=True).text)
        said = _distinct([first, *(caption(entry, rng).text for _ in range(2 * phrasings))], phrasings)
        return Sample(Composition.single(entry.key), said, entry.split, "single_object")
    held_out = bool(rng.random() < SIDE_SHARE) and bool(catalogue.by_split[HELD_OUT])
    category = _category(catalogue, number, HELD_OUT if held_out else TRAIN)
    composition = _composed(catalogue, category, HELD_OUT if held_out else TRAIN, rng)
    texts = [prompt_of(catalogue, category, composition, rng).text for _ in range(2 * phrasings)]
    return Sample(composition, _distinct(texts, phrasings), HELD_OUT if held_out else TRAIN, category)


def _category(catalogue: Catalogue, number: int, split: str) -> str:
    """Return a composition's category by its number, of those that the set has drawings for."""
    binds = all(_candidates(catalogue, "attribute_binding", side) for side in (split, TRAIN))
    possible = COMPOSED if binds else tuple(name for name in COMPOSED if name != "attribute_binding")
    return possible[number % len(possible)]


def sample_prompt(catalogue: Catalogue, category: str, split: str, rng: np.random.Generator) -> Prompt | None:
    """Return a prompt of a category about a drawing of a split; None where there is no such drawing."""
    if not all(_candidates(catalogue, category, side) for side in (split, TRAIN)):
        return None
    composition = _composed(catalogue, category, split, rng)
    return prompt_of(catalogue, category, composition, rng, everything=True)


def prompt_of(
    catalogue: Catalogue, category: str, composition: Composition, rng: np.random.Generator, everything: bool = False
) -> Prompt:
    """Return a text of a composition, as its category says it, and what it claims."""
    order = [int(i) for i in rng.permutation(len(composition.items))]
    items = [composition.items[i] for i in order]
    phrases = [phrase(catalogue[key], rng, everything or category == "attribute_binding") for _, key in items]
    cells = [cell for cell, _ in items]
    words = [found.text for found in phrases]
    said = [found.said for found in phrases]
    placed = category in ("position", "attribute_binding")
    if len(items) == 1:
        text = words[0]
    elif category == "counting":
        text, said = counted(words[0], len(items), rng), [said[0]] * len(items)
    elif placed:
        text = related(words[0], words[1], (cells[0], cells[1]), rng)
    else:
        text = f"{words[0]} and {words[1]}"
    ground = composition.background if composition.background != WHITE or rng.random() < 0.1 else ""
    text = opened(on_ground(text, ground, rng) if ground else text, rng)
    claim = Claim(tuple((cell if placed else "", one) for cell, one in zip(cells, said, strict=True)), ground)
    return Prompt(text, composition, claim)


def _candidates(catalogue: Catalogue, category: str, split: str) -> list[Entry]:
    """Return the entries of a split that a composition of a category can be about."""
    entries = catalogue.by_split[split]
    if category == "single_object" and split == TRAIN:
        return entries
    if category == "attribute_binding":
        return [e for e in entries if {"skin_tone", "gender"} & set(e.factors)]
    return [e for e in entries if e.split != RECONSTRUCTION]


def _composed(catalogue: Catalogue, category: str, split: str, rng: np.random.Generator) -> Composition:
    """Return a composition of a category: its first drawing is of the split, further ones are taught."""
    first = _one(_candidates(catalogue, category, split), rng)
    if category == "single_object":
        return Composition.single(first.key)
    if category == "colours":
        grounds = [name for name in BACKGROUNDS if name != WHITE]
        return Composition.single(first.key, background=str(rng.choice(grounds)))
    if category == "counting":
        layout = (*PAIRS, THREE)[int(rng.integers(len(PAIRS) + 1))]
        return Composition(tuple((cell, first.key) for cell in layout))
    taught = catalogue.by_split[TRAIN]
    second = _one(taught, rng)
    if category == "attribute_binding":
        others = [e for name, e in catalogue.neighbours(first) if name in ("skin_tone", "gender") and e.split == TRAIN]
        second = _one(others or _candidates(catalogue, category, TRAIN), rng)
    elif second.alike == first.alike:
        second = taught[(taught.index(second) + 1) % len(taught)]
    both = [first, second] if rng.random() < 0.5 else [second, first]
    cells = PAIRS[int(rng.integers(len(PAIRS)))]
    return Composition(tuple((cell, e.key) for cell, e in zip(cells, both, strict=True)))


def _one(entries: Sequence[Entry], rng: np.random.Generator) -> Entry:
    return entries[int(rng.integers(len(entries)))]


def _distinct(texts: Sequence[str], count: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))[:count]
