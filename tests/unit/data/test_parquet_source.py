"""Parquet files with the pictures inside: every row comes whole or ends as a row with its reason."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.data.options import ParquetOptions, ShardLimits
from components.data.parquet_source import pack_parquet_shard
from components.data.records import Record, read_records
from components.data.row_groups import Fault, Part, check_columns, count_rows, find_parquet, plan_parts, read_part

pytestmark = pytest.mark.unit


def picture(number: int = 0, kind: str = "PNG", size: tuple[int, int] = (9, 5)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), number * 9 % 256, np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def pack(folder: Path, table: pa.Table, options: ParquetOptions, group: int = 100) -> tuple[list, list[Record]]:
    """(row of each input row, samples) of a table written to parquet and packed as one shard."""
    pq.write_table(table, folder / "a.parquet", row_group_size=group)
    shards = plan_parts(find_parquet(str(folder)), 10_000)
    rows = [row for parts in shards for row in pack_parquet_shard(parts, folder / "out.tar", "00000", options)]
    records = [record for record in read_records(folder / "out.tar") if isinstance(record, Record)]
    return rows, records


def test_a_data_set_that_datasets_wrote_comes_with_its_bytes_captions_and_origins(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    pictures = [picture(i, kind) for i, kind in enumerate(("JPEG", "WEBP", "AVIF", "PNG"))]
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "text": datasets.Value("large_string"),
            "more": datasets.List(datasets.Value("string")),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    data = datasets.Dataset.from_dict(
        {
            "image": [{"bytes": data, "path": f"{i}.bin"} for i, data in enumerate(pictures)],
            "text": [f"text {i}" for i in range(4)],
            "more": [[f"one {i}", f"two {i}"] for i in range(4)],
            "label": [0, 1, 0, 1],
        },
        features=features,
    )
    data.to_parquet(str(tmp_path / "train-00000-of-00001.parquet"))
    (parts,) = plan_parts(find_parquet(str(tmp_path)), 100)
    options = ParquetOptions(captions={"alt": "text", "recaption": "more"}, metadata_columns=("label",))
    rows = pack_parquet_shard(parts, tmp_path / "out.tar", "00007", options)
    assert [(row.status, row.caption, row.key) for row in rows] == [
        ("success", f"text {i}", f"0000700{i:03d}") for i in range(4)
    ]
    assert rows[0].origin == "train-00000-of-00001.parquet:0" and (rows[0].width, rows[0].height) == (9, 5)
    records = list(read_records(tmp_path / "out.tar"))
    for i, (record, extension) in enumerate(zip(records, ("jpg", "webp", "avif", "png"), strict=True)):
        assert isinstance(record, Record)
        assert record.parts[extension] == pictures[i] and record.parts["txt"] == f"text {i}".encode()
        assert json.loads(record.parts["json"]) == {
            "label": i % 2,
            "file_name": f"{i}.bin",
            "pixsem": {
                "captions": [f"text {i}", f"one {i}", f"two {i}"],
                "caption_origins": ["alt", "recaption", "recaption"],
            },
        }


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.struct([("bytes", pa.large_binary())])]
)
def test_pictures_are_read_from_every_binary_type(tmp_path: Path, kind: pa.DataType) -> None:
    values: list = [picture(i) for i in range(3)]
    column = [{"bytes": value} for value in values] if pa.types.is_struct(kind) else values
    table = pa.table({"image": pa.array(column, kind), "caption": ["a", "b", "c"]})
    rows, records = pack(tmp_path, table, ParquetOptions())
    assert [row.status for row in rows] == ["success"] * 3
    assert [record.parts["png"] for record in records] == values
    assert all(json.loads(record.parts["json"]) == {} for record in records)  # one caption: the txt says it


CAPTIONS = {
    "string": (pa.array(["a", "b", " "]), "caption", ["a", "b", None]),
    "large": (pa.array(["a", "b", None], pa.large_string()), "caption", ["a", "b", None]),
    "dictionary": (pa.array(["a", "a", None]).dictionary_encode(), "caption", ["a", "a", None]),
    "list": (pa.array([["a", "b"], ["c"], []]), "caption", ["a", "c", None]),
    "struct": (pa.array([{"en": "a", "n": 1}, {"en": "b", "n": 2}, None]), "caption", ["a", "b", None]),
    "nested": (pa.array([[{"raw": "a"}, {"raw": "b"}], [{"raw": "c"}], []]), "caption.raw", ["a", "c", None]),
}


@pytest.mark.parametrize("name", list(CAPTIONS))
def test_captions_are_read_from_every_type_and_a_missing_one_is_a_reason(tmp_path: Path, name: str) -> None:
    column, named, texts = CAPTIONS[name]
    table = pa.table({"image": [picture(i) for i in range(3)], "caption": column})
    rows, records = pack(tmp_path, table, ParquetOptions(caption_column=named))
    assert [row.caption for row in rows] == texts
    assert [row.reason for row in rows] == ["", "", "no_caption"]
    assert [record.parts["txt"].decode() for record in records] == texts[:2]
    found = json.loads(records[0].parts["json"])
    if name in ("list", "nested"):
        assert found["pixsem"] == {"captions": ["a", "b"], "caption_origins": [named, named]}
    rows, _ = pack(tmp_path, table, ParquetOptions(caption_column=named, require_caption=False))
    assert [row.status for row in rows] == ["success"] * 3


def test_every_bad_picture_is_a_row_with_its_reason(tmp_path: Path) -> None:
    values = [
        {"bytes": picture(), "path": None},
        None,
        {"bytes": None, "path": "/etc/passwd"},
        {"bytes": b"", "path": "a.png"},
        {"bytes": b"<html>", "path": "a.html"},
        {"bytes": picture() + bytes(9000), "path": "big.png"},
        {"bytes": b"odd but named", "path": "a.PPM"},
    ]
    table = pa.table({"image": values, "caption": [str(i) for i in range(7)]})
    rows, records = pack(tmp_path, table, ParquetOptions(limits=ShardLimits(max_member_bytes=5000)))
    assert [row.reason for row in rows] == [
        "", "no_picture", "no_picture", "empty_body", "not_an_image", "too_large", "",
    ]  # fmt: skip
    assert "write it with the pictures in" in rows[2].detail
    assert [sorted(record.parts)[1] for record in records] == ["png", "ppm"]


def test_text_that_is_no_utf8_fails_its_row_alone(tmp_path: Path) -> None:
    offsets, data = pa.py_buffer(np.array([0, 2, 4, 6], np.int32).tobytes()), pa.py_buffer(b"ab\xff\xfecd")
    captions = pa.Array.from_buffers(pa.string(), 3, [None, offsets, data])
    rows, records = pack(tmp_path, pa.table({"image": [picture()] * 3, "caption": captions}), ParquetOptions())
    assert [row.reason for row in rows] == ["", "bad_row", ""]
    assert len(records) == 2


def test_row_groups_are_the_shards_and_rows_are_numbered_within_their_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        table = pa.table({"image": [picture(i) for i in range(10)], "caption": [f"{name}{i}" for i in range(10)]})
        (tmp_path / name).mkdir()
        pq.write_table(table, tmp_path / name / "x.parquet", row_group_size=4)
    shards = plan_parts(find_parquet(str(tmp_path)), 8)
    assert [[(part.name, part.first, part.end, part.row, part.rows) for part in parts] for parts in shards] == [
        [("a/x.parquet", 0, 2, 0, 8)],
        [("a/x.parquet", 2, 3, 8, 2), ("b/x.parquet", 0, 1, 0, 4)],
        [("b/x.parquet", 1, 3, 4, 6)],
    ]
    rows = [
        row
        for number, parts in enumerate(shards)
        for row in pack_parquet_shard(parts, tmp_path / "out.tar", f"{number:05d}", ParquetOptions())
    ]
    assert [row.caption for row in rows] == [f"{name}{i}" for name in "ab" for i in range(10)]
    assert [row.origin for row in rows] == [f"{name}/x.parquet:{i}" for name in "ab" for i in range(10)]
    assert len({row.key for row in rows}) == 20
    assert [len(parts) for parts in plan_parts(find_parquet(str(tmp_path)), 1)] == [1] * 6  # a group is never cut


def test_a_damaged_group_fails_its_own_rows_and_a_cut_file_is_one_row(tmp_path: Path) -> None:
    table = pa.table({"image": [picture(i) for i in range(12)], "caption": [str(i) for i in range(12)]})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=4)
    whole = path.read_bytes()
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    at = column.dictionary_page_offset or column.data_page_offset
    path.write_bytes(whole[:at] + b"\xff" * 60 + whole[at + 60 :])
    (tmp_path / "b.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c.parquet").write_bytes(b"")
    (parts,) = plan_parts(find_parquet(str(tmp_path)), 100)
    rows = pack_parquet_shard(parts, tmp_path / "out.tar", "00000", ParquetOptions())
    assert [row.reason for row in rows] == [""] * 4 + ["bad_row_group"] * 4 + [""] * 4 + ["bad_parquet"] * 2
    assert [row.key for row in rows[-2:]] == ["", ""] and rows[-2].origin == "b.parquet"
    assert len(list(read_records(tmp_path / "out.tar"))) == 8


def test_a_file_without_the_column_fails_its_rows_and_a_configured_one_is_named_with_the_nearest(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [picture()], "texts": ["a"], "info": [{"width": 3}]}), path)
    for column, message in (
        ("text", r"no column 'text'; its columns are 'image', 'texts', 'info'; did you mean 'texts'"),
        ("info.hight", r"no column 'info.hight'.*'info.width'"),
    ):
        with pytest.raises(ValueError, match=message):
            check_columns(str(path), [column], ["image"])
    with pytest.raises(
        ValueError, match=r"'info' is struct<width: int64>, and pictures are.*that hold pictures: image"
    ):
        check_columns(str(path), [], ["info"])
    (values,) = read_part(Part(str(path), "a", 0, 1, 0, 1), ["image", "text"])
    assert values[0] == 0 and isinstance(values[1], Fault) and values[1].reason == "missing_column"
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match=r"no \.parquet file"):
        find_parquet(str(tmp_path / "none"))
    assert count_rows(str(path)) == 1


def test_a_large_group_is_never_in_memory_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its columns are read in batches of a bounded size, and pages, which are the least that is read, in turn."""
    from components.data import row_groups

    table = pa.table({"image": [bytes(50_000)] * 400, "caption": ["x"] * 400})
    pages = {"write_batch_size": 10, "data_page_size": 100_000, "use_dictionary": False}
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=400, compression="none", **pages)
    monkeypatch.setattr(row_groups, "BATCH_BYTES", 500_000)
    before, most = pa.total_allocated_bytes(), 0
    for _, values in read_part(Part(str(tmp_path / "a.parquet"), "a", 0, 1, 0, 400), ["image", "caption"]):
        assert isinstance(values, dict)
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 6_000_000  # of 20 MB
