"""The inspector reads any picture, however little it looks like a scene."""

from __future__ import annotations

import numpy as np
import pytest

from components.scenes.inspect import inspect

pytestmark = pytest.mark.unit
SIZE = 64


def blank() -> np.ndarray:
    return np.full((SIZE, SIZE, 3), 240, np.uint8)


def test_a_region_that_no_shape_overlaps_is_read_without_an_error():
    """Two thin strokes at a right angle: in the middle of their box, where a shape would be, there is nothing of
    them.
    """
    picture = blank()
    picture[8:56, 8:11] = picture[53:56, 8:56] = (200, 20, 20)
    read = inspect(picture)
    assert len(read.scene.objects) <= 1 and read.residue > 0


@pytest.mark.parametrize("seed", range(8))
def test_strokes_blots_and_noise_are_read_without_an_error(seed):
    rng = np.random.default_rng(seed)
    for _ in range(12):
        picture = blank()
        for _ in range(int(rng.integers(1, 7))):
            y, x = rng.integers(4, SIZE - 6, 2)
            height, width = rng.integers(2, 40, 2) if rng.random() < 0.5 else (3, int(rng.integers(10, 50)))
            picture[y : y + height, x : x + width] = rng.integers(0, 256, 3)
        if rng.random() < 0.5:
            picture = np.clip(picture + rng.normal(0, 30, picture.shape), 0, 255).astype(np.uint8)
        inspect(picture)
