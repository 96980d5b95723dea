"""Everything here that reads bytes of strangers, each as one function from bytes to what became of them, with good
bytes to start from.

A reader returns words: `read`, or a reason. It may raise ValueError, which is a refusal; any other error is a crash.
"""

from __future__ import annotations

import functools
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from components.curation.options import ImageLimits
from components.data.options import ShardLimits

ROWS = [("a", "a red circle"), ("b", "ein möwe am meer"), ("c", "")]


@dataclass(frozen=True)
class Parser:
    """`read(data, folder)` reads the bytes; `seeds` are good ones; `share` is its part of all trials."""

    name: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[bytes, Path], str]
    share: float


def picture_bytes(kind: str, size: tuple[int, int] = (24, 16), mode: str = "RGB", **options: Any) -> bytes:
    """A small picture in a file format."""
    x = np.add.outer(np.arange(size[1]) * 7, np.arange(size[0]) * 5).astype(np.uint8)
    picture = Image.fromarray(np.stack([x, x[::-1], 255 - x], -1)).convert(mode)
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


@functools.cache
def pictures() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    frame = Image.new("RGB", (8, 8), (200, 0, 0))
    return [
        picture_bytes("PNG"),
        picture_bytes("PNG", mode="P"),
        picture_bytes("PNG", mode="LA"),
        picture_bytes("JPEG", exif=exif),
        picture_bytes("JPEG", progressive=True),
        picture_bytes("JPEG", mode="CMYK"),
        picture_bytes("WEBP"),
        picture_bytes("WEBP", lossless=True, exif=exif),
        picture_bytes("GIF", save_all=True, append_images=[frame]),
        picture_bytes("BMP"),
        picture_bytes("BMP", mode="P"),
        picture_bytes("TIFF"),
        picture_bytes("TIFF", compression="tiff_lzw"),
        picture_bytes("PPM"),
        b"P3 2 2 255 1 2 3 4 5 6 7 8 9 10 11 12",
        b"BM"
        + (1078 + 8).to_bytes(4, "little")
        + bytes(4)
        + (1078).to_bytes(4, "little")
        + (40).to_bytes(4, "little")
        + (4).to_bytes(4, "little") * 2
        + b"\1\0\x08\0"
        + (1).to_bytes(4, "little")
        + bytes(20)
        + bytes(1024)
        + b"\4\1\0\0\4\2\0\1",
    ]


@functools.cache
def tars() -> list[bytes]:
    import tarfile

    def tar(members: list[tuple[str, bytes]], format: int) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=format) as file:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo("link.txt")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            file.addfile(link)
        return out.getvalue()

    members = [
        ("0.png", picture_bytes("PNG")), ("0.txt", b"a red circle"), ("0.json", b'{"url": "http://a.example/x.png"}'),
        ("n" * 130 + ".txt", b"a long name"), ("1.txt", "möwe".encode()), ("../up.txt", b"out"),
    ]  # fmt: skip
    return [tar(members, format) for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)[:2]]


def read_tar(data: bytes, folder: Path) -> str:
    from components.data.records import BadRecord, read_records
    from components.data.samples import caption_of, metadata_of

    reasons = []
    for record in read_records(io.BytesIO(data), ShardLimits(max_member_bytes=2**20)):
        if isinstance(record, BadRecord):
            assert record.reason and record.detail, "a sample without a reason"
            reasons.append(record.reason)
            continue
        assert record.parts and not record.key.startswith("/") and ".." not in record.key.split("/"), record.key
        for found in (caption_of(record), metadata_of(record)):
            reasons += [found.reason] if isinstance(found, BadRecord) else []
    return reasons[-1] if reasons else "read"


def read_caption(data: bytes, folder: Path) -> str:
    from components.curation.signals import TEXT_SCHEMA
    from components.curation.text_signals import text_signals

    found = text_signals(data.decode("utf-8", "surrogateescape"))
    assert set(found) == set(TEXT_SCHEMA)
    assert all(math.isfinite(value) for value in found.values() if not isinstance(value, str)), found
    return "read"


def read_image(data: bytes, folder: Path) -> str:
    from components.curation.signals import measure

    row = measure(data, "a red circle", ImageLimits())
    assert bool(row["error"]) == bool(row["detail"])
    assert row["error"] or (row["width"] > 0 and row["height"] > 0 and row["pixel_hash"])
    return row["error"] or "read"


def read_image_header(data: bytes, folder: Path) -> str:
    from components.data.image_header import read_header

    header = read_header(data)
    if header is None:
        return "no header"
    assert header.width > 0 and header.height > 0 and 1 <= header.orientation <= 8
    return "read"


@functools.cache
def latent_shards() -> list[bytes]:
    import tempfile

    from components.data.latents import LatentSpec, LatentWriter

    found = []
    for kind in ("captions", "edits"):
        spec = LatentSpec(2, 2, 2, "tokenizer", (0.0, 1.0), (1.0, 2.0), kind)
        latents = np.arange(len(ROWS) * 8, dtype=np.float32).reshape(-1, 2, 2, 2)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "0.arrow"
            with LatentWriter(path, spec, rows_per_batch=2) as writer:
                writer.add(
                    [key for key, _ in ROWS],
                    [text for _, text in ROWS],
                    latents,
                    latents if kind == "edits" else None,
                    [False] * len(ROWS),
                )
            found.append(path.read_bytes())
    return found


def read_latents(data: bytes, folder: Path) -> str:
    from components.data.latent_reader import LatentDataset

    path = folder / "0.arrow"
    path.write_bytes(data)
    dataset = LatentDataset([path], None)
    rows = [dataset.row(n) for n in range(len(dataset))]
    # Bits of the latents themselves are left to the store's hashes; all else is the reader's own to notice.
    assert [(row.key, row.text) for row in rows] == ROWS and dataset.spec.mean == (0.0, 1.0), (
        "wrong data, and no word of it"
    )
    return "read"


@functools.cache
def lists() -> list[bytes]:
    """The first byte says which kind of list the rest is."""
    import tempfile

    from components.data.tables import write_table

    rows = [{"url": f"http://a.example/{n}.png", "caption": f"picture {n}"} for n in range(3)]
    coco = {
        "images": [{"id": 1, "url": "http://a.example/1.png", "license": 1}], "licenses": [{"id": 1, "url": "l"}],
        "annotations": [{"image_id": 1, "caption": "a"}],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0.parquet"
        columns = {name: [row[name] for row in rows] for name in ("url", "caption")}
        write_table(path, columns, {"url": "string", "caption": "string"})
        parquet = path.read_bytes()
    text = "\n".join(f'{row["url"]},"{row["caption"]}"' for row in rows)
    return [
        b"0url,caption\n" + text.encode(),
        b"1url\tcaption\n" + text.replace(",", "\t").encode(),
        b"2" + json.dumps(rows).encode(),
        b"2" + json.dumps(coco).encode(),
        b"3" + "\n".join(map(json.dumps, rows)).encode(),
        b"4" + parquet,
        b"5http://a.example/1.png\nhttp://a.example/2.png\n",
    ]


def read_list(data: bytes, folder: Path) -> str:
    from components.data.options import UrlListOptions
    from components.data.samples import encode_metadata
    from components.data.url_lists import read_url_list

    kind = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt")[(data[0] if data else 0) % 6]
    path = folder / f"list{kind}"
    path.write_bytes(data[1:])
    options = UrlListOptions(caption_column=None if kind == ".txt" else "caption")
    reasons = []
    for row in read_url_list(path, options):
        assert row.url or row.reason, "a row that is neither taken nor failed"
        encode_metadata(row.metadata)
        reasons += [row.reason] if row.reason else []
    return reasons[-1] if reasons else "read"


@functools.cache
def picture_tables() -> list[bytes]:
    """Parquet files with pictures and captions of several types, in two row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = [{"bytes": picture_bytes(kind), "path": "a"} for kind in ("PNG", "JPEG", "WEBP")]
    texts = [text for _, text in ROWS]
    found = []
    for captions in (pa.array(texts), pa.array(texts).dictionary_encode(), pa.array([[t, "b"] for t in texts])):
        out = io.BytesIO()
        pq.write_table(pa.table({"image": pictures, "caption": captions}), out, row_group_size=2)
        found.append(out.getvalue())
    return found


def read_picture_table(data: bytes, folder: Path) -> str:
    from components.data.options import ParquetOptions
    from components.data.parquet_source import pack_parquet_shard
    from components.data.row_groups import plan_parts

    path = folder / "set.parquet"
    path.write_bytes(data)
    reasons = []
    for parts in plan_parts([str(path)], 2):
        if sum(part.rows for part in parts) > 10_000:
            return "too many rows to wait for"
        rows = pack_parquet_shard(parts, folder / "set.tar", "00000", ParquetOptions())
        assert len(rows) == sum(part.rows or 1 for part in parts), "rows that are in no count"
        reasons += [row.reason for row in rows if row.status != "success"]
        assert all(row.reason and row.detail for row in rows if row.status != "success")
    return reasons[-1] if reasons else "read"


@functools.cache
def _config_text() -> bytes:
    from pipelines.config.compose import compose_config, to_yaml

    return to_yaml(compose_config(["preset=tiny"])).encode()


def configs() -> list[bytes]:
    return [_config_text(), b"seed: 1\nsource: {kind: scenes}\n"]


def read_config(data: bytes, folder: Path) -> str:
    """A configuration that a run kept."""
    from pipelines.config.compose import load_config

    load_config(data.decode(), "config.yaml")
    return "read"


def overrides() -> list[bytes]:
    return [
        b"preset=tiny\nseed=3",
        b"source=urls\nsource.path=x",
        b"curate.min_words=4",
        b"generator.training.steps=5",
        b"seed=${seed}",
        b"tokenizer.model={space: rae}",
        b"store='${oc.env:HOME}'",
        b"a.b.c=[1,2,{x: y}]",
        b"preset=demo,tiny",
        b"~seed",
        b"+x=1",
    ]


def read_overrides(data: bytes, folder: Path) -> str:
    """What stands on the command line, one `key=value` a line."""
    from pipelines.config.compose import compose_config

    compose_config([line for line in data.decode("utf-8", "surrogateescape").split("\n") if line][:4])
    return "read"


@functools.cache
def manifests() -> list[bytes]:
    from pipelines.store.artifacts import FileEntry, Manifest, content_digest
    from pipelines.store.files import json_bytes

    files = [FileEntry("rows/0", 4, "0" * 64), FileEntry("möwe", 5, "1" * 64)]
    manifest = Manifest(
        "measure",
        "1",
        "f1",
        content_digest(files),
        {"ingest": {"fingerprint": "i", "digest": "d"}},
        {},
        {"curate": {"min_words": 3}},
        files,
        {"input": 4, "kept": 4},
        {"share": 0.1, "worst": 1e-05},
        {"python": "3.11"},
        "r",
        "now",
        1.25,
    )
    return [json_bytes(manifest.to_json())]


def read_manifest(data: bytes, folder: Path) -> str:
    from pipelines.store.artifacts import find_artifact
    from pipelines.store.files import Store, json_bytes

    store = Store(str(folder))
    store.write_bytes("artifacts/measure/f1/manifest.json", data, durable=False)
    found = find_artifact(store, "measure", "f1")
    assert found is not None and json_bytes(found.manifest.to_json()) == data
    assert found.manifest.digest in data.decode()
    return "read"


@functools.cache
def states() -> list[bytes]:
    from components.training.checkpoints import FORMAT, state_bytes

    return [state_bytes({"format": FORMAT, "step": 3, "files": {"a": [1, "0" * 64]}, "seed": 7, "world": 1})]


def read_checkpoint_state(data: bytes, folder: Path) -> str:
    from components.training.checkpoints import parse_state, state_bytes

    assert state_bytes(parse_state(data, "checkpoint")) == data
    return "read"


@functools.cache
def requests() -> list[bytes]:
    import base64

    image = base64.b64encode(picture_bytes("PNG")).decode()
    rows: list[dict[str, Any]] = [
        {"prompt": "a red circle", "seed": 3, "num_inference_steps": 4, "guidance_scale": 2.0},
        {"prompt": "make it blue", "image": image},
        {"prompt": "", "seed": -1},
        {"prompt": ["a"], "seed": "x", "num_inference_steps": [], "guidance_scale": 1e400},
        {"prompt": "a", "image": {"b": 1}, "seed": 10**30, "image_guidance_scale": "nan"},
    ]
    return [json.dumps(row).encode() for row in rows]


def read_request(data: bytes, folder: Path) -> str:
    from pipelines.serving import read_request as read

    try:
        row = json.loads(data)
    except (ValueError, RecursionError):
        row = {
            "prompt": data.decode("utf-8", "replace"),
            "image": data.decode("latin-1"),
            "seed": data[:3].decode("latin-1"),
        }
    asked = read(row if isinstance(row, dict) else {"prompt": row})
    assert 0 <= asked["seed"] < 2**63 and asked["prompt"].strip()
    asked["prompt"].encode()
    return "read"


PARSERS = [
    Parser("tar", tars, read_tar, 0.2),
    Parser(
        "caption",
        lambda: [b"a red circle", "möwe 猫 x@y.com www.a.de <b>".encode(), b"a@a@a-a-" * 9],
        read_caption,
        0.12,
    ),
    Parser("image", pictures, read_image, 0.2),
    Parser("image header", pictures, read_image_header, 0.07),
    Parser("picture table", picture_tables, read_picture_table, 0.05),
    Parser("latents", latent_shards, read_latents, 0.08),
    Parser("url list", lists, read_list, 0.1),
    Parser("manifest", manifests, read_manifest, 0.06),
    Parser("checkpoint state", states, read_checkpoint_state, 0.03),
    Parser("request", requests, read_request, 0.06),
    Parser("kept configuration", configs, read_config, 0.02),
    Parser("command line", overrides, read_overrides, 0.01),
]
