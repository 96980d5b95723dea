"""What a source must offer for the judge of generated pictures and edits: prompts, edits, true pictures, and a reader.

A world of pictures that can be read back gives shares that are right. Any other world gives prompts and edits to look
at. `WORLDS` names the world of each kind of source.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from pipelines.config.source_kinds import judged_source
from pipelines.judging.cases import Asked, EditCase
from pipelines.stage import load_function

if TYPE_CHECKING:
    from pipelines.config.schema import Config
    from pipelines.stage import ShardContext
    from pipelines.store.artifacts import Artifact

# Kind of source -> `module:Class` of its world. The table is not part of ingest's: an artifact is known by the code
# that its stage refers to, and a change of a judge must not ask for the data again.
WORLDS = {
    "scenes": "pipelines.stages.generator.scene_world:SceneWorld",
    "pictures": "pipelines.stages.generator.picture_world:PictureWorld",
}
ANY_WORLD = "pipelines.stages.generator.held_out_world:HeldOutWorld"  # of every other kind

HELD_OUT = "held out prompts"  # the main split, in `judgements.jsonl`
EXACT = "exact"  # of what is judged of a picture: everything that the prompt says, and nothing else
SINGLE = "single_object"  # the category of prompts whose aspects are counted


@dataclass(frozen=True)
class Split:
    """Prompts beside the main ones, with figures of their own under `text_to_image.<metric>`."""

    metric: str  # e.g. "unseen"
    name: str  # in `judgements.jsonl`, e.g. "unseen combinations"
    count: int  # prompts of each category
    absent: str = ""  # why this run has no such prompts; empty where it has


@dataclass(frozen=True)
class Sizes:
    """What a judgement asks for at most, known before a run: for plans and comparisons."""

    categories: tuple[str, ...]
    edit_kinds: tuple[str, ...]
    splits: tuple[Split, ...] = ()  # beside the main one
    judged: bool = True  # False: no pictures at other guidance scales

    @property
    def further(self) -> int:
        """Prompts of each category in all further splits together."""
        return sum(split.count for split in self.splits if not split.absent)


class JudgedWorld(ABC):
    """The prompts, edits and reader of one run.

    Everything follows from the configuration, the inputs and `seed`: the same call gives the same result. A smaller
    count may give other prompts than the first ones of a larger count. A world whose `unjudged` says why is asked for
    `prompts`, `edits` and `picture` alone.
    """

    categories: tuple[str, ...]  # of prompts, in order
    edit_kinds: tuple[str, ...]  # in order; "remove" is also judged by what is left of the object
    edit_groups: ClassVar[
        Mapping[str, tuple[str, ...]]
    ] = {}  # figure -> kinds: `editing.<figure>` is the share of their cases
    unjudged: str = ""  # why nothing can read the pictures; empty where the world judges them
    no_prompts: str  # why a category may have no prompts
    no_edits: str  # why an edit kind may have no cases

    @abstractmethod
    def __init__(self, context: ShardContext, config: Config, inputs: dict[str, Artifact], seed: int) -> None:
        """Open the world. `inputs` are `evaluate_generator`'s."""

    @classmethod
    @abstractmethod
    def sizes(cls, config: Config) -> Sizes:
        """Return what is asked for, from the configuration alone and without torch."""

    @abstractmethod
    def prompts(self, category: str, count: int, split: str = "") -> list[Asked]:
        """Return at most `count` prompts of a category: of the further split whose metric is `split`, where given."""

    @abstractmethod
    def edits(self, kind: str, count: int) -> list[EditCase]:
        """Return at most `count` edits of a kind."""

    @abstractmethod
    def picture(self, asked: Asked) -> np.ndarray:
        """Return a true picture of a prompt, uint8 [S, S, 3]."""

    def read(self, pictures: np.ndarray) -> list[Any]:
        """Return a reading of each picture, uint8 [N, S, S, 3]."""
        raise NotImplementedError(self.unjudged)

    def read_edits(self, pictures: np.ndarray, cases: Sequence[EditCase]) -> list[Any]:
        """Return a reading of each result of an edit, uint8 [N, S, S, 3]."""
        return self.read(pictures)

    def right(self, asked: Asked, reading: Any) -> dict[str, bool]:
        """Return `EXACT`, and each further aspect that the prompt says, e.g. `skin_tone`: is it so in the reading?"""
        raise NotImplementedError(self.unjudged)

    def edited_right(self, case: EditCase, reading: Any) -> bool:
        """Return whether a result holds exactly what the edit asks for."""
        raise NotImplementedError(self.unjudged)

    def source_right(self, case: EditCase) -> bool:
        """Return whether the untouched source would be taken for the result."""
        raise NotImplementedError(self.unjudged)

    def plain(self, reading: Any) -> Any:
        """Return a reading as JSON, for `judgements.jsonl`."""
        raise NotImplementedError(self.unjudged)


def find_world(config: Config) -> type[JudgedWorld]:
    """Return the world of the source that judges; that of held-out pictures where none can."""
    judged = judged_source(config.named_sources())
    return cast("type[JudgedWorld]", load_function(WORLDS[judged[1].kind] if judged else ANY_WORLD))
