"""Latent shards: what is written is read back by everyone, in any order, in O(1), and nothing foreign or damaged
passes.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from components.data.latent_reader import LatentDataset
from components.data.latents import LatentSpec, LatentWriter, open_shard
from components.data.order import EpochSampler, WholeOrder, permutation

pytestmark = pytest.mark.unit

SHAPE = (3, 2, 2)


def spec(kind: str = "captions", tokenizer: str = "t" * 8, **more) -> LatentSpec:
    values = {"mean": (0.0, 1.0, 2.0), "std": (1.0, 2.0, 3.0), **more}
    return LatentSpec(*SHAPE, tokenizer, values["mean"], values["std"], kind)


def latents(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, *SHAPE)).astype(np.float16)


def write(path, rows: int = 10, seed: int = 0, which: LatentSpec | None = None, cut: int = 4):
    chosen = which or spec()
    values, sources = latents(rows, seed), latents(rows, seed + 100)
    with LatentWriter(path, chosen, rows_per_batch=cut) as writer:
        for first in range(0, rows, 3):
            part = slice(first, min(rows, first + 3))
            keys = [f"{path.stem}-{i}" for i in range(rows)[part]]
            texts = [f"text {i} é" for i in range(rows)[part]]
            given = sources[part] if chosen.kind == "edits" else None
            writer.add(keys, texts, values[part], given, [i % 2 == 1 for i in range(rows)[part]])
    return values, sources


def test_rows_come_back_by_any_index_with_text_source_and_flip(tmp_path):
    first, _ = write(tmp_path / "a.arrow")
    second, _ = write(tmp_path / "b.arrow", rows=7, seed=1)
    data = LatentDataset([tmp_path / "a.arrow", tmp_path / "b.arrow"], "t" * 8)
    whole = np.concatenate([first, second])
    assert len(data) == 17 and data.spec == spec()
    for index in (0, 3, 4, 9, 10, 16):
        row = data.row(index)
        local = index if index < 10 else index - 10
        assert np.array_equal(row.latent, whole[index]) and row.source is None
        assert (row.key, row.text) == (f"{'a' if index < 10 else 'b'}-{local}", f"text {local} é")
        assert row.flipped == (local % 2 == 1)
    order = [16, 0, 9, 10, 3, 3]
    batch = data.batch(order)
    assert batch.latents.shape == (6, *SHAPE) and np.array_equal(batch.latents.numpy(), whole[order])
    assert batch.sources is None and not batch.has_source.any()
    assert batch.keys == data.keys(order)
    with pytest.raises((ValueError, IndexError)):
        data.row(17)


def test_edit_pairs_hold_both_sides_and_mix_with_captions(tmp_path):
    write(tmp_path / "captions.arrow", rows=3)
    targets, sources = write(tmp_path / "edits.arrow", rows=4, seed=2, which=spec("edits"))
    data = LatentDataset([tmp_path / "captions.arrow", tmp_path / "edits.arrow"], None)
    batch = data.batch([0, 5, 3])
    assert batch.has_source.tolist() == [False, True, True]
    assert np.array_equal(batch.latents.numpy()[1:], targets[[2, 0]])
    assert np.array_equal(batch.sources.numpy()[1:], sources[[2, 0]]) and not batch.sources[0].any()
    assert np.array_equal(data.row(6).source, sources[3])


def test_rows_of_one_record_batch_are_a_view_of_the_file(tmp_path):
    values, _ = write(tmp_path / "a.arrow", rows=8, cut=4)
    data = LatentDataset([tmp_path / "a.arrow"], None)
    view = data.contiguous(4, 3)
    assert np.array_equal(view.numpy(), values[4:7])
    assert view.data_ptr() == data.row(4).latent.ctypes.data, "it was copied"


def test_equal_input_gives_equal_bytes(tmp_path):
    write(tmp_path / "a.arrow")
    (tmp_path / "again").mkdir()
    write(tmp_path / "again" / "a.arrow")
    assert (tmp_path / "a.arrow").read_bytes() == (tmp_path / "again" / "a.arrow").read_bytes()


def test_plain_pyarrow_datasets_and_polars_read_the_same_latents(tmp_path, monkeypatch):
    values, _ = write(tmp_path / "edits.arrow", which=spec("edits"))
    table = pa.ipc.open_file(tmp_path / "edits.arrow").read_all()
    assert table.column_names == ["key", "text", "latent", "source_latent", "flipped"]
    plain = np.stack(table["latent"].to_numpy(zero_copy_only=False)).reshape(values.shape)
    assert np.array_equal(plain, values)
    metadata = table.schema.metadata
    assert metadata[b"pixsem.tokenizer"] == b"tttttttt" and metadata[b"pixsem.mean"] == b"[0.0, 1.0, 2.0]"
    polars = pytest.importorskip("polars")
    frame = polars.read_ipc(tmp_path / "edits.arrow")
    assert np.array_equal(np.stack(frame["latent"].to_list()).astype(np.float16).reshape(values.shape), values)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(
        "arrow", data_files=str(tmp_path / "edits.arrow"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert np.array_equal(np.asarray(loaded["latent"], np.float16).reshape(values.shape), values)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"tokenizer": "another"}, "encoded by the tokenizer another"),
        ({"mean": (0.0, 0.0, 0.0)}, "mean"),
    ],
)
def test_shards_of_another_tokenizer_or_other_statistics_are_refused(tmp_path, other, words):
    write(tmp_path / "a.arrow")
    tokenizer = other.pop("tokenizer", "t" * 8)
    write(tmp_path / "b.arrow", which=spec(tokenizer=tokenizer, **other))
    with pytest.raises(ValueError, match=words):
        LatentDataset([tmp_path / "a.arrow", tmp_path / "b.arrow"], "t" * 8)
    with pytest.raises(ValueError, match=r"b\.arrow was encoded|a\.arrow was encoded"):
        LatentDataset([tmp_path / "a.arrow"], "wanted")


def test_a_shard_that_is_cut_or_changed_is_refused_and_never_read_wrongly(tmp_path):
    write(tmp_path / "a.arrow")
    data = (tmp_path / "a.arrow").read_bytes()
    damaged = tmp_path / "damaged.arrow"
    rng = np.random.default_rng(0)
    for _ in range(150):
        changed = bytearray(data)
        kind = rng.integers(3)
        if kind == 0:
            changed = changed[: rng.integers(len(data))]
        else:
            changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        damaged.write_bytes(bytes(changed))
        try:
            found = LatentDataset([damaged], None)
            rows = [found.row(i) for i in range(len(found))]
        except ValueError as error:
            assert "damaged.arrow" in str(error)
            continue
        # Bits inside the values are the store's hashes' to guard; shape, count and statistics must be right.
        assert len(rows) == 10 and found.spec == spec() and rows[0].latent.shape == SHAPE
    for name, text in (("empty", b""), ("text", b"hello" * 100)):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(ValueError, match=name):
            open_shard(tmp_path / name)


def test_a_flipped_bit_anywhere_but_in_the_latents_is_refused_with_the_name_of_the_file(tmp_path):
    values, _ = write(tmp_path / "a.arrow")
    data = (tmp_path / "a.arrow").read_bytes()
    start, passed = 0, []
    damaged = tmp_path / "damaged.arrow"
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x80  # the top bit: also makes every name and number in the schema's text no utf-8
        damaged.write_bytes(bytes(changed))
        try:
            open_shard(damaged)
        except ValueError as error:
            assert "damaged.arrow" in str(error)
        else:
            passed.append(place)
    inside = []
    for first in range(0, 10, 4):
        part = values[first : first + 4].tobytes()
        start = data.index(part, start)
        inside += range(start, start + len(part))
    assert passed == inside


def test_values_that_are_no_numbers_are_refused_with_their_keys(tmp_path):
    bad = latents(2).astype(np.float32)
    bad[1, 0, 0, 0] = np.nan
    with LatentWriter(tmp_path / "a.arrow", spec()) as writer:
        with pytest.raises(ValueError, match="second"):
            writer.add(["first", "second"], ["", ""], bad, None, [False, False])
        with pytest.raises(ValueError, match="first"):
            writer.add(["first"], [""], np.full((1, *SHAPE), 1e9, np.float32), None, [False])
        with pytest.raises(ValueError, match="shape"):
            writer.add(["first"], [""], np.zeros((1, 2, 2, 2), np.float32), None, [False])


def test_a_shard_left_by_an_error_is_refused(tmp_path):
    with pytest.raises(RuntimeError), LatentWriter(tmp_path / "a.arrow", spec()) as writer:
        writer.add(["k"], ["t"], latents(1), None, [False])
        raise RuntimeError
    with pytest.raises(ValueError, match=r"a\.arrow"):
        open_shard(tmp_path / "a.arrow")


def test_every_epoch_shows_every_row_once_whatever_the_world_size():
    whole = EpochSampler(WholeOrder(10, 3), 4)
    steps = [whole.at(step) for step in range(5)]
    assert sorted(np.concatenate(steps)[:10].tolist()) == list(range(10))
    assert sorted(np.concatenate(steps)[10:].tolist()) == list(range(10))
    halves = [EpochSampler(WholeOrder(10, 3), 4, rank, 2) for rank in range(2)]
    for step in (4, 0, 2):  # any step, in any order: nothing is to be restored
        assert np.array_equal(np.concatenate([half.at(step) for half in halves]), steps[step])
    assert not np.array_equal(permutation(50, 3, 0), permutation(50, 3, 1))
    assert permutation(5, 0, 0).tolist() == permutation(5, 0, 0).tolist()
    with pytest.raises(ValueError, match="a multiple of it"):
        EpochSampler(WholeOrder(10, 0), 5, 0, 2)
