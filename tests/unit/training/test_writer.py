"""Checkpoints are written beside training, from copies: nothing of a later step gets in, and no error gets lost."""

from __future__ import annotations

import io
import threading

import pytest
import torch
from torch import nn

from components.training.checkpoints import Checkpoints, TrainingFailed
from components.training.copies import copy_to_host
from tests.unit.training.small_training import Data, run, same

pytestmark = pytest.mark.unit


class Signalling(Data):
    """Says when a step's batch is asked for."""

    def __init__(self, step: int, **bad: int) -> None:
        super().__init__(**bad)
        self.step, self.asked = step, threading.Event()

    def batch(self, step):
        if step == self.step:
            self.asked.set()
        return super().batch(step)


def test_steps_go_on_while_a_checkpoint_is_written_and_do_not_get_into_it(tmp_path):
    _, whole = run(tmp_path / "whole")
    data = Signalling(7)  # two steps after the checkpoint's
    held = []

    def part(folder, checkpoint, names):
        if checkpoint == "step-00000004" and names != [] and not held:
            held.append(data.asked.wait(60))

    run(tmp_path / "cut", data=data, part=part, stop_after=7)
    assert held == [True], "no step was taken while the checkpoint was written"
    for late in (tmp_path / "cut").glob("step-00000007"):
        late.rename(tmp_path / "moved")
    assert Checkpoints(tmp_path / "cut", 2).steps() == [4]
    result, resumed = run(tmp_path / "cut")
    assert result.finished and same(whole, resumed)


def test_files_written_from_copies_are_those_written_at_once():
    flat = torch.arange(12.0)
    state = {
        "views": [flat[:6].view(2, 3), flat[6:]], "again": flat, "learnt": flat[3:5].clone().requires_grad_(),
        "weight": nn.Parameter(torch.ones(2)), "counts": (torch.tensor(3), 4), "words": {"a": "b"},
    }  # fmt: skip
    state["views"][1].note = "kept"  # type: ignore[attr-defined]
    copied = copy_to_host(state)

    def written(value) -> bytes:
        file = io.BytesIO()
        torch.save(value, file)
        return file.getvalue()

    assert written(copied) == written(state)
    flat += 1
    assert copied["views"][0][0, 0] == 0 and copied["again"][11] == 11


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_copy_of_a_gpus_state_is_pinned_and_of_its_moment():
    flat = torch.arange(8.0, device="cuda")
    copied = copy_to_host({"a": flat[:4], "b": flat})
    flat += 1
    assert copied["b"].is_pinned() and copied["a"].data_ptr() == copied["b"].data_ptr()
    assert copied["b"].tolist() == list(range(8))


def test_a_checkpoint_that_cannot_be_written_ends_the_training_with_what_to_do(tmp_path):
    def part(folder, checkpoint, names):
        if checkpoint == "step-00000008":
            raise OSError(28, "No space left on device")

    wanted = r"rank 0 could not write the checkpoint of step 8 to .*No space left on device.*go on with: pixsem resume"
    with pytest.raises(TrainingFailed, match=wanted):
        run(tmp_path / "a", part=part, steps=40)
    assert Checkpoints(tmp_path / "a", 2).steps() == [4]
    result, _ = run(tmp_path / "a", steps=40)
    assert result.finished


def test_the_last_checkpoint_of_a_training_that_fails_gets_whole(tmp_path):
    data = Signalling(6, bad_step=5)  # asked for once the bad step begins

    def part(folder, checkpoint, names):
        assert data.asked.wait(60)

    with pytest.raises(TrainingFailed, match="at step 6 on rank 0"):
        run(tmp_path / "a", data=data, part=part)
    assert Checkpoints(tmp_path / "a", 2).steps() == [4]
    assert not list((tmp_path / "a").glob(".partial-*"))


def test_a_write_that_fails_in_a_training_that_fails_is_said_too(tmp_path, caplog):
    def part(folder, checkpoint, names):
        raise OSError("the disk is gone")

    with pytest.raises(TrainingFailed) as failed:  # whichever is found first ends it
        run(tmp_path / "a", data=Data(bad_step=4), part=part)
    assert "the disk is gone" in caplog.text + str(failed.value)
