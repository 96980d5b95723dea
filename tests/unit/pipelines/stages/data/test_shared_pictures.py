"""No picture is held out in one source and trained on in another: photographs with captions, and sets of edit pairs
that were made from them.
"""

from __future__ import annotations

import io
import json
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.config.compose import compose_config
from pipelines.config.schema import Config
from pipelines.stages.data import sides
from pipelines.store.artifacts import Artifact
from tests.unit.pipelines.stages.data.stage_chain import local_files, read_index, run_stages

pytestmark = pytest.mark.unit
COUNT = 24


def look(seed: int) -> Image.Image:
    """A picture of large blocks, each like no other."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((320, 240), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    picture.save(out, kind)
    return out.getvalue()


def write_pairs(path: Path, before: list[bytes], after: list[bytes], groups: list[str]) -> None:
    rows = {"source": before, "target": after, "instruction": [f"make it number {n}" for n in range(len(before))]}
    pq.write_table(pa.table({**rows, "edit": groups}), path, row_group_size=10)


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> Path:
    """Photographs; triplets of two turns each that begin at them, as smaller JPEG files; a second set that begins at
    the targets of the first.
    """
    root = tmp_path_factory.mktemp("sets")
    pq.write_table(
        pa.table(
            {
                "image": [encoded(look(n)) for n in range(COUNT)],
                "caption": [f"a photo of thing number {n} by the old house" for n in range(COUNT)],
            }
        ),
        root / "photos.parquet",
        row_group_size=8,
    )
    before, after, groups = [], [], []
    for n in range(COUNT):
        small = look(n).resize((160, 120), Image.Resampling.BOX)
        middle, last = encoded(look(100 + n)), encoded(look(200 + n))
        before += [encoded(small, "JPEG"), middle]
        after += [middle, last]
        groups += [f"e{n}"] * 2
    write_pairs(root / "turns.parquet", before, after, groups)
    numbers = range(0, COUNT, 2)
    targets = [encoded(look(200 + n), "WEBP") for n in numbers]
    strangers = [encoded(look(300 + n)) for n in range(COUNT)]
    write_pairs(
        root / "more.parquet",
        targets + strangers,
        [encoded(look(400 + n)) for n in range(len(targets) + COUNT)],
        [f"e{n}" for n in range(len(targets) + COUNT)],
    )
    return root


def configured(sets: Path, *more: str) -> Config:
    pairs = [
        setting
        for name in ("turns", "more")
        for setting in (
            f"+source@sources.{name}=edit_pairs", f"sources.{name}.path={sets}/{name}.parquet",
            f"sources.{name}.samples_per_shard=10", f"sources.{name}.pairs.group=edit",
        )
    ]  # fmt: skip
    return compose_config(
        ["preset=tiny", "held_out=0.4", "+source@sources.photos=parquet", f"sources.photos.path={sets}/photos.parquet",
         "sources.photos.samples_per_shard=8", "sources.photos.use=[tokenizer,text_to_image]", *pairs, *more]
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(sets, tmp_path_factory) -> dict[str, Artifact]:
    return run_stages(tmp_path_factory.mktemp("store"), configured(sets), "index")


def index_rows(made: dict[str, Artifact]) -> list[dict]:
    tables = [read_index(path) for path in local_files(made["index"], "index/*.arrow")]
    return [dict(zip(t, values, strict=True)) for t in tables for values in zip(*t.values(), strict=True)]


def reduced(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB").resize((32, 24)), np.int16)


def shown(made: dict[str, Artifact], row: dict, known: np.ndarray) -> int:
    """The number of the known picture that a row shows, by its decoded pixels; -1: none of them."""
    path = Path(made["index"].store.local(row["shard"]))
    data = path.read_bytes()[row["offset"] : row["offset"] + row["size"]]
    differences = np.abs(known - reduced(Image.open(io.BytesIO(data)))).mean((1, 2, 3))
    return int(differences.argmin()) if differences.min() < 8 else -1


def test_no_decoded_picture_and_no_turn_of_an_edit_is_on_both_sides(made):
    on: dict[object, set[bool]] = defaultdict(set)
    moved = 0
    known = np.stack([reduced(look(n)) for n in range(200 + COUNT)])
    for row in index_rows(made):
        number = shown(made, row, known)
        if number >= 0:
            on[number].add(row["held_out"])
        on[row["group"]].add(row["held_out"])
        moved += row["held_out"] != sides.is_held_out(row["group"], 0.4) and row["role"] != "source"
    assert set(range(COUNT)) | {200 + n for n in range(COUNT)} <= on.keys()
    assert all(len(found) == 1 for found in on.values())
    assert {True, False} == {held for found in on.values() for held in found}
    figures = made["index"].manifest.metrics["index"]
    assert figures["moved_pairs"] == moved > 5, "by their names alone many would be on the other side"
    assert figures["sources"]["turns"]["moved_pairs"] + figures["sources"]["more"]["moved_pairs"] == moved
    assert (figures["conflicts"], figures["largest_chain"]) == (0, 3)
    assert figures["sharing"] == 2 * COUNT + COUNT // 2


def test_pictures_stay_on_the_side_of_their_names(made):
    rows = [row for row in index_rows(made) if row["role"] == "picture"]
    assert len(rows) == COUNT
    assert all(row["held_out"] == sides.is_held_out(row["group"], 0.4) for row in rows)
    assert "moved_pictures" not in made["index"].manifest.metrics["index"]


def test_what_was_measured_of_pairs_decides_and_bounds_are_curations(sets, tmp_path):
    """With exact copies only, a smaller JPEG is another picture."""
    found = run_stages(tmp_path, configured(sets, "curate.near_duplicate_distance=-1"), "index")
    figures = found["index"].manifest.metrics["index"]
    assert figures["sharing"] == 0 and "moved_pairs" not in figures


def test_a_source_that_says_which_are_held_out_is_followed(sets, tmp_path):
    """All photographs but one are said to be held out, so all edits of them are."""
    from components.data.records import Record, write_records

    said = [
        Record(
            f"{n:03d}",
            {
                "png": encoded(look(n)),
                "txt": f"a photo of thing number {n} by the old house".encode(),
                "json": json.dumps({"pixsem": {"held_out": n > 0}}).encode(),
            },
        )
        for n in range(COUNT)
    ]
    write_records(tmp_path / "said.tar", said)
    shutil.copy(sets / "turns.parquet", tmp_path)
    config = compose_config(
        ["preset=tiny", "held_out=0.4", "+source@sources.photos=webdataset",
         f"sources.photos.shards={tmp_path}/said.tar", "sources.photos.use=[tokenizer,text_to_image]",
         "+source@sources.turns=edit_pairs", f"sources.turns.path={tmp_path}/turns.parquet",
         "sources.turns.pairs.group=edit"]
    )  # fmt: skip
    found = run_stages(tmp_path / "store", config, "index")
    rows = index_rows(found)
    assert all(row["held_out"] == (row["group"] not in ("photos/000", "turns/e0")) for row in rows)
    assert len(rows) == COUNT + 4 * COUNT and found["index"].manifest.metrics["index"]["conflicts"] == 0
