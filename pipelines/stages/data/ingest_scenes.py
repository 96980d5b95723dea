"""ingest from the scenes world: render, describe, and plant the known faults that curation is scored on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from components.curation.faults import FaultPlan, apply_fault, plan_faults
from components.curation.options import FaultOptions
from components.data.ingest_rows import IngestRow
from components.data.records import Record, write_records
from components.scenes.describe import describe, describe_wrong
from components.scenes.options import SceneOptions
from components.scenes.render import render
from components.scenes.scene import Scene, sample_scene
from pipelines.stage import ShardContext, ShardResult, derive_seed
from pipelines.stages.data.ingest_lists import write_rows


def make_shard(context: ShardContext) -> ShardResult:
    """Make samples `first` to `end`. A sample depends on the seed and its number alone, never on its shard's
    neighbours.
    """
    args = context.task.args
    rows: list[IngestRow] = []
    write_records(context.file(f"shards/{context.task.name}.tar"), scene_records(args, rows))
    return write_rows(context, rows)


class World:
    """The samples of a scenes source, any of them by number."""

    def __init__(self, source: dict[str, Any], seed: int) -> None:
        self.seed = seed
        self.options = SceneOptions(**source["scene"])
        self._last: tuple[int, Scene] | None = None  # a sample's scene is asked for several times in a row

    def scene(self, number: int) -> Scene:
        """Return the scene of a sample."""
        if self._last is None or self._last[0] != number:
            rng = np.random.default_rng(derive_seed(self.seed, "scene", number))
            self._last = number, sample_scene(self.options, rng)
        return self._last[1]

    def caption(self, number: int, phrasing: str = "caption") -> str:
        """Return a caption of a sample's scene."""
        return describe(self.scene(number), np.random.default_rng(derive_seed(self.seed, phrasing, number)))

    def picture(self, number: int) -> np.ndarray:
        """Return a sample's picture, uint8 [S, S, 3]."""
        return render(self.scene(number), self.options.size)


def scene_records(args: dict[str, Any], rows: list[IngestRow]) -> Iterator[Record]:
    """Yield the records of samples `first` to `end` of a scenes source, and add a row to `rows` for each."""
    source = args["source"]
    world = World(source, args["seed"])
    plans = plan_faults(source["count"], FaultOptions(**source["faults"]), derive_seed(args["seed"], "faults"))
    for number in range(args["first"], args["end"]):
        key = f"{number:09d}"
        plan: FaultPlan = plans[number]
        shown = number if plan.source is None else plan.source
        image, extension, caption = apply_fault(
            plan.fault,
            world.picture(shown),
            world.caption(shown, "caption" if shown == number else "second caption"),
            describe_wrong(
                world.scene(shown), world.options, np.random.default_rng(derive_seed(world.seed, "wrong", number))
            ),
            np.random.default_rng(derive_seed(world.seed, "fault", number)),
        )
        about: dict[str, Any] = {"key": key, "caption": caption, "faults": [plan.fault] if plan.fault else []}
        about |= {"scene": world.scene(shown).to_dict(), "scene_options": source["scene"]}
        if plan.source is not None:
            about["fault_source"] = f"{plan.source:09d}"
        side = world.options.size
        digest = hashlib.sha256(image).hexdigest()
        rows.append(IngestRow(key, "scenes", None, caption, "success", "", "", 1, side, side, digest))
        data = json.dumps(about, ensure_ascii=False, sort_keys=True).encode()
        yield Record(key, {extension: image, "txt": caption.encode(), "json": data})
