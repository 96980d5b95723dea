"""Training stages on real Ray workers: stopped, killed and resumed, they end as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal

import pytest
from conftest import kill, processes, wait_for, workers

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
]  # two minutes; the loop alone is killed in tests/integration/training

DATA = ["preset=tiny", "source.count=80", "source.samples_per_shard=10"]
LONG = [*DATA, "encoder.training.steps=400", "encoder.training.checkpoint_every=20", "encoder.training.log_every=20"]


def checkpoints(pixsem, stage: str = "train_encoder") -> list[str]:
    return sorted(
        p.name for p in pixsem.store.glob(f"work/{stage}/*/checkpoints/step-*") if (p / "state.json").exists()
    )


@pytest.mark.timeout(400)
@pytest.mark.parametrize("workers", [1, 2])
def test_training_stopped_by_sigterm_and_killed_ends_as_training_that_was_not(copy, workers):
    settings = [*LONG, f"execution.training.train_encoder.workers={workers}", "--until", "train_encoder"]
    driver = copy.start("run", *settings)
    wait_for(lambda: checkpoints(copy))
    driver.send_signal(signal.SIGTERM)
    _, said = driver.communicate(timeout=120)
    assert driver.returncode == 128 + signal.SIGTERM, said
    assert not processes(str(copy.folder))
    saved = checkpoints(copy)
    assert int(saved[-1].split("-")[1]) < 400, "it was not stopped in time"

    driver = copy.start("resume")
    wait_for(lambda: checkpoints(copy)[-1] > saved[-1])
    kill(processes(str(copy.folder)))
    driver.communicate()
    wait_for(lambda: not processes(str(copy.folder)))
    assert not list(copy.store.glob("artifacts/train_encoder/*"))

    copy("resume")
    log = next(copy.store.glob("runs/*/logs/train_encoder.log")).read_text()
    (interrupted,) = [d for name, d in copy.digests().items() if name.startswith("train_encoder/")]
    copy("run", *settings, "--force", "train_encoder")
    (whole,) = [d for name, d in copy.digests().items() if name.startswith("train_encoder/")]
    assert interrupted == whole, log
    curve = next(copy.store.glob("artifacts/train_encoder/*/curve.jsonl")).read_text().splitlines()
    assert [json.loads(line)["step"] for line in curve] == list(range(20, 401, 20))
    assert not list(copy.store.glob("artifacts/train_encoder/*/checkpoints"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", [1, 2])
def test_training_on_streamed_shards_that_is_killed_ends_as_training_that_was_not(copy, workers):
    steps = ["generator.editing.steps=600", "generator.editing.checkpoint_every=20", "generator.editing.sample_every=0"]
    streamed = [*DATA, "shuffle.full_gb=0", "shuffle.window_shards=2", *steps, "generator.snapshots=0"]
    settings = [*streamed, f"execution.training.train_editor.workers={workers}", "--until", "train_editor"]
    driver = copy.start("run", *settings)
    for _ in range(2):
        before = checkpoints(copy, "train_editor")[-1:]
        wait_for(lambda before=before: checkpoints(copy, "train_editor")[-1:] > before, 400)
        kill(processes(str(copy.folder)))
        driver.communicate()
        wait_for(lambda: not processes(str(copy.folder)))
        assert not list(copy.store.glob("artifacts/train_editor/*"))
        driver = copy.start("resume")
    _, said = driver.communicate(timeout=400)
    assert driver.returncode == 0, said
    (interrupted,) = [d for name, d in copy.digests().items() if name.startswith("train_editor/")]
    copy("run", *settings, "--force", "train_editor")
    (whole,) = [d for name, d in copy.digests().items() if name.startswith("train_editor/")]
    assert interrupted == whole


@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize(("count", "title"), [(1, "ray::train-train_encoder"), (2, "ray::RayTrainWorker")])
def test_a_lost_or_preempted_training_worker_is_replaced_and_nothing_differs(copy, number, count, title):
    settings = [*LONG, f"execution.training.train_encoder.workers={count}", "--until", "train_encoder"]
    driver = copy.start("run", *settings)
    wait_for(lambda: checkpoints(copy))
    hit = workers(copy, title)
    assert hit
    for pid in hit:
        os.kill(pid, number)
    said = driver.communicate(timeout=300)
    assert driver.returncode == 0, said
    log = next(copy.store.glob("runs/*/logs/train_encoder.log")).read_text()
    assert ("told to stop" in log) == (number == signal.SIGTERM), log
    (interrupted,) = [d for name, d in copy.digests().items() if name.startswith("train_encoder/")]
    copy("run", *settings, "--force", "train_encoder")
    (whole,) = [d for name, d in copy.digests().items() if name.startswith("train_encoder/")]
    assert interrupted == whole


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1)])
def test_another_number_of_workers_on_resume_is_refused_and_loses_nothing_of_what_was_trained(copy, first, then):
    settings = {n: [*LONG, f"execution.training.train_encoder.workers={n}", "--until", "train_encoder"] for n in (1, 2)}
    driver = copy.start("run", *settings[first])
    wait_for(lambda: checkpoints(copy))
    driver.send_signal(signal.SIGTERM)
    driver.communicate(timeout=120)
    saved = checkpoints(copy)
    assert int(saved[-1].split("-")[1]) < 400, "it was not stopped in time"

    done = copy("run", *settings[then], code=1)
    said = done.stdout + done.stderr
    assert f"was stopped at a checkpoint of {first} workers" in said and f"now has {then}" in said
    assert f"execution.training.train_encoder.workers={first}" in said and "--force train_encoder" in said
    assert "Traceback" not in said and checkpoints(copy) == saved

    copy("run", *settings[first])
    steps = [json.loads(line)["step"] for line in next(copy.store.glob("artifacts/train_encoder/*/curve.jsonl")).open()]
    assert steps == list(range(20, 401, 20))
    (gone_on,) = [d for name, d in copy.digests().items() if name.startswith("train_encoder/")]
    copy("run", *settings[first], "--force", "train_encoder")
    assert [d for name, d in copy.digests().items() if name.startswith("train_encoder/")] == [gone_on]
    copy("run", *settings[then], "--force", "train_encoder")  # the other way out that the message names
