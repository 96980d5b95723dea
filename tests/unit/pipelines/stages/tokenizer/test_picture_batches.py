"""From shards to training batches: the held-out split, pictures by number, pairs of captions, latents of one shard."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from components.curation.images import encode_png, square
from components.curation.options import ImageLimits
from components.data.latent_reader import LatentDataset
from components.data.records import Record, write_records
from components.tokenizer.image_text import Vocabulary, small_encoder
from components.tokenizer.options import SmallEncoderOptions
from components.tokenizer.rivals import load_tokenizer
from components.tokenizer.vae import PixelSemanticVAE
from components.training.checkpoints import FORMAT, state_bytes
from pipelines.config.schema import LatentsSection
from pipelines.errors import UserError
from pipelines.stage import ShardContext, ShardTask
from pipelines.stages.data.index import index_one
from pipelines.stages.data.parquet_rows import write_rows
from pipelines.stages.data.sides import is_held_out
from pipelines.stages.indexed_rows import COUNTS, COUNTS_SCHEMA
from pipelines.stages.mixing import Draw
from pipelines.stages.tokenizer import encode_latents
from pipelines.stages.tokenizer.picture_batches import CaptionSource, Pictures, PictureSource, caption_pairs
from pipelines.store.artifacts import Artifact, FileEntry, Manifest, Work
from pipelines.store.files import Store, sha256_file
from pipelines.store.verified_read import fetch_checked
from pipelines.training.start_workers import check_workers

pytestmark = pytest.mark.unit

LIMITS = ImageLimits()
SMALL = SmallEncoderOptions(width=32, depth=1, heads=2, patch=8, text_depth=1, max_words=8)


def picture(seed: int, side: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def records(count: int = 20, broken: int | None = None):
    for i in range(count):
        image = b"broken" if i == broken else encode_png(picture(i))
        yield Record(f"k{i:03d}", {"png": image, "txt": f"caption {i}".encode(), "json": b"{}"})


def pairs(count: int = 20):
    for i in range(0, count, 2):  # every other sample was edited
        about = {"source_key": f"k{i:03d}", "caption": f"caption {i}", "target_caption": f"edited {i}"}
        parts = {"source.png": encode_png(picture(i)), "target.png": encode_png(picture(100 + i))}
        yield Record(f"k{i:03d}_00", {**parts, "txt": b"do it", "json": json.dumps(about).encode()})


@pytest.fixture
def indexed(tmp_path) -> tuple[Store, Artifact]:
    """A store with one curated shard, its pairs, and their index."""
    store = Store(str(tmp_path / "store"))
    store.prepare()
    folder = Path(store.local("."))
    write_records(folder / "curated.tar", records())
    write_records(folder / "edits.tar", pairs())
    out = folder / "artifacts" / "index" / "f"
    out.mkdir(parents=True)
    task = ShardTask("s", {"shard": "curated.tar", "edits": "edits.tar", "held_out": 0.3, "moved": []})
    result = index_one(ShardContext(task, 0, out, store, tmp_path))
    assert result.counts == {"input": 20, "kept": 20, "dropped": 0, "failed": 0}
    counts = [dict(zip(COUNTS_SCHEMA, ("s", *row), strict=True)) for row in result.metrics["rows"]]
    write_rows(out / COUNTS, counts, COUNTS_SCHEMA)
    names = ("index/s.arrow", COUNTS)
    files = [FileEntry(name, (out / name).stat().st_size, sha256_file(out / name)) for name in names]
    manifest = Manifest("index", "2", "f", "", {}, {}, {}, files, {}, {}, {}, "", "", 0.0)
    store.write_json("artifacts/index/f/manifest.json", manifest.to_json())
    return store, Artifact(store, manifest)


def open_pictures(indexed, tmp_path, held_out: bool = False, roles=("picture", "target"), **more) -> Pictures:
    store, index = indexed
    return Pictures.of_index(
        index, lambda path: fetch_checked(store, path, tmp_path), roles, held_out, 16, LIMITS, **more
    )


def test_a_sample_is_held_out_by_its_key_alone_with_everything_made_from_it(indexed, tmp_path):
    train, held = (open_pictures(indexed, tmp_path, side, ("picture", "source", "target")) for side in (False, True))
    assert len(train) + len(held) == 40 and len(held) > 0
    assert not set(train.rows["group"]) & set(held.rows["group"])
    assert all(is_held_out(group, 0.3) for group in held.rows["group"])
    assert sum(is_held_out(f"key {i}", 0.1) for i in range(20_000)) == pytest.approx(2000, rel=0.1)
    assert all(
        is_held_out(f"{i}", 0.2) for i in range(500) if is_held_out(f"{i}", 0.1)
    )  # a larger share holds the smaller


@pytest.mark.parametrize("cache", [0, 2**20])
def test_pictures_come_by_number_in_any_order_cached_or_not(indexed, tmp_path, cache):
    pictures = open_pictures(indexed, tmp_path, cache_bytes=cache)
    numbers = [len(pictures) - 1, 0, 3, 0, 1, 2, 4, 5]
    for _ in range(2):
        found = pictures.decoded(numbers)
        assert found.shape == (8, 3, 16, 16) and found.dtype == np.uint8
        for image, number in zip(found, numbers, strict=True):
            i = int(pictures.rows["group"][number][1:])
            wanted = picture(i if pictures.rows["role"][number] == "picture" else 100 + i)
            assert np.array_equal(image.transpose(1, 2, 0), wanted)


def test_a_picture_that_cannot_be_read_is_named(indexed, tmp_path):
    store, _ = indexed
    pictures = open_pictures(indexed, tmp_path)
    data = bytearray(Path(store.local("curated.tar")).read_bytes())
    offset = pictures.rows["offset"][0]
    data[offset : offset + 8] = b"notapict"
    Path(store.local("curated.tar")).write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"curated/k\d+ \(picture\) cannot be read"):
        pictures.decoded([0])


def test_batches_are_those_of_their_step_and_of_all_ranks_together(indexed, tmp_path):
    pictures = open_pictures(indexed, tmp_path)
    whole = PictureSource(pictures, 4, Draw(5))
    halves = [PictureSource(pictures, 4, Draw(5, rank, 2)) for rank in range(2)]
    for step in (3, 0):
        images, keys = whole.batch(step)
        parts = [half.batch(step) for half in halves]
        assert keys == parts[0][1] + parts[1][1]
        assert torch.equal(images["images"], torch.cat([part[0]["images"] for part in parts]))


def test_ranks_that_stream_pictures_share_them_and_name_the_shards_that_come(indexed, tmp_path):
    pictures = open_pictures(indexed, tmp_path)
    announced: list[list[int]] = []
    halves = [PictureSource(pictures, 4, Draw(5, rank, 2, window=3), None, announced.append) for rank in range(2)]
    steps = len(pictures) // 4
    keys = [key for half in halves for step in range(steps) for key in half.batch(step)[1]]
    assert len(set(keys)) == len(keys) and announced == [[0, 0], [0, 0]]
    pairs = CaptionSource(
        pictures, lambda c: torch.zeros(len(c), 4), 4, Draw(5, 1, 2, window=3), None, announced.append
    )
    assert pairs.batch(7)[1] == pairs.batch(7)[1] and len(pairs.batch(0)[1]) == 2 and announced[2:] == [[0, 0]]


def test_a_caption_batch_sets_each_sample_beside_its_edit(indexed, tmp_path):
    pictures = open_pictures(indexed, tmp_path)
    found = caption_pairs(pictures.rows).tolist()
    groups = [[pictures.rows["group"][n] for n in pair] for pair in found]
    edited = [g for g in groups if g[0] == g[1]]
    assert len(edited) == sum(r == "target" for r in pictures.rows["role"])
    assert len({n for pair in found for n in pair}) == 2 * len(found)
    vocabulary = Vocabulary.of(pictures.rows["caption"])
    source = CaptionSource(pictures, lambda c: vocabulary.encode(c, 4), 8, Draw(0))
    batch, keys = source.batch(0)
    assert batch["images"].shape == (8, 3, 16, 16) and batch["ids"].shape == (8, 4) and len(keys) == 8


def test_a_picture_is_cropped_to_its_middle_square():
    rgb = np.zeros((8, 24, 3), np.uint8)
    rgb[:, 8:16] = 200
    assert square(rgb, 8).shape == (8, 8, 3) and (square(rgb, 8)[:, 1:-1] == 200).all()
    assert np.array_equal(square(picture(1, 16), 16), picture(1, 16))


def small_space() -> PixelSemanticVAE:
    torch.manual_seed(0)
    options = {"kind": "patch", "width": 32, "depth": 1, "heads": 2, "multiples": [1]}
    return PixelSemanticVAE(small_encoder(SMALL, 16).spec, 16, 6, options, semantic_depth=1).eval()


def encoded(tmp_path, flip: bool, items, kind: str):
    model = small_space()
    encode_latents._LOADED["d" * 64] = model
    write_records(tmp_path / "s.tar", items)
    latents = LatentsSection(batch=8, flip=flip, precision="fp32")
    args = encode_latents.Encoding("s.tar", kind, {"digest": "d" * 64}, latents, 16, LIMITS, 1)
    context = ShardContext(ShardTask(f"{kind}-s", args), 0, tmp_path, Store(str(tmp_path)), tmp_path)
    return model, encode_latents.encode_shard(context), LatentDataset([tmp_path / kind / "s.arrow"], "d" * 64)


def test_latents_are_the_tokenizers_own_and_failed_samples_have_their_reasons(tmp_path):
    from components.data.tables import read_table

    model, result, data = encoded(tmp_path, False, records(20, broken=4), "captions")
    assert result.counts == {"input": 20, "kept": 19, "dropped": 0, "failed": 1}
    failed = read_table(tmp_path / "failed" / "captions-s.parquet")
    assert (failed["key"], failed["reason"]) == (["k004"], ["unknown_format"])
    row = data.row(0)
    images = torch.from_numpy(picture(0).transpose(2, 0, 1).copy())[None].float() / 127.5 - 1
    with torch.no_grad():
        wanted = model.encode(images).latent_dist.mode()[0].numpy()
    assert (row.key, row.text) == ("k000", "caption 0") and np.allclose(row.latent, wanted, atol=2e-3)


def test_pairs_are_encoded_on_both_sides_and_mirrored_where_no_side_is_named(tmp_path):
    items = list(pairs(8))
    items[1].parts["txt"] = b"move it to the LEFT"
    model, result, data = encoded(tmp_path, True, iter(items), "edits")
    assert result.counts["kept"] == 4 and result.metrics["flipped"] == 3 and len(data) == 7
    flipped = [data.row(i) for i in range(7) if data.row(i).flipped]
    assert items[1].key not in {row.key for row in flipped}
    mirrored = torch.from_numpy(picture(0)[:, ::-1].transpose(2, 0, 1).copy())[None].float() / 127.5 - 1
    with torch.no_grad():
        wanted = model.encode(mirrored).latent_dist.mode()[0].numpy()
    assert np.allclose(flipped[0].source, wanted, atol=2e-3)


def test_a_saved_model_says_nothing_of_where_it_was_loaded_from(tmp_path):
    small_space().save_pretrained(tmp_path / "a")
    load_tokenizer(tmp_path / "a").save_pretrained(tmp_path / "b")
    assert str(tmp_path) not in (tmp_path / "b" / "config.json").read_text()


def test_checkpoints_of_another_number_of_workers_are_refused_before_anything_starts(tmp_path):
    work = Work(Store(str(tmp_path)), "train_encoder", "f", {})
    check_workers(work, "train_encoder", 2)
    state = state_bytes({"format": FORMAT, "step": 4, "files": {}, "world": 2})
    work.store.write_bytes(f"{work.path}/checkpoints/step-00000004/state.json", state)
    check_workers(work, "train_encoder", 2)
    with pytest.raises(
        UserError, match=r"of 2 workers .* now has 1\. Go on with execution\.training\.train_encoder\.workers=2"
    ):
        check_workers(work, "train_encoder", 1)
