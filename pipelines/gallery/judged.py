"""Prompts and edits with their pictures and verdicts: some hundreds of them, evenly of every set, category and verdict.

They are rows of `pictures/*.parquet`. Where an evaluation wrote none, `judgements.jsonl` has the same without pictures.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.gallery.material import Album, Material, Picture, spread
from pipelines.stage import fetched

PROMPTS, EDITS = 240, 90  # shown of each
STRIPS, COLUMNS = 8, 10  # prompts that are followed over training, and checkpoints of each
TEXT = 300  # characters of a prompt
NOTES = 14  # lines of what judges say of a picture
BATCH = 256  # rows of pictures in memory
LIGHT = ("split", "kind", "category", "source_name", "prompt", "guidance_scale", "seed", "right", "rows")
JUDGED = ("evaluate_generator", "evaluate_model")  # stages whose pictures are shown: a run has one of them
PICTURES = ("source", "picture", "truth")
LABELS = {"source": "source", "picture": "result", "truth": "truth"}
CHECKPOINT = re.compile(r"checkpoint at (\d+) samples")


@dataclass(frozen=True)
class Card:
    """One picture that was judged: `right` is None where nobody could judge it; `notes` is what judges said."""

    split: str
    kind: str
    category: str
    source_name: str
    prompt: str
    right: bool | None
    about: str
    notes: list[tuple[str, str]]
    pictures: list[tuple[str, Picture]]  # (source, result or truth; the picture)

    @property
    def verdict(self) -> str:
        """`right`, `wrong` or `none`."""
        return "none" if self.right is None else "right" if self.right else "wrong"


@dataclass(frozen=True)
class Cards:
    """Cards of one kind, how many there are in all, and whether they have pictures."""

    shown: list[Card]
    total: int
    pictured: bool

    @property
    def widest(self) -> int:
        """Return how many pictures a card has at most."""
        return max((len(card.pictures) for card in self.shown), default=0)

    def choices(self, name: str) -> list[str]:
        """Return what a filter offers: every value of a field of the cards, in their order."""
        return [value for value in dict.fromkeys(getattr(card, name) for card in self.shown) if value]


@dataclass(frozen=True)
class Row:
    """Where a judged picture lies, and its columns but the pictures."""

    path: str
    number: int
    values: Mapping[str, Any]


def read_rows(material: Material) -> tuple[list[Row], bool]:
    """Return every judged picture of the run, and whether there are pictures of them."""
    from components.data.tables import read_table

    made = next((material.artifacts[name] for name in JUDGED if name in material.artifacts), None)
    if made is None:
        return [], False
    rows: list[Row] = []
    for path in made.files("pictures/*.parquet"):
        try:
            with fetched(material.store, path) as local:
                table = read_table(local, LIGHT)
        except (ValueError, OSError) as error:
            material.left_out.append(f"{path}: {error}")
            continue
        values = zip(*table.values(), strict=True)
        rows += [Row(path, number, dict(zip(table, each, strict=True))) for number, each in enumerate(values)]
    if rows:
        return rows, True
    lines = [line for path in made.files("judgements.jsonl") for line in (material.read(path) or b"").splitlines()]
    return [Row("", number, _of_judgement(json.loads(line))) for number, line in enumerate(lines)], False


def _of_judgement(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a judgement as a row of pictures; older evaluations wrote fewer columns."""
    judged = {**row.get("judges", {}), "": {**row.get("aspects", {}), "read": row.get("read")}}
    known = {"split": "", "category": "", "prompt": "", "right": None, "guidance_scale": None, "seed": None}
    kind = "edit" if row.get("split") == "edits" else "prompt"
    return {**known, "kind": kind, "source_name": "", **row, "rows": json.dumps(judged)}


def cards(material: Material, rows: Sequence[Row], kind: str, most: int, album: Album, pictured: bool) -> Cards:
    """Return cards of a kind ("prompt" or "edit"), but of pictures made in training."""
    own = [row for row in rows if row.values["kind"] == kind and not CHECKPOINT.fullmatch(row.values["split"])]
    made = _filled(material, evenly(own, most), album)
    shown = [made[row.path, row.number] for row in own if (row.path, row.number) in made]
    if len(shown) < len(own):
        material.left_out.append(f"{len(own) - len(shown):,} of {len(own):,} judged {kind}s")
    return Cards(shown, len(own), pictured)


@dataclass(frozen=True)
class Strip:
    """One prompt's pictures as training went on: (samples seen, card). `truth` has what it should have become."""

    prompt: str
    cards: list[tuple[int, Card]]
    truth: Card | None


def strips(material: Material, rows: Sequence[Row], album: Album) -> list[Strip]:
    """Return a few prompts with their pictures at checkpoints, of those that were made at most of them."""
    of_prompt: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        found = CHECKPOINT.fullmatch(row.values["split"])
        if found and row.path:
            of_prompt.setdefault((row.values["category"], row.values["prompt"]), {})[int(found[1])] = row
    full = [each for each in of_prompt.values() if len(each) == max(map(len, of_prompt.values()))]
    chosen = [full[number * len(full) // min(STRIPS, len(full))] for number in range(min(STRIPS, len(full)))]
    wanted = [(seen, each[seen]) for each in chosen for seen in _some(sorted(each))]
    made = _filled(material, [row for _, row in wanted], album, ("picture",))
    last = {(row.path, row.number): row for row in (each[max(each)] for each in chosen)}
    truths = _filled(material, list(last.values()), album, ("truth",))
    found_strips = []
    for each in chosen:
        places = {seen: (each[seen].path, each[seen].number) for seen in _some(sorted(each))}
        shown = [(seen, made[place]) for seen, place in places.items() if place in made]
        if shown:
            truth = truths.get((each[max(each)].path, each[max(each)].number))
            found_strips.append(Strip(shown[0][1].prompt, shown, truth))
    return found_strips


def _some(seen: list[int]) -> list[int]:
    return [seen[number] for number in spread(len(seen), COLUMNS)]


def convergence(rows: Sequence[Row]) -> dict[int, dict[str, float]]:
    """Return the share that is right at each checkpoint, by samples seen: of each category, and `overall`, their mean.
    {} where nothing was judged there.
    """
    judged: dict[int, dict[str, list[bool]]] = {}
    for row in rows:
        found = CHECKPOINT.fullmatch(row.values["split"])
        if found and row.values["right"] is not None:
            judged.setdefault(int(found[1]), {}).setdefault(row.values["category"], []).append(row.values["right"])
    shares = {seen: {name: sum(ok) / len(ok) for name, ok in each.items()} for seen, each in sorted(judged.items())}
    return {seen: {"overall": sum(each.values()) / len(each)} | each for seen, each in shares.items()}


def evenly(rows: Sequence[Row], most: int) -> list[Row]:
    """Return at most `most` rows, in turn one of each set, category, source and verdict, as long as there are."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = tuple(row.values[name] for name in ("split", "category", "source_name", "right"))
        groups.setdefault(key, []).append(row)
    turns = itertools.zip_longest(*groups.values())
    return [row for turn in turns for row in turn if row is not None][:most]


def _filled(
    material: Material, rows: Sequence[Row], album: Album, names: Sequence[str] = PICTURES
) -> dict[tuple[str, int], Card]:
    """Return (file, number) -> card: with all of its pictures, or where the rows have none. Files are read one by one;
    where there is no room for all, the first rows have it.
    """
    small: dict[tuple[str, int], dict[str, Any]] = {}
    for path in dict.fromkeys(row.path for row in rows if row.path):
        for number, pictures in _pictures(material, path, names, {row.number for row in rows if row.path == path}):
            small[path, number] = {LABELS[name]: album.shrunk(data) for name, data in pictures.items() if data}
    made = {}
    for row in rows:
        place = (row.path, row.number)
        kept = [(label, album.keep(picture)) for label, picture in small.get(place, {}).items()]
        shown = [(label, picture) for label, picture in kept if picture is not None]
        if not row.path or (shown and len(shown) == len(kept)):
            made[place] = _card(row.values, shown)
    return made


def _pictures(
    material: Material, path: str, names: Sequence[str], numbers: set[int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    from components.data.tables import iter_table

    first = 0
    try:
        with fetched(material.store, path) as local:
            for batch in iter_table(local, names, BATCH):
                count = len(batch[names[0]])
                for number in sorted(numbers.intersection(range(first, first + count))):
                    yield number, {name: batch[name][number - first] for name in names}
                first += count
    except (ValueError, OSError) as error:
        material.left_out.append(f"{path}: {error}")


def _card(values: Mapping[str, Any], pictures: list[tuple[str, Picture]]) -> Card:
    about = [f"guidance {values['guidance_scale']:g}"] if values["guidance_scale"] is not None else []
    about += [f"seed {values['seed']}"] if values["seed"] is not None else []
    prompt = str(values["prompt"])
    return Card(
        values["split"],
        values["kind"],
        values["category"],
        values["source_name"] or "",
        prompt if len(prompt) <= TEXT else f"{prompt[:TEXT]}…",
        values["right"],
        ", ".join(about),
        _notes(values["rows"]),
        pictures,
    )


def _notes(rows: str) -> list[tuple[str, str]]:
    """What judges said, as (name, text)."""
    found = []
    for judge, row in json.loads(rows or "{}").items():
        for name, value in (row or {}).items():
            if value is None:
                continue
            text = (
                f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
            )
            found.append((f"{judge} {name}".strip().replace("_", " "), text[:TEXT]))
    return found[:NOTES]
