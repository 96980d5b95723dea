"""Bytes of data sets and of latents, and what reads them: see parsers.py."""

from __future__ import annotations

import functools
import io
import json
import math
from pathlib import Path

import numpy as np

from components.data.options import ShardLimits
from tests.chaos.picture_bytes import picture_bytes

ROWS = [("a", "a red circle"), ("b", "ein möwe am meer"), ("c", "")]


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
