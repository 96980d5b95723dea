"""Captions and instructions in many phrasings. A caption may leave factors out; what it does not say is not judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from components.pictures.catalogue import Entry
from components.pictures.options import FACTORS

LEFT_OUT = 0.15  # chance that a caption leaves one of the factors out
OPENINGS = ("{}", "{}", "{}", "a drawing of {}", "a picture of {}", "an emoji of {}")  # short texts train sooner
IN_NOUN = ("gender", "hair", "colour", "time", "phase")  # said by the noun itself
RELATIONS = {
    ("left", "right"): ("to the left of", "left of"),
    ("right", "left"): ("to the right of", "right of"),
    ("top", "bottom"): ("above", "over"),
    ("bottom", "top"): ("below", "under"),
}
COUNTS = {
    2: ("two copies of {}", "{}, twice", "two times {}"),
    3: ("three copies of {}", "{}, three times", "three times {}"),
}
GROUNDS = ("{} on a {} background", "{} in front of a {} background", "{}, {} background")


@dataclass(frozen=True)
class Said:
    """What words say of one drawing: its concept, and some of its factors."""

    concept: str
    factors: Mapping[str, str]

    def of(self, entry: Entry) -> dict[str, bool]:
        """Return what is right of an entry: `concept`, and every factor that is said."""
        same = entry.concept == self.concept
        return {"concept": same} | {name: entry.factors.get(name) == value for name, value in self.factors.items()}


@dataclass(frozen=True)
class Phrase:
    """Words for one drawing, and what they say."""

    text: str
    said: Said


def phrase(entry: Entry, rng: np.random.Generator, everything: bool = False) -> Phrase:
    """Return words for a drawing; with `everything`, every factor is said. Deterministic in `rng`."""
    said = dict(entry.factors)
    if not everything and said and rng.random() < LEFT_OUT:
        out = str(rng.choice(sorted(said)))
        if out not in IN_NOUN or out == "hair" or entry.bare:
            del said[out]
    noun = entry.noun if not (entry.bare and set(entry.factors) & set(IN_NOUN) - {"hair"} - set(said)) else entry.bare
    if "hair" in said:
        noun = f"{noun} with {entry.hair}"
    if "direction" in said:
        noun = f"{noun} facing {said['direction']}"
    text = _with_tone(noun, said.get("skin_tone", ""), rng)
    if "style" in said:
        text = _pick(rng, *_in_style(text, said["style"]))
    return Phrase(text, Said(entry.concept, {name: said[name] for name in FACTORS if name in said}))


def _with_tone(noun: str, tone: str, rng: np.random.Generator) -> str:
    return _pick(rng, *_tone_forms(noun, tone)) if tone else noun


def _tone_forms(noun: str, tone: str) -> tuple[str, ...]:
    joined = "and" if " with " in noun else "with"
    return f"{noun}: {tone} skin tone", f"{noun} {joined} {tone} skin", f"{noun}, {tone} skin"


def _in_style(text: str, style: str) -> tuple[str, ...]:
    return f"{text}, in the {style} style", f"{text}, drawn by {style}"


def whole_phrases(entry: Entry) -> tuple[str, ...]:
    """Return every phrase for a drawing that says all its factors: what `phrase` draws from with `everything`."""
    noun = f"{entry.noun} with {entry.hair}" if "hair" in entry.factors else entry.noun
    noun = f"{noun} facing {entry.factors['direction']}" if "direction" in entry.factors else noun
    tone, style = entry.factors.get("skin_tone", ""), entry.factors.get("style", "")
    found = _tone_forms(noun, tone) if tone else (noun,)
    return tuple(words for text in found for words in _in_style(text, style)) if style else found


def caption(entry: Entry, rng: np.random.Generator, everything: bool = False) -> Phrase:
    """Return a caption of one drawing alone."""
    found = phrase(entry, rng, everything)
    return Phrase(opened(found.text, rng), found.said)


def opened(text: str, rng: np.random.Generator) -> str:
    """Return words with an opening: `a drawing of ...`; by chance without one."""
    return _pick(rng, *OPENINGS).format(text)


def on_ground(text: str, background: str, rng: np.random.Generator) -> str:
    """Return words with the background's colour."""
    article = "an" if background[0] in "aeiou" else "a"
    return _pick(rng, *GROUNDS).format(text, background).replace(f"a {background}", f"{article} {background}")


def related(first: str, second: str, cells: tuple[str, str], rng: np.random.Generator) -> str:
    """Return how two drawings lie to each other, by their cells."""
    return f"{first} {_pick(rng, *RELATIONS[cells])} {second}"


def counted(text: str, count: int, rng: np.random.Generator) -> str:
    """Return words for several of one drawing."""
    return _pick(rng, *COUNTS[count]).format(text)


def factor_instruction(source: Entry, target: Entry, factor: str, rng: np.random.Generator) -> str:
    """Return an instruction for an edit by one factor."""
    return _pick(rng, *factor_forms(source, target, factor))


def factor_forms(source: Entry, target: Entry, factor: str) -> Sequence[str]:
    """Return every instruction for an edit by one factor."""
    value = target.factors[factor]
    if factor == "skin_tone":
        forms: Sequence[str] = (
            f"make the skin {value}", f"change the skin tone to {value}", f"give it {value} skin",
            f"change {source.factors[factor]} skin to {value} skin",
        )  # fmt: skip
    elif factor == "gender":
        forms = (
            f"make it a {value}",
            f"change the {source.factors[factor]} to a {value}",
            f"turn it into a {target.noun}",
        )
    elif factor == "hair":
        forms = (
            f"change the hair to {target.hair}",
            f"give the {source.factors.get('gender', 'person')} {target.hair}",
        )
    elif factor == "direction":
        forms = (f"make it face {value}", f"turn to the {value}", f"change to facing {value}")
    elif factor == "time":
        forms = (f"set the clock to {value}", f"make it {value}", f"change the time to {value}")
    elif factor == "phase":
        forms = (f"change the moon to {value}", f"make it a {value} moon")
    elif factor == "style":
        forms = (f"draw it in the {value} style", f"redraw it as {value} does")
    else:
        forms = (f"make it {value}", f"change the colour to {value}", f"paint the {source.bare} {value}")
    return forms


def _pick(rng: np.random.Generator, *forms: str) -> str:
    return forms[int(rng.integers(len(forms)))]
