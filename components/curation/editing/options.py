"""Options of edit-pair synthesis from photos, and the names of the kinds it knows.

Standard library only, so that configuration imports it in milliseconds. What an edit does
lives in the editors' own modules.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PHOTOMETRIC_KINDS = (
    "brighten",
    "darken",
    "raise_contrast",
    "lower_contrast",
    "saturate",
    "desaturate",
    "warm",
    "cool",
    "greyscale",
    "sepia",
    "tint",
    "invert",
    "blur",
    "sharpen",
)
GEOMETRIC_KINDS = ("flip_horizontal", "flip_vertical", "rotate_right", "rotate_left", "rotate_half", "zoom")
REGION_KINDS = (
    "recolour_region",
    "blur_region",
    "remove_region",
    "blur_background",
    "greyscale_background",
    "add_object",
    "remove_object",
)
KINDS = PHOTOMETRIC_KINDS + GEOMETRIC_KINDS + REGION_KINDS


@dataclass(frozen=True)
class FamilyWeights:
    """How often each family is drawn; relative weights, 0 switches a family off."""

    photometric: float = 0.3  # tone and colour of the whole picture
    geometric: float = 0.1  # flips, rotations, zoom
    region: float = 0.6  # one region recoloured, blurred, removed, or an object added or removed
    model: float = 0.0  # by the published editors of synthesize_edits.editors

    def __post_init__(self) -> None:
        for name in ("photometric", "geometric", "region", "model"):
            if getattr(self, name) < 0:
                raise ValueError(f"family_weights.{name} is {getattr(self, name)}; a weight is 0 or more")
        if self.photometric + self.geometric + self.region + self.model <= 0:
            raise ValueError("family_weights are all 0, so no edit could be drawn; give one family a weight above 0")


@dataclass(frozen=True)
class EditOptions:
    """What is tried on each photo, and which results are good enough. Colour differences are CIELAB delta E (1976)."""

    kinds: tuple[str, ...] = KINDS  # kinds of edit that may be tried
    family_weights: FamilyWeights = field(default_factory=FamilyWeights)  # how often each family is drawn
    share: float = 1.0  # of the photos that pairs are made of; which ones, their pixels and the seed decide
    pairs_per_image: int = 2  # pairs wanted from one photo
    max_attempts: int = 10  # attempts on one photo before it is left with fewer pairs
    inverse: bool = False  # add the way back of every pair that has one: target to source
    composed: bool = False  # add source to the result of a second edit, with both instructions
    min_side: int = 96  # shorter side, in pixels, below which a photo is not used
    max_side: int = 512  # longer side, in pixels, to which a larger photo is shrunk first
    min_change: float = 3.0  # mean delta E inside the mask below which a change counts as invisible
    max_spill: float = 0.5  # largest mean delta E allowed outside the mask
    max_spill_peak: float = 10.0  # largest delta E allowed at any one pixel outside the mask
    min_mask_share: float = 0.004  # smallest share of the picture that a region edit may change
    max_mask_share: float = 0.95  # largest share of the picture that a region edit may change
    max_seam: float = 20.0  # largest mean step in delta E that an edit may add or take away along the mask outline
    max_clipped: float = (
        0.2  # largest share of pixels that a photometric edit may newly burn to white or drown in black
    )

    def __post_init__(self) -> None:
        if not self.kinds:
            raise ValueError("edit kinds are empty; name at least one of " + ", ".join(KINDS))
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown:
            raise ValueError(f"unknown edit kinds {', '.join(unknown)}; known kinds are {', '.join(KINDS)}")
        if len(set(self.kinds)) != len(self.kinds):
            raise ValueError(f"an edit kind is named twice in {', '.join(self.kinds)}; name each once")
        families = (PHOTOMETRIC_KINDS, GEOMETRIC_KINDS, REGION_KINDS)
        weights = (self.family_weights.photometric, self.family_weights.geometric, self.family_weights.region)
        if self.family_weights.model <= 0 and not any(
            weight > 0 and set(family) & set(self.kinds) for family, weight in zip(families, weights, strict=True)
        ):
            raise ValueError("every edit kind belongs to a family of weight 0; raise its weight in family_weights")
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share is {self.share}; it is a share of the photos, above 0 and at most 1")
        if not 1 <= self.pairs_per_image <= self.max_attempts:
            raise ValueError(
                f"pairs_per_image is {self.pairs_per_image} and max_attempts {self.max_attempts}; "
                "at least one pair, and no fewer attempts than pairs"
            )
        if not 32 <= self.min_side <= self.max_side:
            raise ValueError(
                f"min_side {self.min_side} and max_side {self.max_side} must hold 32 <= min_side <= max_side"
            )
        if not 0.0 <= self.min_mask_share < self.max_mask_share <= 1.0:
            raise ValueError(
                f"mask shares {self.min_mask_share} and {self.max_mask_share} must hold 0 <= min < max <= 1"
            )
        for name in ("min_change", "max_spill", "max_spill_peak", "max_seam", "max_clipped"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
