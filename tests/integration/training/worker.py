"""One worker of a small training run: python worker.py FOLDER RANK WORLD PORT '{"zero": 1, ...}'. Prints its losses,
and its weights' hash at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

from components.training.loop import Hooks, Place, train
from components.training.options import OptimizerOptions, TrainingOptions
from pipelines.store.files import Store
from pipelines.training.worker import CheckpointStore


class Net(nn.Module):
    """Denoises 16 numbers."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.noise = noise
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, batch, progress, critic):
        """Return the loss."""
        noisy = batch["x"] + self.noise * torch.randn_like(batch["x"])
        guess = self.down(torch.relu(self.up(noisy)))
        loss = (guess - batch["x"]).square().mean()
        return loss, {"error": loss}, None


class Job:
    """What is trained."""

    critic, critic_from, blocks = None, 1.0, ()

    def __init__(self, noise: float) -> None:
        torch.manual_seed(0)
        self.module = Net(noise)

    def evaluate(self, step, folder) -> dict:
        """Nothing to see."""
        return {}


class Data:
    """This rank's part of each batch, with a pause, so that there is a moment to be killed in."""

    def __init__(self, rank: int, world: int, pause: float, bad: list[int]) -> None:
        self.rank, self.world, self.pause, self.bad = rank, world, pause, bad

    def batch(self, step: int):
        """Return a step's share."""
        time.sleep(self.pause)
        x = torch.randn(8, 16, generator=torch.Generator().manual_seed(step))
        if [self.rank, step] == self.bad:
            x[:] = float("nan")
        return {"x": x.chunk(self.world)[self.rank]}, [f"{step}-of-{self.rank}"]


def main() -> None:
    """Train, and print the losses and the hash of the weights."""
    folder, rank, world, port, rest = sys.argv[1:]
    asked = {"pause": 0.0, "zero": 0, "accumulate": 1, "noise": 0.1, "bad": [], "store": "", **json.loads(rest)}
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "RANK": rank,
        "WORLD_SIZE": world,
        "LOCAL_RANK": rank,
    }
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=int(rank), world_size=int(world))
    job = Job(asked["noise"])
    options = TrainingOptions(
        steps=30,
        batch=8,
        accumulate=asked["accumulate"],
        checkpoint_every=5,
        log_every=10,
        precision="fp32",
        zero_stage=asked["zero"],
        optimizer=OptimizerOptions(lr=1e-2),
    )
    place = Place(int(rank), int(world))
    losses: list[float] = []
    hooks = Hooks(log=lambda step, figures: losses.append(figures["loss"]))
    path = Path(folder)
    if asked["store"]:
        checkpoints = CheckpointStore(Store(asked["store"]), "checkpoints", path / rank)
        hooks.part, hooks.saved, hooks.bring = checkpoints.part, checkpoints.saved, checkpoints.bring
        path = checkpoints.fetch()
    data = Data(int(rank), int(world), asked["pause"], asked["bad"])
    result = train(job, data, options, 3, path, place, hooks)
    assert result.finished
    if rank == "0":
        weights = b"".join(value.detach().numpy().tobytes() for value in job.module.state_dict().values())
        print("losses", json.dumps(losses))
        print("weights", hashlib.sha256(weights).hexdigest())
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
