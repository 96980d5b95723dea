"""Clusters of several nodes: work goes where its labels say and has the GPUs it asked for, no other; what cannot be is
refused.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, SMALL, TRAINED, Pixsem, kill, wait_for, workers

pytestmark = pytest.mark.integration
HERE = Path(__file__).parent
PLAIN = {"num_cpus": 2}
GPU = {"num_cpus": 2, "num_gpus": 1, "labels": {"pool": "gpu"}}
WORK = {"num_cpus": 2, "labels": {"pool": "work"}}


@contextlib.contextmanager
def cluster(fresh, *nodes: dict):
    """A cluster of these nodes, which `fresh` runs on."""
    fresh.environment |= {"PYTHONPATH": f"{ROOT}:{HERE}", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    process = subprocess.Popen(
        [sys.executable, str(HERE / "ray_nodes.py"), json.dumps(nodes)],
        env=fresh.environment, cwd=fresh.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        fresh.environment["RAY_ADDRESS"] = process.stdout.readline().strip()
        assert fresh.environment["RAY_ADDRESS"], "the cluster did not start"
        yield
    finally:
        process.stdin.close()
        process.wait(timeout=60)


def run_toy(fresh, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(HERE / "node_stages.py"), *overrides],
        cwd=fresh.folder, env=fresh.environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip


def places(fresh, stage: str) -> dict[str, dict]:
    """Return {what: where it was done} of a stage."""
    (folder,) = fresh.store.glob(f"artifacts/{stage}/*")
    return {p.stem: json.loads(p.read_text()) for p in folder.glob("*.json") if p.name != "manifest.json"}


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_labelled_stages_run_on_their_nodes_alone_and_only_gpu_stages_have_gpus(fresh):
    with cluster(fresh, PLAIN, GPU):
        done = run_toy(
            fresh,
            "execution.resources.measure.labels={pool: gpu}",
            "execution.resources.curate.labels={pool: '!gpu'}",
            "execution.training.train_encoder.labels={pool: gpu}",
            "execution.resources.encode_latents={gpus: 1, actors: 1}",
        )
    assert done.returncode == 0 and done.stdout.count("'done'") == 5, done.stdout + done.stderr
    everything = ("driver", "s0", "s1", "s2")
    assert {name: place["pool"] for name, place in places(fresh, "measure").items()} == dict.fromkeys(everything, "gpu")
    assert {name: place["pool"] for name, place in places(fresh, "curate").items()} == dict.fromkeys(everything)
    assert [place["pool"] for place in places(fresh, "train_encoder").values()] == ["gpu"]
    encode = places(fresh, "encode_latents")
    driver = encode.pop("driver")
    assert [(p["pool"], p["gpus"], p["visible"]) for p in encode.values()] == [("gpu", ["0"], "0")] * 3
    # On the node with the GPU, too, what asked for none neither has it nor sees it.
    for place in (
        driver,
        *(p for stage in ("index", "measure", "curate", "train_encoder") for p in places(fresh, stage).values()),
    ):
        assert (place["gpus"], place["visible"]) == ([], "")


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_a_node_that_joins_late_is_waited_for_and_one_that_never_comes_is_not(fresh):
    with cluster(fresh, PLAIN, {"after": 12, **GPU}):
        done = run_toy(fresh, "execution.resources.measure.labels={pool: gpu}", "cluster.join_seconds=60")
        assert done.returncode == 0 and done.stdout.count("'done'") == 5, done.stdout + done.stderr
        assert {p["pool"] for p in places(fresh, "measure").values()} == {"gpu"}
        never = ["execution.training.train_encoder={gpus: 1, workers: 3}", "cluster.join_seconds=2", "seed=2"]
        refused = run_toy(fresh, *never)
        assert refused.returncode != 0
        assert (
            "train_encoder asks for 3 workers at once, each with 1 CPU, 1 GPU; there is room for 1 "
            "(execution.training.train_encoder)" in refused.stderr
        )
        assert "1 node with 2 CPUs, 1 GPU, " in refused.stderr and "pool=gpu" in refused.stderr


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    "stage, title, store, settings",
    [
        ("measure", "ray::make_shard", "finished", SMALL),
        ("encode_latents", "ray::ShardWorker.make", "trained", TRAINED),
        ("train_generator", "ray::train-train_generator", "trained", TRAINED),
    ],
)
def test_a_node_lost_in_the_middle_of_a_stage_changes_no_byte_of_it(request, tmp_path, stage, title, store, settings):
    whole = request.getfixturevalue(store)
    shutil.copytree(whole.store, tmp_path / "store")
    pixsem = Pixsem(tmp_path)
    shutil.rmtree(pixsem.store / "artifacts" / stage)
    part = "training" if stage.startswith("train") else "resources"
    begun = "checkpoints/*/state.json" if part == "training" else "records/*.json"
    with cluster(pixsem, PLAIN, WORK, WORK):
        driver = pixsem.start("run", *settings, f"execution.{part}.{stage}.labels={{pool: work}}")
        wait_for(lambda: driver.poll() is not None or list(pixsem.store.glob(f"work/{stage}/*/{begun}")), 600.0)
        wait_for(lambda: driver.poll() is not None or workers(pixsem, title), 60.0)
        assert driver.poll() is None, driver.communicate()
        raylet = psutil.Process(workers(pixsem, title)[0]).parent()
        assert raylet.name() == "raylet", raylet
        kill([raylet.pid])
        _, said = driver.communicate(timeout=1200)
        assert driver.returncode == 0, said
    assert pixsem.digests() == whole.digests()
    assert list(pixsem.store.glob("leases/*.json")) == []


def test_on_one_machine_a_stage_that_could_never_run_is_refused_before_anything_runs(fresh):
    done = fresh("run", *SMALL, "execution.resources.curate={gpus: 1, labels: {pool: gpu}}", code=2)
    assert (
        "pixsem: Ray would wait without end:\n  curate asks for 1 CPU, 1 GPU on a node labelled pool=gpu; no node "
        "has that "
        "(execution.resources.curate)\nIt has 1 node with " in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert not list(fresh.store.glob("artifacts/*/*"))
    assert fresh.json("status")["state"] == "failed"
