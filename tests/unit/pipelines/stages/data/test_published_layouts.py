"""Small sets laid out as published ones are, read by the entries that name the published ones, from ingest to index."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data.records import Record, read_records, write_records
from components.data.tables import read_table
from pipelines.config.compose import compose_config
from pipelines.store.artifacts import Artifact
from tests.unit.pipelines.stages.data.stage_chain import local_files, read_index, run_stages
from tests.unit.pipelines.stages.data.test_ingest_tables import layouts, photo

pytestmark = pytest.mark.unit
SIZE = {"width": 256, "height": 192}  # of `photo`


def imagenet(folder: Path) -> str:
    """timm/imagenet-1k-wds: picture, class number and json; no captions."""
    for shard in range(2):
        rows = [(f"n01440764_{shard}{n}", 100 + 10 * shard + n) for n in range(6)]
        write_records(
            folder / f"imagenet1k-train-{shard:04d}.tar",
            [
                Record(
                    key, {"cls": b"0", "jpg": photo(n), "json": said({"filename": f"{key}.JPEG", "label": 0, **SIZE})}
                )
                for key, n in rows
            ],
        )
    return f"{folder}/imagenet1k-train-{{0000..0001}}.tar"


def cc12m(folder: Path) -> str:
    """pixparse/cc12m-wds: picture, caption, and json as img2dataset writes it. One caption is empty."""
    for shard in range(2):
        records = []
        for n in range(6):
            number, picture = 10 * shard + n, photo(200 + 10 * shard + n)
            caption = f"a photo of thing number {number} by the old house" if number != 13 else ""
            about = {
                "url": f"https://a.example/{number}.jpg", "caption": caption, "key": f"{number:09d}",
                "status": "success", "error_message": None, "exif": "{}", **SIZE,
                **{f"original_{side}": value for side, value in SIZE.items()},
                "sha256": hashlib.sha256(picture).hexdigest(),
            }  # fmt: skip
            records.append(Record(f"{number:09d}", {"jpg": picture, "json": said(about), "txt": caption.encode()}))
        write_records(folder / f"cc12m-train-{shard:04d}.tar", records)
    return f"{folder}/cc12m-train-{{0000..0001}}.tar"


def omniedit(folder: Path) -> str:
    """TIGER-Lab/OmniEdit-Filtered-1.2M: the columns that its card lists; a dev split lies beside."""
    (folder / "data").mkdir()
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    count = 12
    columns: dict[str, tuple[list[Any], Any]] = {
        "omni_edit_id": ([f"task_obj_{n}" for n in range(count)], pa.string()),
        "task": (["color", "addition", "removal"] * 4, pa.string()),
        "src_img": ([{"bytes": photo(300 + n), "path": f"{n}.jpg"} for n in range(count)], image),
        "edited_img": ([{"bytes": photo(400 + n, "PNG"), "path": None} for n in range(count)], image),
        "edited_prompt_list": (
            [[f"make it blue {n}", f"paint all of it blue {n}"] for n in range(count)], pa.list_(pa.string())
        ),
        **{name: ([value] * count, pa.int64()) for name, value in SIZE.items()},
        **{name: ([9] * count, pa.int64()) for name in ("sc_score_1", "sc_score_2", "pq_score")},
        **{name: (["well done"] * count, pa.string()) for name in ("sc_reasoning", "pq_reasoning")},
        "o_score": ([9.0] * count, pa.float64()),
    }  # fmt: skip
    table = pa.table({name: pa.array(values, kind) for name, (values, kind) in columns.items()})
    pq.write_table(table.slice(0, 6), folder / "data" / "train-00000-of-00002.parquet", row_group_size=3)
    pq.write_table(table.slice(6), folder / "data" / "train-00001-of-00002.parquet", row_group_size=3)
    pq.write_table(table.slice(0, 2), folder / "data" / "dev-00000-of-00001.parquet")
    return f"{folder}/data/train-*.parquet"


def said(about: dict[str, Any]) -> bytes:
    return json.dumps(about).encode()


def rows_of(artifact: Artifact, source: str) -> list[dict[str, Any]]:
    tables = [read_index(path) for path in local_files(artifact, f"index/{source}-*.arrow")]
    return [dict(zip(table, row, strict=True)) for table in tables for row in zip(*table.values(), strict=True)]


def test_the_papers_sets_are_read_by_the_entries_of_the_preset(tmp_path: Path) -> None:
    config = compose_config(
        [
            "preset=paper_data", f"sources.imagenet.shards='{imagenet(tmp_path)}'",
            f"sources.cc12m.shards='{cc12m(tmp_path)}'", f"sources.omniedit.path='{omniedit(tmp_path)}'",
            "curate.min_side=192", "held_out=0.4",
            "signals=[]", "recaption.path=null", "generator.captions={}",  # models of a hub
        ]
    )  # fmt: skip
    made = run_stages(tmp_path / "store", config, "index")
    counts = {name: made[f"ingest@{name}"].manifest.counts for name in config.named_sources()}
    assert counts == {
        "imagenet": {"input": 12, "kept": 12, "dropped": 0, "failed": 0},
        "cc12m": {"input": 12, "kept": 11, "dropped": 0, "failed": 1},
        "omniedit": {"input": 12, "kept": 12, "dropped": 0, "failed": 0},
    }
    curation = made["curate"].manifest.metrics["curation"]
    assert curation["sources"]["imagenet"]["kept"] == 12, "no rule on captions drops what has none by nature"
    assert curation["sources"]["cc12m"]["kept"] == 11
    (first, *_) = [r for path in local_files(made["curate"], "shards/imagenet-*.tar") for r in read_records(path)]
    assert isinstance(first, Record) and set(first.parts) == {"cls", "jpg", "json"}
    urls = [url for path in local_files(made["ingest@cc12m"], "rows/*.parquet") for url in read_table(path)["url"]]
    assert urls[:2] == ["https://a.example/0.jpg", "https://a.example/1.jpg"]
    index = {name: rows_of(made["index"], name) for name in config.named_sources()}
    assert {row["caption"] for row in index["imagenet"]} == {""}
    assert {row["caption"] for row in index["cc12m"]} == {
        f"a photo of thing number {10 * shard + n} by the old house" for shard in range(2) for n in range(6)
    } - {"a photo of thing number 13 by the old house"}
    targets = [row for row in index["omniedit"] if row["role"] == "target"]
    assert [row["texts"] for row in targets] == [[f"make it blue {n}", f"paint all of it blue {n}"] for n in range(12)]
    pairs = [r for path in local_files(made["curate_pairs"], "shards/omniedit-*.tar") for r in read_records(path)]
    about = json.loads(pairs[1].parts["json"])  # type: ignore[union-attr]
    assert (about["kind"], about["omni_edit_id"]) == ("addition", "task_obj_1")


def test_the_other_published_sets_of_pairs_go_from_their_columns_to_the_index(tmp_path: Path) -> None:
    """One data set of five, of pairs alone: no pictures of their own beside them."""
    # Sources and targets are unrelated pictures: what the rules say of that is another test's.
    settings = ["preset=tiny", "held_out=0.4", "curate_pairs.max_spill_share=null"]
    found = [name for name in layouts() if name != "omniedit"]
    for number, name in enumerate(found):
        rows = layouts(600 + 10 * number)[name]
        folder = tmp_path / name
        (folder / "out").mkdir(parents=True)
        for n in range(2):
            (folder / f"{n}.jpg").write_bytes(photo(500 + 10 * number + n))
            (folder / "out" / f"{n}.webp").write_bytes(photo(505 + 10 * number + n, "WEBP"))
        if name == "pico_banana":
            lines = [json.dumps({column: values[n] for column, values in rows.items()}) for n in range(2)]
            (folder / "sft_with_local_source_image_path.jsonl").write_text("\n".join(lines))
        else:
            pq.write_table(pa.table(rows), folder / "a.parquet")
        settings += [f"source@sources.{name}={name}", f"sources.{name}.path={folder}"]
        settings += [f"sources.{name}.metadata_file=a.parquet"] if name == "imgedit" else []
    made = run_stages(tmp_path / "store", compose_config(settings), "index")
    for name in found:
        assert made[f"ingest@{name}"].manifest.counts == {"input": 2, "kept": 2, "dropped": 0, "failed": 0}, name
        indexed = rows_of(made["index"], name)
        assert [row["instruction"] for row in indexed if row["role"] == "target"] == ["make it blue", "add a cat"], name
    assert len({row["group"] for row in rows_of(made["index"], "magicbrush")}) == 1, "turns of one edit are one group"
    masks = {
        name: ["mask.png" in r.parts for path in local_files(made["curate_pairs"], f"shards/{name}-*.tar")
               for r in read_records(path) if isinstance(r, Record)]
        for name in found
    }  # fmt: skip
    assert {name: kept for name, kept in masks.items() if any(kept)} == {
        "magicbrush": [True, True], "ultraedit": [True, False],
    }  # fmt: skip
