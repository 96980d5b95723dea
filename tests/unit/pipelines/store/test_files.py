"""The store's promises: writes are whole or absent, on a local disk and on any other fsspec file system."""

from __future__ import annotations

import uuid

import pytest

from pipelines.errors import StoreError
from pipelines.store.files import Store

pytestmark = pytest.mark.unit


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    url = str(tmp_path / "store") if request.param == "local" else f"memory://{uuid.uuid4().hex}"
    made = Store(url)
    made.prepare()
    return made


def test_what_is_written_is_read_back(store):
    store.write_json("a/b.json", {"x": [1, "é"]})
    assert store.read_json("a/b.json") == {"x": [1, "é"]}
    assert store.files("a") == {"b.json": len(store.read_bytes("a/b.json"))}


def test_create_gives_a_name_to_one_writer_only(store):
    assert store.create("lock", b"first")
    assert not store.create("lock", b"second")
    assert store.read_bytes("lock") == b"first"


def test_a_moved_folder_is_whole_in_its_new_place_and_gone_from_the_old(store):
    store.write_bytes("work/x/1.bin", b"1")
    store.write_bytes("work/x/sub/2.bin", b"22")
    store.write_bytes("work/x/manifest.json", b"{}")
    store.move_tree("work/x", "artifacts/x", ["1.bin", "sub/2.bin", "manifest.json"])
    assert store.files("artifacts/x") == {"1.bin": 1, "manifest.json": 2, "sub/2.bin": 2}
    assert store.files("work/x") == {}


def test_put_file_moves_a_finished_file_in(store, tmp_path):
    source = (store.scratch() or tmp_path) / "out.bin"
    source.write_bytes(b"abc")
    store.put_file(source, "shards/out.bin")
    assert store.read_bytes("shards/out.bin") == b"abc"
    assert not source.exists()


def test_removing_what_is_not_there_is_no_error(store):
    store.remove_tree("nothing/here")
    assert not store.exists("nothing")


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    store = Store(str(tmp_path))
    store.write_bytes("f", b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.store.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write_bytes("f", b"new")
    assert store.files("") == {"f": 3}
    assert store.read_bytes("f") == b"old"


def test_damaged_json_is_named(store):
    store.write_bytes("x.json", b"{half")
    with pytest.raises(StoreError, match=r"x\.json is not JSON"):
        store.read_json("x.json")


def test_an_unknown_protocol_says_what_to_use():
    with pytest.raises(StoreError, match="s3://"):
        Store("nosuch://bucket/x")


def test_a_store_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(str(tmp_path / "file" / "store")).prepare()


def test_a_folder_is_a_folder_whatever_its_name_holds(tmp_path):
    for name in ("a::b", "what?x", "50%20", "é (1)", "http:x"):
        store = Store(str(tmp_path / name))
        store.prepare()
        store.write_bytes("x/y", b"z")
        assert (tmp_path / name / "x" / "y").read_bytes() == b"z"
        assert store.absolute_url == str(tmp_path / name)
