"""The reader: which known drawing lies nearest in each cell of a picture, over every layout. No learned model.

Nearest is by squared difference of pixels against the known drawings on the background that the picture has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.pictures.catalogue import Catalogue
from components.pictures.composition import LAYOUTS, Composition, cell_box, shrunk, treated
from components.pictures.options import BACKGROUNDS

CHUNK = 512  # pictures whose distances are in memory at once
WHOLE = (("full",),)


class Reader:
    """Reads pictures, uint8 [N, S, S, 3], into compositions of the known drawings."""

    def __init__(self, catalogue: Catalogue, composed: bool) -> None:
        """Know a catalogue; without `composed`, every picture is one drawing that fills it."""
        self.catalogue, self.size = catalogue, catalogue.cutouts.shape[1]
        self._layouts = LAYOUTS if composed else WHOLE
        self._composed = composed
        self._shrunk: dict[int, np.ndarray] = {}
        self._known: dict[tuple[int, str, str], tuple[np.ndarray, np.ndarray]] = {}

    def read(self, pictures: np.ndarray, treatments: Sequence[str] = ("",)) -> list[Composition]:
        """Return what each picture shows, under whichever of the treatments explains it best."""
        grounds = self._grounds(pictures)
        found: list[Composition | None] = [None] * len(pictures)
        for name in sorted(set(grounds)):
            numbers = [n for n, ground in enumerate(grounds) if ground == name]
            for first in range(0, len(numbers), CHUNK):
                part = numbers[first : first + CHUNK]
                for number, composition in zip(part, self._read(pictures[part], name, treatments), strict=True):
                    found[number] = composition
        return [composition for composition in found if composition is not None]

    def _grounds(self, pictures: np.ndarray) -> list[str]:
        """Return each picture's background: the colour of the palette nearest to the median of its rim."""
        if not self._composed:
            return [next(iter(BACKGROUNDS))] * len(pictures)
        rim = np.zeros((self.size, self.size), bool)
        rim[[0, -1]] = rim[:, [0, -1]] = True
        medians = np.median(pictures[:, rim].astype(np.float32), axis=1)
        palette = np.array(list(BACKGROUNDS.values()), np.float32)
        nearest = np.square(medians[:, None] - palette).sum(-1).argmin(1)
        return [list(BACKGROUNDS)[int(n)] for n in nearest]

    def _read(self, pictures: np.ndarray, ground: str, treatments: Sequence[str]) -> list[Composition]:
        values = pictures.astype(np.float32) - np.array(BACKGROUNDS[ground], np.float32)
        empty = np.square(values).sum(-1)  # error of each pixel where nothing stands
        best = np.full(len(pictures), np.inf)
        chosen: list[Composition] = [Composition(())] * len(pictures)
        cells = {cell for layout in self._layouts for cell in layout}
        for treatment in treatments:
            nearest = {cell: self._nearest(values, cell, ground, treatment) for cell in cells}
            for layout in self._layouts if not treatment else WHOLE:
                outside = np.ones((self.size, self.size), bool)
                error = np.zeros(len(pictures))
                for cell in layout:
                    outside[cell_box(cell, self.size)] = False
                    error += nearest[cell][1]
                error += (empty * outside).sum((1, 2))
                for n in np.flatnonzero(error < best):
                    best[n] = error[n]
                    keys = (self.catalogue.entries[int(nearest[cell][0][n])].key for cell in layout)
                    chosen[n] = Composition(tuple(zip(layout, keys, strict=True)), ground, treatment)
        return chosen

    def _nearest(self, values: np.ndarray, cell: str, ground: str, treatment: str) -> tuple[np.ndarray, np.ndarray]:
        """Return for each picture the number of the nearest known drawing in a cell, and its squared error."""
        rows, columns = cell_box(cell, self.size)
        known, energy = self._drawings(rows.stop - rows.start, ground, treatment)
        seen = np.ascontiguousarray(values[:, rows, columns]).reshape(len(values), -1)
        distance = energy - 2 * (seen @ known.T)
        number = distance.argmin(1)
        least = distance[np.arange(len(seen)), number] + np.square(seen).sum(1)
        return number, np.maximum(least, 0)

    def _drawings(self, side: int, ground: str, treatment: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the known drawings, less the background, float32 [N, side * side * 3], and their energies [N]."""
        key = side, ground, treatment
        if key not in self._known:
            if len(self._known) >= 6:  # a whole set of 64 px is 170 MB
                self._known.pop(next(iter(self._known)))
            if side not in self._shrunk:
                self._shrunk[side] = shrunk(self.catalogue.cutouts, side)
            cut = treated(self._shrunk[side], treatment)
            known = cut[..., :3] - np.array(BACKGROUNDS[ground], np.float32) * (cut[..., 3:] / 255)
            flat = known.reshape(len(known), -1).astype(np.float32)
            self._known[key] = flat, np.square(flat).sum(1)
        return self._known[key]
