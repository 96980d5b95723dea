"""The off-manifold experiment (paper section 5): letters in the plane, the same turned into more dimensions, and how
far samples stray.

Data, metric and figure. What is trained on them is the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from components.evaluation.grids import COLOURS

PIXELS = 96  # height of the letters as they are drawn
WORST = 0.05  # share of samples, those furthest from the data, that is looked at
CLOUD = 1500  # points of a cloud in the figure


def letter_points(count: int, generator: torch.Generator, text: str = "PS") -> Tensor:
    """Return points `[count, 2]`, float32, spread evenly over the ink of `text`; centred, the spread of both axes
    together 1.
    """
    font = ImageFont.load_default(PIXELS)
    left, top, right, bottom = (int(edge) for edge in font.getbbox(text))
    picture = Image.new("L", (right - left, bottom - top), 0)
    ImageDraw.Draw(picture).text((-left, -top), text, fill=255, font=font)
    rows, columns = np.nonzero(np.asarray(picture) > 127)
    ink = torch.from_numpy(np.stack([columns, -rows], 1)).float()
    centre, spread = ink.mean(0), (ink - ink.mean(0)).square().mean().sqrt()
    chosen = torch.randint(len(ink), (count,), generator=generator)
    return (ink[chosen] + torch.rand(count, 2, generator=generator) - 0.5 - centre) / spread


def orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Return a random matrix Q `[rows, columns]`, float32, with `Q^T Q = 1`."""
    q, r = torch.linalg.qr(torch.randn(rows, columns, dtype=torch.float64, generator=generator))
    return (q * r.diagonal().sign()).float()  # the signs that QR leaves open, so that Q is uniform


def nearest_distances(samples: Tensor, data: Tensor) -> Tensor:
    """Return for each of samples `[N, D]` the distance `[N]` to the nearest of data `[M, D]`."""
    return torch.cat([torch.cdist(part, data).amin(1) for part in samples.split(512)])


def worst_distance(samples: Tensor, data: Tensor, share: float = WORST) -> float:
    """Return the mean nearest-neighbour distance of the `share` of samples that lie furthest from the data."""
    distances = nearest_distances(samples, data)
    return float(distances.topk(max(1, round(share * len(distances)))).values.mean())


def toy_figure(
    clouds: Sequence[tuple[str, Tensor, Tensor]],
    curves: Mapping[str, tuple[Sequence[int], Sequence[Sequence[float]]]],
    floor: float,
    path: str | Path,
) -> None:
    """Draw clouds (title, points `[N, 2]`, distances `[N]` to the data) and curves {name: (steps, one list of values
    per seed)}.

    The worst samples of each cloud are marked. `floor` is what fresh data have.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * (len(clouds) + 1), 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(clouds) + 1)
    for axis, (title, points, distances) in zip(axes, clouds, strict=False):
        points, distances = points[:CLOUD], distances[:CLOUD]
        worst = distances >= distances.quantile(1 - WORST)
        for chosen, colour, label in ((~worst, COLOURS[0], "samples"), (worst, COLOURS[1], "worst 5 %")):
            axis.scatter(points[chosen, 0], points[chosen, 1], s=3, color=colour, label=label)
        axis.set(title=title, xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal")
    axes[0].legend(frameon=False, loc="lower left", markerscale=3)
    for number, (name, (steps, runs)) in enumerate(curves.items()):
        values = np.asarray(runs)
        mean, spread = values.mean(0), values.std(0, ddof=1) if len(values) > 1 else np.zeros(len(steps))
        axes[-1].plot(steps, mean, label=name, color=COLOURS[number], marker="o", markersize=4)
        axes[-1].fill_between(steps, mean - spread, mean + spread, color=COLOURS[number], alpha=0.2, linewidth=0)
    axes[-1].axhline(floor, color="#666666", linestyle=":", label="fresh data")
    axes[-1].set(xlabel="training steps", ylabel="nearest-neighbour distance of the worst 5 %", yscale="log")
    axes[-1].grid(alpha=0.3)
    axes[-1].spines[["top", "right"]].set_visible(False)
    axes[-1].legend(frameon=False)
    figure.savefig(path)
