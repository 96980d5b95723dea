"""What an editor gives back: a pair, or the reason why there is none; and the types of pictures and masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # [H, W, 3], sRGB
Mask = NDArray[np.bool_]  # [H, W]
Floats = NDArray[np.float32]
Family = Literal["photometric", "geometric", "region", "model"]
Parameters = dict[str, float | int | str]

DROP_REASONS = (
    "picture_too_small",  # shorter side under the limit
    "no_region",  # the picture has no region of a usable size and shape
    "ambiguous_region",  # regions exist, but no wording points at one of them alone
    "colour_not_reached",  # no colour word would be true of the recoloured region
    "rough_surroundings",  # filling the hole in would show
    "no_object",  # no donor gave a clean cut-out
    "no_instruction",  # nothing to tell an editor: it needs a caption, or wrote nothing
    "no_place",  # nowhere to put the object
    "invisible_change",
    "spills_outside_mask",
    "mask_too_small",
    "mask_too_large",
    "seam_shows",
    "clipped",
)


@dataclass(frozen=True, eq=False)
class EditPair:
    """One edit. `mask` is True wherever `target` may differ from `source`; all share one size.

    `inverse` is an instruction that leads back, or "". `others` are further results of the same instruction.
    """

    kind: str
    family: Family
    source: Image
    target: Image
    mask: Mask
    instruction: str
    parameters: Parameters
    quality: dict[str, float] = field(default_factory=dict)
    inverse: str = ""
    others: tuple[Image, ...] = ()


@dataclass(frozen=True)
class DroppedPair:
    """An attempt that gave no pair: one of DROP_REASONS, and what exactly was seen."""

    kind: str
    reason: str
    detail: str

    def __post_init__(self) -> None:
        assert self.reason in DROP_REASONS, self.reason
