"""`pixsem toy`: identical flow-matching networks on the same letters, once in the plane and once turned into more
dimensions.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from components.evaluation.toy import letter_points, nearest_distances, orthonormal, toy_figure, worst_distance
from components.generator.flow import at_time, sample_times
from components.generator.options import FlowOptions
from pipelines.stage import derive_seed

WIDTH = 256  # of every network
DIMENSIONS = (2, 8)
BATCH = 256
LEARNING_RATE = 1e-3
AVERAGE = 0.99  # decay of the averaged weights, which are what samples
POOL = 100_000  # data points that batches are drawn from
REFERENCE = 5000  # data points among which the nearest is sought
SAMPLES = 1000
EULER_STEPS = 50
POINTS = 8  # of the curve


class PointFlow(nn.Module):
    """Velocity `[B, D]` of points `[B, D]` at times `[B]`: three hidden layers, the same whatever D is."""

    rates: Tensor

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("rates", 2.0 ** torch.arange(4) * torch.pi)
        layers: list[nn.Module] = []
        for inputs in (dimensions + 8, WIDTH, WIDTH):
            layers += [nn.Linear(inputs, WIDTH), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(WIDTH, dimensions))

    def forward(self, points: Tensor, times: Tensor) -> Tensor:
        """Return the velocity."""
        angles = times[:, None] * self.rates
        return self.layers(torch.cat([points, angles.sin(), angles.cos()], 1))


def train_flow(data: Tensor, steps: int, seed: int, measure: Callable[[int, nn.Module], None]) -> None:
    """Train a network on points of data `[M, D]` by flow matching; `measure` is given its averaged weights `POINTS`
    times, at last at the end.
    """
    torch.manual_seed(seed)
    model = PointFlow(data.shape[1])
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE))
    draws = torch.Generator().manual_seed(
        seed
    )  # of its own: networks of any width see the same points in the same order
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    measured = {max(1, round(steps * (i + 1) / POINTS)) for i in range(POINTS)}
    for step in range(1, steps + 1):
        clean = data[torch.randint(len(data), (BATCH,), generator=draws)]
        noise, times = torch.randn_like(clean), sample_times(BATCH, FlowOptions(), 1.0)
        noisy = at_time(clean[:, :, None, None], noise[:, :, None, None], times)[:, :, 0, 0]
        loss = (model(noisy, times) - (noise - clean)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(model)
        if step in measured:
            measure(step, average)


@torch.no_grad()
def sample_flow(model: nn.Module, dimensions: int, seed: int) -> Tensor:
    """Return `SAMPLES` points `[N, D]` by Euler steps from noise (time 1) to data (time 0)."""
    points = torch.randn(SAMPLES, dimensions, generator=torch.Generator().manual_seed(seed))
    for step in range(EULER_STEPS):
        times = torch.full((SAMPLES,), 1 - step / EULER_STEPS)
        points = points - model(points, times) / EULER_STEPS
    return points


def run_toy(folder: Path, steps: int, seeds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the experiment; write `toy.png`, `toy.csv` and `toy.json` into `folder` and return what the last one holds.

    `{steps, seeds, floor, seconds, worst: {"2": {seed: final distance}, "8": ...}, off_plane, curves}`: distances are
    in units of the data's spread, `off_plane` is the mean distance of all 8-D samples from the plane that the data lie
    in.
    """
    started = time.perf_counter()
    rows: list[dict[str, Any]] = []
    clouds, off_plane, floors = [], {}, []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(derive_seed(seed, "toy"))
        pool = letter_points(POOL, generator)
        reference, fresh = letter_points(REFERENCE, generator), letter_points(SAMPLES, generator)
        floors.append(worst_distance(fresh, reference))
        for dimensions in DIMENSIONS:
            basis = torch.eye(2) if dimensions == 2 else orthonormal(dimensions, 2, generator)
            truth = reference @ basis.T
            made: list[Tensor] = []

            def measure(
                step: int,
                model: nn.Module,
                dimensions: int = dimensions,
                truth: Tensor = truth,
                made: list[Tensor] = made,
                seed: int = seed,
            ) -> None:
                made[:] = [sample_flow(model, dimensions, derive_seed(seed, "toy noise"))]
                rows.append(
                    {"seed": seed, "dimensions": dimensions, "step": step, "worst": worst_distance(made[0], truth)}
                )

            train_flow(pool @ basis.T, steps, derive_seed(seed, "toy weights"), measure)
            samples = made[0]
            say(f"seed {seed}, {dimensions}-D: {rows[-1]['worst']:.4f} (fresh data {floors[-1]:.4f})")
            if dimensions > 2:
                off_plane[str(seed)] = float((samples - samples @ basis @ basis.T).norm(dim=1).mean())
            if seed == 0:
                clouds.append((f"{dimensions}-D", samples @ basis, nearest_distances(samples, truth)))
    value = _summary(rows, steps, seeds, floors, off_plane, time.perf_counter() - started)
    folder.mkdir(parents=True, exist_ok=True)
    curves = {f"{d}-D": (value["curves"]["steps"], list(value["curves"][str(d)].values())) for d in DIMENSIONS}
    toy_figure(clouds, curves, value["floor"], folder / "toy.png")
    with (folder / "toy.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, ["seed", "dimensions", "step", "worst"])
        writer.writeheader()
        writer.writerows(rows)
    (folder / "toy.json").write_text(json.dumps(value, indent=1), "utf-8")
    return value


def _summary(
    rows: list[dict[str, Any]], steps: int, seeds: int, floors: list[float], off_plane: dict[str, float], seconds: float
) -> dict[str, Any]:
    curves: dict[str, Any] = {"steps": sorted({row["step"] for row in rows})}
    for d in DIMENSIONS:
        curves[str(d)] = {
            str(s): [row["worst"] for row in rows if row["dimensions"] == d and row["seed"] == s] for s in range(seeds)
        }
    worst = {str(d): {s: values[-1] for s, values in curves[str(d)].items()} for d in DIMENSIONS}
    return {
        "steps": steps, "seeds": seeds, "floor": float(np.mean(floors)), "seconds": round(seconds, 1), "worst": worst,
        "off_plane": off_plane, "curves": curves,
    }  # fmt: skip
