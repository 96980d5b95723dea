"""The exact reader of a world as a judge: what is in the picture, and is it all that was asked for, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from pipelines.judging.cases import Asked, EditCase
from pipelines.judging.judge import EDITS, PROMPTS, RIGHT, Judge, Row
from pipelines.judging.remembered import Remembered
from pipelines.stages.generator.judged_world import EXACT, JudgedWorld

NAME = "inspector"


class WorldReader(Judge):
    """Rows of `right`, with `read` (what the picture shows) and `aspects` (what of the prompt is right) as notes."""

    judges: ClassVar[tuple[str, ...]] = (PROMPTS, EDITS)
    suffixed: ClassVar[bool] = False
    name = NAME

    def __init__(self, world: JudgedWorld) -> None:
        self.world = world
        # Held to another's prompt, a picture is not read again.
        self._read = Remembered(world.read)
        self._edits: list[tuple[np.ndarray, list[Any]]] = []

    def protocol(self) -> dict[str, Any]:
        """Return the world."""
        return {"kind": "exact_reader", "world": type(self.world).__name__}

    def judge_prompts(self, asked: Sequence[Asked], pictures: np.ndarray) -> list[Row]:
        """Return what is right of each picture."""
        found = []
        for each, reading in zip(asked, self._read(pictures), strict=True):
            right = {name: bool(ok) for name, ok in self.world.right(each, reading).items()}
            row: Row = {RIGHT: right.pop(EXACT), "read": self.world.plain(reading)}
            found.append(row | ({"aspects": right} if right else {}))
        return found

    def judge_edits(self, cases: Sequence[EditCase], pictures: np.ndarray) -> list[Row]:
        """Return whether each result is the edited picture, by the reader alone. A result is read as its own edit asks
        for, whatever other edit it is held to later.
        """
        readings = next((found for known, found in self._edits if known is pictures), None)
        if readings is None:
            readings = self.world.read_edits(pictures, cases)
            self._edits = [*self._edits[-1:], (pictures, readings)]
        return [
            {RIGHT: bool(self.world.edited_right(case, reading)), "read": self.world.plain(reading)}
            for case, reading in zip(cases, readings, strict=True)
        ]

    def judge_sources(self, cases: Sequence[EditCase], sources: np.ndarray) -> list[Row]:
        """Return whether each untouched source would be taken for the result, as the world knows without reading."""
        return [{RIGHT: bool(self.world.source_right(case))} for case in cases]
