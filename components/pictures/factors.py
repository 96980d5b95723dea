"""Factors of a drawing, parsed from its code points: what it shows (its concept), and how (skin tone, gender, ...).

Names are CLDR's, by the `emoji` package. Source of the code points: Unicode's emoji sequences (UTS #51).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import emoji

VARIATION, JOINER, RIGHT = 0xFE0F, 0x200D, 0x27A1
TONES = {
    0x1F3FB: "light", 0x1F3FC: "medium-light", 0x1F3FD: "medium", 0x1F3FE: "medium-dark", 0x1F3FF: "dark"
}  # fmt: skip
PLAIN_TONE = "yellow"  # of a drawing whose code points name none
HAIR = {0x1F9B0: "red", 0x1F9B1: "curly", 0x1F9B2: "bald", 0x1F9B3: "white"}
PLAIN_HAIR = "plain"
SIGNS = {0x2640: "woman", 0x2642: "man"}
# Sequences for a person, a man and a woman that Unicode does not build by a sign: the first stands for all three.
GENDERED = (
    ((0x1F9D1,), (0x1F468,), (0x1F469,)), ((0x1F9D2,), (0x1F466,), (0x1F467,)), ((0x1F9D3,), (0x1F474,), (0x1F475,)),
    ((0x1FAC5,), (0x1F934,), (0x1F478,)), ((0x1F9D1, JOINER, 0x1F384), (0x1F385,), (0x1F936,)),
    ((0x1FAC4,), (0x1FAC3,), (0x1F930,)), ((), (0x1F57A,), (0x1F483,)),
)  # fmt: skip
COLOURS: dict[str, dict[int, str]] = {
    "heart": {
        0x2764: "red", 0x1F9E1: "orange", 0x1F49B: "yellow", 0x1F49A: "green", 0x1F499: "blue", 0x1F49C: "purple",
        0x1F90E: "brown", 0x1F5A4: "black", 0x1F90D: "white", 0x1FA77: "pink", 0x1FA75: "light blue", 0x1FA76: "grey",
    },
    "circle": {
        0x1F534: "red", 0x1F7E0: "orange", 0x1F7E1: "yellow", 0x1F7E2: "green", 0x1F535: "blue", 0x1F7E3: "purple",
        0x1F7E4: "brown", 0x26AB: "black", 0x26AA: "white",
    },
    "square": {
        0x1F7E5: "red", 0x1F7E7: "orange", 0x1F7E8: "yellow", 0x1F7E9: "green", 0x1F7E6: "blue", 0x1F7EA: "purple",
        0x1F7EB: "brown", 0x2B1B: "black", 0x2B1C: "white",
    },
    "book": {0x1F4D5: "red", 0x1F4D7: "green", 0x1F4D8: "blue", 0x1F4D9: "orange"},
    "large diamond": {0x1F536: "orange", 0x1F537: "blue"},
    "small diamond": {0x1F538: "orange", 0x1F539: "blue"},
}  # fmt: skip
HOURS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"
)  # fmt: skip
TIMES = {0x1F550 + i: f"{hour} o'clock" for i, hour in enumerate(HOURS)} | {
    0x1F55C + i: f"half past {hour}" for i, hour in enumerate(HOURS)
}
PHASES = {
    0x1F311 + i: phase
    for i, phase in enumerate(
        ("new", "waxing crescent", "first quarter", "waxing gibbous", "full", "waning gibbous", "last quarter",
         "waning crescent")
    )
}  # fmt: skip
# Concept, factor, {code point: value}: families of single code points.
FAMILIES = (
    *((name, "colour", values) for name, values in COLOURS.items()),
    ("clock", "time", TIMES), ("moon", "phase", PHASES),
)  # fmt: skip
CLEARER = {"{} blond hair": "{} with blond hair", "{} beard": "{} with a beard"}
PERSON_WORDS = {
    "woman": ("woman", "women"), "man": ("man", "men"), "person": ("person", "people")
}  # fmt: skip


class NoCodePoints(ValueError):
    """A file's name holds no code points."""


@dataclass(frozen=True)
class Parsed:
    """A drawing's name taken apart."""

    codes: tuple[int, ...]  # without variation selectors
    name: str  # CLDR's, without skin tone; "" where there is none
    concept: tuple[int, ...]  # code points without what the factors say
    factors: tuple[tuple[str, str], ...]  # (factor, value) as the code points say; sorted by factor
    family: str = ""  # "heart", "clock": the concept's own word, of a family of single code points
    group: str = ""  # what can be left out: couples, flags, region_flags


def parse_codes(stem: str) -> tuple[int, ...]:
    """Return the code points in a file's name, without variation selectors: `1F44B-1F3FB`, `emoji_u1f44b_1f3fb`.

    Raises NoCodePoints.
    """
    found = re.fullmatch(r"(?:emoji_?)?u?((?:[0-9a-f]{2,6})(?:[-_ ]u?[0-9a-f]{2,6})*)", stem.lower())
    codes = [int(part.lstrip("u"), 16) for part in re.split(r"[-_ ]", found[1])] if found else []
    codes = [code for code in codes if code != VARIATION]
    if not codes or max(codes) > 0x10FFFF:
        raise NoCodePoints(f"the name {stem[:80]!r} is no list of code points such as 1F44B-1F3FB")
    return tuple(codes)


@functools.cache
def _names() -> dict[tuple[int, ...], str]:
    """Return {code points without variation selectors: English name}."""
    found = {}
    for sequence, about in emoji.EMOJI_DATA.items():
        if "en" in about:
            codes = tuple(code for code in map(ord, sequence) if code != VARIATION)
            found[codes] = about["en"].strip(":").replace("_", " ")
    return found


def parse(codes: tuple[int, ...]) -> Parsed:
    """Return what code points say. Nothing is left out here, and a name may be lacking."""
    names = _names()
    if codes not in names:
        return Parsed(codes, "", codes, (), group=_group(codes))
    if len(codes) == 1 and codes[0] in TONES:  # a swatch of the tone itself
        return Parsed(codes, names[codes], codes, ())
    name = re.sub(r" (?:light|medium-light|medium|medium-dark|dark) skin tone\b", "", names[codes])
    for family, factor, values in FAMILIES:
        if len(codes) == 1 and codes[0] in values:
            return Parsed(codes, name, (ord(family[0]), *map(ord, family[1:])), ((factor, values[codes[0]]),), family)
    group = _group(codes)
    if group:
        return Parsed(codes, f"flag of {name}" if "flags" in group else name, codes, (), group=group)
    factors: dict[str, str] = {}
    rest = [code for code in codes if code not in TONES]
    if len(rest) < len(codes):
        factors["skin_tone"] = TONES[next(code for code in codes if code in TONES)]
    if rest[-2:] == [JOINER, RIGHT]:
        factors["direction"], rest = "right", rest[:-2]
    if rest[-2:-1] == [JOINER] and rest[-1] in SIGNS:
        factors["gender"], rest = SIGNS[rest[-1]], rest[:-2]
    elif (found := _gendered(tuple(rest))) is not None:
        factors["gender"], rest = found[0], list(found[1])
    if len(rest) == 3 and rest[1] == JOINER and rest[2] in HAIR:
        factors["hair"], rest = HAIR[rest[2]], rest[:1]
    return Parsed(codes, name, tuple(rest), tuple(sorted(factors.items())))


def plain_name(parsed: Parsed) -> str:
    """Return a drawing's name without skin tone, hair and direction."""
    said = dict(parsed.factors)
    codes = [code for code in parsed.codes if code not in TONES] if "skin_tone" in said else list(parsed.codes)
    if "direction" in said:
        codes = codes[:-2]
    if "hair" in said:
        codes = codes[:1]
    return parse(tuple(codes)).name or parsed.name


def _group(codes: tuple[int, ...]) -> str:
    if sum(code in TONES for code in codes) > 1:
        return "couples"
    if 0xE007F in codes:
        return "region_flags"
    return "flags" if 0x1F1E6 <= codes[0] <= 0x1F1FF and len(codes) == 2 else ""


def _gendered(codes: tuple[int, ...]) -> tuple[str, tuple[int, ...]] | None:
    """Return (gender, the code points that stand for all genders) where the sequence names a gender; None elsewhere.

    A sequence with two people names none.
    """
    people = [code for kind in GENDERED for forms in kind for code in forms[:1]]
    if sum(code in people for code in codes) > 1:
        return None
    for person, man, woman in GENDERED:
        for gender, form in (("person", person), ("man", man), ("woman", woman)):
            if (
                form
                and codes[: len(form)] == form
                and (len(form) > 1 or codes[1:2] != (JOINER,) or person == GENDERED[0][0])
            ):
                return gender, (person or man) + codes[len(form) :]
    return None


def template(names: dict[str, str]) -> str | None:
    """Return what the names of a concept's genders share, `{}` for the person: `{} running`, `pregnant {}`; None where
    they are words of their own (prince, princess).
    """
    found = set()
    for gender in ("man", "woman"):
        if gender not in names:
            return None
        words = names[gender].split()
        places = [i for i, word in enumerate(words) if word in PERSON_WORDS[gender]]
        if len(places) != 1:
            return None
        words[places[0]] = "{}"
        found.add(" ".join(words))
    shared = found.pop()
    return None if found else CLEARER.get(shared, shared)
