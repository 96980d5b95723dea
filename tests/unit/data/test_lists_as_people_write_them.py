"""Lists and folders as people have them: every row and every file is in a count, whatever wrote it."""

from __future__ import annotations

import csv
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data.delimited import find_form
from components.data.folder import find_captions_files, pack_folder_shard, scan_folder
from components.data.list_files import expand_paths, unusual_forms
from components.data.options import FolderOptions, ShardLimits, UrlListOptions
from components.data.records import Record, read_records, write_records
from components.data.samples import encode_metadata, metadata_of
from components.data.shard_index import index_shard
from components.data.url_lists import read_url_list
from components.data.webdataset_source import normalise_shard

pytestmark = pytest.mark.unit
CAPTIONS = [
    'a sign that says "closed"',
    "two lines\nof one caption",
    "a tab\tinside",
    '5" plates',
    '"all of it"',
    "plain",
]
JPEG = b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x04\x00\x04\x01\x01\x11\x00"  # as far as its size is declared


def written(path, separator=",", encoding="utf-8", captions=CAPTIONS):
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=separator, lineterminator="\n")
        writer.writerow(["url", "caption"])
        writer.writerows([f"http://h/{n}.jpg", text] for n, text in enumerate(captions))
    return path


def rows(path, **options):
    return list(read_url_list(path, UrlListOptions(**options)))


@pytest.mark.parametrize(
    ("name", "separator", "encoding"),
    [("a.tsv", "\t", "utf-8"), ("b.csv", "\t", "utf-16"), ("c.csv", ";", "utf-8-sig"), ("d.csv", ",", "utf-16-le")],
)
def test_separator_quoting_and_encoding_are_found_out(tmp_path, name, separator, encoding):
    path = written(tmp_path / name, separator, encoding)
    assert [row.caption for row in rows(path)] == CAPTIONS
    assert find_form(path).separator == separator
    said = unusual_forms([path])
    assert said == ("" if name == "d.csv" and encoding == "utf-8" else f"{name}: {find_form(path).words()}")


def test_a_list_without_quoting_keeps_the_quotes_of_its_captions(tmp_path):
    (tmp_path / "x.tsv").write_text(
        'url\tcaption\nhttp://h/1\t"Rome" by night\nhttp://h/2\tsize 5"\nhttp://h/3\t"open\n'
    )
    assert [row.caption for row in rows(tmp_path / "x.tsv")] == ['"Rome" by night', 'size 5"', '"open']


@pytest.mark.parametrize("closed", [True, False])
def test_a_quote_that_is_never_closed_costs_its_own_row_and_no_other(tmp_path, closed):
    lines = [f"http://h/{n}.jpg,words of row {n}" for n in range(600)]
    lines[3] = 'http://h/3.jpg,"Best of Rome'
    if closed:
        lines[40] = 'http://h/40.jpg,"quoted, with a comma"'
    (tmp_path / "x.csv").write_text("url,caption\n" + "\n".join(lines) + "\n")
    found = rows(tmp_path / "x.csv")
    assert len(found) == 600
    assert [(row.origin, row.reason) for row in found if row.reason] == [("x.csv:5", "bad_row")]
    assert found[40].caption == ("quoted, with a comma" if closed else "words of row 40")


def test_texts_that_older_writers_stored_as_bytes_are_texts(tmp_path):
    table = pa.table({"url": pa.array([b"http://h/1"]), "caption": pa.array(["été".encode()])})
    pq.write_table(table, tmp_path / "x.parquet")
    assert [(row.url, row.caption) for row in rows(tmp_path / "x.parquet")] == [("http://h/1", "été")]


def test_an_address_that_was_copied_with_characters_without_width_is_that_address(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("url,caption\n\u200bhttp://h/1\ufeff ,a cat\n", "utf-8")
    assert [row.url for row in rows(path)] == ["http://h/1"]


def test_jsonl_of_another_encoding_is_refused_by_its_name(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"url": "http://h/1", "caption": "a"}\n', "utf-16")
    with pytest.raises(ValueError, match="utf-16: save it as utf-8"):
        rows(tmp_path / "x.jsonl")


def test_what_json_has_no_word_for_is_null():
    value = {"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": -float("inf")}}
    assert json.loads(encode_metadata(value)) == {"a": None, "b": [None, 1.5], "c": {"d": None}}


def test_folders_of_a_pattern_are_meant_as_they_are_called(tmp_path):
    for folder in ("data[2024]", "{a}"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.tar").write_bytes(b"")
        (tmp_path / folder / "1.tar").write_bytes(b"")
        assert len(expand_paths(f"{tmp_path}/{folder}/*.tar", (".tar",))) == 2
        assert len(expand_paths(f"{tmp_path}/{folder}/{{0..1}}.tar", (".tar",))) == 2


def folder(root, **files):
    for name, data in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def scanned(root, **options):
    return {row.origin: (row.caption, row.reason) for row in scan_folder(root, FolderOptions(**options))}


def test_every_file_of_a_folder_is_in_a_count(tmp_path):
    names = ["a.jfif", "b.JPE", "c.heic", "d.mpo", "e.psd", "readme", "alone.txt"]
    for name in names:
        (tmp_path / name).write_bytes(JPEG)
    for stem in "abcd":
        (tmp_path / f"{stem}.txt").write_text(f"picture {stem}")
    found = scanned(tmp_path)
    assert found == {
        "a.jfif": ("picture a", ""), "b.JPE": ("picture b", ""), "c.heic": ("picture c", ""),
        "d.mpo": ("picture d", ""), "e.psd": (None, "other_file"), "readme": (None, "other_file"),
        "alone.txt": (None, "no_picture"),
    }  # fmt: skip
    rows = list(scan_folder(tmp_path, FolderOptions()))
    keyed = [type(row)(f"{n:04d}", *list(vars(row).values())[1:]) for n, row in enumerate(rows)]
    made = pack_folder_shard(tmp_path, keyed, tmp_path / "out.tar", FolderOptions())
    assert sorted(row.status for row in made) == ["dropped"] * 2 + ["failed"] + ["success"] * 4


def test_a_captions_file_in_each_split_is_read_with_paths_of_its_own_folder(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split / "more").mkdir(parents=True)
        (tmp_path / split / "0.jpg").write_bytes(JPEG)
        (tmp_path / split / "more" / "1.jpg").write_bytes(JPEG)
        lines = [
            {"file_name": "0.jpg", "text": f"one of {split}"},
            {"file_name": "more/1.jpg", "text": f"two of {split}"},
        ]
        (tmp_path / split / "metadata.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert scanned(tmp_path) == {
        f"{split}/{name}": (f"{number} of {split}", "")
        for split in ("train", "test")
        for name, number in (("0.jpg", "one"), ("more/1.jpg", "two"))
    }
    assert len(find_captions_files(tmp_path, FolderOptions())) == 2


def test_a_linked_folder_is_followed_once_where_that_is_asked_for_and_named_where_not(tmp_path):
    folder(tmp_path, photos__a_dot_jpg=JPEG, photos__a_dot_txt=b"one", other__b_dot_jpg=JPEG, other__b_dot_txt=b"two")
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "other")
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "photos")
    assert scanned(tmp_path / "photos")["more"] == (None, "link_not_followed")
    found = scanned(tmp_path / "photos", follow_links=True)
    assert found["more/b.jpg"] == ("two", "") and found["again"] == (None, "link_not_followed") and len(found) == 3


def tar(path, *names):
    with tarfile.open(path, "w") as file:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(JPEG)
            file.addfile(info, io.BytesIO(JPEG))
    return path


def test_a_tar_whose_files_stand_apart_is_read_and_says_so(tmp_path):
    path = tar(tmp_path / "x.tar", "a.jpg", "b.jpg", "c.jpg", "b.txt", "a.txt", "b.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "JPEG", b"words")
        path = tar(tmp_path / "x.tar", "a.jpg", "b.jpg", "c.jpg", "b.txt", "a.txt", "b.jpg")
    made = normalise_shard(path, tmp_path / "out.tar", ShardLimits())
    assert [(row.key, row.status, row.reason) for row in made] == [
        ("a", "success", ""), ("b", "success", ""), ("c", "failed", "no_caption"), ("b", "failed", "duplicate_key"),
    ]  # fmt: skip
    assert "stand together" in made[0].detail
    assert [record.reason for record in read_records(path) if not isinstance(record, Record)] == [
        "unsorted_tar", "unsorted_tar", "duplicate_key",
    ]  # fmt: skip


@pytest.mark.parametrize("prefix", ["./", "", "././"])
def test_one_rule_of_names_holds_for_reading_writing_and_finding(tmp_path, prefix):
    path = tar(tmp_path / "x.tar", f"{prefix}a.b/c.jpg", f"{prefix}a.b/c.source.PNG")
    (record,) = read_records(path)
    assert (record.key, sorted(record.parts)) == ("a.b/c", ["jpg", "source.png"])
    write_records(tmp_path / "y.tar", [record])
    (found,) = index_shard(tmp_path / "y.tar")
    assert (found.key, sorted(found.parts)) == ("a.b/c", ["jpg", "source.png"])
    assert index_shard(path)[0].key == "a.b/c"
    assert metadata_of(record) == {}
