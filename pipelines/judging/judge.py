"""The judge interface: what holds pictures to their prompts, or results to their edits, one by one.

A judge gives a row for each picture. Numbers and truth values of a row are figures: their means, by category, kind and
source, with chance, ceiling and interval, are made from the rows alike for every judge. A new judge is a file and an
entry in `table.py`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from pipelines.config.source_kinds import Section
from pipelines.judging.cases import Asked, EditCase

# One picture's. Numbers and truth values are figures; `None` is a figure that this picture cannot have; every other
# value (text, lists, mappings) is a note for `judgements.jsonl`.
Row = dict[str, Any]

PROMPTS, EDITS = "prompts", "edits"
RIGHT = "right"  # the figure of a verdict: does the picture hold what was asked?

_SLUG = re.compile(r"[a-z][a-z0-9_]*")


class Judge(ABC):
    """Holds pictures to what was asked for. `name` is a slug, and stands in the names of figures that depend on it."""

    judges: ClassVar[tuple[str, ...]] = (PROMPTS,)  # which of the two methods it has
    suffixed: ClassVar[bool] = True  # a figure is called KEY_NAME, e.g. similarity_siglip; False: KEY
    # Whether it also judges what no generator made: true pictures through the tokenizer, and pictures of other prompts.
    compared: ClassVar[bool] = True
    section: ClassVar[type[Section]] = Section  # its options in a configuration; a judge of the table has its own
    name: str

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """Return what the scores depend on, as JSON: model id, revision, thresholds, the prompt's template."""

    @classmethod
    def check(cls, options: Any, asked: Sequence[Asked]) -> None:
        """Raise ValueError, in words, where a judge's model cannot be had, or a prompt asks for what it cannot see, as
        far as its config.json tells. Loads no weights.
        """
        from components.vision_models.loading import load_config

        load_config(options.path, options.revision)

    def judge_prompts(self, asked: Sequence[Asked], pictures: np.ndarray) -> list[Row]:
        """Return a row for each picture, uint8 [N, S, S, 3]."""
        raise NotImplementedError(f"the judge {self.name} does not judge prompts")

    def judge_edits(self, cases: Sequence[EditCase], pictures: np.ndarray) -> list[Row]:
        """Return a row for each result of an edit, uint8 [N, S, S, 3]."""
        raise NotImplementedError(f"the judge {self.name} does not judge edits")

    def judge_sources(self, cases: Sequence[EditCase], sources: np.ndarray) -> list[Row]:
        """Return a row for each untouched source, uint8 [N, S, S, 3], as if it were the result."""
        return self.judge_edits(cases, sources)


def is_slug(name: str) -> bool:
    """Return whether a name may stand in the names of figures: lower case letters, digits and `_`."""
    return _SLUG.fullmatch(name) is not None
