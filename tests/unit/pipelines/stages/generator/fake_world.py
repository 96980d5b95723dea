"""A world of pictures of one colour, which says a concept in red and a tone in green; and makers that know it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from pipelines.judging.cases import Asked, EditCase
from pipelines.stages.generator.judged_world import EXACT, JudgedWorld, Sizes, Split

SIDE = 8


def plain(concept: int, tone: int) -> np.ndarray:
    """Return the picture of a concept and a tone."""
    return np.full((SIDE, SIDE, 3), (concept, tone, 0), np.uint8)


class FakeWorld(JudgedWorld):
    """Single objects of which every other prompt says the tone; pairs, of which none does."""

    categories = ("single_object", "two_objects", "counting")
    edit_kinds = ("tone", "concept", "swap")
    edit_groups: ClassVar = {"by_factor": ("tone", "concept"), "by_composition": ("swap",)}
    no_prompts, no_edits = "there are none", "no such edit"

    def __init__(self, *_: Any) -> None:
        """Open nothing."""

    @classmethod
    def sizes(cls, config: Any) -> Sizes:
        """Return what is asked for."""
        further = (Split("seen", "taught pictures", 2), Split("unseen", "none", 2, "nothing is kept out"))
        return Sizes(cls.categories, cls.edit_kinds, further)

    def prompts(self, category: str, count: int, split: str = "") -> list[Asked]:
        """Return prompts of concepts 10, 11, ... and of tones 20, 21, ..."""
        if category == "counting":
            return []
        first = 100 if split else 10
        return [
            Asked(f"{category} {split}{i}", category, (first + i, None if i % 2 else first + 10 + i))
            for i in range(count)
        ]

    def edits(self, kind: str, count: int) -> list[EditCase]:
        """Return edits whose changed pixels are not known."""
        if kind == "swap":
            return []
        targets = [plain(10 + i, 90) if kind == "tone" else plain(90, 20 + i) for i in range(count)]
        return [EditCase(kind, f"{kind} {i}", plain(10 + i, 20 + i), target) for i, target in enumerate(targets)]

    def picture(self, asked: Asked) -> np.ndarray:
        """Return the picture of a prompt; 5 is the tone of which nothing is said."""
        concept, tone = asked.about
        return plain(concept, tone or 5)

    def read(self, pictures: np.ndarray) -> list[tuple[int, int]]:
        """Return concept and tone."""
        return [(int(picture[0, 0, 0]), int(picture[0, 0, 1])) for picture in pictures]

    def right(self, asked: Asked, reading: Any) -> dict[str, bool]:
        """Return whether the concept, and the tone where it is said, are right."""
        concept, tone = asked.about
        found = {"concept": reading[0] == concept}
        found |= {"tone": reading[1] == tone} if tone else {}
        found = found if asked.category == "single_object" else {}
        return {EXACT: all(found.values()), **found}

    def edited_right(self, case: EditCase, reading: Any) -> bool:
        """Return whether it is the target."""
        return bool(reading == self.read(case.target[None])[0])

    def source_right(self, case: EditCase) -> bool:
        """Return whether the source would do."""
        return self.edited_right(case, self.read(case.source[None])[0])

    def plain(self, reading: Any) -> Any:
        """Return it as a list."""
        return list(reading)


def key_of(case: EditCase) -> tuple[str, bytes]:
    """Return what `Prepared` knows the result of an edit by."""
    return case.instruction, case.source.tobytes()


class Prepared:
    """Stands for a generator: gives the pictures prepared for a text, or for an instruction and the bytes of its
    source, and takes note of the weights in use.
    """

    def __init__(self, pictures: dict[Any, np.ndarray]) -> None:
        self.pictures, self.used, self.asked, self.seconds = pictures, [], [], []

    def make(self, prompts: Any, seeds: Any, sources: Any = None, guidance: float | None = None) -> np.ndarray:
        """Return the pictures prepared."""
        self.asked.append((list(prompts), list(seeds), guidance))
        keys = prompts if sources is None else [(p, s.tobytes()) for p, s in zip(prompts, sources, strict=True)]
        return np.stack([self.pictures[key] for key in keys])

    def decoded(self, pictures: np.ndarray) -> np.ndarray:
        """Return the pictures as they are."""
        return pictures

    def noise(self, seeds: Any) -> np.ndarray:
        """Return noise by the seeds."""
        shape = next(iter(self.pictures.values())).shape
        return np.stack([np.random.default_rng(seed).integers(0, 256, shape, np.uint8) for seed in seeds])

    def use(self, weights: Any) -> None:
        """Note a snapshot."""
        if weights is not None and weights not in self.used:
            self.used.append(weights)
