"""Artifacts: whole or absent, damage named, and whole shards of a hurt one kept."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from pipelines.artifacts import (
    Artifact,
    FileEntry,
    Manifest,
    ShardRecord,
    Work,
    artifact_path,
    check_counts,
    content_digest,
    find_artifact,
)
from pipelines.errors import StoreError
from pipelines.store import Store, json_bytes, sha256_text

pytestmark = pytest.mark.unit


def entry(path: str, data: bytes) -> FileEntry:
    import hashlib

    return FileEntry(path, len(data), hashlib.sha256(data).hexdigest())


def make(store: Store, fingerprint: str = "f1") -> Artifact:
    work = Work(store, "measure", fingerprint, {"ingest": "d"})
    files = []
    for name in ("00000", "00001"):
        data = f"rows of {name}".encode()
        store.write_bytes(f"{work.path}/rows/{name}", data)
        record = ShardRecord(name, [entry(f"rows/{name}", data)], {"input": 2, "kept": 1, "dropped": 1})
        store.write_json(f"{work.path}/records/{name}.json", asdict(record))
        files += [*record.files, entry(f"records/{name}.json", json_bytes(asdict(record)))]
    store.write_bytes(f"{work.path}/summary", b"all")
    files.append(entry("summary", b"all"))
    return work.commit(manifest(files, fingerprint))


def manifest(files: list[FileEntry], fingerprint: str = "f1", **changes) -> Manifest:
    values = {
        "stage": "measure", "stage_version": "1", "fingerprint": fingerprint, "digest": content_digest(files),
        "inputs": {"ingest": {"fingerprint": "i", "digest": "d"}}, "external": {}, "config": {}, "files": files,
        "counts": {"input": 4, "kept": 2, "dropped": 2}, "metrics": {}, "versions": {}, "run": "r", "created": "now",
        "seconds": 1.0,
    }  # fmt: skip
    return Manifest(**{**values, **changes})


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return Store(str(tmp_path) if request.param == "local" else f"memory://{sha256_text(str(tmp_path))[:12]}")


def test_a_committed_artifact_is_found_whole(store):
    made = make(store)
    found = find_artifact(store, "measure", "f1")
    assert found is not None
    assert found.manifest == made.manifest
    assert found.problems(rehash=True) == {}
    assert store.files("work/measure") == {}


def test_files_without_a_manifest_are_no_artifact(store):
    store.write_bytes("artifacts/measure/f1/rows/00000", b"x")
    assert find_artifact(store, "measure", "f1") is None


@pytest.mark.parametrize(
    ("hurt", "word"), [(b"rows of 0000X", "content changed"), (b"rows", "4 bytes where"), (None, "missing")]
)
def test_every_kind_of_damage_is_named(store, hurt, word):
    artifact = make(store)
    path = f"{artifact.path}/rows/00000"
    store.remove_tree(path)
    if hurt is not None:
        store.write_bytes(path, hurt)
    problems = artifact.problems(rehash=True)
    assert list(problems) == ["rows/00000"]
    assert word in problems["rows/00000"]


def test_a_changed_manifest_is_refused(store):
    artifact = make(store)
    path = f"{artifact.path}/manifest.json"
    store.write_bytes(path, store.read_bytes(path).replace(b'"kept": 2', b'"kept": 3'))
    with pytest.raises(StoreError, match="checksum"):
        find_artifact(store, "measure", "f1")


def test_reopening_a_hurt_artifact_keeps_its_whole_shards_only(store):
    artifact = make(store)
    store.write_bytes(f"{artifact.path}/rows/00001", b"rows of 0000Y")
    work = Work(store, "measure", "f1", {"ingest": "d"})
    assert work.reopen() == ["rows/00001"]
    assert set(work.records()) == {"00000"}
    assert find_artifact(store, "measure", "f1") is None
    assert set(store.files(work.path)) == {"rows/00000", "records/00000.json"}


def test_shards_made_from_other_inputs_are_not_mixed_in(store):
    make(store)
    other = Work(store, "measure", "f1", {"ingest": "another digest"})
    other.reopen()
    assert other.records() == {}


def test_a_commit_replaces_an_older_artifact_and_keeps_it_in_the_trash(store):
    make(store)
    make(store)
    assert find_artifact(store, "measure", "f1") is not None
    assert len(store.folders("trash")) == 1


def test_strays_of_a_killed_attempt_are_not_committed(store):
    work = Work(store, "measure", "f2", {})
    store.write_bytes(f"{work.path}/rows/half.tmp", b"x")
    work.commit(manifest([], "f2", counts={}))
    assert list(store.files(artifact_path("measure", "f2"))) == ["manifest.json"]


def test_counts_that_do_not_add_up_are_refused():
    with pytest.raises(StoreError, match="3 accounted for of 4"):
        check_counts({"input": 4, "kept": 2, "dropped": 1, "failed": 0}, "stage x")


def test_a_damaged_shard_record_counts_as_not_made(store):
    work = Work(store, "measure", "f3", {})
    store.write_bytes(f"{work.path}/records/00000.json", b'{"name": "000')
    store.write_bytes(f"{work.path}/records/00001.json", b'{"name": "00001"}')
    assert work.records() == {}
