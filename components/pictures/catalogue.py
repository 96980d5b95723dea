"""The catalogue: every drawing with its concept, its factors, the words for it, and its side of the held-out split."""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from components.pictures.factors import PLAIN_HAIR, PLAIN_TONE, Parsed, plain_name, template
from components.pictures.options import FACTORS, PictureOptions

TRAIN, HELD_OUT, RECONSTRUCTION = "train", "held_out", "reconstruction"
ALIKE = 0.4  # mean difference, 0-255, on white: drawings of one style nearer than this are drawn alike
PLAIN = {"skin_tone": PLAIN_TONE, "gender": "person", "hair": PLAIN_HAIR, "direction": "left"}


@dataclass(frozen=True)
class Entry:
    """One drawing. `factors` are those that vary in its concept."""

    key: str
    concept: str
    factors: Mapping[str, str]
    noun: str  # words that say concept, gender and the value of a family: `woman running`, `red heart`
    bare: str  # words for the concept alone; "" where there are none
    hair: str = ""  # words for the hair, where it varies
    split: str = TRAIN
    alike: str = ""  # key of the first drawing, of any concept, that is drawn alike: its own where it is the first

    @staticmethod
    def key_of(style: str, parsed: Parsed) -> str:
        """Return the key of a drawing."""
        return "-".join([style, *(f"{code:04X}" for code in parsed.codes)])

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON values."""
        return {**self.__dict__, "factors": dict(self.factors)}

    @staticmethod
    def from_dict(value: Any) -> Entry:
        """Read `to_dict`'s value. Raises ValueError for anything else."""
        try:
            entry = Entry(**{**value, "factors": {str(k): str(v) for k, v in value["factors"].items()}})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no entry of a catalogue: {error!r}") from None
        if set(entry.factors) - set(FACTORS) or entry.split not in (TRAIN, HELD_OUT, RECONSTRUCTION):
            raise ValueError(f"this is no entry of a catalogue: {entry.key!r} has unknown factors or no known split")
        return entry


@dataclass
class Catalogue:
    """Entries with their cut-outs, uint8 RGBA [N, S, S, 4], in one order."""

    entries: list[Entry]
    cutouts: np.ndarray
    at: dict[str, int] = field(init=False)
    results: dict[str, np.ndarray] = field(init=False, default_factory=dict)  # treatment -> thumbnails of its results

    def __post_init__(self) -> None:
        self.at = {entry.key: number for number, entry in enumerate(self.entries)}

    def __getitem__(self, key: str) -> Entry:
        return self.entries[self.at[key]]

    def cutout(self, key: str) -> np.ndarray:
        """Return a drawing's cut-out, uint8 [S, S, 4]."""
        return np.asarray(self.cutouts[self.at[key]])

    @functools.cached_property
    def concepts(self) -> dict[str, list[Entry]]:
        """Concept -> its entries."""
        found: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries:
            found[entry.concept].append(entry)
        return dict(found)

    @functools.cached_property
    def by_split(self) -> dict[str, list[Entry]]:
        """Split -> its entries."""
        found: dict[str, list[Entry]] = {TRAIN: [], HELD_OUT: [], RECONSTRUCTION: []}
        for entry in self.entries:
            found[entry.split].append(entry)
        return found

    @functools.cached_property
    def classes(self) -> dict[str, list[Entry]]:
        """`alike` -> the entries that are drawn so."""
        found: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries:
            found[entry.alike].append(entry)
        return dict(found)

    @functools.cached_property
    def _small(self) -> np.ndarray:
        return thumbnails(self.cutouts, on_white)

    def shows(self, picture: np.ndarray) -> bool:
        """True where a picture, uint8 [S, S, 3], is drawn alike a known drawing on white."""
        own = picture.astype(np.float32)
        near = nearer(self._small, own)
        return any(np.abs(on_white(self.cutouts[n : n + 1])[0] - own).mean() < ALIKE for n in near)

    def neighbours(self, entry: Entry) -> list[tuple[str, Entry]]:
        """Return (factor, entry) of every variant that differs in that one factor alone, and is not drawn alike."""
        found = []
        for other in self.concepts[entry.concept]:
            differing = [name for name in entry.factors if other.factors.get(name) != entry.factors[name]]
            if len(differing) == 1 and other.alike != entry.alike:
                found.append((differing[0], other))
        return found


def build_catalogue(
    drawings: Iterable[tuple[str, Parsed, np.ndarray]], options: PictureOptions, seed: int
) -> Catalogue:
    """Return the catalogue of (style, parsed name, cut-out): factors filled in, classes of drawings that are alike,
    split.
    """
    given = list(drawings)
    styles = sorted({style for style, _, _ in given})
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, (_, parsed, _) in enumerate(given):
        groups[parsed.concept].append(number)
    entries: dict[int, Entry] = {}
    for numbers in groups.values():
        parsed_of = [given[n][1] for n in numbers]
        words = _words(parsed_of)
        filled = [
            _filled(parsed, parsed_of, style if len(styles) > 1 else "")
            for (style, parsed, _) in (given[n] for n in numbers)
        ]
        varying = [f for f in FACTORS if len({values.get(f) for values in filled}) > 1]
        for number, values in zip(numbers, filled, strict=True):
            style, parsed, _ = given[number]
            factors = {name: values[name] for name in varying if name in values}
            entries[number] = Entry(
                key=Entry.key_of(style, parsed),
                concept="-".join(f"{code:04X}" for code in parsed.concept),
                factors=factors,
                noun=words.noun(parsed, values),
                bare=words.bare if set(varying) & {"gender", "hair", "colour", "time", "phase"} else "",
                hair=_hair(values["hair"]) if "hair" in varying else "",
            )
    order = sorted(range(len(given)), key=lambda n: (entries[n].concept, entries[n].key))
    cutouts = np.stack([given[n][2] for n in order]) if order else np.zeros((0, 16, 16, 4), np.uint8)
    listed = _alike([entries[n] for n in order], cutouts)
    return Catalogue(_split(listed, options, seed), cutouts)


def _filled(parsed: Parsed, concept: Sequence[Parsed], style: str) -> dict[str, str]:
    """Return a drawing's factors, those that only its relatives' code points name at their plain value."""
    named = {name for relative in concept for name, _ in relative.factors}
    values = {name: PLAIN[name] for name in named if name in PLAIN} | dict(parsed.factors)
    return values | ({"style": style} if style else {})


@dataclass(frozen=True)
class _Words:
    """The words of a concept: `pattern` has a place for the person, "" where genders have words of their own."""

    bare: str
    pattern: str
    names: Mapping[str, str]  # gender -> name

    def noun(self, parsed: Parsed, values: Mapping[str, str]) -> str:
        if parsed.family:
            value = next(value for _, value in parsed.factors)
            return {"clock": "clock at {}", "moon": "{} moon"}.get(parsed.family, "{} " + parsed.family).format(value)
        gender = values.get("gender")
        if gender is None:
            return plain_name(parsed)
        return self.pattern.format(gender) if self.pattern else self.names[gender]


def _words(concept: Sequence[Parsed]) -> _Words:
    if concept[0].family:
        return _Words(concept[0].family, "", {})
    names: dict[str, str] = {}
    for parsed in concept:
        names.setdefault(dict(parsed.factors).get("gender", "person"), plain_name(parsed))
    pattern = template(names) or ""
    bare = pattern.removeprefix("{} ") if pattern.startswith("{} ") else ""
    if bare.split(" ")[0] in ("in", "with") or bare.split(" ")[0].endswith("ing"):
        bare = f"someone {bare}"  # what they do, not what they are
    return _Words(bare, pattern, names)


def _hair(value: str) -> str:
    return {"bald": "no hair", PLAIN_HAIR: "plain hair"}.get(value, f"{value} hair")


def on_white(cutouts: np.ndarray) -> np.ndarray:
    """Return cut-outs uint8 [N, S, S, 4] on white, float32 [N, S, S, 3]."""
    alpha = cutouts[..., 3:].astype(np.float32) / 255
    return np.asarray(cutouts[..., :3] * alpha + 255 * (1 - alpha), np.float32)


def _parts(pictures: np.ndarray) -> np.ndarray:
    """Return the mean colours of the sixteen parts of each picture, [N, 48]: no further apart than the pictures."""
    side = pictures.shape[1] // 4
    return np.asarray(pictures.reshape(-1, 4, side, 4, side, 3).mean((2, 4)).reshape(-1, 48))


def thumbnails(cutouts: np.ndarray, draw: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return thumbnails, float32 [N, 48], of the pictures, [N, S, S, 3], that are drawn of cut-outs."""
    parts = [_parts(draw(cutouts[n : n + 256])) for n in range(0, len(cutouts), 256)]
    return np.concatenate(parts) if parts else np.zeros((0, 48), np.float32)


def nearer(small: np.ndarray, picture: np.ndarray) -> list[int]:
    """Return the numbers of the thumbnails whose pictures may be drawn alike a picture, float32 [S, S, 3]."""
    own = _parts(picture[None])[0]
    return [int(n) for n in np.flatnonzero(np.abs(small - own).mean(1) < ALIKE + 0.01)]  # 0.01: for rounding


def _alike(entries: list[Entry], cutouts: np.ndarray) -> list[Entry]:
    """Name for each entry the first one of its style that is drawn alike. Some are of another concept: the flags of
    France and of Clipperton Island.
    """
    small = thumbnails(cutouts, on_white)
    firsts: dict[str, list[int]] = defaultdict(list)
    found = []
    for number, entry in enumerate(entries):
        own = on_white(cutouts[number : number + 1])[0]
        same = firsts[entry.factors.get("style", "")]
        near = (same[n] for n in nearer(small[same], own))
        first = next((n for n in near if np.abs(on_white(cutouts[n : n + 1])[0] - own).mean() < ALIKE), number)
        if first == number:
            same.append(number)
        found.append(_with(entry, alike=entries[first].key))
    return found


def _with(entry: Entry, **changes: Any) -> Entry:
    return Entry(**{**entry.__dict__, **changes})


def _split(entries: list[Entry], options: PictureOptions, seed: int) -> list[Entry]:
    """Hold out whole combinations, drawings that are alike together, and whole concepts that have no factors.

    A combination is held out only where each of its values stays in training elsewhere, and so does half of its
    concept: what a model is asked for is then new, and nothing that it is asked with. A drawing that another concept
    has, too, is trained on.
    """
    concepts: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        concepts[entry.concept].append(entry)
    spread: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        spread[entry.alike].add(entry.concept)
    plain = [
        name
        for name, found in concepts.items()
        if not any(entry.factors or len(spread[entry.alike]) > 1 for entry in found)
    ]
    plain.sort(key=_rank(seed))
    apart = set(plain[: round(len(plain) * options.concepts_held_out)])
    seen: dict[tuple[str, str], int] = defaultdict(int)  # (factor, value) -> entries in training
    for entry in entries:
        for value in entry.factors.items():
            seen[value] += 1
    held: set[str] = set()
    left = {name: len({e.alike for e in found}) for name, found in concepts.items()}
    least = {name: (count + 1) // 2 for name, count in left.items()}
    classes: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if set(entry.factors) - {"style"}:
            classes[entry.alike].append(entry)
    wanted = round(len(classes) * options.combinations_held_out)
    for name in sorted(classes, key=_rank(seed)):
        if len(held) >= wanted:
            break
        members = classes[name]
        values = [value for entry in members for value in entry.factors.items()]
        concept = members[0].concept
        if len(spread[name]) > 1 or left[concept] - 1 < least[concept]:
            continue
        if any(seen[value] - values.count(value) < 1 for value in values):
            continue
        held.add(name)
        left[concept] -= 1
        for value in values:
            seen[value] -= 1
    return [
        _with(
            entry,
            split=HELD_OUT if entry.alike in held else RECONSTRUCTION if entry.concept in apart else TRAIN,
        )
        for entry in entries
    ]


def _rank(seed: int) -> Any:
    return lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest()
