"""Any source for the judge: held-out captions and edit pairs of the index. Nothing can read such pictures back, so
they are held to true pictures, and to their prompts by image-text models.
"""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.config.source_kinds import serving_sources
from pipelines.judging.cases import Asked, EditCase
from pipelines.stages.evaluation import spread
from pipelines.stages.generator.judged_world import JudgedWorld, Sizes

if TYPE_CHECKING:
    from pipelines.config.schema import Config
    from pipelines.stage import ShardContext
    from pipelines.store.artifacts import Artifact

CAPTIONED = "captions"  # the one category of prompts
ANY_EDIT = "edits"  # the one kind that is asked for; a case has the kind that its pair names


class HeldOutWorld(JudgedWorld):
    """Held-out captions as prompts and held-out pairs as edits, evenly spread over the index."""

    categories = (CAPTIONED,)
    edit_kinds = (ANY_EDIT,)
    unjudged = (
        "pictures of this source cannot be read back exactly: only sources of kind scenes and pictures give a share "
        "that is right"
    )
    no_prompts = "no held-out picture has a caption"
    no_edits = "no edit pair is held out: give a source of pairs that serves editing, or raise held_out"

    def __init__(self, context: ShardContext, config: Config, inputs: dict[str, Artifact], seed: int) -> None:
        from components.data.shard_index import index_shard
        from pipelines.stages.tokenizer.picture_batches import Pictures

        roles = ("picture", "source", "target")
        self._fetch, self._limits = functools.cache(context.fetch), config.measure.limits
        self._pictures = Pictures.of_index(inputs["index"], self._fetch, roles, True, config.image_size, self._limits)
        self._parts = functools.lru_cache(16)(
            lambda shard: {sample.key: sample.parts for sample in index_shard(self._fetch(shard))}
        )
        serving = serving_sources(config.named_sources())
        self._sources = self._pictures.sources()
        self._prompted = [n for n, source in enumerate(self._sources) if source in serving["text_to_image"]]
        self._paired = [n for n, source in enumerate(self._sources) if source in serving["editing"]]

    @classmethod
    def sizes(cls, config: Config) -> Sizes:
        """Return what is asked for."""
        return Sizes(cls.categories, cls.edit_kinds, judged=False)

    def prompts(self, category: str, count: int, split: str = "") -> list[Asked]:
        """Return held-out captions."""
        rows = self._pictures.rows
        numbers = [n for n in self._prompted if rows["role"][n] == "picture" and rows["caption"][n]]
        return [
            Asked(rows["caption"][n], category, n, {"truth": self._pictures.name(n)}, self._sources[n])
            for n in spread(numbers, count)
        ]

    def edits(self, kind: str, count: int) -> list[EditCase]:
        """Return held-out edit pairs, each of the kind that it names, with its mask where it has one."""
        rows = self._pictures.rows
        pairs: dict[tuple[str, str], dict[str, int]] = {}
        for n in self._paired:
            if rows["role"][n] != "picture":
                pairs.setdefault((rows["shard"][n], rows["key"][n]), {})[rows["role"][n]] = n
        found = []
        for (shard, key), pair in spread(list(pairs.items()), count):
            source, target = (self._picture(pair[role]) for role in ("source", "target"))
            row = {"source": self._pictures.name(pair["source"]), "truth": self._pictures.name(pair["target"])}
            said, mask = self._about(shard, key)
            instruction, name = rows["instruction"][pair["source"]], self._sources[pair["source"]]
            found.append(EditCase(said or kind, instruction, source, target, mask, row=row, source_name=name))
        return found

    def _about(self, shard: str, key: str) -> tuple[str, np.ndarray | None]:
        """Return the kind that a pair names, as a slug, and its mask, bool [S, S]; "" and None where it has none."""
        from components.curation.images import ImageError, decode_image, square

        said: Any = json.loads(self._part(shard, key, "json") or b"{}")
        kind = said.get("kind") if isinstance(said, dict) else None
        slug = re.sub(r"[^a-z0-9]+", "_", str(kind or "").lower()).strip("_")[:40]
        mask = self._part(shard, key, "mask.png")
        try:
            white = decode_image(mask, self._limits).rgb if mask else None
        except ImageError:  # measure_pairs drops such pairs, so this one was kept without a look at its mask
            white = None
        return slug, None if white is None else square(white, self._pictures.side)[..., 0] > 127

    def _part(self, shard: str, key: str, name: str) -> bytes | None:
        offset, size = self._parts(shard).get(key, {}).get(name, (0, 0))
        if not 0 < size <= self._limits.max_bytes:
            return None
        with self._fetch(shard).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def picture(self, asked: Asked) -> np.ndarray:
        """Return the picture that the caption is of."""
        return self._picture(asked.about)

    def _picture(self, number: int) -> np.ndarray:
        return np.ascontiguousarray(self._pictures.decoded([number])[0].transpose(1, 2, 0))
