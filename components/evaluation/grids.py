"""Pictures of results for people: grids of reconstructions and curves of scores. Nothing is measured here."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from torch import Tensor

CELL = 96  # pixels; pictures with a longer side below this are enlarged
GAP = 4  # pixels between pictures
PAPER = (236, 236, 236)  # so that white pictures show
INK = (20, 20, 20)
# Told apart by the colour-blind too (Okabe & Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^Dv<>"


def reconstruction_grid(rows: Sequence[tuple[str, Tensor]], captions: Sequence[str] = ()) -> Image.Image:
    """Return an RGB grid, one row for each (label, pictures), one column for each picture, with its caption below where
    given.

    Pictures are float32 [N, 3, H, W] in [0, 1], of one shape in all rows, so that a column is one picture. Small ones
    are enlarged by a whole factor to `CELL` pixels or more, without smoothing. Raises ValueError.
    """
    from components.evaluation.reconstruction import check_pictures

    if not rows:
        raise ValueError("the grid has no rows: give (label, pictures) pairs, e.g. originals and reconstructions")
    for label, pictures in rows:
        check_pictures(f"pictures of row {label!r}", pictures)
        if pictures.shape != rows[0][1].shape:
            raise ValueError(
                f"row {label!r} is {list(pictures.shape)}, row {rows[0][0]!r} {list(rows[0][1].shape)}: "
                "give the same number and size of pictures in all rows"
            )
    count, _, height, width = rows[0][1].shape
    factor = max(1, math.ceil(CELL / max(height, width)))
    cell = (width * factor, height * factor)
    font = ImageFont.load_default(15)
    margin = math.ceil(max(font.getbbox(label)[2] for label, _ in rows)) + 16
    # A picture may be flat and wide; its label still needs a line.
    step = max(cell[1], 20) + GAP
    below = [textwrap.wrap(caption, max(10, cell[0] // 6)) for caption in captions]
    footer = 16 * max((len(lines) for lines in below), default=0)
    grid = Image.new("RGB", (margin + count * (cell[0] + GAP), GAP + len(rows) * step + footer), PAPER)
    draw = ImageDraw.Draw(grid)
    for line, (label, pictures) in enumerate(rows):
        top = GAP + line * step
        draw.text((8, top + (step - GAP) // 2), label, fill=INK, font=font, anchor="lm")
        values = (pictures.detach().cpu() * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        for column in range(count):
            picture = Image.fromarray(values[column]).resize(cell, Image.Resampling.NEAREST)
            grid.paste(picture, (margin + column * (cell[0] + GAP), top))
    for column, lines in enumerate(below):
        place = (margin + column * (cell[0] + GAP), GAP + len(rows) * step)
        draw.multiline_text(place, "\n".join(lines), fill=INK, font=ImageFont.load_default(11))
    return grid


def captioned_grid(cells: Sequence[tuple[str, Sequence[np.ndarray], bool | None]], columns: int) -> Image.Image:
    """Return an RGB grid of (text, pictures side by side, right), each with its text below; what is not right has a red
    frame. None: not judged, and no frame.

    Pictures are uint8 [S, S, 3], as many in each cell. Small ones are enlarged by a whole factor. Raises ValueError.
    """
    if not cells or not cells[0][1]:
        raise ValueError("the grid has no cells: give (text, pictures, right) for each")
    side = len(cells[0][1][0])
    factor = max(1, math.ceil(CELL / side))
    width = len(cells[0][1]) * (side * factor + GAP) + GAP
    font = ImageFont.load_default(11)
    lines = [textwrap.wrap(text, max(12, width // 6)) for text, _, _ in cells]
    height = side * factor + 14 * max(len(line) for line in lines) + 3 * GAP
    rows = math.ceil(len(cells) / columns)
    grid = Image.new("RGB", (columns * (width + GAP), rows * (height + GAP)), PAPER)
    draw = ImageDraw.Draw(grid)
    for number, ((_, pictures, right), text) in enumerate(zip(cells, lines, strict=True)):
        left, top = number % columns * (width + GAP), number // columns * (height + GAP)
        if right is not None and not right:
            draw.rectangle(
                (left, top, left + width - 1, top + side * factor + 2 * GAP - 1), outline=(200, 0, 0), width=2
            )
        for place, picture in enumerate(pictures):
            enlarged = Image.fromarray(picture).resize((side * factor,) * 2, Image.Resampling.NEAREST)
            grid.paste(enlarged, (left + GAP + place * (side * factor + GAP), top + GAP))
        draw.multiline_text((left + GAP, top + side * factor + 2 * GAP), "\n".join(text), fill=INK, font=font)
    return grid


def curve_figure(
    series: Mapping[str, Sequence[tuple[float, float]]], x_label: str, y_label: str, path: str | Path
) -> None:
    """Draw curves, a name and its (x, y) points each, into the file `path` (its ending chooses the format, e.g. .png).

    Points are joined in the order given; the same input gives the same PNG. Raises ValueError for no series, empty
    ones and points that are not finite.
    """
    if not series:
        raise ValueError("the figure has no series: give a name and points for each curve")
    for name, points in series.items():
        if not points or not all(math.isfinite(x) and math.isfinite(y) for x, y in points):
            raise ValueError(f"series {name!r} is empty or holds NaN or infinite points: leave these points out")
    # Imported here because only figures need it; drawn without pyplot, which would choose a backend for the process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for index, (name, points) in enumerate(series.items()):
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            label=name,
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            linestyle=("-", "--", ":")[index // len(COLOURS) % 3],
            markersize=5,
        )
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)
