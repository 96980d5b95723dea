"""Damage is named by verify, opened by nobody and mended by resume: the short version, and the full one by name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from components.data.latents import LatentSpec, LatentWriter
from components.data.records import Record, write_records
from components.data.tables import write_table
from pipelines.store.artifacts import FileEntry, Manifest, ShardRecord, Work, content_digest
from pipelines.store.files import Store
from tests.chaos.damage import KINDS, made_store, prove
from tests.chaos.data_bytes import ROWS
from tests.chaos.picture_bytes import picture_bytes


def committed(store: Store, fingerprint: str, number: int) -> None:
    """Commit an artifact with a file of every kind, as a stage with two shards does."""
    work = Work(store, "stage", fingerprint, {})
    entries = []
    for name in ("00000", "00001"):
        folder = store.local(work.path)
        for kind in ("shards", "tables", "latents", "model", "records"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        text = f"picture {number} of {name}"
        write_records(folder / f"shards/{name}.tar", [Record("a", {"png": picture_bytes("PNG"), "txt": text.encode()})])
        write_table(
            folder / f"tables/{name}.parquet", {"key": ["a"], "text": [text]}, {"key": "string", "text": "string"}
        )
        spec = LatentSpec(1, 2, 2, "t", (0.0,), (1.0,), "captions")
        with LatentWriter(folder / f"latents/{name}.arrow", spec) as writer:
            writer.add(*zip(*ROWS, strict=True), np.full((3, 1, 2, 2), number, np.float32), None, [False] * 3)
        save_file({name: np.full(50, number, np.float32)}, folder / f"model/{name}.safetensors")
        files = [
            FileEntry(f"{kind}/{name}{suffix}", path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
            for kind, suffix in (
                ("shards", ".tar"),
                ("tables", ".parquet"),
                ("latents", ".arrow"),
                ("model", ".safetensors"),
            )
            if (path := folder / f"{kind}/{name}{suffix}").exists()
        ]
        record = ShardRecord(name, files, {"input": 1, "kept": 1}, {"number": number})
        work.write_record(record)
        data = record.to_bytes()
        entries += [*files, FileEntry(f"records/{name}.json", len(data), hashlib.sha256(data).hexdigest())]
    store.write_bytes(f"{work.path}/summary", f"all {number}".encode())
    data = f"all {number}".encode()
    entries.append(FileEntry("summary", len(data), hashlib.sha256(data).hexdigest()))
    counts = {"input": 2, "kept": 2}
    work.commit(
        Manifest(
            "stage", "1", fingerprint, content_digest(entries), {}, {}, {}, entries, counts, {}, {}, "r", "now", 1.0
        )
    )


@pytest.mark.unit
def test_every_flipped_bit_cut_and_swap_is_named_and_no_reader_takes_it(tmp_path: Path):
    store = Store(str(tmp_path))
    for number, fingerprint in enumerate(("f1", "f2")):
        committed(store, fingerprint, number)
    summary = prove(store, trials=120, resumes=0, seed=0)
    assert summary["missed"] == [] and summary["left damaged"] == []
    assert summary["named"] == summary["refused"] == summary["trials"] == 120
    assert {key.split(",")[0] for key in summary["by kind"]} == set(KINDS)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(3600)
def test_a_thousand_trials_and_thirty_resumes_on_a_real_store(tmp_path: Path):
    summary = prove(made_store(tmp_path, None, None), trials=1000, resumes=30, seed=1)
    assert summary["missed"] == [] and summary["left damaged"] == [] and summary["wrong"] == []
    assert summary["named"] == 1000
