"""Files of made pictures: their names, and all of them in one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import UserError

MOST_IN_GRID = 400
LONGEST_NAME = 60  # letters of a text that a name takes over


def target(out: Path | None, text: str, number: int, of: int) -> Path:
    """Return where the picture `number` (1 is the first) of `of` pictures goes. `out` names a file, and of several a
    folder, or a file whose name gets the number.
    """
    counted = f"{number:0{len(str(of))}}"
    name = f"{_words(text)}.png" if of == 1 else f"{counted}-{_words(text)}.png"
    if out is None or out.is_dir():
        return (out or Path()) / name
    if of == 1:
        return out
    return out.with_name(f"{out.stem}-{counted}{out.suffix}") if out.suffix else out / name


def _words(text: str) -> str:
    words = "".join(c if c.isalnum() else "-" for c in text.lower())
    return "-".join(filter(None, words.split("-")))[:LONGEST_NAME] or "picture"


def check_grid(rows: Sequence[Any]) -> None:
    """Refuse more pictures than one holds."""
    if len(rows) > MOST_IN_GRID:
        raise UserError(f"--grid holds {MOST_IN_GRID} pictures at most, and {len(rows):,} are asked for")


def save_grid(
    out: Path | None, first: Path, rows: Sequence[dict[str, Any]], pictures: Sequence[bytes], count: int
) -> Path:
    """Write the PNG files into one, those of a text beside each other, and return its path: `grid.png` beside the
    `first` of them, or NAME-grid.png where `out` is NAME.png.
    """
    import math

    import numpy as np

    from components.evaluation.grids import captioned_grid
    from pipelines.serving import png_bytes, read_picture

    cells = [
        (
            f"{row['prompt']} ({row['seed']})" if count > 1 else row["prompt"],
            [np.asarray(read_picture(png, "it"))],
            None,
        )
        for row, png in zip(rows, pictures, strict=True)
    ]
    columns = count if count > 1 else math.ceil(math.sqrt(len(cells)))
    named = out is not None and not out.is_dir() and out.suffix
    path = out.with_name(f"{out.stem}-grid{out.suffix}") if out and named else first.with_name("grid.png")
    path.write_bytes(png_bytes(captioned_grid(cells, columns)))
    return path
