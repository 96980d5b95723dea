"""One worker of a small training run: python worker.py FOLDER RANK WORLD PORT PAUSE ZERO. Prints its weights' hash at
the end.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

from components.training.loop import Hooks, Place, train
from components.training.options import OptimizerOptions, TrainingOptions


class Net(nn.Module):
    """Denoises 16 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, batch, progress, critic):
        """Return the loss."""
        guess = self.down(torch.relu(self.up(batch["x"] + 0.1 * torch.randn_like(batch["x"]))))
        loss = (guess - batch["x"]).square().mean()
        return loss, {"error": loss}, None


class Job:
    """What is trained."""

    critic, critic_from, blocks = None, 1.0, ()

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module = Net()

    def evaluate(self, step, folder) -> dict:
        """Nothing to see."""
        return {}


class Data:
    """This rank's half of each batch, with a pause, so that there is a moment to be killed in."""

    def __init__(self, rank: int, world: int, pause: float) -> None:
        self.rank, self.world, self.pause = rank, world, pause

    def batch(self, step: int):
        """Return a step's share."""
        time.sleep(self.pause)
        x = torch.randn(8, 16, generator=torch.Generator().manual_seed(step))
        return {"x": x.chunk(self.world)[self.rank]}, [f"{step}"]


def main() -> None:
    """Train, and print the hash of the weights."""
    folder, rank, world, port, pause, zero = sys.argv[1:]
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "RANK": rank,
        "WORLD_SIZE": world,
        "LOCAL_RANK": rank,
    }
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=int(rank), world_size=int(world))
    job = Job()
    options = TrainingOptions(
        steps=30,
        batch=8,
        checkpoint_every=5,
        precision="fp32",
        zero_stage=int(zero),
        optimizer=OptimizerOptions(lr=1e-2),
    )
    place = Place(int(rank), int(world))
    result = train(job, Data(int(rank), int(world), float(pause)), options, 3, Path(folder), place, Hooks())
    assert result.finished
    if rank == "0":
        weights = b"".join(value.detach().numpy().tobytes() for value in job.module.state_dict().values())
        print("weights", hashlib.sha256(weights).hexdigest())
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
