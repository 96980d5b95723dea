"""Parquet files and given edit pairs as sources: their shards, their counts, their faults."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from components.data.records import Record, read_records
from components.data.tables import read_table
from pipelines.config.compose import compose_config
from pipelines.preflight import problems
from pipelines.stages.data.inspect_source import preview
from pipelines.store.files import Store
from pipelines.workflow.source_digests import files_digest
from tests.unit.pipelines.stages.data.stage_chain import local_files, run_stages

pytestmark = pytest.mark.unit


def photo(seed: int, kind: str = "JPEG") -> bytes:
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), np.ones((32, 32, 1), np.uint8))
    buffer = io.BytesIO()
    Image.fromarray(blocks).save(buffer, kind)
    return buffer.getvalue()


def records_of(artifact, pattern: str = "shards/*.tar") -> list[Record]:
    return [r for path in local_files(artifact, pattern) for r in read_records(path) if isinstance(r, Record)]


def test_parquet_becomes_shards_by_row_groups_and_every_row_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    captions = [[f"a photo of thing number {i} by the old house", f"thing {i}"] for i in range(10)]
    pictures = [{"bytes": photo(i), "path": f"{i}.jpg"} if i != 4 else None for i in range(10)]
    table = pa.table({"image": pictures, "texts": captions, "source": ["x"] * 10})
    pq.write_table(table, folder / "a.parquet", row_group_size=3)
    settings = ["preset=tiny", "source=parquet", f"source.path={folder}", "source.samples_per_shard=6"]
    config = compose_config([*settings, "source.columns.caption_column=texts"])
    assert problems(config, {"ingest"}) == []
    made = run_stages(tmp_path / "store", config, "curate")
    counts = made["ingest"].manifest.counts
    assert counts == {"input": 10, "kept": 9, "dropped": 0, "failed": 1}
    assert made["ingest"].manifest.metrics["ingest"]["failed_by_reason"] == {"no_picture": 1}
    rows = [read_table(path) for path in local_files(made["ingest"], "rows/*.parquet")]
    assert [len(table["key"]) for table in rows] == [6, 4]
    assert made["curate"].manifest.counts["kept"] == 9
    first = records_of(made["curate"])[0]
    assert first.parts["jpg"] == photo(0) and first.parts["txt"].decode() == captions[0][0]
    assert json.loads(first.parts["json"])["pixsem"] == {"captions": captions[0], "caption_origins": ["texts"] * 2}
    wrong = compose_config([*settings, "source.columns.caption_column=text"])
    assert "did you mean 'texts'" in problems(wrong, {"ingest"})[0]
    before = files_digest([str(folder / "a.parquet")], Store(str(tmp_path / "store")))
    pq.write_table(table.slice(1), folder / "a.parquet")
    assert files_digest([str(folder / "a.parquet")], Store(str(tmp_path / "store"))) != before


def test_of_a_set_in_which_nothing_can_be_read_the_page_says_so(tmp_path: Path) -> None:
    table = pa.table({"image": [b"<html>"] * 3, "caption": ["a photo of a house"] * 3})
    pq.write_table(table, tmp_path / "a.parquet")
    config = compose_config(["preset=tiny", "source=parquet", f"source.path={tmp_path}/a.parquet"])
    made = run_stages(tmp_path / "store", config, "curate")["curate"]
    assert made.manifest.metrics["curation"]["funnel"] == {"came_in": 3, "ingest_not_an_image": 0}
    (page,) = local_files(made, "sheet.html")
    assert "lost in ingest" in page.read_text("utf-8") and "a.parquet:2" in page.read_text("utf-8")


@pytest.mark.parametrize("kind", ["parquet", "folder", "webdataset"])
def test_given_pairs_become_shards_as_made_ones_are(tmp_path: Path, kind: str) -> None:
    """Of whatever they lie in: the parts and the json that measuring and judging pairs read."""
    folder = tmp_path / "set"
    folder.mkdir()
    befores, afters = [photo(i) for i in range(4)], [photo(i + 9, "WEBP") for i in range(4)]
    settings = ["preset=tiny", "source=edit_pairs", f"source.path={folder}", "source.samples_per_shard=3"]
    if kind == "parquet":
        table = pa.table({"source": befores, "target": afters, "instruction": ["go"] * 3 + [None]})
        pq.write_table(table, folder / "a.parquet", row_group_size=2)
    elif kind == "folder":
        lines = []
        for i in range(4):
            (folder / f"{i}.jpg").write_bytes(befores[i])
            (folder / f"{i}.webp").write_bytes(afters[i])
            lines.append({"source": f"{i}.jpg", "target": f"{i}.webp", "instruction": "go" if i < 3 else None})
        (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    else:
        from components.data.records import write_records

        parts = [
            {"source.jpg": befores[i], "target.webp": afters[i], "txt": b"go" if i < 3 else b" "} for i in range(4)
        ]
        for number in range(2):
            some = [Record(f"{i}", parts[i]) for i in range(2 * number, 2 * number + 2)]
            write_records(folder / f"{number}.tar", some)
        settings.append("source.pairs.instruction=[txt]")
    config = compose_config(settings)
    assert problems(config, {"ingest"}) == []
    made = run_stages(tmp_path / "store", config, "ingest")["ingest"]
    assert made.manifest.counts == {"input": 4, "kept": 3, "dropped": 0, "failed": 1}
    assert made.manifest.metrics["ingest"]["failed_by_reason"] == {"no_instruction": 1}
    found = records_of(made)
    assert [(r.parts["source.jpg"], r.parts["target.webp"]) for r in found] == list(zip(befores, afters, strict=True))[
        :3
    ]
    assert len(local_files(made, "shards/*.tar")) == 2
    for record in found:
        about = json.loads(record.parts["json"])
        assert record.parts["txt"] == b"go" and about["source_key"] == record.key and about["family"] == "given"
        assert about["source_shard"] in ("00000", "00001") and about["pixsem"]["group"]
    assert not problems(compose_config([*settings, "source.pairs.metadata=[]"]), {"ingest"})


def layouts(first: int = 1) -> dict[str, dict[str, list]]:
    """Two rows of each published set, as its column map says. `first`: seed of the first picture."""
    before = [{"bytes": photo(first + i), "path": None} for i in (0, 1)]
    after = [photo(first + i, "WEBP") for i in (2, 3)]
    hole = io.BytesIO()
    Image.new("RGBA", (8, 8)).save(hole, "PNG")
    texts = ["make it blue", "add a cat"]
    return {
        "omniedit": {
            "omni_edit_id": ["a", "b"], "task": ["color", "addition"], "src_img": before, "edited_img": after,
            "edited_prompt_list": [[text, f"please {text}"] for text in texts],
        },
        "magicbrush": {
            "img_id": ["7", "7"], "turn_index": [1, 2], "source_img": before, "mask_img": [hole.getvalue()] * 2,
            "instruction": texts, "target_img": after,
        },
        "ultraedit": {
            "source_image": before, "edited_image": after, "mask_image": [photo(5), None], "edit_prompt": texts,
            "source_caption": texts, "target_caption": texts,
        },
        "instructpix2pix": {
            "original_prompt": texts, "original_image": before, "edit_prompt": texts, "edited_prompt": texts,
            "edited_image": after,
        },
        "pico_banana": {
            "open_image_input_url": ["https://x/a.jpg"] * 2, "text": texts,
            "output_image": ["out/0.webp", "out/1.webp"], "edit_type": ["colour", "add"],
            "summarized_text": ["blue", "cat"], "local_input_image": ["0.jpg", "1.jpg"],
        },
        "imgedit": {
            "input_images": [["0.jpg"], ["1.jpg"]], "output_images": [["out/0.webp"], ["out/1.webp"]], "prompt": texts,
        },
    }  # fmt: skip


@pytest.mark.parametrize("name", list(layouts()))
def test_each_ready_map_reads_a_set_of_its_published_layout(tmp_path: Path, name: str) -> None:
    rows = layouts()[name]
    settings = ["preset=tiny", f"source={name}", f"source.path={tmp_path}"]
    if name in ("pico_banana", "imgedit"):
        (tmp_path / "out").mkdir()
        for i in range(2):
            (tmp_path / f"{i}.jpg").write_bytes(photo(i))
            (tmp_path / "out" / f"{i}.webp").write_bytes(photo(i + 2, "WEBP"))
    if name == "pico_banana":
        lines = [json.dumps({column: values[i] for column, values in rows.items()}) for i in range(2)]
        (tmp_path / "sft_with_local_source_image_path.jsonl").write_text("\n".join(lines))
    else:
        pq.write_table(pa.table(rows), tmp_path / "a.parquet")
        settings += ["source.metadata_file=a.parquet"] if name == "imgedit" else []
    source = compose_config(settings).source
    assert source.kind == "edit_pairs" and source.use == ("editing",)
    found = preview(source, 5)
    assert [seen.problem for seen in found.samples] == ["", ""]
    for seen, text in zip(found.samples, ("make it blue", "add a cat"), strict=True):
        assert ("instruction", text) in seen.texts
    assert {"source", "target"} <= set(found.samples[0].pictures)
    assert ("mask" in found.samples[0].pictures) == (name in ("magicbrush", "ultraedit"))
    assert (("turn", "2") in found.samples[1].texts) == (name == "magicbrush")


@pytest.mark.skipif("PIXSEM_ASSETS" not in os.environ, reason="PIXSEM_ASSETS names no folder of real photos")
def test_real_photographs_of_three_formats_come_through_a_table_with_five_captions_each(tmp_path: Path) -> None:
    folder = Path(os.environ["PIXSEM_ASSETS"]) / "photos" / "coco"
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()][:12]
    pictures = []
    for number, row in enumerate(rows):
        data = (folder / row["file_name"]).read_bytes()
        if kind := ("", "WEBP", "AVIF")[number % 3]:
            out = io.BytesIO()
            Image.open(io.BytesIO(data)).convert("RGB").save(out, kind)
            data = out.getvalue()
        pictures.append({"bytes": data, "path": row["file_name"]})
    table = pa.table({"image": pictures, "captions": [row["captions"] for row in rows]})
    pq.write_table(table, tmp_path / "photos.parquet", row_group_size=5)
    settings = ["preset=tiny", "source=parquet", f"source.path={tmp_path}/photos.parquet"]
    config = compose_config([*settings, "source.columns.captions={human: captions}"])
    made = run_stages(tmp_path / "store", config, "curate")
    assert made["measure"].manifest.counts == {"input": 12, "kept": 12, "dropped": 0, "failed": 0}
    for record, row, picture in zip(records_of(made["ingest"]), rows, pictures, strict=True):
        assert picture["bytes"] in record.parts.values()
        said = json.loads(record.parts["json"])["pixsem"]
        assert said["captions"] == [text.strip() for text in row["captions"]]
        assert set(said["caption_origins"]) == {"human"}
    # The same photographs before and after an edit, as a set of triplets.
    after = []
    for picture in pictures:
        out = io.BytesIO()
        ImageOps.grayscale(Image.open(io.BytesIO(picture["bytes"]))).save(out, "PNG")
        after.append(out.getvalue())
    pairs = {
        "source": pictures,
        "target": after,
        "instruction": [["make it black and white", "remove all colour"]] * 12,
    }
    pq.write_table(pa.table(pairs), tmp_path / "pairs.parquet", row_group_size=5)
    config = compose_config(["preset=tiny", "source=edit_pairs", f"source.path={tmp_path}/pairs.parquet"])
    made = run_stages(tmp_path / "pair_store", config, "ingest")
    assert made["ingest"].manifest.counts["kept"] == 12
    assert {len(json.loads(r.parts["json"])["pixsem"]["instructions"]) for r in records_of(made["ingest"])} == {2}
