"""measure_pairs and curate_pairs: right pairs pass as they are, planted faults are found, given pairs read alike."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.curation.images import encode_jpeg, encode_png
from components.curation.pairs.options import PairJudge, PairTowers
from components.data.records import Record, read_records, write_records
from components.data.tables import read_table
from pipelines.config.compose import compose_config
from pipelines.stage import ShardContext, ShardTask
from pipelines.stages.data.curate_pairs import preferences
from pipelines.stages.data.measure_pairs import measure_shard
from pipelines.store.artifacts import Artifact
from pipelines.store.files import Store
from tests.unit.pipelines.stages.data.stage_chain import local_files, read_index, run_stages

pytestmark = pytest.mark.unit
SETTINGS = [
    "preset=tiny",
    "source.count=120",
    "source.samples_per_shard=60",
    "synthesize_edits.scene_kinds=[recolour,remove,add,move,resize,replace_shape,background,tone]",
]
FAULTS = "synthesize_edits.faults={unchanged:0.1,wrong_edit:0.1,wrong_instruction:0.1,spilled:0.1}"


def made(folder: Path, *settings: str):
    return run_stages(folder, compose_config([*SETTINGS, *settings]), "index")


def test_right_pairs_are_kept_in_order_and_byte_for_byte(tmp_path):
    found = made(tmp_path)
    before, after = (local_files(found[name], "shards/*.tar") for name in ("synthesize_edits", "curate_pairs"))
    assert len(before) == len(after) == 2
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(before, after, strict=True))
    pairs = found["curate_pairs"].manifest.metrics["pairs"]
    assert pairs["kept"] == pairs["input"] > 80 and pairs["by_reason"] == {}
    exact = [e for path in local_files(found["measure_pairs"], "signals/*.parquet") for e in read_table(path)["exact"]]
    assert set(exact) == {"agrees"}


def test_planted_faults_are_caught_and_scored_and_rejected_pairs_kept_for_preference_training(tmp_path):
    found = made(tmp_path, FAULTS, "curate_pairs.keep_rejected=true")
    pairs = found["curate_pairs"].manifest.metrics["pairs"]
    assert pairs["kept"] + pairs["dropped"] + pairs["failed"] == pairs["input"]
    for fault in ("unchanged", "wrong_edit", "wrong_instruction", "spilled"):
        assert pairs[fault]["planted"] > 2 and pairs[fault]["recall"] == pairs[fault]["precision"] == 1
    decisions = [read_table(path) for path in local_files(found["curate_pairs"], "decisions/*.parquet")]
    assert Counter(reason for table in decisions for reason in table["reason"] if reason) == pairs["by_reason"]
    rejected = [read_table(path) for path in local_files(found["curate_pairs"], "preferences/*.parquet")]
    assert sum(len(table["key"]) for table in rejected) == pairs["dropped"]
    assert all(data[:4] == b"\x89PNG" for table in rejected for data in (*table["source"], *table["rejected"]))
    indexed = {key for path in local_files(found["index"], "index/*.arrow") for key in read_index(path)["key"]}
    gone = {
        key for table in decisions for key, state in zip(table["key"], table["state"], strict=True) if state != "kept"
    }
    assert not indexed & gone
    assert local_files(found["curate_pairs"], "sheet.html") and local_files(found["curate_pairs"], "sheet.png")
    again = made(tmp_path / "again", FAULTS)
    shards = [
        [p.read_bytes() for p in local_files(each["synthesize_edits"], "shards/*.tar")] for each in (found, again)
    ]
    assert shards[0] == shards[1]


def test_faults_planted_in_given_pairs_are_scored_and_none_is_planted_for_which_a_pair_has_no_room(tmp_path):
    """Of two sets, one with masks: a spill needs one, and nobody's own column of that name is taken for a fault."""
    rng, count = np.random.default_rng(0), 60
    rows: dict[str, list] = {"source": [], "target": [], "mask": []}
    for _ in range(count):
        source = np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((16, 16, 1))).astype(np.uint8)
        target, mask = source.copy(), np.zeros_like(source)
        target[:16], mask[:16] = 255 - source[:16], 255
        for name, picture in (("source", source), ("target", target), ("mask", mask)):
            rows[name].append(encode_png(picture))
    texts = {"instruction": [f"invert the top of picture {n}" for n in range(count)], "faults": ["ours"] * count}
    settings = ["preset=tiny"]
    planted = "{unchanged: 0.12, wrong_edit: 0.12, wrong_instruction: 0.12, spilled: 0.12}"
    for name, more in (("masked", ["sources.masked.pairs.mask=mask"]), ("plain", [])):
        pq.write_table(pa.table({**rows, **texts}), tmp_path / f"{name}.parquet", row_group_size=30)
        settings += [
            f"+source@sources.{name}=edit_pairs", f"sources.{name}.path={tmp_path}/{name}.parquet", *more,
            f"sources.{name}.pairs.metadata=[faults]", f"sources.{name}.faults={planted}",
        ]  # fmt: skip
    config = compose_config([*settings, "curate_pairs.max_spill_share=0.02"])
    found = run_stages(tmp_path / "store", config, "curate_pairs")
    pairs = found["curate_pairs"].manifest.metrics["pairs"]
    held = {name: faults_of(found[f"ingest@{name}"]) for name in ("masked", "plain")}
    assert held["masked"]["spilled"] > 2 and "spilled" not in held["plain"] and "ours" not in held["plain"]
    for fault in ("unchanged", "wrong_edit", "wrong_instruction", "spilled"):
        assert pairs[fault]["planted"] == held["masked"][fault] + held["plain"][fault] > 2
    assert pairs["unchanged"]["recall"] == pairs["spilled"]["recall"] == pairs["unchanged"]["precision"] == 1
    assert "needs a model" in found["curate_pairs"].manifest.metrics["absent"]["pairs.wrong_instruction"]
    again = run_stages(tmp_path / "again", config, "ingest")
    for name in held:
        assert again[f"ingest@{name}"].manifest.digest == found[f"ingest@{name}"].manifest.digest


def faults_of(artifact: Artifact) -> Counter[str]:
    read = [record for path in local_files(artifact, "shards/*.tar") for record in read_records(path)]
    return Counter(fault for record in read for fault in json.loads(record.parts["json"]).get("faults", []))


def given(folder: Path) -> dict[str, dict]:
    """Signals of pairs as other sets give them, by key."""
    rng = np.random.default_rng(0)
    source = np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    target, mask = source.copy(), np.zeros_like(source)
    target[:16], mask[:16] = 255, 255
    sides = {"source.jpg": encode_jpeg(source, 95), "target.png": encode_png(target), "txt": b"whiten the top"}
    stranger = {"target_scene": {"objects": 3}, "family": "picture", "source_key": ["odd"]}
    pairs = {
        "plain": sides,
        "masked": sides | {"mask.png": encode_png(mask)},
        "small_mask": sides | {"mask.png": encode_png(mask[::2, ::2])},
        "no_target": {name: part for name, part in sides.items() if name != "target.png"},
        "broken": sides | {"target.png": encode_png(target)[:90]},
        "not_utf8": sides | {"txt": b"\xff\xfe"},
        "bad_json": sides | {"json": b"[1"},
        "stranger": sides | {"json": json.dumps(stranger).encode()},
        "wordless": sides | {"txt": b" "},
    }
    folder.mkdir()
    write_records(folder / "given.tar", [Record(key, dict(parts)) for key, parts in pairs.items()])
    store = Store(str(folder))
    store.prepare()
    limits = {"max_bytes": 2**20, "max_pixels": 10**6}
    task = ShardTask(
        "given",
        {
            "shard": "given.tar",
            "limits": limits,
            "made": False,
            "curated": None,
            "image_text": PairTowers(),
            "judge": PairJudge(),
            "threads": 1,
        },
    )
    context = ShardContext(task, None, folder / "out", store, folder)
    counts = measure_shard(context).counts
    table = read_table(folder / "out" / "signals" / "given.parquet")
    rows = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    assert counts == {"input": len(pairs), "kept": 5, "dropped": 0, "failed": 4}
    return {row["key"]: row for row in rows}


def test_given_pairs_are_measured_alike_and_what_cannot_be_read_has_its_reason(tmp_path):
    rows = given(tmp_path / "given")
    assert {key: row["error"] for key, row in rows.items() if row["error"]} == {
        "no_target": "no_target", "broken": "target_broken_image", "not_utf8": "bad_caption",
        "bad_json": "bad_metadata",
    }  # fmt: skip
    assert rows["plain"]["mask_share"] is None and rows["masked"]["mask_share"] == 0.25
    assert rows["small_mask"]["mask_share"] == 0.25 and rows["masked"]["spill_share"] < 0.2
    assert rows["wordless"]["words"] == 0
    assert all(row["exact"] is None for row in rows.values()), "nobody else's description is believed"


def test_a_rejected_target_stands_beside_the_one_that_was_chosen_for_the_same_instruction(tmp_path):
    path = tmp_path / "pairs.tar"
    about = json.dumps({"source_key": "s"}).encode()
    tries = {"a": b"bad", "b": b"good", "c": b"worse", "d": b"other"}
    records = [
        Record(key, {"source.png": b"source", "target.png": data, "txt": b"x" if key != "d" else b"y", "json": about})
        for key, data in tries.items()
    ]
    write_records(path, records)
    states = {"a": "dropped", "b": "kept", "c": "dropped", "d": "dropped"}
    found = preferences(path, [[key, state, "judged_bad", ""] for key, state in states.items()])
    assert [(row["key"], row["rejected"], row["chosen"], row["chosen_key"]) for row in found] == [
        ("a", b"bad", b"good", "b"), ("c", b"worse", b"good", "b"), ("d", b"other", None, None),
    ]  # fmt: skip
