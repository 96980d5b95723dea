"""Grids of pictures that stages drew: reconstructions, samples over training, prompts and edits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipelines.gallery.material import Album, Material, Picture, spread

OVER_TRAINING = 12  # grids of one training


@dataclass(frozen=True)
class Grid:
    """A picture of many, and what it shows."""

    words: str
    picture: Picture


@dataclass(frozen=True)
class Samples:
    """The grids of one training, in the order of its steps."""

    stage: str
    grids: list[Grid]
    total: int


def grids(material: Material, stage: str, names: Sequence[tuple[str, str]], album: Album) -> list[Grid]:
    """Return the named files of a stage's artifact with their words, those that are there."""
    made = material.artifacts.get(stage)
    found = [(words, path) for name, words in names for path in (made.files(name) if made else [])]
    shown = [(words, album.add(material.read(path))) for words, path in found]
    return [Grid(words, picture) for words, picture in shown if picture is not None]


def samples(material: Material, album: Album) -> list[Samples]:
    """Return what each training drew as it went on."""
    found = []
    for name, made in material.artifacts.items():
        paths = made.files("samples/*.png")
        shown = [
            (PurePosixPath(paths[place]).stem, album.add(material.read(paths[place])))
            for place in spread(len(paths), OVER_TRAINING)
        ]
        drawn = [Grid(_step(stem), picture) for stem, picture in shown if picture is not None]
        if drawn:
            found.append(Samples(name, drawn, len(paths)))
            if len(drawn) < len(paths):
                material.left_out.append(f"{len(paths) - len(drawn)} of {len(paths)} sample grids of {name}")
    return found


def _step(stem: str) -> str:
    number = re.fullmatch(r"step-(\d+)", stem)
    return f"step {int(number[1]):,}" if number else stem
