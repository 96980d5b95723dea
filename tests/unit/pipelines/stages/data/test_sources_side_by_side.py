"""Several sources, each with its jobs, through the data stages: counts per source and in total, and duplicates across
sources.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.data.records import Record, read_records, write_records
from components.data.tables import read_table
from pipelines.config.compose import compose_config
from pipelines.config.schema import Config
from pipelines.stage import ShardContext, ShardTask, source_of
from pipelines.stages.data.index import index_one
from pipelines.store.artifacts import Artifact
from pipelines.store.files import Store
from tests.unit.pipelines.stages.data.stage_chain import local_files, read_index, run_stages

pytestmark = pytest.mark.unit
COUNT = 12


def photograph(path: Path, seed: int) -> None:
    """Write a picture of large blocks with soft edges."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(blocks, (320, 256), interpolation=cv2.INTER_CUBIC))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Two folders of captioned pictures: `photos`, and `more`, which repeats two pictures and all keys of the first."""
    root = tmp_path_factory.mktemp("sets")
    for name, first in (("photos", 0), ("more", COUNT - 2)):
        folder = root / name
        folder.mkdir()
        for n in range(COUNT):
            photograph(folder / f"{n:03d}.png", first + n)
            words = "stands in a garden" if name == "photos" else "can be seen near a house"
            (folder / f"{n:03d}.txt").write_text(f"a photo of thing {first + n} that {words}")
    return root


def configured(folders: Path, *more: str) -> Config:
    return compose_config(
        [
            "preset=tiny", "source@sources.drawn=scenes_tiny", "sources.drawn.count=40",
            "sources.drawn.use=[tokenizer]",
            "sources.drawn.samples_per_shard=20", "source@sources.photos=folder",
            f"sources.photos.path={folders / 'photos'}", "sources.photos.use=[text_to_image,editing]",
            "source@sources.more=folder", f"sources.more.path={folders / 'more'}",
            "sources.more.use=[tokenizer,text_to_image]", *more,
        ]
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(folders, tmp_path_factory) -> dict[str, Artifact]:
    return run_stages(tmp_path_factory.mktemp("store"), configured(folders), "index")


def shards(artifact: Artifact) -> set[str]:
    return {path.stem for path in local_files(artifact, "shards/*.tar")}


def test_a_shards_name_says_its_source_in_every_stage(made):
    assert shards(made["ingest@drawn"]) == {"drawn-00000", "drawn-00001"}
    assert shards(made["curate"]) == {"drawn-00000", "drawn-00001", "photos-00000", "more-00000"}
    assert {path.stem for path in local_files(made["index"], "index/*.arrow")} == shards(made["curate"])


def test_counts_are_told_of_each_source_and_in_total_and_add_up(made):
    curation = made["curate"].manifest.metrics["curation"]
    assert set(curation["sources"]) == {"drawn", "photos", "more"}
    for name in ("input", "kept", "dropped", "failed"):
        assert curation[name] == sum(of[name] for of in curation["sources"].values())
    assert curation["sources"]["photos"]["input"] == COUNT
    assert made["ingest@drawn"].manifest.metrics["ingest"]["sources"]["drawn"]["kept"] == 40
    index = made["index"].manifest.metrics["index"]
    for side in ("train", "held_out"):
        assert index[side] == sum(of[side] for of in index["sources"].values()) > 0


def test_duplicates_are_found_across_sources_and_say_of_which_shard(made):
    (path,) = local_files(made["curate"], "decisions/photos-00000.parquet")  # the longer captions are kept
    table = read_table(path)
    dropped = [d for d, reason in zip(table["detail"], table["reason"], strict=True) if "duplicate" in reason]
    assert len(dropped) == 2 and all(detail.startswith("of more-00000/") for detail in dropped)


def test_faults_of_one_source_are_scored_among_samples_with_the_same_keys(made):
    figures = made["curate"].manifest.metrics["curation"]["duplicate_image"]
    assert figures["recall"] == 1.0


def test_the_index_keeps_where_each_caption_comes_from_and_takes_no_other_programs_word(tmp_path):
    said = {
        "both": {"captions": ["a b c", "d e f"], "caption_origins": ["alt", "recaption"]},
        "without": {"captions": ["a b c", "d e f"]},
        "uneven": {"captions": ["a b c", "d e f"], "caption_origins": ["alt"]},
        "others": {"captions": "a b c"},
    }
    picture = cv2.imencode(".png", np.zeros((40, 40, 3), np.uint8))[1].tobytes()
    records = (
        Record(key, {"png": picture, "txt": b"a b c", "json": json.dumps({"pixsem": about}).encode()})
        for key, about in said.items()
    )
    store = Store(str(tmp_path / "store"))
    store.prepare()
    write_records(Path(store.local("photos-00000.tar")), records)
    task = ShardTask("photos-00000", {"shard": "photos-00000.tar", "edits": None, "held_out": 0.5, "moved": []})
    index_one(ShardContext(task, 0, tmp_path / "out", store, tmp_path))
    table = read_index(tmp_path / "out" / "index" / "photos-00000.arrow")
    found = dict(zip(table["key"], zip(table["texts"], table["origins"], strict=True), strict=True))
    assert found["both"] == (["a b c", "d e f"], ["alt", "recaption"])
    assert found["without"] == (["a b c", "d e f"], None)
    assert found["uneven"] == found["others"] == (None, None)


def test_only_sources_that_serve_editing_are_edited(made):
    assert shards(made["synthesize_edits"]) == {"photos-00000"}
    (path,) = local_files(made["synthesize_edits"], "shards/*.tar")
    found = [record for record in read_records(path) if isinstance(record, Record)]
    assert found and all(json.loads(r.parts["json"])["source_shard"] == "photos-00000" for r in found)


def test_samples_of_two_sources_with_one_key_are_two_groups_and_an_edit_is_on_its_samples_side(made):
    rows: dict[str, list] = {}
    for path in local_files(made["index"], "index/*.arrow"):
        for name, values in read_index(path).items():
            rows.setdefault(name, []).extend(values)
    groups = set(rows["group"])
    keys = {key for key, role in zip(rows["key"], rows["role"], strict=True) if role == "picture"}
    assert len(groups) > len(keys) and all("/" in group for group in groups)
    sides: dict[str, set[bool]] = {}
    for group, held, shard in zip(rows["group"], rows["held_out"], rows["shard"], strict=True):
        sides.setdefault(group, set()).add(held)
        assert group.startswith(f"{source_of(shard)}/")
    assert all(len(side) == 1 for side in sides.values())
