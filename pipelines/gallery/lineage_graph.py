"""The graph of a run's artifacts, laid out from sources at the top to registered versions at the bottom."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.gallery.material import Material

SHORT = 10  # characters of a digest
WIDE, TALL = 172, 44  # of a box
GAP_X, GAP_Y = 18, 34
BEND = 26  # width that an edge takes where it passes a row of boxes


@dataclass
class Box:
    """An artifact, a source outside the store, or a registered version, and where it stands."""

    name: str
    words: str
    kind: str  # made, cached, outside, version
    inputs: list[str]
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Graph:
    """Boxes, edges as SVG paths, and the size of the whole."""

    boxes: list[Box]
    edges: list[str]
    width: float
    height: float


def lineage(material: Material) -> Graph:
    """Return the run's artifacts by what was made of what. An edge that a longer way says too is not drawn."""
    boxes = {box.name: box for box in _boxes(material)}
    inputs = reduced({name: [i for i in box.inputs if i in boxes] for name, box in boxes.items()})
    return placed(boxes, inputs)


def _boxes(material: Material) -> list[Box]:
    run, found = material.run, list[Box]()
    for name, made in material.artifacts.items():
        manifest = made.manifest
        for what, digest in manifest.external.items():
            found.append(Box(f"{what} → {name}", digest[:SHORT], "outside", []))
        outside = [f"{what} → {name}" for what in manifest.external]
        kind = "made" if manifest.run == run.id else "cached"
        found.append(Box(name, manifest.digest[:SHORT], kind, [*manifest.inputs, *outside]))
    for model in material.report["models"]:
        alias = f" {' '.join(model['aliases'])}" if model["aliases"] else ""
        words = f"{model.get('digest', '')[:SHORT]}{alias}"
        found.append(Box(f"{model['name']}/{model['version']}", words, "version", ["register"]))
    return found


def reduced(inputs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return {name: inputs} without those inputs that are inputs of another input, however far."""
    behind: dict[str, set[str]] = {}

    def all_behind(name: str) -> set[str]:
        if name not in behind:
            behind[name] = set().union(*({i} | all_behind(i) for i in inputs[name]))
        return behind[name]

    return {
        name: [i for i in own if not any(i in all_behind(o) for o in own if o != i)] for name, own in inputs.items()
    }


def placed(boxes: Mapping[str, Box], inputs: Mapping[str, Sequence[str]]) -> Graph:
    """Place boxes in rows, each below all its inputs, and edges between them. What passes a row takes room in it."""
    row: dict[str, int] = {}

    def row_of(name: str) -> int:
        if name not in row:
            row[name] = max((row_of(i) + 1 for i in inputs[name]), default=0)
        return row[name]

    for name in boxes:
        row_of(name)
    users = {name: [other for other in boxes if name in inputs[other]] for name in boxes}
    for name, box in boxes.items():  # a source stands right above what is made of it
        if box.kind == "outside" and users[name]:
            row[name] = min(row[other] for other in users[name]) - 1
    rows: list[list[str]] = [[] for _ in range(max(row.values(), default=-1) + 1)]
    for name in boxes:
        rows[row[name]].append(name)
    links = [(i, name) for name in boxes for i in inputs[name]]
    ways = {link: [link[0]] for link in links}
    for first, last in links:
        for between in range(row[first] + 1, row[last]):
            bend = f"{first}>{last}>{between}"
            rows[between].append(bend)
            ways[first, last].append(bend)
        ways[first, last].append(last)
    _order(rows, list(ways.values()))
    width = max((_wide(each, boxes) for each in rows), default=0.0)
    at: dict[str, tuple[float, float]] = {}
    for number, each in enumerate(rows):
        x, y = (width - _wide(each, boxes)) / 2 + 4, number * (TALL + GAP_Y) + 4.0
        for name in each:
            wide = WIDE if name in boxes else BEND
            at[name] = (x + wide / 2, y)
            x += wide + GAP_X
            if name in boxes:
                boxes[name].x, boxes[name].y = at[name][0] - WIDE / 2, y
    edges = [_path([at[name] for name in way]) for way in ways.values()]
    return Graph(list(boxes.values()), edges, width + 8, len(rows) * (TALL + GAP_Y) - GAP_Y + 8)


def _wide(names: Sequence[str], boxes: Mapping[str, Box]) -> float:
    return sum(WIDE if name in boxes else BEND for name in names) + GAP_X * (len(names) - 1)


def _order(rows: list[list[str]], ways: Sequence[Sequence[str]]) -> None:
    """Sort each row by the mean place of what it is joined to, above and below in turn, so that few edges cross."""
    joined: dict[str, list[str]] = {}
    for way in ways:
        for one, other in itertools.pairwise(way):
            joined.setdefault(one, []).append(other)
            joined.setdefault(other, []).append(one)
    for sweep in range(6):
        order = range(1, len(rows)) if sweep % 2 == 0 else range(len(rows) - 2, -1, -1)
        for number in order:
            near = rows[number - 1 if sweep % 2 == 0 else number + 1]
            places = {name: (place + 0.5) / len(near) for place, name in enumerate(near)}

            def mean(name: str, known: Mapping[str, float] = places) -> float:
                found = [known[other] for other in joined.get(name, []) if other in known]
                return sum(found) / len(found) if found else 0.5

            rows[number].sort(key=mean)


def _path(points: Sequence[tuple[float, float]]) -> str:
    """An SVG path from the foot of the first box to the head of the last, straight down past boxes on the way."""
    (x, y), *rest = points
    y += TALL
    parts = [f"M{x:.0f} {y:.0f}"]
    for place, (to_x, to_y) in enumerate(rest):
        middle = (y + to_y) / 2
        parts.append(f"C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {to_y:.0f}")
        x, y = to_x, to_y
        if place < len(rest) - 1:
            y += TALL
            parts.append(f"V{y:.0f}")
    return "".join(parts)
