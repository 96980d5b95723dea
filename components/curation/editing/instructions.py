"""The wording of every edit: several phrasings per kind, one drawn by the generator. No edit is made here.

A phrasing holds slots in braces, filled from the edit's parameters; `{picture}` is drawn from a few nouns.
"""

from __future__ import annotations

import numpy as np

_PICTURE = ("picture", "photo", "image")

_PHRASINGS: dict[str, tuple[str, ...]] = {
    "brighten": (
        "Make the {picture} {much}brighter.",
        "Brighten the {picture}{a_lot}.",
        "Turn the brightness up{a_lot}.",
    ),
    "darken": ("Make the {picture} {much}darker.", "Darken the {picture}{a_lot}.", "Turn the brightness down{a_lot}."),
    "raise_contrast": (
        "Increase the contrast{a_lot}.",
        "Give the {picture} {much}more contrast.",
        "Make the difference between light and dark {much}stronger.",
    ),
    "lower_contrast": (
        "Lower the contrast{a_lot}.",
        "Give the {picture} {much}less contrast.",
        "Make the {picture} {much}flatter, with less contrast.",
    ),
    "saturate": (
        "Make the colours {much}more vivid.",
        "Increase the saturation{a_lot}.",
        "Make the {picture} {much}more colourful.",
    ),
    "desaturate": (
        "Make the colours {much}paler.",
        "Reduce the saturation{a_lot}.",
        "Make the {picture} {much}less colourful.",
    ),
    "warm": (
        "Make the colours {much}warmer.",
        "Give the {picture} a {much}warmer tone.",
        "Shift the {picture} to warmer light.",
    ),
    "cool": (
        "Make the colours {much}cooler.",
        "Give the {picture} a {much}cooler tone.",
        "Shift the {picture} to cooler, bluer light.",
    ),
    "greyscale": (
        "Turn the {picture} black and white.",
        "Convert the {picture} to greyscale.",
        "Remove all colour from the {picture}.",
    ),
    "sepia": (
        "Give the {picture} a sepia tone.",
        "Make it look like an old sepia photograph.",
        "Turn the {picture} sepia.",
    ),
    "tint": (
        "Tint the whole {picture} {colour}.",
        "Show the {picture} in shades of {colour} only.",
        "Make it a {colour} monochrome {picture}.",
    ),
    "invert": (
        "Invert the colours.",
        "Turn the {picture} into a colour negative.",
        "Make a negative of the {picture}.",
    ),
    "blur": (
        "Blur the whole {picture}{a_lot}.",
        "Make the whole {picture} {much}blurrier.",
        "Put the whole {picture} out of focus.",
    ),
    "sharpen": (
        "Sharpen the {picture}{a_lot}.",
        "Make the {picture} {much}sharper.",
        "Bring out the fine detail {much}more strongly.",
    ),
    "flip_horizontal": (
        "Mirror the {picture} left to right.",
        "Flip the {picture} horizontally.",
        "Swap left and right, as in a mirror.",
    ),
    "flip_vertical": (
        "Flip the {picture} vertically, so that the top becomes the bottom.",
        "Mirror the {picture} top to bottom.",
        "Flip the {picture} upside down, without swapping left and right.",
    ),
    "rotate_right": (
        "Rotate the {picture} 90 degrees clockwise.",
        "Turn the {picture} a quarter turn to the right.",
        "Rotate the {picture} clockwise by a quarter turn.",
    ),
    "rotate_left": (
        "Rotate the {picture} 90 degrees counterclockwise.",
        "Turn the {picture} a quarter turn to the left.",
        "Rotate the {picture} counterclockwise by a quarter turn.",
    ),
    "rotate_half": (
        "Rotate the {picture} by 180 degrees.",
        "Give the {picture} a half turn.",
        "Turn the {picture} around by half a turn, so that it stands on its head.",
    ),
    "zoom": (
        "Zoom in on the {part} until it fills the {picture}.",
        "Crop to the {part} and enlarge it to the full size.",
        "Show only the {part}, enlarged to fill the frame.",
    ),
    "recolour_region": (
        "Change the colour of the {region} to {new_colour}.",
        "Make the {region} {new_colour}.",
        "Recolour the {region} {new_colour}.",
        "Turn the {region} {new_colour}.",
    ),
    "blur_region": (
        "Blur the {region}.",
        "Blur only the {region} and keep the rest sharp.",
        "Put the {region} out of focus.",
    ),
    "remove_region": (
        "Remove the {region}.",
        "Take the {region} away.",
        "Erase the {region}.",
    ),
    "blur_background": (
        "Blur the background.",
        "Put everything behind the main object out of focus.",
        "Keep the main object sharp and blur the background.",
    ),
    "greyscale_background": (
        "Make the background black and white.",
        "Keep only the main object in colour.",
        "Turn everything but the main object black and white.",
    ),
    "add_object": (
        "Add {a_thing} {place}.",
        "Put {a_thing} {place}.",
        "Place {a_thing} {place} of the {picture}.",
        "Insert {a_thing} {place}.",
    ),
    "remove_object": (
        "Remove the {thing} {place}.",
        "Take away the {thing} {place}.",
        "Erase the {thing} {place}.",
        "Delete the {thing} {place} of the {picture}.",
    ),
}
_REGION_NOUNS = ("area", "region", "part")


def pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    """One of `choices`, all as likely."""
    return choices[int(rng.integers(len(choices)))]


def with_article(noun: str) -> str:
    """ "a red object", "an orange object"."""
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def word_region(rng: np.random.Generator, colour: str, place: str, nouns: tuple[str, ...] = _REGION_NOUNS) -> str:
    """ "red area in the upper left"; the place is left out where it is ""."""
    return f"{colour} {pick(rng, nouns)} {place}".rstrip()


def instruct(kind: str, rng: np.random.Generator, strong: bool = False, **slots: str) -> str:
    """One phrasing for `kind` with its slots filled; `strong` words the degree ("much brighter")."""
    picture = pick(rng, _PICTURE)
    degree = {"much": "much ", "a_lot": " a lot"} if strong else {"much": "", "a_lot": ""}
    return pick(rng, _PHRASINGS[kind]).format(picture=picture, **degree, **slots)


def phrasings(kind: str) -> int:
    """How many phrasings a kind has."""
    return len(_PHRASINGS[kind])
