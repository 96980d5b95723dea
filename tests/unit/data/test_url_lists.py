"""URL lists of every kind become rows and shard lists: each row is there once, usable or with its reason, mistakes are
named.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data.ingest_rows import SourceRow, read_shard_list, split_rows
from components.data.list_files import expand_paths
from components.data.options import UrlListOptions
from components.data.url_lists import find_url_lists, read_url_list, split_url_lists

pytestmark = pytest.mark.unit

OPTIONS = UrlListOptions(metadata_columns=("licence",))
ROWS = [("http://ex.org/1.jpg", "one, two", "cc0"), ("http://ex.org/ü.jpg", 'say "hi"', "by")]


def outline(rows: list[SourceRow]) -> list[tuple[str | None, str | None, str]]:
    return [(row.url, row.caption, row.reason) for row in rows]


def read(path: Path, options: UrlListOptions = OPTIONS) -> list[SourceRow]:
    return list(read_url_list(path, options))


def write_list(folder: Path, kind: str) -> Path:
    path = folder / f"list.{kind}"
    objects = [{"url": u, "caption": c, "licence": x} for u, c, x in ROWS]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(objects), str(path))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in objects))
    elif kind == "json":
        path.write_text(json.dumps(objects))
    elif kind == "csv":
        path.write_text(
            '\ufeffurl,caption,licence\nhttp://ex.org/1.jpg,"one, two",cc0\nhttp://ex.org/ü.jpg,"say ""hi""",by\n'
        )
    else:
        path.write_text("url\tcaption\tlicence\n" + "".join("\t".join(row) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "json", "jsonl"])
def test_every_kind_of_list_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    rows = read(write_list(tmp_path, kind))
    assert outline(rows) == [(url, caption, "") for url, caption, _ in ROWS]
    assert [row.metadata for row in rows] == [{"licence": "cc0"}, {"licence": "by"}]
    assert all(row.origin.startswith(f"list.{kind}:") for row in rows)


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "json", "jsonl"])
def test_a_missing_column_is_named_with_those_there_and_the_nearest(tmp_path: Path, kind: str) -> None:
    path = write_list(tmp_path, kind)
    with pytest.raises(ValueError, match=r"no column 'URL'.*'caption'.*did you mean 'url'"):
        read(path, UrlListOptions(url_column="URL"))
    with pytest.raises(ValueError, match="no column 'text'"):
        read(path, UrlListOptions(caption_column="text"))


def test_lists_without_a_header_row_are_named_by_configuration(tmp_path: Path) -> None:
    path = tmp_path / "cc3m.tsv"
    path.write_text('a "quoted start\thttp://ex.org/1.jpg\n"half a quote\thttp://ex.org/2.jpg\n')
    rows = read(path, UrlListOptions(column_names=("caption", "url")))
    assert outline(rows) == [
        ("http://ex.org/1.jpg", 'a "quoted start', ""),
        ("http://ex.org/2.jpg", '"half a quote', ""),
    ]
    with pytest.raises(ValueError, match="name the columns with column_names"):
        read(path, UrlListOptions())


def test_rows_that_cannot_be_used_stay_in_place_with_their_reason(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(
        b"url,caption\n"
        b"http://ex.org/1.jpg,fine\n"
        b",no address\n"
        b"http://ex.org/2.jpg,  \n"
        b"http://ex.org/3.jpg,caf\xe9\n"
        b"http://ex.org/\xff.jpg,x\n"
        b"too,many,fields\n"
        b"\n"
        b"http://ex.org/4.jpg," + b"x" * 200_000 + b"\n"
        b"http://ex.org/5.jpg,fine too\n"
    )
    rows = read(path, UrlListOptions())
    assert [row.reason for row in rows] == [
        *("", "no_url", "no_caption", "bad_caption", "no_url", "bad_row", "bad_row", ""),
    ]
    kept = read(path, UrlListOptions(require_caption=False))
    assert outline(kept)[2] == ("http://ex.org/2.jpg", None, "")


def test_json_rows_that_are_no_objects_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_bytes(
        b'{"url": "http://ex.org/1.jpg"}\n{oops\n[1]\n\n'
        b'{"caption": ["c", "d"], "url": "u"}\n{"url": 3, "caption": "x"}\n'
    )
    assert [row.reason for row in read(path, UrlListOptions())] == ["no_caption", "bad_row", "bad_row", "", "no_url"]
    (tmp_path / "list.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match="must hold a JSON array"):
        read(tmp_path / "list.json", UrlListOptions())
    (tmp_path / "bad.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="cannot be read as JSON"):
        read(tmp_path / "bad.json", UrlListOptions())


def test_plain_text_lists_have_one_address_a_line(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("http://ex.org/1.jpg\n\nhttp://ex.org/2.jpg\n")
    rows = read(path, UrlListOptions(caption_column=None))
    assert outline(rows) == [("http://ex.org/1.jpg", None, ""), ("http://ex.org/2.jpg", None, "")]
    with pytest.raises(ValueError, match="set caption_column to null"):
        read(path, UrlListOptions())


def test_shard_lists_have_stable_names_and_keys_and_lose_no_row(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("url,caption\n" + "".join(f"http://ex.org/{i}.jpg,c{i}\n" for i in range(25)))
    lists = split_url_lists([path, path], UrlListOptions(), 20, tmp_path / "lists")
    assert [(shard.name, shard.rows) for shard in lists] == [("00000", 20), ("00001", 20), ("00002", 10)]
    rows = [row for shard in lists for row in read_shard_list(shard.path)]
    assert [row.key for row in rows[:2]] == ["000000000", "000000001"] and rows[20].key == "000010000"
    assert [row.url for row in rows] == [f"http://ex.org/{i}.jpg" for i in range(25)] * 2
    again = split_url_lists([path, path], UrlListOptions(), 20, tmp_path / "again")
    assert [Path(a.path).read_bytes() for a in lists] == [Path(b.path).read_bytes() for b in again]
    assert sorted(p.name for p in (tmp_path / "lists").iterdir()) == ["00000.parquet", "00001.parquet", "00002.parquet"]


def test_rows_survive_the_shard_list_unchanged(tmp_path: Path) -> None:
    rows = [
        SourceRow("", "a:1", "http://ü", "cap\ntion", {"n": 1, "l": ["x", None], "d": {"ü": 1.5}}),
        SourceRow("", "a:2", None, None, {}, "bad_row", "why"),
    ]
    (shard,) = split_rows(rows, 10, tmp_path)
    read_back = read_shard_list(shard.path)
    assert [(r.origin, r.url, r.caption, r.metadata, r.reason, r.detail) for r in read_back] == [
        (r.origin, r.url, r.caption, r.metadata, r.reason, r.detail) for r in rows
    ]
    assert split_rows([], 10, tmp_path / "none") == []


def test_files_are_found_by_path_folder_glob_and_braces(tmp_path: Path) -> None:
    for name in ("00000.tar", "00001.tar", "00002.tar", "a.csv"):
        (tmp_path / name).write_text("x")
    tars = [tmp_path / f"{i:05d}.tar" for i in range(3)]
    assert expand_paths(tmp_path, (".tar",)) == tars
    assert expand_paths(f"{tmp_path}/*.tar", (".tar",)) == tars
    assert expand_paths(f"{tmp_path}/{{00000..00002}}.tar", (".tar",)) == tars
    assert find_url_lists(tmp_path) == [tmp_path / "a.csv"]
    with pytest.raises(ValueError, match=r"names 2 files that are not there, first .*00003\.tar"):
        expand_paths(f"{tmp_path}/{{00002..00004}}.tar", (".tar",))
    for spec in (f"{tmp_path}/*.zip", str(tmp_path / "none"), str(tmp_path)):
        with pytest.raises(ValueError, match="give a file, a folder or a pattern"):
            expand_paths(spec, (".zip",))


def test_real_lists_are_read_whole() -> None:
    assets = os.environ.get("PIXSEM_ASSETS")
    if not assets:
        pytest.skip("PIXSEM_ASSETS is not set")
    lists = Path(assets, "ingest", "url_lists")
    cc3m = read(lists / "Validation_GCC-1.1.0-Validation.tsv", UrlListOptions(column_names=("caption", "url")))
    assert len(cc3m) == 15_833
    assert sum(row.reason == "" for row in cc3m) > 15_800
    coco = read(lists / "captions_val2017.json", UrlListOptions(url_column="coco_url", metadata_columns=("captions",)))
    assert len(coco) == 5000 and all(row.reason == "" and len(row.metadata["captions"]) >= 5 for row in coco)
    cats = read(lists / "open_image_v4_subset.csv", UrlListOptions(url_column="URL", caption_column="Category"))
    assert len(cats) > 100 and all(row.reason == "" for row in cats)
    tests = Path(assets, "ingest", "img2dataset", "tests", "test_files")
    laion = read(tests / "test_1000.parquet", UrlListOptions(url_column="URL", caption_column="TEXT"))
    assert len(laion) == 1000
    assert len(read(tests / "test_1000.txt", UrlListOptions(caption_column=None))) == 1000
