"""An object store that errs, stalls, drops connections and lists late: what is committed is whole, or the words are
plain.
"""

from __future__ import annotations

import json
import uuid

import pytest

from pipelines.errors import StoreUnreachable, one_line
from pipelines.store.artifacts import FileEntry, Manifest, Work, content_digest, find_artifact
from pipelines.store.files import Store, sha256_text
from pipelines.store.leases import Leases
from pipelines.store.runs import new_run
from tests.chaos.s3 import BUCKET, Faults, faulty_s3
from tests.integration.pipelines.conftest import SMALL, Pixsem

pytestmark = pytest.mark.integration
pytest.importorskip("s3fs")
pytest.importorskip("moto")
BAD_DAY = {"errors": 0.03, "dropped": 0.03, "slow": 0.05, "slow_seconds": 0.3, "late_seconds": 3.0}


@pytest.fixture(scope="session")
def served():
    with faulty_s3() as proxy:
        yield proxy


@pytest.fixture
def s3(served, monkeypatch):
    """The proxy in good health, and this process's S3 clients set to it."""
    import s3fs

    served.faults.none()
    served.counts.clear()
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield served
    served.faults.none()


@pytest.fixture
def store(s3) -> Store:
    made = Store(f"s3://{BUCKET}/{uuid.uuid4().hex}")
    made.prepare()
    return made


def commit(store: Store, names: list[str]) -> None:
    work = Work(store, "measure", "f" * 24, {})
    files = []
    for name in names:
        store.write_bytes(f"{work.path}/{name}", name.encode())
        files.append(FileEntry(name, len(name), sha256_text(name)))
    work.commit(
        Manifest("measure", "1", "f" * 24, content_digest(files), {}, {}, {}, files, {}, {}, {}, "r", "2026", 1.0)
    )


def test_an_artifact_committed_while_requests_fail_and_listings_lag_is_whole(store, s3):
    s3.faults = Faults(errors=0.1, dropped=0.1, late_seconds=60.0)
    names = [f"shards/{i:05d}.tar" for i in range(8)]
    commit(store, names)
    assert s3.counts["error"] and s3.counts["lost"] + s3.counts["unanswered"], s3.counts
    artifact = find_artifact(store, "measure", "f" * 24)
    assert artifact.problems(rehash=True) == {}
    assert s3.counts["hidden in a listing"]


def test_a_lease_whose_answer_was_lost_is_ours_and_nobody_elses(store, s3):
    with Leases(store, "a") as first, Leases(store, "b") as second:
        s3.faults = Faults(dropped=0.4)
        taken = [key for key in map(str, range(6)) if first.acquire(key) is None]
        s3.faults.none()
        assert len(taken) == 6
        assert s3.counts["unanswered"]
        assert second.acquire("3")["run"] == "a"


def test_runs_started_while_answers_are_lost_have_names_of_their_own(store, s3):
    s3.faults = Faults(dropped=0.3)
    ids = [new_run(store, "tiny", "seed: 0", None, []).id for _ in range(4)]
    assert len(set(ids)) == 4


def test_a_store_that_is_gone_or_refuses_is_named_with_what_to_do(store, s3, monkeypatch):
    import s3fs

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    store = Store(store.absolute_url)
    actions = {
        "write": lambda: store.write_bytes("a", b"x"),
        "read": lambda: store.read_bytes("a"),
        "list": lambda: store.files("a"),
        "look": lambda: store.exists("a"),
        "make": lambda: store.create("a", b"x"),
        "remove": lambda: store.remove_tree("a"),
    }
    for faults in (Faults(errors=1.0), Faults(gone=True)):
        s3.faults = faults
        for name, action in actions.items():
            with pytest.raises(StoreUnreachable) as caught:
                action()
            assert "pixsem resume" in one_line(caught.value), name
            assert f"store={store.url}" in str(caught.value)
    s3.faults.none()
    lost = Store(f"s3://{uuid.uuid4().hex}/x")  # a bucket that is not there
    with pytest.raises(StoreUnreachable, match="refused or did not answer"):
        lost.write_bytes("a", b"x")


class OnS3(Pixsem):
    """The command line on a store in the bucket, MLflow's database beside it."""

    patience = 1800.0
    all_apart = True  # in the server's environment from their start

    def __init__(self, folder, proxy) -> None:
        super().__init__(folder)
        self.url = f"s3://{BUCKET}/{uuid.uuid4().hex}"
        self.environment |= {**proxy.environment, "PIXSEM_STORE": self.url, "PYTHONUNBUFFERED": "1"}
        self.settings = [f"store={self.url}", f"tracking.uri=sqlite:///{folder}/mlflow.db"]

    def digests(self) -> dict[str, str]:
        store, found = Store(self.url), {}
        for name in store.files("artifacts"):
            if name.endswith("/manifest.json"):
                manifest = json.loads(store.read_bytes(f"artifacts/{name}"))
                found[f"{manifest['stage']}/{manifest['fingerprint']}"] = manifest["digest"]
        return found


def differing(one: Store, other: Store) -> list[str]:
    """Return the files of artifacts whose hashes two stores do not agree on."""
    hashes = []
    for store in (one, other):
        found: dict[str, str] = {}
        for name in store.files("artifacts"):
            if name.endswith("/manifest.json"):
                manifest = json.loads(store.read_bytes(f"artifacts/{name}"))
                found |= {f"{manifest['stage']}/{file['path']}": file["sha256"] for file in manifest["files"]}
        hashes.append(found)
    return sorted(path for path in {**hashes[0], **hashes[1]} if hashes[0].get(path) != hashes[1].get(path))


def run_to_the_end(pixsem: OnS3, *settings: str) -> int:
    """Run, and resume where the bad day was too bad; return the number of attempts."""
    done = pixsem("run", *settings, *pixsem.settings, code=None)
    attempts = 1
    while done.returncode:
        assert "Traceback" not in done.stderr, done.stderr
        assert attempts < 5, done.stderr
        done = pixsem("resume", code=None)
        attempts += 1
    return attempts


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("faults", [{}, BAD_DAY], ids=["good day", "bad day"])
def test_the_data_half_on_an_object_store_has_the_local_bytes(finished, tmp_path, s3, faults):
    pixsem = OnS3(tmp_path, s3)
    s3.faults = Faults(**faults)
    run_to_the_end(pixsem, *SMALL)
    dealt = dict(s3.counts)
    s3.faults.none()
    assert pixsem.digests() == finished.digests()
    assert pixsem.json("verify")["damaged"] == []
    assert Store(pixsem.url).files("leases") == {}
    assert not faults or {"error", "slow", "hidden in a listing"} <= set(dealt), dealt


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_whole_chain_on_a_bad_day_ends_in_the_local_bytes_and_registered_versions(finished, tmp_path, s3):
    local = Pixsem(tmp_path / "local")
    local.folder.mkdir()
    local.patience = 1800.0
    local("run", *SMALL[:-2])
    pixsem = OnS3(tmp_path, s3)
    s3.faults = Faults(**BAD_DAY)
    run_to_the_end(pixsem, *SMALL[:-2])
    s3.faults.none()
    assert differing(Store(pixsem.url), Store(str(local.store))) == []
    assert pixsem.digests() == local.digests()
    assert pixsem.json("verify")["damaged"] == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("faults", [{}, BAD_DAY], ids=["good day", "bad day"])
def test_two_drivers_on_one_object_store_make_each_stage_once_and_end_with_the_local_bytes(
    finished, tmp_path, s3, faults
):
    pixsem = OnS3(tmp_path, s3)
    s3.faults = Faults(**faults)
    drivers = [pixsem.start("run", *SMALL, *pixsem.settings) for _ in range(2)]
    for driver in drivers:
        _, said = driver.communicate(timeout=1800)
        assert "Traceback" not in said, said
        assert faults or driver.returncode == 0, said
    s3.faults.none()
    store = Store(pixsem.url)
    runs = [json.loads(store.read_bytes(f"runs/{name}")) for name in store.files("runs") if name.endswith("/run.json")]
    assert len(runs) == 2
    for run in runs:
        assert run["state"] == "completed" or pixsem("resume", run["id"]).returncode == 0
    made = [
        name
        for run in runs
        for name, state in run["stages"].items()
        if state["state"] == "done" and not state["cached"]
    ]
    assert sorted(made) == sorted(set(made)), "a stage was made twice"
    assert pixsem.digests() == finished.digests()
    assert pixsem.json("verify")["damaged"] == []
    assert store.files("leases") == {}
