"""What every editor shares: the photo it is given, the pair or the refusal it gives back, and the interface itself.

Nothing here changes a picture. An editor backed by a learned model fits the same interface: it reads `photo.rgb`,
composites its result inside a mask, and lets `quality.check` judge it like the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from components.curation.editing.cutouts import CutOut
    from components.curation.editing.regions import Segmentation

Image = NDArray[np.uint8]  # [H, W, 3], sRGB
Mask = NDArray[np.bool_]  # [H, W]
Floats = NDArray[np.float32]
Family = Literal["photometric", "geometric", "region"]
Parameters = dict[str, float | int | str]

DROP_REASONS = (
    "picture_too_small",  # shorter side under the limit
    "no_region",  # the picture has no region of a usable size and shape
    "ambiguous_region",  # regions exist, but no wording points at one of them alone
    "colour_not_reached",  # no colour word would be true of the recoloured region
    "rough_surroundings",  # filling the hole in would show
    "no_object",  # no donor gave a clean cut-out
    "no_place",  # nowhere to put the object
    "invisible_change",
    "spills_outside_mask",
    "mask_too_small",
    "mask_too_large",
    "seam_shows",
    "clipped",
)


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
        from components.curation.editing.cutouts import cut_out

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
        from components.curation.editing.regions import segment

        return segment(self.rgb)

    @cached_property
    def cutout(self) -> CutOut | None:
        """The picture's main object with its soft outline, or None where it cannot be told from its background."""
        from components.curation.editing.cutouts import cut_out

        return cut_out(self.rgb)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]


@dataclass(frozen=True, eq=False)
class EditPair:
    """One edit with a known result. `mask` is True wherever `target` may differ from `source`; all share one size."""

    kind: str
    family: Family
    source: Image
    target: Image
    mask: Mask
    instruction: str
    parameters: Parameters
    quality: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DroppedPair:
    """An attempt that gave no pair: one of DROP_REASONS, and what exactly was seen."""

    kind: str
    reason: str
    detail: str

    def __post_init__(self) -> None:
        assert self.reason in DROP_REASONS, self.reason


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
