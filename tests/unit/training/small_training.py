"""A small training with everything in it: noise of its own, a frozen part, a critic."""

from __future__ import annotations

import torch
from torch import nn

from components.training.loop import Hooks, Place, train
from components.training.options import OptimizerOptions, TrainingOptions


class Net(nn.Module):
    """Denoises 8 numbers, with noise of its own: what is random at a step must come back after a resume."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(8, 16), nn.Linear(16, 8), nn.LayerNorm(8)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, batch, progress, critic):
        guess = self.norm(self.down(torch.relu(self.up(batch["x"] + 0.1 * torch.randn_like(batch["x"])))))
        loss = (guess - batch["x"]).square().mean() * batch.get("scale", torch.ones(1)).max()
        if "steep" in batch:
            loss = loss + (0 * self.up.weight).square().sum().sqrt()  # adds 0, with a gradient that is no number
        if critic is None:
            return loss, {"error": loss}, None
        return loss - 0.1 * critic.judge(guess).mean(), {"error": loss}, (batch["x"], guess.detach().float())


class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(8, 1)

    def judge(self, x):
        return self.line(x)

    def forward(self, real, fake):
        return torch.relu(1 - self.line(real)).mean() + torch.relu(1 + self.line(fake)).mean()


class Job:
    blocks = ()
    critic_from = 0.3

    def __init__(self, adversarial: bool) -> None:
        torch.manual_seed(0)
        self.module = Net()
        self.critic = Critic() if adversarial else None

    def evaluate(self, step, folder) -> dict:
        (folder / f"{step}.txt").write_text("evaluated")
        return {"held_out": float(step)}


class Data:
    def __init__(self, bad_step: int | None = None, steep_step: int | None = None) -> None:
        self.bad_step, self.steep_step = bad_step, steep_step

    def batch(self, step):
        x = torch.randn(8, 8, generator=torch.Generator().manual_seed(step))
        if step == self.bad_step:
            x[3] = float("nan")
        keys = [f"shard/{step}-{i}" for i in range(8)]
        return {"x": x} | ({"steep": torch.ones(8)} if step == self.steep_step else {}), keys


def run(folder, stop_after=None, data=None, adversarial=True, seed=7, log=None, part=None, **options):
    """Train 12 steps; stop after some of them where asked."""
    calls = iter(range(1, 1000))
    job = Job(adversarial)
    settings = {"steps": 12, "batch": 8, "checkpoint_every": 4, "log_every": 1, "precision": "fp32", **options}
    settings.setdefault("optimizer", OptimizerOptions(kind="muon", lr=1e-2, muon_lr=1e-2))
    hooks = Hooks(should_stop=lambda: stop_after is not None and next(calls) >= stop_after)
    if log is not None:
        hooks.log = lambda step, figures: log.append((step, figures))
    if part is not None:
        hooks.part = part
    linear = torch.nn.functional.linear
    try:
        return train(job, data or Data(), TrainingOptions(**settings), seed, folder, Place(), hooks), job
    finally:
        # ZeRO 3 leaves one of its own, which TorchScript cannot save. A worker ends with its training; tests go on.
        torch.nn.functional.linear = linear


def same(a: Job, b: Job) -> bool:
    pairs = [(a.module, b.module)] + ([(a.critic, b.critic)] if a.critic else [])
    return all(
        torch.equal(x, y)
        for m, n in pairs
        for x, y in zip(m.state_dict().values(), n.state_dict().values(), strict=True)
    )
