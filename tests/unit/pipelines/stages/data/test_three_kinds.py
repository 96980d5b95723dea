"""Scenes for the latent space, a table of photographs for text-to-image, given triplets for editing: one data set."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data.tables import read_table
from pipelines.config.compose import compose_config
from tests.unit.pipelines.stages.data.stage_chain import local_files, read_index, run_stages
from tests.unit.pipelines.stages.data.test_ingest_tables import photo

pytestmark = pytest.mark.unit


def test_given_pairs_are_judged_and_indexed_beside_the_samples_of_other_sources(tmp_path: Path) -> None:
    captions = [[f"a photo of thing number {i} by the old house", f"thing {i} again"] for i in range(8)]
    table = pa.table({"image": [photo(i) for i in range(8)], "caption": captions})
    pq.write_table(table, tmp_path / "photos.parquet", row_group_size=4)
    before = [photo(50 + i // 2) for i in range(12)]  # two edits of each picture
    after = [photo(70 + i, "WEBP") if i != 3 else before[3] for i in range(12)]  # one in which nothing changed
    before, after = [*before, before[0], photo(60)], [*after, None, photo(90)[:400]]  # none, and one that is cut short
    texts = [["make it blue", f"blue {i}"] for i in range(14)]
    rows = {"src_img": before, "edited_img": after, "edited_prompt_list": texts}
    table = pa.table({**rows, "task": ["color"] * 14, "omni_edit_id": [f"t{i}" for i in range(14)]})
    pq.write_table(table, tmp_path / "pairs.parquet", row_group_size=6)
    config = compose_config(
        [
            "preset=tiny", "held_out=0.4",
            "+source@sources.drawn=scenes_tiny", "sources.drawn.count=24", "sources.drawn.use=[tokenizer]",
            "+source@sources.photos=parquet", f"sources.photos.path={tmp_path}/photos.parquet",
            "sources.photos.use=[text_to_image]",
            "+source@sources.triplets=omniedit", f"sources.triplets.path={tmp_path}/pairs.parquet",
        ]
    )  # fmt: skip
    made = run_stages(tmp_path / "store", config, "index")
    assert {name for name in made if name.startswith("ingest")} == {"ingest@drawn", "ingest@photos", "ingest@triplets"}
    assert made["ingest@triplets"].manifest.counts == {"input": 14, "kept": 13, "dropped": 0, "failed": 1}
    judged = made["curate_pairs"].manifest
    assert judged.counts == {"input": 13, "kept": 11, "dropped": 1, "failed": 1}
    pairs = judged.metrics["pairs"]
    assert pairs["sources"] == {"triplets": {n: pairs[n] for n in ("input", "kept", "dropped", "failed", "by_reason")}}
    # The page shows the whole way, from the rows of the source on.
    assert pairs["funnel"] == {"came_in": 14, "ingest_no_target": 13, "target_broken_image": 12, "no_change": 11}
    page = local_files(made["curate_pairs"], "sheet.html")[0].read_text("utf-8")
    for words in ("14 edit pairs came in", "lost in ingest", "pairs.parquet:12", "lost in measure_pairs", "no change"):
        assert words in page, words
    decisions = [read_table(path) for path in local_files(made["curate_pairs"], "decisions/triplets-*.parquet")]
    states = {key: state for d in decisions for key, state in zip(d["key"], d["state"], strict=True)}
    assert len(states) == 13 and list(states.values())[3] == "dropped"
    index = {p.stem: read_index(p) for p in local_files(made["index"], "index/*.arrow")}
    rows_of = [dict(zip(t, values, strict=True)) for t in index.values() for values in zip(*t.values(), strict=True)]
    targets = [row for row in rows_of if row["role"] == "target" and "triplets" in row["shard"]]
    assert {row["key"] for row in targets} == {key for key, state in states.items() if state == "kept"}
    assert all(row["instruction"] == "make it blue" and len(row["texts"]) == 2 for row in targets)
    sides: dict[str, set[bool]] = {}
    for row in targets:
        sides.setdefault(row["group"], set()).add(row["held_out"])
    assert len(sides) < len(targets) and all(len(side) == 1 for side in sides.values())  # edits of one picture together
    pictures = [row for row in rows_of if row["role"] == "picture" and "photos" in row["shard"]]
    assert [row["origins"] for row in pictures] == [["caption", "caption"]] * 8
    assert json.loads(json.dumps(index["photos-00000"]["texts"][0])) == captions[0]
