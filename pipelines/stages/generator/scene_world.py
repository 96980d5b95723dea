"""The scenes world for the judge: fresh prompts and edits of sampled scenes, and the inspector that reads pictures."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from components.scenes.edits import change_mask, sample_edit
from components.scenes.inspect import inspect
from components.scenes.options import CATEGORIES
from components.scenes.prompts import Prompt, holds, sample_prompts
from components.scenes.render import render
from components.scenes.scene import TONES, Scene, same_scene, sample_scene
from pipelines.config.schema import Config
from pipelines.config.source_kinds import ScenesSource, judged_source
from pipelines.judging.cases import Asked, EditCase
from pipelines.stage import derive_seed
from pipelines.stages.generator.judged_world import EXACT, JudgedWorld, Sizes, Split

if TYPE_CHECKING:
    from pipelines.stage import ShardContext
    from pipelines.store.artifacts import Artifact

DRAWS = 20  # scenes drawn for each edit that is asked for, at most


class SceneWorld(JudgedWorld):
    """Prompts of seen combinations and, as the split `unseen`, of those that no training picture holds."""

    categories = CATEGORIES
    no_prompts = "source.scene has no scenes of which a caption says such a thing"
    no_edits = "scenes of source.scene allow no such edit"

    def __init__(self, context: ShardContext, config: Config, inputs: dict[str, Artifact], seed: int) -> None:
        self._options, self._size, self._seed = _source(config).scene, config.image_size, seed
        self.edit_kinds = config.synthesize_edits.scene_kinds
        self._pool = ThreadPoolExecutor(2)

    @classmethod
    def sizes(cls, config: Config) -> Sizes:
        """Return what is asked for."""
        held_out, count = _source(config).scene.held_out, config.evaluate_generator.unseen_prompts
        absent = "" if held_out else "source.scene.held_out keeps no combination out of training"
        unseen = Split("unseen", "unseen combinations", count, absent)
        return Sizes(CATEGORIES, config.synthesize_edits.scene_kinds, (unseen,))

    def _rng(self, *what: object) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self._seed, *what))

    def prompts(self, category: str, count: int, split: str = "") -> list[Asked]:
        """Return captions of fresh scenes; of a held-out combination each in the split `unseen`."""
        unseen = split == "unseen"
        made = sample_prompts(self._options, category, count, self._rng("prompts", category, unseen), unseen)
        return [Asked(p.text, p.category, p, {"truth": p.scene.to_dict()}) for p in made]

    def edits(self, kind: str, count: int) -> list[EditCase]:
        """Return edits of fresh scenes; fewer than `count` where few scenes allow the kind."""
        rng, size = self._rng("edits", kind), self._size
        found: list[EditCase] = []
        for _ in range(DRAWS * count):
            if len(found) == count:
                break
            scene = sample_scene(self._options, rng)
            edit = sample_edit(scene, self._options, rng, (kind,))
            if edit is not None:
                pictures = render(scene, size), render(edit.target, size)
                mask = change_mask(scene, edit.target, size)
                row = {"source": scene.to_dict(), "truth": edit.target.to_dict()}
                found.append(EditCase(kind, edit.instruction, *pictures, mask, (scene, edit.target), row))
        return found

    def picture(self, asked: Asked) -> np.ndarray:
        """Return the scene that the prompt was made from."""
        prompt: Prompt = asked.about
        return render(prompt.scene, self._size)

    def read(self, pictures: np.ndarray) -> list[Scene]:
        """Return the scenes that the inspector reads."""
        return [found.scene for found in self._pool.map(lambda p: inspect(p, self._options), pictures)]

    def read_edits(self, pictures: np.ndarray, cases: Sequence[EditCase]) -> list[Scene]:
        """Return the scenes that the inspector reads; tones are looked for only where the edit is one."""
        tones = [tuple(TONES) if case.kind == "tone" else ("none",) for case in cases]
        return [found.scene for found in self._pool.map(lambda p, t: inspect(p, self._options, t), pictures, tones)]

    def right(self, asked: Asked, reading: Any) -> dict[str, bool]:
        """Return whether a scene is what the prompt asks for: these objects, no others, and every claim."""
        return {EXACT: holds(asked.about, reading)}

    def edited_right(self, case: EditCase, reading: Any) -> bool:
        """Return whether a scene is the edited one."""
        return same_scene(reading, case.about[1])

    def source_right(self, case: EditCase) -> bool:
        """Return whether the edit leaves the scene as it was."""
        return same_scene(*case.about)

    def plain(self, reading: Any) -> Any:
        """Return a scene as JSON."""
        return reading.to_dict()


def _source(config: Config) -> ScenesSource:
    judged = judged_source(config.named_sources())
    assert judged is not None and isinstance(judged[1], ScenesSource)
    return judged[1]
