"""A disk that is full, read-only or gone: one clear message, and all that was committed is still there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from pipelines.errors import StoreUnreachable, in_words
from pipelines.store.files import Store
from pipelines.store.runs import new_run
from tests.chaos.checks import artifact_digests
from tests.integration.pipelines.conftest import ROOT, SMALL, Pixsem, kill, processes, wait_for

pytestmark = pytest.mark.integration
LARGER = ["preset=tiny", "source.count=400", "source.samples_per_shard=20", "--until", "synthesize_edits"]


@pytest.fixture
def disk(tmp_path):
    """Mount a file system of a few megabytes; the function mounts it again with other options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"needs leave to mount file systems: {done.stderr.strip()}")

    mount("size=64m")
    yield folder, mount
    kill(processes(str(folder)))
    subprocess.run(["umount", "-l", str(folder)], check=False)


def filled(folder, room: int) -> None:
    """Leave so many bytes free."""
    state = os.statvfs(folder)
    with (folder / "ballast").open("wb") as handle:
        handle.write(b"x" * (state.f_bavail * state.f_frsize - room))


def test_a_write_that_finds_the_disk_full_leaves_nothing_and_says_what_to_do(disk):
    folder, _ = disk
    store = Store(str(folder / "store"))
    store.prepare()
    store.write_bytes("kept", b"old")
    filled(folder, 4096)
    for write in (store.write_bytes, store.create):
        with pytest.raises(OSError, match="No space left") as caught:
            write("new" if write == store.create else "kept", b"x" * 100_000)
        assert "make room" in in_words(caught.value)
        assert "pixsem resume" in in_words(caught.value)
    assert store.files("") == {"kept": 3}
    assert store.read_bytes("kept") == b"old"


def test_a_read_only_store_can_be_looked_at_and_says_why_it_cannot_be_written(disk):
    folder, mount = disk
    store = Store(str(folder / "store"))
    store.prepare()
    store.write_bytes("kept", b"old")
    mount("remount,ro")
    assert store.read_bytes("kept") == b"old"
    with pytest.raises(OSError, match="Read-only") as caught:
        new_run(store, "tiny", "seed: 0", None, [])
    assert "read-only" in in_words(caught.value) and "store=PATH" in in_words(caught.value)


def test_a_file_size_limit_is_told_in_words(tmp_path):
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from pipelines.errors import in_words; from pipelines.store.files import Store\n"
        f"store = Store({str(tmp_path)!r})\n"
        "try:\n    store.write_bytes('big', b'x' * 5000)\n"
        "except OSError as error:\n    print(in_words(error))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "raise the limit" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_was_moved_away_is_not_made_anew(tmp_path):
    store = Store(str(tmp_path / "store"))
    store.prepare()
    store.write_bytes("runs/x", b"1")
    (tmp_path / "store").rename(tmp_path / "away")
    writes = [
        lambda: store.write_bytes("runs/y", b"2"), lambda: store.create("runs/y", b"2"), store.scratch,
        lambda: store.move_tree("runs", "trash/runs"),
    ]  # fmt: skip
    for write in writes:
        with pytest.raises(StoreUnreachable, match=r"not there any more.*pixsem resume"):
            write()
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_run_on_a_full_disk_says_so_and_goes_on_when_there_is_room(finished, disk):
    folder, _ = disk
    pixsem = Pixsem(folder)
    pixsem.patience = 600.0
    shutil.copytree(finished.store, pixsem.store)
    before = artifact_digests(pixsem.store)
    filled(folder, 300_000)
    done = pixsem("run", *LARGER, code=None)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "make room" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert before.items() <= artifact_digests(pixsem.store).items()
    assert pixsem.json("verify")["damaged"] == []
    assert not processes(str(folder))
    (folder / "ballast").unlink()
    # Where the disk was full before the run had a record, there is no run to go on with.
    pixsem(*(["resume"] if len(list(pixsem.store.glob("runs/*/run.json"))) > 1 else ["run", *LARGER]))
    assert before.items() <= artifact_digests(pixsem.store).items()
    assert list(pixsem.store.glob("leases/*.json")) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_read_only_store_still_answers_and_a_run_on_it_is_refused(finished, disk):
    folder, mount = disk
    pixsem = Pixsem(folder)
    shutil.copytree(finished.store, pixsem.store)
    mount("remount,ro")
    done = pixsem("run", *SMALL, "curate.min_words=5", code=2)
    assert "read-only" in done.stderr
    assert "Traceback" not in done.stderr
    assert pixsem.json("status")["state"] == "completed"
    assert pixsem.json("verify")["damaged"] == []
    assert pixsem.json("report")["stages"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_store_moved_away_in_mid_run_is_named_and_the_run_goes_on_when_it_is_back(fresh, finished):
    fresh.patience = 600.0
    driver = fresh.start("run", *SMALL)
    wait_for(lambda: list(fresh.store.glob("work/measure/*/records/*.json")) or len(fresh.digests()) > 1, 600.0)
    before = fresh.digests()
    away = fresh.folder / "away"
    fresh.store.rename(away)
    _, said = driver.communicate(timeout=600)
    assert driver.returncode in (1, 2), said
    assert "not there any more" in said, said
    assert "Traceback" not in said, said
    assert before and before.items() <= artifact_digests(away).items()
    wait_for(lambda: not processes(str(fresh.folder)), 60.0)
    shutil.rmtree(fresh.store, ignore_errors=True)
    away.rename(fresh.store)
    fresh("resume")
    assert fresh.digests() == finished.digests()
    assert list(fresh.store.glob("leases/*.json")) == []
