"""pixsem doctor on this machine, with a real Ray, store, MLflow database and DeepSpeed step."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.integration
PARTS = {
    "python",
    "config",
    "store",
    "mlflow",
    "ray",
    "resources",
    "packages",
    "gpus",
    "deepspeed",
    "nccl",
    "precision",
    "allocator",
    "memory",
    "disk",
}


@pytest.mark.slow
def test_where_all_is_well_every_line_is_ok_and_nothing_is_left(fresh):
    lines = fresh.json("doctor", "preset=tiny")
    found = {line["part"]: line for line in lines}
    assert set(found) == PARTS
    assert [line for line in lines if not line["ok"]] == []
    assert "a step in" in found["deepspeed"]["text"] and "gloo" in found["deepspeed"]["text"]
    assert "jemalloc" in found["allocator"]["text"]
    assert fresh.json("models") == []
    assert not [path for path in (fresh.store / "tmp").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_what_is_not_there_is_named_with_what_to_do_and_the_exit_code_says_so(fresh):
    done = fresh(
        "doctor", "preset=tiny", "tracking.uri=http://127.0.0.1:9", "execution.resources.encode_latents.gpus=1", code=1
    )
    todo = [line for line in done.stdout.splitlines() if line.startswith("TO DO")]
    assert len(todo) == 2, done.stdout
    assert "mlflow" in todo[0] and "does not answer. Start the server" in todo[0]
    assert "encode_latents asks for 1 CPU, 1 GPU; no node has that (execution.resources.encode_latents)" in todo[1]
    assert "Traceback" not in done.stdout + done.stderr
    done = fresh("doctor", "preset=tiny", "cluster.address=127.0.0.1:9", code=1)
    assert "TO DO  ray        cluster.address=127.0.0.1:9: Ray cannot be reached" in done.stdout
