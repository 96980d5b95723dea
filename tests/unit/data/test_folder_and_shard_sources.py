"""Folders of pictures and existing shards as sources: each sample comes whole or ends as a row with its reason."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from components.data.folder import list_files_of, pack_folder_shard, scan_folder, split_folder
from components.data.ingest_rows import INGEST_SCHEMA, SourceRow, count_reasons, read_shard_list, write_ingest_table
from components.data.options import FolderOptions, ShardLimits
from components.data.records import Record, read_records, write_records
from components.data.tables import read_table
from components.data.webdataset_source import find_shards, normalise_shard

pytestmark = pytest.mark.unit


def picture(kind: str = "PNG", size: tuple[int, int] = (9, 5)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, kind)
    return buffer.getvalue()


def put(folder: Path, name: str, data: bytes | str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def outline(rows: list[SourceRow]) -> list[tuple[str, str | None, str]]:
    return [(row.origin, row.caption, row.reason) for row in rows]


def test_pictures_with_side_files_are_listed_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.JPG", "a/k.webp", "c.gif", "d.png"):
        put(tmp_path, name, picture())
    for name, text in {"b.txt": "a bee \n", "a/z.txt": "\ufeffzed", "c.txt": " "}.items():
        put(tmp_path, name, text)
    put(tmp_path, "d.txt", b"caf\xe9")
    put(tmp_path, ".hidden/x.png", picture())
    put(tmp_path, "notes.md", "x")
    assert outline(list(scan_folder(tmp_path, FolderOptions()))) == [
        ("a/k.webp", None, "no_caption"),
        ("a/z.JPG", "zed", ""),
        ("b.png", "a bee", ""),
        ("c.gif", None, "no_caption"),
        ("d.png", None, "bad_caption"),
        ("notes.md", None, "other_file"),
    ]
    assert [r.reason for r in scan_folder(tmp_path, FolderOptions(require_caption=False))] == [
        "",
        "",
        "",
        "",
        "bad_caption",
        "other_file",
    ]
    assert [p.name for p in list_files_of(tmp_path, FolderOptions())] == [
        *("k.webp", "z.JPG", "z.txt", "b.png", "b.txt", "c.gif", "c.txt", "d.png", "d.txt"),
    ]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_captions_file_and_the_folder_are_matched_both_ways(tmp_path: Path, kind: str) -> None:
    rows: list[tuple[str, object]] = [
        ("images/1.png", "one"),
        ("./images/2.png", "two"),
        ("images/gone.png", "nowhere"),
        ("images/1.png", "one again"),
        ("../outside.png", "evil"),
        ("/etc/passwd", "evil"),
        ("images/3.png", ""),
        ("", "no name"),
    ]
    for i in range(1, 5):
        put(tmp_path, f"f/images/{i}.png", picture())
    put(tmp_path, "outside.png", picture())
    if kind == "jsonl":
        put(tmp_path, "f/metadata.jsonl", "".join(json.dumps({"file_name": n, "text": t}) + "\n" for n, t in rows))
    else:
        put(tmp_path, "f/metadata.csv", "file_name,text\n" + "".join(f"{n},{t}\n" for n, t in rows))
    found = list(scan_folder(tmp_path / "f", FolderOptions()))
    assert sorted((row.reason, row.origin.partition(" ")[0]) for row in found) == sorted(
        [
            ("", "images/1.png"),
            ("", "images/2.png"),
            ("no_picture", "images/gone.png"),
            ("duplicate_entry", "images/1.png"),
            ("unsafe_path", "../outside.png"),
            ("unsafe_path", "/etc/passwd"),
            ("no_caption", "images/3.png"),
            ("no_caption", "images/4.png"),
            ("bad_row", f"metadata.{kind}:{8 if kind == 'jsonl' else 9}"),
        ]
    )
    assert [row.origin for row in found] == sorted(row.origin for row in found)


def test_captions_may_be_lists_and_all_columns_are_kept(tmp_path: Path) -> None:
    put(tmp_path, "1.png", picture())
    put(
        tmp_path,
        "metadata.jsonl",
        json.dumps({"file_name": "1.png", "captions": ["first", "second"], "licence": "cc0"}),
    )
    (row,) = scan_folder(tmp_path, FolderOptions(caption_column="captions"))
    assert row.caption == "first"
    kept = {"captions": ["first", "second"], "caption_origins": ["captions", "captions"]}
    assert row.metadata == {"file_name": "1.png", "captions": ["first", "second"], "licence": "cc0", "pixsem": kept}


def test_mistakes_of_configuration_are_named(tmp_path: Path) -> None:
    put(tmp_path, "1.png", picture())
    with pytest.raises(ValueError, match="no captions file"):
        list(scan_folder(tmp_path, FolderOptions(captions_file="captions.csv")))
    with pytest.raises(ValueError, match="no folder"):
        list(scan_folder(tmp_path / "none", FolderOptions()))
    put(tmp_path, "metadata.csv", "file_name,caption\n1.png,x\n")
    with pytest.raises(ValueError, match=r"no column 'text'.*'caption'"):
        list(scan_folder(tmp_path, FolderOptions()))
    put(tmp_path, "metadata.jsonl", "{}")
    with pytest.raises(ValueError, match=r"metadata\.jsonl and metadata\.csv; say which"):
        list(scan_folder(tmp_path, FolderOptions()))


def test_packing_keeps_bytes_and_gives_a_row_for_every_sample(tmp_path: Path) -> None:
    put(tmp_path, "f/1.png", picture())
    put(tmp_path, "f/2.jpg", picture("JPEG"))
    put(tmp_path, "f/3.png", b"")
    put(tmp_path, "f/4.png", b"x" * 6000)
    put(tmp_path, "f/5.png", b"no picture, but small")
    put(tmp_path, "f/6.png", picture())
    put(tmp_path, "secret.png", picture())
    (tmp_path / "f" / "7.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(tmp_path / "f" / "8.png")
    for i in range(1, 9):
        put(tmp_path, f"f/{i}.txt", f"caption {i}")
    options = FolderOptions(limits=ShardLimits(max_member_bytes=5000))
    (shard,) = split_folder(tmp_path / "f", options, 100, tmp_path / "lists")
    listed = read_shard_list(shard.path)
    (tmp_path / "f" / "6.png").unlink()
    rows = pack_folder_shard(tmp_path / "f", listed, tmp_path / "out.tar", options)
    assert [(row.origin, row.reason) for row in rows] == [
        ("1.png", ""),
        ("2.jpg", ""),
        ("3.png", "empty_body"),
        ("4.png", "too_large"),
        ("5.png", ""),
        ("6.png", "no_picture"),
        ("7.png", "unsafe_path"),
        ("8.png", "no_picture"),
    ]
    records = {r.key: r for r in read_records(tmp_path / "out.tar") if isinstance(r, Record)}
    assert list(records) == [row.key for row in rows if row.status == "success"]
    assert records["000000000"].parts["png"] == picture() and records["000000001"].parts["txt"] == b"caption 2"
    assert (rows[0].width, rows[0].height, rows[4].width) == (9, 5, None)
    assert rows[0].sha256 == hashlib.sha256(picture()).hexdigest()
    followed = pack_folder_shard(tmp_path / "f", listed, tmp_path / "out.tar", FolderOptions(follow_links=True))
    assert followed[6].status == "success"
    assert count_reasons(rows) == {"empty_body": 1, "no_picture": 2, "too_large": 1, "unsafe_path": 1}
    write_ingest_table(tmp_path / "rows.parquet", rows)
    assert list(read_table(tmp_path / "rows.parquet")) == list(INGEST_SCHEMA)


def test_existing_shards_are_copied_whole_with_a_row_for_every_sample(tmp_path: Path) -> None:
    samples = [
        Record("0", {"jpg": picture("JPEG"), "txt": b"zero", "json": b'{"url": "http://ex.org/0"}', "npy": b"n"}),
        Record("1", {"txt": b"no picture"}),
        Record("2", {"png": picture()}),
        Record("3", {"png": picture(), "txt": b"caf\xe9"}),
        Record("4", {"png": picture(), "txt": b"x", "json": b"{"}),
        Record("5", {"webp": picture("WEBP"), "txt": b"five", "json": b'{"alt": "five in json"}'}),
    ]
    write_records(tmp_path / "in.tar", samples)
    data = (tmp_path / "in.tar").read_bytes()
    (tmp_path / "in.tar").write_bytes(data[: data.index(b"5.webp") + 600])
    assert [r.reason for r in normalise_shard(tmp_path / "in.tar", tmp_path / "out.tar", ShardLimits())][
        -1
    ] == "truncated_tar"
    (tmp_path / "in.tar").write_bytes(data)
    rows = normalise_shard(tmp_path / "in.tar", tmp_path / "out.tar", ShardLimits())
    assert [(row.key, row.reason) for row in rows] == [
        *(("0", ""), ("1", "no_picture"), ("2", "no_caption"), ("3", "bad_caption"), ("4", "bad_metadata"), ("5", "")),
    ]
    assert list(read_records(tmp_path / "out.tar")) == [samples[0], samples[5]]
    assert (rows[0].url, rows[0].caption, rows[0].width) == ("http://ex.org/0", "zero", 9)
    rows = normalise_shard(tmp_path / "in.tar", tmp_path / "out.tar", ShardLimits(), "alt", False, key_prefix="s1_")
    out = {r.key: r for r in read_records(tmp_path / "out.tar") if isinstance(r, Record)}
    assert list(out) == ["s1_0", "s1_2", "s1_3", "s1_5"] and out["s1_5"].parts["txt"] == b"five in json"
    assert find_shards(tmp_path) == [str(tmp_path / "in.tar"), str(tmp_path / "out.tar")]


def test_a_file_that_is_no_shard_gives_one_failed_row_and_an_empty_tar(tmp_path: Path) -> None:
    put(tmp_path, "in.tar", "<html>")
    rows = normalise_shard(tmp_path / "in.tar", tmp_path / "out.tar", ShardLimits())
    assert [(row.key, row.status, row.reason) for row in rows] == [("", "failed", "not_a_tar")]
    assert list(read_records(tmp_path / "out.tar")) == []


def test_real_photo_folders_are_taken_whole(tmp_path: Path) -> None:
    assets = os.environ.get("PIXSEM_ASSETS")
    if not assets:
        pytest.skip("PIXSEM_ASSETS is not set")
    photos = Path(assets, "photos")
    notes = {"LICENSE", "LICENSE.md", "SOURCE.txt", "prompts_and_classes.txt", "references_and_licenses.txt"}

    def listed(name: str, options: FolderOptions) -> list[SourceRow]:
        """Return the rows of a folder without those of the notes that lie beside its photos."""
        return [row for row in scan_folder(photos / name, options) if row.origin not in notes]

    coco = FolderOptions(caption_column="captions")
    rows = listed("coco", coco)
    assert len(rows) == 50 and all(not row.reason and len(row.metadata["captions"]) == 5 for row in rows)
    (shard,) = split_folder(photos / "coco", coco, 1000, tmp_path)
    packed = pack_folder_shard(photos / "coco", read_shard_list(shard.path), tmp_path / "out.tar", coco)
    assert sum(row.status == "success" and row.width > 0 for row in packed) == 50
    assert [row.reason for row in packed if row.status != "success"] == ["other_file"]  # SOURCE.txt
    dogs = listed("dreambooth", FolderOptions(caption_column="caption"))
    assert len(dogs) == 158 and all(row.caption and not row.reason for row in dogs)
    plain = listed("cid22", FolderOptions())
    assert len(plain) == 100 and {row.reason for row in plain} == {"no_caption"}
