from __future__ import annotations

import ast
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from components import evaluation
from components.evaluation.grids import CELL, GAP, PAPER, captioned_grid, curve_figure, reconstruction_grid

pytestmark = pytest.mark.unit


def pictures(count: int = 3, height: int = 16, width: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_every_picture_is_in_its_row_and_column_enlarged_without_smoothing() -> None:
    first, second = pictures(), pictures(seed=1)
    grid = np.asarray(reconstruction_grid([("originals", first), ("reconstructions", second)]))
    factor = CELL // 16
    left = grid.shape[1] - 3 * (CELL + GAP)
    for row, batch in enumerate((first, second)):
        for column in range(3):
            top, start = GAP + row * (CELL + GAP), left + column * (CELL + GAP)
            cell = grid[top : top + CELL, start : start + CELL]
            expected = (batch[column] * 255).round().byte().permute(1, 2, 0).numpy().repeat(factor, 0).repeat(factor, 1)
            assert np.array_equal(cell, expected)
    assert grid.shape[0] == GAP + 2 * (CELL + GAP)


def test_each_row_has_its_label_and_long_ones_have_room() -> None:
    def margin(label: str) -> np.ndarray:
        grid = np.asarray(reconstruction_grid([(label, pictures(1)), ("b", pictures(1))]))
        return grid[:, : grid.shape[1] - CELL - GAP]

    short, long = margin("a"), margin("noise of sigma 0.4 on every channel")
    assert long.shape[1] > short.shape[1] + 100
    for image in (short, long):
        ink = (image != PAPER).any(-1)
        assert ink[: CELL + GAP].any() and ink[CELL + GAP :].any()
        assert not ink[:, -4:].any()


@pytest.mark.parametrize(("height", "width", "size"), [(96, 64, (64, 96)), (200, 100, (100, 200)), (7, 5, (70, 98))])
def test_pictures_grow_by_whole_factors_and_large_ones_stay(height: int, width: int, size: tuple[int, int]) -> None:
    grid = reconstruction_grid([("x", pictures(1, height, width))])
    wider = reconstruction_grid([("x", pictures(2, height, width))])
    assert (wider.width - grid.width - GAP, grid.height - 2 * GAP) == size
    assert grid.mode == "RGB"


def test_captions_stand_below_their_columns_and_leave_the_pictures_as_they_are() -> None:
    pictures = torch.rand(3, 3, 96, 96)
    bare = np.asarray(reconstruction_grid([("a", pictures)]))
    grid = np.asarray(reconstruction_grid([("a", pictures)], ["a red circle in the upper left", "", "short"]))
    assert np.array_equal(grid[: len(bare)], bare) and len(grid) > len(bare)
    footer = grid[len(bare) :] != np.array(PAPER)
    left = bare.shape[1] - 3 * (CELL + GAP)
    inked = [bool(footer[:, left + i * (CELL + GAP) : left + (i + 1) * (CELL + GAP)].any()) for i in range(3)]
    assert inked == [True, False, True]


def test_rows_that_do_not_line_up_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        reconstruction_grid([])
    with pytest.raises(ValueError, match="same number and size"):
        reconstruction_grid([("a", pictures(3)), ("b", pictures(2))])
    with pytest.raises(ValueError, match=r"row 'b'.*clamp"):
        reconstruction_grid([("a", pictures()), ("b", pictures() * 2)])


def test_only_a_picture_that_was_judged_wrong_has_a_frame() -> None:
    def framed(right: bool | None) -> bool:
        grid = np.asarray(captioned_grid([("a red circle", [np.zeros((16, 16, 3), np.uint8)], right)], 1))
        return bool((grid == (200, 0, 0)).all(-1).any())

    assert [framed(right) for right in (False, True, None)] == [True, False, False]


def test_a_figure_is_written_and_its_points_are_in_it(tmp_path: Path) -> None:
    def draw(name: str, points: list[tuple[float, float]]) -> np.ndarray:
        curve_figure({"ours": points, "theirs": [(0, 20), (1, 10)]}, "sigma", "PSNR, dB", tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            return np.asarray(picture.convert("RGB"))

    first = draw("a.png", [(0, 30), (1, 20)])
    assert first.shape[0] > 300 and first.shape[1] > 500
    assert np.array_equal(first, draw("b.png", [(0, 30), (1, 20)]))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert not np.array_equal(first, draw("c.png", [(0, 30), (1, 25)]))


def test_curves_without_points_or_with_nan_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(ValueError, match="no series"):
        curve_figure({}, "x", "y", path)
    for points in ([], [(0.0, math.nan)], [(math.inf, 1.0)]):
        with pytest.raises(ValueError, match="'ours' is empty or holds NaN"):
            curve_figure({"ours": points}, "x", "y", path)
    assert not path.exists()


def test_the_room_imports_nothing_but_numerics_and_itself_and_matplotlib_only_where_it_draws() -> None:
    numerics = {"torch", "torchmetrics", "scipy", "numpy", "PIL"}
    ours = set(sys.stdlib_module_names)
    files = sorted(Path(evaluation.__path__[0]).glob("*.py"))
    assert len(files) >= 8
    for file in files:
        tree = ast.parse(file.read_text())
        top = {id(node) for node in tree.body}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for name in names:
                lazy = {"matplotlib"} if id(node) not in top else set()
                fine = name.split(".")[0] in numerics | ours | lazy or name.startswith("components.evaluation")
                assert fine, (file.name, name)
