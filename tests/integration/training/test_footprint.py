"""The arithmetic of memory and checkpoints, held against real DeepSpeed engines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.training.footprint import BUCKET, Sizes, checkpoint_bytes, memory
from components.training.options import OptimizerOptions, TrainingOptions

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
WORKER = Path(__file__).with_name("held_worker.py")


def measure(
    folder: Path, world: int, kind: str, precision: str, stages: list[int], accumulate: int = 1, bucket: int = BUCKET
) -> dict[int, dict[str, int]]:
    command = [sys.executable, str(WORKER), str(folder)]
    rest = [str(world), kind, precision, str(accumulate), str(bucket), *map(str, stages)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    workers = [
        subprocess.Popen(
            [*command, str(rank), *rest], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in range(world)
    ]
    said = [worker.communicate(timeout=200) for worker in workers]
    assert all(worker.returncode == 0 for worker in workers), said[0][1][-2000:]
    line = next(line for line in said[0][0].splitlines() if line.startswith("found "))
    return {int(stage): values for stage, values in json.loads(line.removeprefix("found ")).items()}


def options_of(kind: str, stage: int, world: int) -> TrainingOptions:
    return TrainingOptions(batch=world, zero_stage=stage, optimizer=OptimizerOptions(kind=kind))  # type: ignore[arg-type]


def lasting(parts: dict[str, int], sizes: Sizes, stage: int, bf16: bool) -> int:
    """Bytes held between steps."""
    held = parts["weights"] + parts["optimizer"] + parts["master"]
    if stage == 3:  # holds its gradients and buckets, and no whole weights
        held += parts["gradients"] + parts["buckets"] - 4 * sizes.trained * (1 if bf16 else 2)
    return held


def check(found: dict[int, dict[str, int]], kind: str, world: int, bf16: bool) -> None:
    for stage, seen in found.items():
        sizes, options = Sizes(seen["matrices"], seen["others"]), options_of(kind, stage, world)
        parts = memory(sizes, options, world, bf16)
        assert seen["held"] == pytest.approx(lasting(parts, sizes, stage, bf16), rel=0.01), f"zero {stage}"
        casts = 2 * sizes.trained if bf16 else 0  # of the forward pass: part of the activations
        most = sum(parts.values()) - parts["average"] + casts
        assert seen["held"] < seen["peak"] <= 1.01 * most, f"zero {stage}"
        written = checkpoint_bytes(sizes, options) - parts["average"]  # which the loop writes, not the engine
        assert seen["checkpoint"] == pytest.approx(written, rel=0.02), f"zero {stage}"


def test_one_worker_holds_and_writes_what_the_arithmetic_says_at_every_zero_stage(tmp_path):
    check(measure(tmp_path, 1, "adamw", "bf16", [0, 1, 2, 3]), "adamw", 1, bf16=True)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "stages"), [("adamw", [0, 1, 2, 3]), ("muon", [0, 1, 2])])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("world", [1, 2])
def test_workers_hold_and_write_what_the_arithmetic_says(tmp_path, kind, stages, precision, world):
    check(measure(tmp_path, world, kind, precision, stages), kind, world, bf16=precision == "bf16")


@pytest.mark.parametrize("accumulate", [pytest.param(1, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp32", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("world", "bucket"), [(1, BUCKET), (2, 600_000)])
def test_micro_batches_add_up_in_the_gradients_that_the_arithmetic_has(tmp_path, world, bucket, precision, accumulate):
    """What the presets train with, held against the model's own size: beside buckets that hold more than all of it, and
    less than half. Part of the casts need not be there when the buckets are. A rank's part ends within one of the six
    layers, which it then holds whole, of this micro-batch and of those before.
    """
    bf16 = precision == "bf16"
    for stage, seen in measure(tmp_path, world, "adamw", precision, [0, 1, 2, 3], accumulate, bucket).items():
        sizes = Sizes(seen["matrices"], seen["others"])
        options = TrainingOptions(batch=4 * world, accumulate=accumulate, zero_stage=stage)  # type: ignore[arg-type]
        parts, own = memory(sizes, options, world, bf16, bucket), 4 * sizes.trained
        assert seen["held"] == pytest.approx(lasting(parts, sizes, stage, bf16), abs=0.02 * own)
        most = sum(parts.values()) - parts["average"] + (own // 2 if bf16 else 0)
        assert most - 0.6 * own <= seen["peak"] <= most + 0.35 * own, f"zero {stage}"


def test_the_bucket_is_deepspeeds_default():
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    assert DeepSpeedZeroConfig().reduce_bucket_size == BUCKET
