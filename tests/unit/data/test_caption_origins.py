"""Several captions of one picture are kept with their origins, whatever kind of source they come from."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from components.data.caption_origins import Captions, gather_captions, with_captions
from components.data.folder import pack_folder_shard, split_folder
from components.data.ingest_rows import read_shard_list
from components.data.options import FolderOptions, ShardLimits, UrlListOptions
from components.data.records import Record, read_records, write_records
from components.data.samples import BadRecord
from components.data.url_lists import read_url_list
from components.data.webdataset_source import normalise_shard

pytestmark = pytest.mark.unit
BOTH = {"captions": ["a cat", "a long cat"], "caption_origins": ["alt", "long"]}


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 5)).save(buffer, "PNG")
    return buffer.getvalue()


def test_texts_lists_and_dicts_are_gathered_in_order_and_anything_else_is_a_reason() -> None:
    found = gather_captions("k", {"alt": " a ", "more": ["b", "", None, "c"], "by": {"en": "d", "n": 7}, "none": None})
    assert found == Captions(("a", "b", "c", "d"), ("alt", "more", "more", "by.en"))
    assert gather_captions("k", {"alt": None}) == Captions() and Captions().first is None
    for value in (7, b"x", ["a", 7], "\ud800", "x" * 200_000, ["x"] * 1000, [[[[["deep"]]]]]):
        bad = gather_captions("k", {"alt": value})
        assert isinstance(bad, BadRecord) and bad.reason == "bad_caption"


def test_one_caption_changes_no_metadata_and_several_never_overwrite_what_is_the_sources() -> None:
    one, two = Captions(("a",), ("alt",)), Captions(("a", "b"), ("alt", "long"))
    metadata = {"x": 1}
    assert with_captions(metadata, one, named=False) is metadata
    assert with_captions(metadata, one, named=True) == {
        "x": 1,
        "pixsem": {"captions": ["a"], "caption_origins": ["alt"]},
    }
    ours = {"captions": ["a", "b"], "caption_origins": ["alt", "long"]}
    assert with_captions({"pixsem": "mine"}, two, named=False) == {"source_pixsem": "mine", "pixsem": ours}
    assert with_captions({"pixsem": {"held_out": True}}, two, named=False) == {"pixsem": {"held_out": True, **ours}}


def test_url_lists_folders_and_shards_keep_all_captions_that_are_named(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("url,short,long\nhttp://x/a.png,a cat,a long cat\nhttp://x/b.png,,\n")
    named = {"alt": "short", "long": "long"}
    first, second = read_url_list(tmp_path / "list.csv", UrlListOptions(captions=named))
    assert first.caption == "a cat" and first.metadata == {"pixsem": BOTH}
    assert second.reason == "no_caption"
    with pytest.raises(ValueError, match=r"no column 'lang'.*did you mean 'long'"):
        list(read_url_list(tmp_path / "list.csv", UrlListOptions(captions={"alt": "lang"})))

    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture())
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "short": "a cat", "long": ["a long cat"]}))
    options = FolderOptions(captions=named)
    (shard,) = split_folder(folder, options, 10, tmp_path / "lists")
    (row,) = pack_folder_shard(folder, read_shard_list(shard.path), tmp_path / "f.tar", options)
    assert row.caption == "a cat"
    (record,) = read_records(tmp_path / "f.tar")
    assert isinstance(record, Record) and json.loads(record.parts["json"])["pixsem"] == BOTH

    parts = {"png": picture(), "txt": b"a cat", "json": b'{"recaption": "a long cat", "url": "u"}'}
    write_records(tmp_path / "w.tar", [Record("k", parts)])
    named = {"alt": "txt", "long": "recaption"}
    (row,) = normalise_shard(tmp_path / "w.tar", tmp_path / "o.tar", ShardLimits(), captions=named)
    (record,) = read_records(tmp_path / "o.tar")
    assert isinstance(record, Record) and (row.caption, row.url) == ("a cat", "u")
    assert json.loads(record.parts["json"]) == {"recaption": "a long cat", "url": "u", "pixsem": BOTH}
    normalise_shard(tmp_path / "w.tar", tmp_path / "o.tar", ShardLimits())
    assert [r.parts for r in read_records(tmp_path / "o.tar") if isinstance(r, Record)] == [parts]  # as it came
