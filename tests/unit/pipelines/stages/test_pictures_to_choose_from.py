"""What evaluations choose their pictures from: all shards where they are few, else some; read alone, and compared."""

from __future__ import annotations

import itertools
import json
import uuid
from pathlib import Path

import numpy as np
import pytest

from components.curation.images import encode_png
from components.curation.options import ImageLimits
from components.data.records import Record, write_records
from pipelines.errors import StoreError
from pipelines.stage import ShardContext, ShardTask
from pipelines.stages import evaluation
from pipelines.stages.data.index import index_one
from pipelines.stages.data.parquet_rows import write_rows
from pipelines.stages.evaluation import FEW_PARTS, READ_PARTS, few_parts
from pipelines.stages.indexed_rows import COUNTS, COUNTS_SCHEMA, IndexedRows
from pipelines.stages.tokenizer.picture_batches import Pictures, caption_pairs
from pipelines.store.artifacts import Artifact, FileEntry, Manifest, damage_path
from pipelines.store.files import Store, sha256_file
from pipelines.store.verified_read import Fetched, fetch_checked

pytestmark = pytest.mark.unit
LIMITS = ImageLimits()
EACH, SHARDS = 6, 9
PLACE = "artifacts/curate/f/shards"


def test_few_parts_are_all_of_few_and_else_as_many_evenly_spread_ones_as_have_the_rows():
    assert few_parts([5] * READ_PARTS, [""] * READ_PARTS, 10**6) == set(range(READ_PARTS))
    many = few_parts([5] * 10_900, [""] * 10_900, 10_000)
    assert 2000 <= len(many) < 1.125 * 2000 + 1
    assert max(b - a for a, b in itertools.pairwise(sorted(many))) <= 6 and many == few_parts(
        [5] * 10_900, [""] * 10_900, 10_000
    )
    assert len(few_parts([500] * 10_900, [""] * 10_900, 10_000)) == READ_PARTS
    kinds = ["a"] * 10_000 + ["b"] * 20
    rare = few_parts([500] * 10_000 + [1] * 20, kinds, 100)
    assert sum(kinds[part] == "b" for part in rare) >= FEW_PARTS and len(rare) <= READ_PARTS + 2 * FEW_PARTS
    assert few_parts([0, 3, 0], ["a", "a", "b"], 2) == {1}


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)


class Noting(Store):
    """A store that notes which files are fetched whole, and how many bytes are read of parts of files."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.whole: list[str] = []
        self.ranges: list[int] = []

    def fetch(self, relative: str, folder: Path) -> Path:
        """Fetch."""
        self.whole.append(relative)
        return super().fetch(relative, folder)

    def read_bytes(self, relative: str, start: int | None = None, end: int | None = None) -> bytes:
        """Read."""
        data = super().read_bytes(relative, start, end)
        if end is not None:
            self.ranges.append(len(data))
        return data


def commit(store: Store, stage: str) -> Manifest:
    """Write the manifest of the files in an artifact's folder."""
    names = list(store.files(f"artifacts/{stage}/f"))
    paths = [Path(store.local(f"artifacts/{stage}/f/{name}")) for name in names]
    files = [FileEntry(name, path.stat().st_size, sha256_file(path)) for name, path in zip(names, paths, strict=True)]
    manifest = Manifest(stage, "1", "f", "", {}, {}, {}, files, {}, {}, {}, "", "", 0.0)
    store.write_json(f"artifacts/{stage}/f/manifest.json", manifest.to_json())
    return manifest


@pytest.fixture
def index(tmp_path) -> Artifact:
    """The index of nine shards of six pictures on a remote store, the first of which has edits of some of them."""
    local = Store(str(tmp_path / "made"))
    local.prepare()
    tasks = []
    for shard in range(SHARDS):
        name = f"{shard:05d}"
        args = {"shard": f"{PLACE}/{name}.tar", "edits": None, "held_out": 0.0, "moved": []}
        tar = Path(local.local(args["shard"]))
        tar.parent.mkdir(parents=True, exist_ok=True)
        numbers = range(EACH * shard, EACH * (shard + 1))
        write_records(tar, [
            Record(f"k{n:03d}", {"png": encode_png(picture(n)), "txt": b"" if n % 5 == 4 else f"caption {n}".encode()})
            for n in numbers
        ])  # fmt: skip
        if shard < 4:
            args["edits"] = args["shard"].replace(".tar", "-edits.tar")
            write_records(local.local(args["edits"]), [
                Record(f"k{n:03d}_{turn:02d}", {
                    "source.png": encode_png(picture(n)), "target.png": encode_png(picture(100 + n)), "txt": b"do it",
                    "json": json.dumps({"source_key": f"k{n:03d}", "target_caption": f"edited {turn}"}).encode(),
                }) for n in numbers if n % 2 for turn in (0, 1)
            ])  # fmt: skip
        tasks.append(ShardTask(name, args))
    commit(local, "curate")
    root = Path(local.local("artifacts/index/f"))
    made = {task.name: index_one(ShardContext(task, 0, root, local, tmp_path)) for task in tasks}
    rows = [dict(zip(COUNTS_SCHEMA, (name, *row), strict=True)) for name in made for row in made[name].metrics["rows"]]
    write_rows(root / COUNTS, rows, COUNTS_SCHEMA)
    manifest = commit(local, "index")
    remote = Noting(f"memory://{uuid.uuid4().hex}")
    remote.prepare()
    for name in local.files("artifacts"):
        remote.copy_in(Path(local.local(f"artifacts/{name}")), f"artifacts/{name}")
    return Artifact(remote, manifest)


def chosen_from(index: Artifact, folder: Path, count: int = 4) -> Pictures:
    return Pictures.to_choose_from(index, folder, {"picture": count, "target": 0}, False, 16, LIMITS)


def test_of_few_shards_all_pictures_are_there_in_the_order_that_training_has_them_in(index, tmp_path):
    few = chosen_from(index, tmp_path / "a")
    whole = Pictures.of_index(index, Fetched(index.store, tmp_path / "b"), ("picture", "target"), False, 16, LIMITS)
    assert [few.name(n) for n in range(len(few))] == [whole.name(n) for n in range(len(whole))]
    assert len(few) == SHARDS * EACH + 4 * EACH and len(few.layout.sizes) == SHARDS
    numbers = range(0, len(few), 3)
    assert np.array_equal(few.decoded(numbers), whole.decoded(numbers))
    captions = [few.rows["caption"][n] for n in few.captioned("picture")]
    assert captions == [f"caption {n}" for n in range(SHARDS * EACH) if n % 5 != 4]
    assert len(few.captioned()) == len(captions) + 4 * EACH


def test_of_many_shards_only_some_parts_of_the_index_are_fetched_and_no_shard_but_the_chosen_pictures(
    index, tmp_path, monkeypatch
):
    monkeypatch.setattr(evaluation, "READ_PARTS", 2)
    monkeypatch.setattr(evaluation, "FEW_PARTS", 1)
    pictures = chosen_from(index, tmp_path, count=3 * EACH)
    assert len(pictures.layout.sizes) == 4  # 0, 3 and 6 of all, and 2 of those with edits
    found = pictures.decoded(range(len(pictures)))
    for n, made in enumerate(found):
        group, role = pictures.rows.row(n, ("group", "role"))
        assert np.array_equal(made.transpose(1, 2, 0), picture(int(group[1:]) + (0 if role == "picture" else 100)))
    store = index.store
    assert isinstance(store, Noting)
    parts = [f"artifacts/index/f/index/{n:05d}.arrow" for n in (0, 2, 3, 6)]
    assert sorted(store.whole) == sorted([f"artifacts/index/f/{COUNTS}", *parts])
    assert len(store.ranges) == len(pictures) and max(store.ranges) < 1000


def test_a_picture_whose_bytes_changed_or_whose_shard_is_gone_is_refused_and_noted(index, tmp_path):
    pictures, store = chosen_from(index, tmp_path), index.store
    offset = pictures.rows["offset"][1]
    path = f"{PLACE}/00000.tar"
    data = bytearray(store.read_bytes(path))
    data[offset + 40] ^= 1
    store.write_bytes(path, bytes(data))
    assert len(pictures.decoded([0])) == 1  # beside it all is well
    with pytest.raises(StoreError, match=rf"00000\.tar: content changed at byte {offset} .* pixsem resume"):
        pictures.decoded([1])
    assert "shards/00000.tar" in store.read_json(damage_path("curate", "f"))["problems"]
    store.remove_tree(f"{PLACE}/00001.tar")
    second = next(n for n in range(len(pictures)) if pictures.rows["shard"][n].endswith("00001.tar"))
    with pytest.raises(StoreError, match=r"00001\.tar: missing"):
        pictures.decoded([second])


def test_each_captioned_picture_is_paired_with_its_first_edit_and_the_rest_with_their_neighbours(index, tmp_path):
    rows = IndexedRows(
        index, lambda path: fetch_checked(index.store, path, tmp_path), dict.fromkeys(("picture", "target")), False
    )
    table = list(zip(rows["role"], rows["group"], rows["caption"], strict=True))
    first: dict[str, int] = {}
    for n, (role, group, caption) in enumerate(table):
        if role == "target" and caption:
            first.setdefault(group, n)
    captioned = [n for n, (role, _, caption) in enumerate(table) if role == "picture" and caption]
    paired = [[n, first[table[n][1]]] for n in captioned if table[n][1] in first]
    single = [n for n in captioned if table[n][1] not in first]
    wanted = paired + [[a, b] for a, b in zip(single[::2], single[1::2], strict=False)]
    assert len(paired) > 5 and caption_pairs(rows).tolist() == wanted
