"""Any source for the judge: held-out captions and edit pairs of the index. Nothing can read such pictures, so they are
made and shown and not judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipelines.config.source_kinds import serving_sources
from pipelines.judging.cases import Asked, EditCase
from pipelines.stages.evaluation import spread
from pipelines.stages.generator.judged_world import JudgedWorld, Sizes

if TYPE_CHECKING:
    from pipelines.config.schema import Config
    from pipelines.stage import ShardContext
    from pipelines.store.artifacts import Artifact


class HeldOutWorld(JudgedWorld):
    """Held-out captions as prompts and held-out pairs as edits, evenly spread over the index."""

    categories = ("captions",)
    edit_kinds = ("edits",)
    unjudged = "pictures of this source cannot be read back, so they are made and not judged"
    no_prompts = "no held-out picture has a caption"
    no_edits = "no edit pair is held out"

    def __init__(self, context: ShardContext, config: Config, inputs: dict[str, Artifact], seed: int) -> None:
        from pipelines.stages.tokenizer.picture_batches import Pictures

        asked = config.evaluate_generator
        few = {"picture": asked.prompts, "source": asked.edits, "target": asked.edits}
        self._pictures = Pictures.to_choose_from(
            inputs["index"], context.scratch, few, True, config.image_size, config.measure.limits
        )
        serving = serving_sources(config.named_sources())
        of_each = self._pictures.sources()
        self._prompted = {n for n, source in enumerate(of_each) if source in serving["text_to_image"]}
        self._paired = [n for n, source in enumerate(of_each) if source in serving["editing"]]

    @classmethod
    def sizes(cls, config: Config) -> Sizes:
        """Return what is asked for."""
        return Sizes(cls.categories, cls.edit_kinds, judged=False)

    def prompts(self, category: str, count: int, split: str = "") -> list[Asked]:
        """Return held-out captions."""
        rows = self._pictures.rows
        numbers = [n for n in self._pictures.captioned("picture") if n in self._prompted]
        return [
            Asked(rows["caption"][n], category, n, {"truth": self._pictures.name(n)}) for n in spread(numbers, count)
        ]

    def edits(self, kind: str, count: int) -> list[EditCase]:
        """Return held-out edit pairs. Which pixels each changes is not known."""
        rows = self._pictures.rows
        pairs: dict[tuple[str, str], dict[str, int]] = {}
        for n in self._paired:
            if rows["role"][n] != "picture":
                pairs.setdefault((rows["shard"][n], rows["key"][n]), {})[rows["role"][n]] = n
        found = []
        for pair in spread(list(pairs.values()), count):
            source, target = (self._picture(pair[role]) for role in ("source", "target"))
            row = {"source": self._pictures.name(pair["source"]), "truth": self._pictures.name(pair["target"])}
            found.append(EditCase(kind, rows["instruction"][pair["source"]], source, target, row=row))
        return found

    def picture(self, asked: Asked) -> np.ndarray:
        """Return the picture that the caption is of."""
        return self._picture(asked.about)

    def _picture(self, number: int) -> np.ndarray:
        return np.ascontiguousarray(self._pictures.decoded([number])[0].transpose(1, 2, 0))
