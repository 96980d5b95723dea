"""Thresholds and limits of curation. Standard library only, for the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal


@dataclass(frozen=True)
class ImageLimits:
    """What decoding one image may cost."""

    max_bytes: int = 64 * 2**20  # larger files fail as `too_many_bytes`, unread
    max_pixels: int = 50_000_000  # more pixels, by the header, fail as `too_many_pixels`, undecoded

    def __post_init__(self) -> None:
        if self.max_bytes < 1 or self.max_pixels < 1:
            raise ValueError("max_bytes and max_pixels must be at least 1")


@dataclass(frozen=True)
class SignalBounds:
    """What a signal may be. Without a bound it is shown in curation's report and decides nothing."""

    min: float | None = None  # smaller values are dropped as `low_<signal>`
    max: float | None = None  # larger values are dropped as `high_<signal>`

    def __post_init__(self) -> None:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: every sample would be dropped")


@dataclass(frozen=True)
class CurationRules:
    """What is kept. Every threshold names the signal it looks at (`components/curation/signals.py`)."""

    min_side: int = 32  # shorter side, pixels
    max_aspect: float = 3.0  # longer side over shorter side
    animated: Literal["drop", "first_frame"] = "drop"  # what becomes of pictures with several frames
    min_contrast: float = 4.0  # standard deviation of the pixels, 0-255; below it a picture is flat
    min_sharpness: float = 0.0  # variance of the Laplacian; 0 asks for nothing
    min_words: int = 3  # words of the caption
    max_words: int = 256
    languages: tuple[str, ...] = ("en",)  # ISO 639-1 codes; empty: any. A weak guess of another one drops nothing
    min_language_confidence: float = 0.0  # of the identification
    max_repetition: float = 0.6  # share of words that the caption said before
    max_url_share: float = 0.0  # share of characters in URLs and addresses
    max_markup_share: float = 0.0  # share of characters in HTML tags and entities
    max_boilerplate: float = 0.25  # share of words in stock phrases (file names, shop talk, "image may contain")
    max_symbol_share: float = 0.3  # share of characters that are neither letters nor spaces
    max_caption_repeats: int = 25  # a caption on more pictures than this says nothing of any
    exact_duplicates: bool = True  # drop all but one of the pictures with the same pixels
    near_duplicate_distance: int = 4  # bits of 64 between two perceptual hashes; -1 looks for none
    near_duplicate_colour: float = 6.0  # mean difference, 0-255, between two 8x8 colour thumbnails
    near_duplicate_peak: float = 10.0  # largest difference in any cell of the thumbnails
    signals: dict[str, SignalBounds] = field(default_factory=dict)  # of models (`measure.models`), or measured here

    def __post_init__(self) -> None:
        if self.min_words > self.max_words:
            raise ValueError(
                f"min_words {self.min_words} is above max_words {self.max_words}: every caption would be dropped"
            )
        if self.max_aspect < 1:
            raise ValueError(f"max_aspect is {self.max_aspect}; a square has 1")
        if self.max_caption_repeats < 1:
            raise ValueError("max_caption_repeats must be at least 1")
        if not -1 <= self.near_duplicate_distance <= 15:
            raise ValueError(f"near_duplicate_distance is {self.near_duplicate_distance}; it is -1 (off) to 15 bits")
        for code in self.languages:
            if not (len(code) in (2, 3) and code.isalpha() and code.islower()):
                raise ValueError(f"languages: {code!r} is no ISO 639 code like 'en'")


@dataclass(frozen=True)
class FaultOptions:
    """Known faults planted in scenes, as shares of all samples, so that curation can be scored."""

    wrong_caption: float = 0.02
    short_caption: float = 0.02
    foreign_caption: float = 0.02
    spam_caption: float = 0.02
    repeated_caption: float = 0.03
    duplicate_image: float = 0.02
    near_duplicate_image: float = 0.02
    flat_image: float = 0.02
    tiny_image: float = 0.02
    broken_image: float = 0.02

    def __post_init__(self) -> None:
        shares = [getattr(self, f.name) for f in fields(self)]
        if min(shares) < 0 or sum(shares) > 0.5:
            raise ValueError("shares of faults must not be negative, nor add up to more than 0.5")
