"""Given edit pairs: whatever they lie in, each comes with its bytes as one pair, or ends as a row with its reason."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.data.edit_pairs import check_parts, pack_parquet_pairs, pack_tar_pairs
from components.data.ingest_rows import read_shard_list
from components.data.options import PairColumns, ShardLimits
from components.data.pair_folders import list_pair_files, pack_folder_pairs, split_pairs
from components.data.records import Record, read_records, write_records
from components.data.row_groups import plan_parts

pytestmark = pytest.mark.unit
LIMITS = ShardLimits()


def picture(number: int = 0, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 30, 3), number * 9 % 256, np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def hole(mode: str = "RGBA") -> bytes:
    """A mask of 30x20 that marks its left ten columns: by transparency, or by white."""
    if mode == "RGBA":
        image = Image.new("RGBA", (30, 20), (9, 9, 9, 255))
        image.paste((0, 0, 0, 0), (0, 0, 10, 20))
    else:
        image = Image.new(mode, (30, 20))
        image.paste(255, (0, 0, 10, 20))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def pairs(path: Path) -> list[tuple[Record, dict[str, Any]]]:
    return [(r, json.loads(r.parts["json"])) for r in read_records(path) if isinstance(r, Record)]


def parquet_pairs(folder: Path, table: pa.Table, options: PairColumns) -> list:
    pq.write_table(table, folder / "p.parquet")
    (parts,) = plan_parts([str(folder / "p.parquet")], 100)
    return pack_parquet_pairs(parts, "edits-00000", "00000", folder / "out.tar", options, LIMITS)


def test_turns_of_one_picture_keep_their_group_and_order_and_masks_become_white_on_black(tmp_path: Path) -> None:
    n = 3
    table = pa.table(
        {
            "source_img": [{"bytes": picture(i, "JPEG"), "path": None} for i in range(n)],
            "target_img": [{"bytes": picture(i + 1, "WEBP"), "path": None} for i in range(n)],
            "mask_img": [{"bytes": hole(), "path": "m.png"}, {"bytes": hole(), "path": "m.png"}, None],
            "instruction": [f"turn {i}" for i in range(n)],
            "img_id": [431848] * n,
            "turn_index": [1, 2, 3],
        }
    )
    options = PairColumns(
        "source_img", "target_img", mask="mask_img", mask_marks="transparent", group="img_id", turn="turn_index"
    )
    rows = parquet_pairs(tmp_path, table, options)
    assert [(row.status, row.caption, row.width, row.height) for row in rows] == [
        ("success", f"turn {i}", 30, 20) for i in range(n)
    ]
    found = pairs(tmp_path / "out.tar")
    assert [sorted(record.parts) for record, _ in found] == [
        *[["json", "mask.png", "source.jpg", "target.webp", "txt"]] * 2,
        ["json", "source.jpg", "target.webp", "txt"],
    ]
    for i, (record, about) in enumerate(found):
        assert record.parts["source.jpg"] == picture(i, "JPEG") and record.parts["target.webp"] == picture(
            i + 1, "WEBP"
        )
        assert about == {
            "source_key": record.key, "source_shard": "edits-00000", "caption": None, "target_caption": None,
            "kind": "given", "family": "given", "quality": {}, "pixsem": {"group": "431848", "turn": i + 1},
        }  # fmt: skip
    mask = cv2.imdecode(np.frombuffer(found[0][0].parts["mask.png"], np.uint8), cv2.IMREAD_COLOR)
    assert (mask[:, :10] == 255).all() and (mask[:, 10:] == 0).all()


def test_several_instructions_captions_and_other_columns_come_along(tmp_path: Path) -> None:
    table = pa.table(
        {
            "source": [picture(1), picture(1), picture(2)],
            "target": [picture(5), picture(6), picture(7)],
            "prompts": [["short", "a longer one"], ["only"], [None, " "]],
            "more": ["rewritten", None, "late"],
            "before": ["a cat"] * 3,
            "after": ["a dog", None, "a fish"],
            "task": ["swap", None, "swap"],
            "score": [1, 2, None],
            "kind": ["x"] * 3,
        }
    )
    options = PairColumns(
        instruction=("prompts", "more"), caption="before", target_caption="after", kind="task",
        metadata=("score", "kind"),
    )  # fmt: skip
    parquet_pairs(tmp_path, table, options)
    (_, first), (_, second), (record, _) = pairs(tmp_path / "out.tar")
    assert first["pixsem"]["instructions"] == ["short", "a longer one", "rewritten"]
    assert (first["caption"], first["target_caption"], first["kind"]) == ("a cat", "a dog", "swap")
    assert (first["score"], first["source_kind"]) == (1, "x")  # a column cannot take the place of ours
    assert "instructions" not in second["pixsem"] and second["kind"] == "given"
    assert first["pixsem"]["group"] == second["pixsem"]["group"] == hashlib.sha256(picture(1)).hexdigest()[:32]
    assert record.parts["txt"] == b"late"


def test_every_bad_pair_is_a_row_with_its_reason(tmp_path: Path) -> None:
    good, broken = {"bytes": picture(1), "path": None}, {"bytes": b"<html>", "path": None}
    table = pa.table(
        {
            "source": [None, good, broken, good, good, good, good],
            "target": [good, None, good, {"bytes": b"", "path": None}, good, good, good],
            "instruction": ["a", "b", "c", "d", "", "f", "g"],
            "mask": [None, None, None, None, None, broken, {"bytes": hole("L"), "path": None}],
        }
    )
    rows = parquet_pairs(tmp_path, table, PairColumns(mask="mask"))
    assert [row.reason for row in rows] == [
        "no_source", "no_target", "not_an_image", "empty_body", "no_instruction", "bad_mask", "",
    ]  # fmt: skip
    rows = parquet_pairs(tmp_path, table.slice(6), PairColumns(mask="mask", mask_marks="transparent"))
    assert rows[0].reason == "bad_mask" and "no alpha" in rows[0].detail


def test_pairs_are_read_from_webdataset_shards_by_parts_and_json_fields(tmp_path: Path) -> None:
    sample = {"src_img.jpg": picture(1, "JPEG"), "edited_img.png": picture(2), "prompts.json": b'["one", "two"]'}
    write_records(
        tmp_path / "in.tar",
        [
            Record("a", {**sample, "json": b'{"task": "add", "info": {"id": 7}}'}),
            Record("b", {**sample, "prompts.json": b"[[[", "json": b"{}"}),
            Record("c", {**sample, "json": b"[]"}),
            Record("d", {"src_img.jpg": picture(1, "JPEG"), "prompts.json": b'["x"]'}),
        ],
    )
    options = PairColumns("src_img", "edited_img", ("prompts",), kind="task", group="info.id")
    whole = (tmp_path / "in.tar").read_bytes()
    rows = pack_tar_pairs(str(tmp_path / "in.tar"), "00003", tmp_path / "out.tar", options, LIMITS)
    assert [(row.key, row.reason) for row in rows] == [
        ("a", ""), ("b", "bad_instruction"), ("c", "bad_metadata"), ("d", "no_target"),
    ]  # fmt: skip
    ((record, about),) = pairs(tmp_path / "out.tar")
    assert (record.parts["source.jpg"], record.parts["target.png"]) == (picture(1, "JPEG"), picture(2))
    assert about["kind"] == "add" and about["source_shard"] == "00003"
    assert about["pixsem"] == {"group": "7", "instructions": ["one", "two"]}
    check_parts(str(tmp_path / "in.tar"), options, LIMITS)
    with pytest.raises(ValueError, match=r"no column 'src_image'.*did you mean 'src_img'"):
        check_parts(str(tmp_path / "in.tar"), PairColumns("src_image", "edited_img"), LIMITS)
    (tmp_path / "in.tar").write_bytes(whole[:700])
    rows = pack_tar_pairs(str(tmp_path / "in.tar"), "00003", tmp_path / "out.tar", options, LIMITS)
    assert [row.reason for row in rows] == ["truncated_tar"]


def test_pairs_of_a_folder_are_named_by_its_metadata_and_nothing_outside_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1.png").write_bytes(picture(1))
    (folder / "2.png").write_bytes(picture(2))
    (tmp_path / "secret.png").write_bytes(picture(3))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    lines: list[dict[str, Any]] = [
        {"input": ["a/1.png"], "output": "./2.png", "text": "go", "turn": 2},
        {"input": ["a/1.png", "2.png"], "output": "2.png", "text": "two before"},
        {"input": "../secret.png", "output": "2.png", "text": "out"},
        {"input": "a/../../secret.png", "output": "2.png", "text": "out"},
        {"input": "link.png", "output": "2.png", "text": "out"},
        {"input": "a/1.png", "output": "gone.png", "text": "gone"},
        {"input": None, "output": "2.png", "text": "none"},
        {"input": 7, "output": "2.png", "text": "a number"},
    ]
    (folder / "metadata.jsonl").write_text("\n".join([*map(json.dumps, lines), "{"]))
    options = PairColumns("input", "output", ("text",), turn="turn")
    (shard,) = split_pairs(folder, None, options, 100, tmp_path / "lists")
    rows = pack_folder_pairs(folder, read_shard_list(shard.path), "00000", tmp_path / "out.tar", options, LIMITS)
    assert [row.reason for row in rows] == [
        "", "several_pictures", "unsafe_path", "unsafe_path", "unsafe_path", "no_picture", "no_source", "bad_row",
        "bad_row",
    ]  # fmt: skip
    ((record, about),) = pairs(tmp_path / "out.tar")
    assert record.parts["source.png"] == picture(1) and about["pixsem"]["turn"] == 2
    assert [path.name for path in list_pair_files(folder, None, options)] == ["metadata.jsonl", "2.png", "1.png"]
    with pytest.raises(ValueError, match=r"no column 'inputs'.*did you mean 'input'"):
        split_pairs(folder, None, PairColumns("inputs", "output", ("text",)), 100, tmp_path / "lists")
