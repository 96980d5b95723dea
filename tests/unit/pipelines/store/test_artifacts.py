"""Artifacts: whole or absent, damage named, and whole shards of a hurt one kept."""

from __future__ import annotations

import pytest

from pipelines.errors import StoreError
from pipelines.store.artifacts import (
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
from pipelines.store.files import Store, sha256_text
from pipelines.store.verified_read import fetch_checked

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
        work.write_record(record)
        files += [*record.files, entry(f"records/{name}.json", record.to_bytes())]
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


def test_manifests_that_were_mixed_up_are_refused(store):
    one, other = make(store, "f1"), make(store, "f2")
    swapped = [f"{artifact.path}/manifest.json" for artifact in (one, other)]
    texts = [store.read_bytes(path) for path in swapped]
    for path, text in zip(swapped, reversed(texts), strict=True):
        store.write_bytes(path, text)
    for fingerprint in ("f1", "f2"):
        with pytest.raises(StoreError, match="mixed up"):
            find_artifact(store, "measure", fingerprint)


def test_a_manifest_is_as_it_was_written_to_the_last_byte(store):
    artifact = make(store)
    path = f"{artifact.path}/manifest.json"
    store.write_bytes(path, store.read_bytes(path).rstrip())
    with pytest.raises(StoreError, match="not as it was written"):
        find_artifact(store, "measure", "f1")


def test_a_file_is_compared_with_its_manifest_before_it_is_read(store, tmp_path):
    artifact = make(store)
    path = f"{artifact.path}/rows/00000"
    assert fetch_checked(store, path, tmp_path / "a").read_bytes() == b"rows of 00000"
    store.remove_tree(path)
    store.write_bytes(path, b"rows of 0000X")
    with pytest.raises(StoreError, match=r"rows/00000: content changed .* pixsem resume"):
        fetch_checked(store, path, tmp_path / "b")
    noted = store.read_json("damaged/measure/f1.json")
    assert noted["problems"] == {"rows/00000": "content changed (sha256 differs)"}


def test_a_reader_says_what_is_gone(store, tmp_path):
    artifact = make(store)
    store.remove_tree(f"{artifact.path}/rows/00000")
    with pytest.raises(StoreError, match="rows/00000: missing"):
        fetch_checked(store, f"{artifact.path}/rows/00000", tmp_path)
    with pytest.raises(StoreError, match="is no file of its artifact"):
        fetch_checked(store, f"{artifact.path}/records/stray.json", tmp_path)
    store.remove_tree(artifact.path)
    with pytest.raises(StoreError, match="its artifact is not there any more"):
        fetch_checked(store, f"{artifact.path}/rows/00001", tmp_path)


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
    work.write_record(ShardRecord("00002", [], {"input": 2, "kept": 2}))
    path = f"{work.path}/records/00002.json"
    store.write_bytes(path, store.read_bytes(path).replace(b'"kept": 2', b'"kept": 3'))
    assert work.records() == {}
