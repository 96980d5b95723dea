"""Latents joined with the index: each row with its own side and texts, and batches in the order that a walk through all
rows gives.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from components.data.latent_reader import LatentDataset
from components.data.latents import LatentSpec, LatentWriter
from components.data.part_rows import PartRows, open_part, write_part
from components.generator.text import token_rows, train_text_tokenizer
from pipelines.config.compose import compose_config
from pipelines.stage import StageContext, derive_seed, source_of
from pipelines.stages.data.parquet_rows import write_rows
from pipelines.stages.generator import index_latents
from pipelines.stages.generator.index_latents import joined, of_index
from pipelines.stages.generator.latent_batches import WINDOW, LatentSource, open_samples, text_shares
from pipelines.stages.indexed_rows import INDEX_SCHEMA, ROWS_SCHEMA
from pipelines.stages.mixing import Draw
from pipelines.stages.tokenizer.encode_latents import KEYS_SCHEMA
from pipelines.store.artifacts import Artifact, FileEntry, Manifest, Work
from pipelines.store.files import Store, sha256_file
from pipelines.training.worker import BuildContext
from pipelines.workflow.graph import build_workflow
from tests.unit.pipelines.stages.data.stage_chain import map_here

pytestmark = pytest.mark.unit
MIX = {"alt": 1.0, "recaption": 3.0}
COLOURS = ("red", "blue", "green", "pink", "grey")


def indexed_rows(name: str, rng: np.random.Generator) -> list[dict[str, Any]]:
    """A part of an index: samples with one caption, several or none, and pairs of every other one."""
    rows = []
    for n in range(12):
        key, held = f"{n:03d}", n % 4 == 3
        caption = f"a {'very ' * int(rng.integers(4))}{COLOURS[n % 5]} thing {n}"
        several = [caption, f"thing {n}", f"some {n} thing"][: int(rng.integers(1, 4))]
        texts = {0: None, 1: several, 2: []}[n % 3]
        origins = ["alt", *["recaption"] * (len(several) - 1)] if n % 3 == 1 and n % 2 else None
        common = {"group": f"{name}/{key}", "offset": 1, "size": 1, "digest": 1, "held_out": held}
        rows.append({**common, "shard": f"c/{name}.tar", "key": key, "role": "picture", "instruction": "",
                     "caption": caption if texts != [] else "", "texts": texts, "origins": origins})  # fmt: skip
        if n % 2 == 0:
            told = [f"make it {COLOURS[n % 5]}", "change it"] if n % 4 == 0 else None
            for role in ("source", "target"):
                rows.append({**common, "shard": f"e/{name}.tar", "key": f"{key}_00", "role": role,
                             "caption": f"an edited thing {n}" if n % 3 else "", "instruction": "do it",
                             "texts": told if role == "target" else None, "origins": None})  # fmt: skip
    return rows


def committed(store: Store, stage: str, inputs: dict[str, dict[str, str]]) -> Artifact:
    """Commit what lies in an artifact's folder."""
    folder = Path(store.local(f"artifacts/{stage}/f"))
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [FileEntry(p.relative_to(folder).as_posix(), p.stat().st_size, sha256_file(p)) for p in paths]
    manifest = Manifest(stage, "1", "f", stage, inputs, {}, {}, files, {}, {}, {}, "", "", 0.0)
    store.write_json(f"artifacts/{stage}/f/manifest.json", manifest.to_json())
    return Artifact(store, manifest)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Any]:
    """A store with latents of three shards of two sources and their edits, some of them mirrored, and their join."""
    store = Store(str(tmp_path_factory.mktemp("store")))
    store.prepare()
    rng = np.random.default_rng(3)
    spec = {kind: LatentSpec(1, 2, 2, "d" * 64, (0.0,), (1.0,), kind) for kind in ("captions", "edits")}
    latents, index = (Path(store.local(f"artifacts/{stage}/f")) for stage in ("encode_latents", "index"))
    for folder in (latents / "captions", latents / "edits", latents / "keys", index / "index"):
        folder.mkdir(parents=True)
    indexed: dict[str, list[dict[str, Any]]] = {}
    for name in ("drawn-00000", "drawn-00001", "photos-00000"):
        indexed[name] = rows = indexed_rows(name, rng)
        columns = {column: [row[column] for row in rows] for column in INDEX_SCHEMA}
        write_part(index / f"index/{name}.arrow", columns, INDEX_SCHEMA)
        for kind, role in (("captions", "picture"), ("edits", "target")):
            own = [row for row in rows if row["role"] == role]
            keys = [(row["key"], row["caption" if kind == "captions" else "instruction"] or "no words") for row in own]
            table = [{"key": k, "text": t, "flipped": f} for f in (False, True) for k, t in keys[: 5 if f else 99]]
            with LatentWriter(latents / kind / f"{name}.arrow", spec[kind]) as writer:
                values = rng.standard_normal((len(table), 1, 2, 2)).astype(np.float16)
                said = [[row[column] for row in table] for column in KEYS_SCHEMA]
                writer.add(said[0], said[1], values, -values if kind == "edits" else None, said[2])
            write_rows(latents / f"keys/{kind}-{name}.parquet", table, KEYS_SCHEMA)
    made = {
        "index": committed(store, "index", {}),
        "encode_latents": committed(store, "encode_latents", {"train_tokenizer": {"digest": "d" * 64}}),
    }
    stage = next(stage for stage in build_workflow() if stage.name == "index_latents")
    work = Work(store, stage.name, "f", {})
    context = StageContext(stage, compose_config(["preset=tiny"]), made, work, logging.getLogger("test"), map_here)
    index_latents.run(context)
    assert context.counts["kept"] == context.counts["input"] == 3 * (12 + 5 + 6 + 5)
    manifest = Manifest("index_latents", "1", "f", "", {}, {}, {}, context.outputs, context.counts, {}, {}, "", "", 0.0)
    made["index_latents"] = work.commit(manifest)
    return {"store": store, "inputs": made, "indexed": indexed}


def opened(inputs: dict[str, Any], scratch: Path, given: dict[str, Any]) -> Any:
    config = compose_config(["preset=tiny", "generator.captions={alt: 1, recaption: 3}"])
    return open_samples(BuildContext(config, inputs["inputs"], 5, inputs["store"], scratch, 0, 1, 1, given))


def walked(inputs: dict[str, Any], given: dict[str, Any]) -> list[dict[str, list[tuple[int, Any, Any, str]]]]:
    """The rule in its plainest form: all rows in order, each looked up by its key; for both sides."""
    store, latents = inputs["store"], inputs["inputs"]["encode_latents"]
    dataset = LatentDataset([store.local(path) for path in latents.files("*.arrow")], None)
    sides: list[dict[str, list]] = [{"captions": [], "edits": []} for _ in range(2)]
    shards = [path for path, size in zip(dataset.paths, dataset.shard_sizes, strict=True) for _ in range(size)]
    for number, path in enumerate(shards):
        row, edits = dataset.row(number), path.parent.name == "edits"
        name = PurePosixPath(path).stem
        wanted = ("target" if edits else "picture", row.key)
        (about,) = [r for r in inputs["indexed"][name] if (r["role"], r["key"]) == wanted]
        side = sides[about["held_out"]]
        own = tuple(about["texts"]) if about["texts"] is not None else (row.text,)
        own = own[:1] if row.flipped else own
        origins = None if edits else about["origins"]
        shares = text_shares(origins, MIX, len(own))
        if own:
            side["edits" if edits else "captions"].append((number, own, shares, source_of(name)))
        served = given.get("captions_of") is None or source_of(name) in given["captions_of"]
        if edits and about["caption"] and not row.flipped and served:
            side["captions"].append((number, (about["caption"],), None, source_of(name)))
    return sides


def shuffled(rows: int, seed: int, epoch: int) -> list[int]:
    return np.argsort(np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(rows), kind="stable").tolist()


def steps_of(side: dict[str, list], words: Any, batch: int, share: float, seed: int, window: int) -> list[list]:
    """The steps of a window by the same plain rule, as (number, text)."""
    edits = round(batch * WINDOW * share)
    rng, chosen = np.random.default_rng([seed % 2**63, window]), []
    for kind, count in (("captions", batch * WINDOW - edits), ("edits", edits)):
        rows = side[kind]
        for slot in range(window * count, (window + 1) * count):
            epoch, place = divmod(slot, len(rows))
            number, texts, shares, _ = rows[shuffled(len(rows), derive_seed(seed, kind) % 2**63, epoch)[place]]
            which = int(rng.integers(len(texts))) if shares is None else int(rng.choice(len(texts), p=shares))
            chosen.append((number, texts[which]))
    lengths = [len(ids) for ids in token_rows(words, [text for _, text in chosen], 16)]
    ordered = sorted(shuffled(len(chosen), seed % 2**63, window), key=lambda i: lengths[i])
    steps = [[chosen[i] for i in ordered[k * batch : (k + 1) * batch]] for k in range(WINDOW)]
    return [steps[i] for i in shuffled(WINDOW, seed % 2**63, window)]


@pytest.mark.parametrize("given", [{}, {"captions_of": {"photos": None}}])
def test_the_full_shuffle_takes_the_rows_and_texts_that_a_walk_through_all_of_them_gives(inputs, tmp_path, given):
    samples = opened(inputs, tmp_path, given)
    sides = walked(inputs, given)
    for side, plain in zip(samples, sides, strict=True):
        for kind in ("captions", "edits"):
            rows = getattr(side, kind)
            starts = np.cumsum([0, *LatentDataset(local(inputs), None).shard_sizes])
            found = [rows.row(n) for n in range(len(rows))]
            assert [(int(starts[r.place[0]]) + r.place[1], tuple(r.texts), r.shares) for r in found] == [
                row[:3] for row in plain[kind]
            ]
    words = train_text_tokenizer(text for rows in sides[0].values() for row in rows for text in row[1])
    made = [LatentSource(samples[0], words, 16, 6, 0.25, 0, Draw(11, rank, 2)) for rank in range(2)]
    dataset = LatentDataset(local(inputs), None)
    for step in (0, 3, 29, 14):
        expected = steps_of(sides[0], words, 6, 0.25, 11, step // WINDOW)[step % WINDOW]
        for rank in range(2):
            batch, keys = made[rank].batch(step)
            own = expected[rank::2]
            assert keys == dataset.keys([number for number, _ in own])
            assert np.array_equal(batch["latents"], dataset.batch([number for number, _ in own]).latents)
            assert [words.decode(i[t]) for i, t in zip(batch["ids"], batch["text"], strict=True)] == [
                text for _, text in own
            ]


def local(inputs: dict[str, Any]) -> list[Path]:
    return [inputs["store"].local(path) for path in inputs["inputs"]["encode_latents"].files("*.arrow")]


def test_a_sample_and_a_pair_of_the_same_key_keep_their_own_sides_and_texts():
    rows = [  # the pairs of `a`, which is trained on, are called like a sample that is held out
        ("a", "picture", False, "a cat", ["a cat", "cats"], ["alt", "other"]),
        ("a_00", "picture", True, "a dog", None, None),
        ("a_00", "source", False, "a cat", None, None),
        ("a_00", "target", False, "a red cat", ["make it red", "paint it red"], None),
    ]
    names = ("key", "role", "held_out", "caption", "texts", "origins")
    table = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    latents = {"key": ["a", "a_00", "a"], "text": ["a cat", "a dog", "a cat"], "flipped": [False, False, True]}
    captions = list(joined(latents, of_index(table, edits=False), edits=False))
    assert [(row["held_out"], row["texts"], row["origins"]) for row in captions] == [
        (False, ["a cat", "cats"], ["alt", "other"]), (True, ("a dog",), None), (False, ["a cat"], None)
    ]  # fmt: skip
    latents = {"key": ["a_00", "a_00"], "text": ["make it red"] * 2, "flipped": [False, True]}
    edits = list(joined(latents, of_index(table, edits=True), edits=True))
    assert [(row["role"], row["held_out"], row["texts"]) for row in edits] == [
        ("edit", False, ["make it red", "paint it red"]), ("caption_of_edit", False, ["a red cat"]),
        ("edit", False, ["make it red"]),
    ]  # fmt: skip


def test_a_part_that_is_damaged_or_not_as_it_was_counted_is_refused_by_its_name(inputs, tmp_path):
    (path, *_) = sorted(Path(inputs["store"].local("artifacts/index_latents/f/rows")).iterdir())
    with pytest.raises(ValueError, match=r"captions-drawn-00000\.arrow has \d+ rows of what is wanted, 3 were counted"):
        PartRows([3], lambda _: path, ROWS_SCHEMA, {"caption"}, False).row(0, ("key",))
    with pytest.raises(ValueError, match="its columns are others"):
        open_part(path, INDEX_SCHEMA)
    with pytest.raises(ValueError, match="there is no part at"):
        open_part(tmp_path / "none.arrow", ROWS_SCHEMA)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    whole = open_part(path, ROWS_SCHEMA).to_pydict()
    refused = 0
    for _ in range(200):
        changed = bytearray(data[: rng.integers(len(data))] if rng.integers(3) == 0 else data)
        if len(changed) == len(data):
            changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        (tmp_path / "damaged.arrow").write_bytes(changed)
        try:
            found = open_part(tmp_path / "damaged.arrow", ROWS_SCHEMA).to_pydict()
            assert set(found) == set(whole)  # bits inside the values are the store's hashes' to guard
        except ValueError as error:
            refused += 1
            assert "damaged.arrow" in str(error)
    assert refused > 50


def test_parts_of_equal_rows_are_equal_bytes(tmp_path):
    columns = {
        "shard": ["a"], "row": [1], "key": ["k"], "role": ["edit"], "held_out": [True], "texts": [["x"]],
        "origins": [None],
    }  # fmt: skip
    for name in ("a", "b"):
        write_part(tmp_path / name, columns, ROWS_SCHEMA)
    assert len({hashlib.sha256((tmp_path / name).read_bytes()).digest() for name in ("a", "b")}) == 1
    assert SimpleNamespace(**open_part(tmp_path / "a", ROWS_SCHEMA).to_pydict()).texts == [["x"]]
