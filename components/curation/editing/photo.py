"""What an editor is given: the photo with its regions and donors; and the interface of an editor.

Nothing here changes a picture. An editor backed by a learned model fits the same interface: it reads `photo.rgb`,
composites its result inside a mask, and lets `quality.check` judge it like the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from components.curation.editing.base import DroppedPair, EditPair, Family, Image
from components.curation.editing.cutouts import CutOut, cut_out
from components.curation.editing.regions import Segmentation, segment


@dataclass(frozen=True, eq=False)
class Donor:
    """A photo whose main object may be pasted into others.

    `name` is a singular noun for that object ("backpack"), given only where it is known to be true; without one, the
    object is called by its colour.
    """

    key: str
    rgb: Image
    name: str | None = None

    @cached_property
    def cutout(self) -> CutOut | None:
        """The donor's main object with its soft outline, or None where it cannot be told from its background."""
        return cut_out(self.rgb)


@dataclass(frozen=True, eq=False)
class Photo:
    """The picture being edited: `rgb` uint8 [H, W, 3], its caption where it has one, and donors to take from."""

    rgb: Image
    caption: str | None = None
    donors: tuple[Donor, ...] = ()

    @cached_property
    def segmentation(self) -> Segmentation:
        """The picture's regions; found once, however many editors ask."""
        return segment(self.rgb)

    @cached_property
    def cutout(self) -> CutOut | None:
        """The picture's main object with its soft outline, or None where it cannot be told from its background."""
        return cut_out(self.rgb)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]


class Editor(Protocol):
    """One kind of edit."""

    @property
    def kind(self) -> str:
        """The name counted and configured by; unlike every other editor's."""
        ...

    @property
    def family(self) -> Family:
        """What weights and quality limits apply."""
        ...

    def applicable(self, photo: Photo) -> bool:
        """Whether trying makes sense at all (cheap: sizes and donors, no analysis of the picture)."""
        ...

    def propose(self, photo: Photo, rng: np.random.Generator) -> EditPair | DroppedPair:
        """Make one pair, or say why not. All randomness comes from `rng`. `photo` is never written to."""
        ...
