"""evaluate_generator: how good are the generator's pictures and edits, on held-out data, beside chance and ceiling.

Any data: held-out captions and edit pairs are held to their true pictures, and to their prompts by image-text models.
A source whose pictures can be read back exactly (`judged_world.py`) also gives the share that is right. Every other
judge is named in `evaluate_generator.judges`. Pictures are made in shards, by the sheet (`picture_sheet.py`); one
more shard computes all figures. Artifact: `pictures/*.parquet` (a row for each picture, by `picture_rows.py`),
`features/*.npz`, `judgements.jsonl`, `metrics.json`, `generated.png`, `edits.png`, `convergence.png`, and where
pictures are read back `convergence_pictures.png`.
"""

from __future__ import annotations

import re
from typing import Any

from pipelines.config.declared import sent
from pipelines.stage import ShardTask, StageContext, derive_seed
from pipelines.stages.generator.evaluation_figures import Figures, snapshots_of
from pipelines.stages.generator.judged_world import find_world
from pipelines.stages.generator.picture_shards import Part, timing_folder
from pipelines.stages.generator.picture_sheet import Section, sections_of
from pipelines.stages.generator.sample_sets import timing

INPUTS = ("index", "train_encoder", "train_tokenizer", "train_generator", "train_editor")
ROOM = "pipelines.stages.generator"


def run(context: StageContext) -> None:
    """Make the missing shards of pictures, then the figures."""
    config = context.config
    manifests = {name: context.inputs[name].manifest.to_json() for name in INPUTS}
    snapshots = snapshots_of(context.inputs)
    sections = sections_of(config, find_world(config).sizes(config), _held_out(context), snapshots)
    seed, own = derive_seed(context.seed, "evaluation"), sent(config)
    parts = {
        f"{number:03d}-{_slug(section)}-{shard:05d}": Part(
            section, first, last, manifests, own, context.work.fingerprint, seed, context.run_id
        )
        for number, section in enumerate(sections)
        for shard, (first, last) in enumerate(section.shards(config.evaluate_generator.batch))
    }
    records = context.map_shards(f"{ROOM}.picture_shards:make_pictures", [ShardTask(n, p) for n, p in parts.items()])
    made = {record.name: [f"{context.work.path}/{file.path}" for file in record.files] for record in records}
    judges: dict[str, Any] = {}
    for record in records:
        judges |= record.metrics["judges"]
    figures = Figures(
        own, [(parts[name].section, paths) for name, paths in made.items()], judges, list(snapshots), seed
    )
    (record,) = context.map_shards(f"{ROOM}.evaluation_figures:make_figures", [ShardTask("figures", figures)])
    context.metrics.update(record.metrics)
    store, folder = context.work.store, timing_folder(context.run_id)
    seconds = [s for name in sorted(store.names(folder)) for s in store.read_json(f"{folder}/{name}")]
    context.metrics["text_to_image"] |= timing(seconds, config.evaluate_generator.batch)
    if not seconds:
        context.metrics["absent"]["text_to_image.seconds_per_image"] = "no whole batch of pictures was made in this run"


def _held_out(context: StageContext) -> int:
    """Return how many held-out pictures there are at most, from the index's table of counts."""
    from components.data.tables import read_table
    from pipelines.stages.indexed_rows import COUNTS

    with context.fetch(f"{context.inputs['index'].path}/{COUNTS}") as path:
        table = read_table(path, ["role", "held_out", "rows"])
    rows = zip(table["role"], table["held_out"], table["rows"], strict=True)
    return sum(count for role, held_out, count in rows if role == "picture" and held_out)


def _slug(section: Section) -> str:
    return re.sub(r"[^a-z0-9]+", "_", section.split.lower()).strip("_")
