"""The sheet of an evaluation: every picture that is made, in a fixed order, from configuration, inputs and seed alone.

A section is one kind of picture by one set of weights: held-out captions, prompts, prompts at another guidance scale,
edits, prompts at a snapshot. Shards are parts of sections, so that none mixes weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.config.schema import Config
from pipelines.judging.cases import Asked, EditCase
from pipelines.stage import derive_seed
from pipelines.stages.generator.held_out_world import CAPTIONED, HeldOutWorld
from pipelines.stages.generator.judged_world import HELD_OUT, JudgedWorld, Sizes

CAPTIONS = "held out captions"  # splits, as in `judgements.jsonl`
EDITS = "edits"
SNAPSHOT = "checkpoint at {} samples"
COLUMNS = 8  # prompts on the grid of snapshots
SHARD = 128  # pictures of a shard, or one batch where that is more


@dataclass(frozen=True)
class Section:
    """Pictures of one split. `noise` names their noise: the same prompt has the same noise in all sections of one
    name, so that guidance scales and snapshots differ by nothing else.
    """

    split: str
    noise: str
    each: int  # cases of each group: of each category, or edit kind
    groups: int = 1
    metric: str = ""  # of a further split of the world: its figures' name
    guidance: float | None = None  # None: the generator's own
    weights: tuple[str, str] | None = None  # stage and snapshot; None: the finished generator
    compared: bool = False  # beside chance and ceiling
    truth: bool = True  # true pictures are kept beside the made ones
    features: tuple[str, ...] = ()  # sets whose features are kept: made, truth, ceiling, chance
    sought: bool = False  # captions are sought among the pictures, by the pipeline's own image-text model

    @property
    def most(self) -> int:
        """How many pictures there are where the source has so many cases."""
        return self.each * self.groups

    @property
    def of_edits(self) -> bool:
        """Whether its pictures are edits."""
        return self.split == EDITS

    def shards(self, batch: int) -> list[tuple[int, int]]:
        """Return the parts that its shards make, [first, last), in whole batches."""
        size = batch * max(1, SHARD // batch)
        return [(first, min(first + size, self.most)) for first in range(0, self.most, size)]


def sections_of(config: Config, sizes: Sizes, captions: int, snapshots: Mapping[int, tuple[str, str]]) -> list[Section]:
    """Return the sections of an evaluation. `captions` are the held-out pictures, `snapshots` stage and name by the
    samples seen. What prompts and edits there are is only known to the world: a section may have fewer.
    """
    settings, kinds = config.evaluate_generator, len(sizes.categories)
    sets = ("made", "truth", "ceiling", "chance")
    found = [Section(HELD_OUT, "prompts", settings.prompts, kinds, compared=sizes.judged)]
    found += [
        Section(split.name, "prompts", split.count, kinds, split.metric, truth=False)
        for split in sizes.splits
        if not split.absent
    ]
    scales = dict.fromkeys(s for s in settings.guidance_scales if s != config.generator.guidance_scale)
    found += [
        Section(f"guidance {scale:g}", "prompts", settings.guidance_prompts, kinds, guidance=scale, truth=False)
        for scale in (scales if sizes.judged else ())
    ]
    few_captions = min(settings.frechet_pictures, captions)
    found.append(Section(CAPTIONS, "frechet", few_captions, compared=True, features=sets, sought=True))
    found.append(Section(EDITS, "edits", settings.edits, len(sizes.edit_kinds), compared=True))
    few = settings.checkpoint_prompts if sizes.judged else min(settings.checkpoint_prompts, COLUMNS)
    for number, (seen, weights) in enumerate(snapshots.items()):
        features = () if not sizes.judged else ("made",) if number else ("made", "truth")
        split = SNAPSHOT.format(seen)
        found.append(Section(split, "prompts", few, kinds, weights=weights, features=features))
    return [section for section in found if section.most]


class Sheet:
    """The cases of every section, made when they are asked for and kept."""

    def __init__(self, config: Config, world: JudgedWorld, captions: HeldOutWorld | None, seed: int) -> None:
        """`captions` gives the held-out captions of any data; None: there are none."""
        self.world, self.settings, self.seed = world, config.evaluate_generator, seed
        self._captions = captions
        self._kept: dict[tuple[Any, ...], list[Any]] = {}

    def cases(self, section: Section) -> list[Any]:
        """Return the section's prompts (`Asked`), or its edits (`EditCase`), in order."""
        if section.split == CAPTIONS:
            return self._once("captions", self._of_captions, section.each)
        if section.of_edits:
            return self._once("edits", self._edits, section.each)
        if section.guidance is not None:
            return self._once("first", self._first, section.each)
        return self._once("prompts", self._prompts, section.each, section.metric)

    def truth(self, section: Section, case: Asked | EditCase) -> np.ndarray:
        """Return the true picture of a case, uint8 [S, S, 3]."""
        if isinstance(case, EditCase):
            return case.target
        world = self._captions if section.split == CAPTIONS else self.world
        assert world is not None
        return world.picture(case)

    def seeds(self, section: Section) -> list[int]:
        """Return the seed of each picture's noise."""
        cases = self.cases(section)
        return noise_seeds(self.seed, section.noise, [text_of(case) for case in cases])

    def others(self, section: Section) -> list[Any]:
        """Return for each picture the case that it is held to for chance: another one, each taken once."""
        cases = self.cases(section)
        name = "edit chance" if section.of_edits else "chance"
        ring = others(len(cases), np.random.default_rng(derive_seed(self.seed, name)))
        return [cases[i] for i in np.argsort(ring)]

    def _once(self, name: str, make: Any, *args: Any) -> list[Any]:
        key = (name, *args)
        if key not in self._kept:
            self._kept[key] = make(*args)
        return self._kept[key]

    def _of_captions(self, count: int) -> list[Asked]:
        return self._captions.prompts(CAPTIONED, count) if self._captions else []

    def _prompts(self, count: int, metric: str) -> list[Asked]:
        return [asked for name in self.world.categories for asked in self.world.prompts(name, count, metric)]

    def _first(self, count: int) -> list[Asked]:
        """The first prompts of each category of the main split."""
        before: Counter[str] = Counter()
        found = []
        for asked in self._once("prompts", self._prompts, self.settings.prompts, ""):
            before[asked.category] += 1
            if before[asked.category] <= count:
                found.append(asked)
        return found

    def _edits(self, count: int) -> list[EditCase]:
        return [case for kind in self.world.edit_kinds for case in self.world.edits(kind, count)]


def text_of(case: Asked | EditCase) -> str:
    """Return what the generator is told."""
    return case.instruction if isinstance(case, EditCase) else case.text


def noise_seeds(seed: int, name: str, texts: Sequence[str]) -> list[int]:
    """Return the seed of each picture's noise, which follows from `name`, the text, and how often it has come before,
    and from nothing else.
    """
    before: Counter[str] = Counter()
    found = []
    for text in texts:
        found.append(derive_seed(seed, name, text, before[text]) % 2**63)
        before[text] += 1
    return found


def others(count: int, rng: np.random.Generator) -> list[int]:
    """Return for each of `count` the number of another one, each taken once; itself only where it is alone."""
    ring = rng.permutation(count)
    return [int(i) for i in np.roll(ring, -1)[np.argsort(ring)]]
