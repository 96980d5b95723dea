"""Steps ask the device for nothing, and yet no loss or gradient that is no number gets into a checkpoint."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from components.training.checkpoints import Checkpoints, TrainingFailed
from components.training.options import OptimizerOptions
from tests.unit.training.small_training import Data, run

pytestmark = pytest.mark.unit

ADAMW = OptimizerOptions(lr=1e-2)
STOPS = {torch.ops.aten._local_scalar_dense, torch.ops.aten.equal, torch.ops.aten.nonzero}  # the host waits for these


class HostReads(TorchDispatchMode):
    """Counts what makes the host wait for a device, where there is one."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func._overloadpacket in STOPS
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": ADAMW, "adversarial": False, "accumulate": 2},
        {"optimizer": ADAMW, "zero_stage": 1},
        {"optimizer": ADAMW, "zero_stage": 2},
        {"optimizer": ADAMW, "zero_stage": 3},
    ],
    ids=["muon and critic", "accumulation", "zero1", "zero2", "zero3"],
)
def test_more_steps_read_nothing_more_on_the_host(tmp_path, options):
    def reads(steps: int) -> int:
        with HostReads() as seen:
            run(tmp_path / str(steps), steps=steps, log_every=100, checkpoint_every=100, **options)
        return seen.count

    few = reads(5)
    assert few > 0, "the end of a training reads its figures"
    assert reads(13) == few


@pytest.mark.parametrize(("zero", "log_every"), [(0, 1), (0, 100), (2, 100)])
def test_a_loss_that_is_no_number_stops_with_its_step_and_samples(tmp_path, zero, log_every):
    with pytest.raises(
        TrainingFailed,
        match=r"the loss is nan at step 7 on rank 0, in the batch of shard/6-0, .*Lower the learning rate",
    ):
        run(tmp_path / "a", data=Data(bad_step=6), zero_stage=zero, optimizer=ADAMW, log_every=log_every)
    assert Checkpoints(tmp_path / "a", 2).steps() == [4]


@pytest.mark.parametrize("zero", [0, 1, 3])
def test_a_gradient_that_is_no_number_gets_into_no_checkpoint_though_its_loss_is_one(tmp_path, zero):
    with pytest.raises(
        TrainingFailed, match=r"the norm of the gradient is .* at step 8 on rank 0, in the batch of shard"
    ):
        run(tmp_path / "a", data=Data(steep_step=7), zero_stage=zero, optimizer=ADAMW, log_every=100)
    assert Checkpoints(tmp_path / "a", 2).steps() == [4]  # 8 is a checkpoint's step
