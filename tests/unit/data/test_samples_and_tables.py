"""Captions and metadata of strangers' samples end as values or reasons; tables are typed, deterministic and clear about
mistakes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.data.records import BadRecord, Record, caption_of, image_part, metadata_of
from components.data.samples import encode_metadata
from components.data.tables import count_rows, iter_table, read_table, write_table

pytestmark = pytest.mark.unit

SCHEMA = {
    "key": "string",
    "n": "int32",
    "big": "uint64",
    "x": "float32",
    "ok": "bool",
    "raw": "binary",
    "words": "list<string>",
}


def columns(n: int) -> dict[str, list[object]]:
    return {
        "key": [f"{i:05d}" for i in range(n)],
        "n": [i if i % 3 else None for i in range(n)],
        "big": [2**63 + i for i in range(n)],
        "x": [i / 2 for i in range(n)],
        "ok": [i % 2 == 0 for i in range(n)],
        "raw": [bytes([i % 256]) for i in range(n)],
        "words": [["a"] * (i % 3) for i in range(n)],
    }


def caption(data: bytes) -> str | BadRecord | None:
    return caption_of(Record("k", {"txt": data}))


def test_captions_are_text_or_absent_or_a_reason() -> None:
    assert caption("\ufeff  eine Möwe \n".encode()) == "eine Möwe"
    assert caption(b" \n") is None
    assert caption_of(Record("k", {"jpg": b""})) is None
    bad = caption(b"caf\xe9")
    assert isinstance(bad, BadRecord) and (bad.key, bad.reason) == ("k", "bad_caption")


def test_captions_from_a_json_field_may_be_a_list_whose_first_counts() -> None:
    record = Record("k", {"json": b'{"text": "one", "captions": ["two", "three"], "n": 3}'})
    assert [caption_of(record, field) for field in ("text", "captions", "none")] == ["one", "two", None]
    bad = caption_of(record, "n")
    assert isinstance(bad, BadRecord) and bad.reason == "bad_caption"


@pytest.mark.parametrize("data", [b"{", b"[1]", b"\xff{}", b"[" * 100_000, b'"x"', b"nul"])
def test_metadata_that_is_no_json_object_is_a_reason(data: bytes) -> None:
    bad = metadata_of(Record("k", {"json": data}))
    assert isinstance(bad, BadRecord) and bad.reason == "bad_metadata"


def test_metadata_reads_back_and_its_absence_is_empty() -> None:
    metadata = {"z": "ü", "a": [1, None], "captions": ["x"]}
    assert metadata_of(Record("k", {"json": encode_metadata(metadata)})) == metadata
    assert metadata_of(Record("k", {})) == {}


def test_the_picture_of_a_sample_is_found_in_a_fixed_order() -> None:
    assert image_part(Record("k", {"png": b"p", "txt": b"", "jpg": b"j"})) == ("jpg", b"j")
    assert image_part(Record("k", {"source.png": b"p", "txt": b""})) is None


def test_tables_read_back_typed_and_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert write_table(tmp_path / name, columns(300), SCHEMA) == 300
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_table(tmp_path / "a") == columns(300)
    assert read_table(tmp_path / "a", ["x", "key"]) == {name: columns(300)[name] for name in ("x", "key")}
    assert count_rows(tmp_path / "a") == 300


def test_numpy_columns_and_empty_tables_are_fine(tmp_path: Path) -> None:
    write_table(tmp_path / "n", {"a": np.arange(5, dtype=np.uint64)}, {"a": "uint64"})
    assert read_table(tmp_path / "n") == {"a": [0, 1, 2, 3, 4]}
    write_table(tmp_path / "e", {name: [] for name in SCHEMA}, SCHEMA)
    assert read_table(tmp_path / "e") == {name: [] for name in SCHEMA}


def test_tables_come_in_batches_in_order(tmp_path: Path) -> None:
    write_table(tmp_path / "a", columns(17), SCHEMA)
    batches = [batch["key"] for batch in iter_table(tmp_path / "a", ["key"], batch_rows=10)]
    assert [len(batch) for batch in batches] == [10, 7]
    assert [*batches[0], *batches[1]] == columns(17)["key"]


def test_mistakes_with_tables_are_named(tmp_path: Path) -> None:
    write_table(tmp_path / "a", columns(3), SCHEMA)
    with pytest.raises(ValueError, match=r"no column 'kye'.*did you mean 'key'"):
        read_table(tmp_path / "a", ["kye"])
    with pytest.raises(ValueError, match="different lengths"):
        write_table(tmp_path / "x", {"a": [1], "b": []}, {"a": "int32", "b": "int32"})
    with pytest.raises(ValueError, match="column 'a' is no int32"):
        write_table(tmp_path / "x", {"a": ["one"]}, {"a": "int32"})
    with pytest.raises(ValueError, match="columns missing"):
        write_table(tmp_path / "x", {"b": [1]}, {"a": "int32"})
    with pytest.raises(ValueError, match="no table at"):
        read_table(tmp_path / "nowhere")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="cannot be read as parquet"):
        read_table(tmp_path / "text")
