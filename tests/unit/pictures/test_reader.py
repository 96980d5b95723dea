"""The reader without a learned model: every composition is read back, damaged pictures mostly, twins as one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from components.pictures.composition import LAYOUTS, PAIRS, TREATMENTS, Composition, render, same
from components.pictures.drawing_samples import sample
from components.pictures.options import BACKGROUNDS
from components.pictures.read import CHUNK, Reader
from tests.unit.pictures.drawings import CIRCLES, HAIR, HEARTS, PLAIN, RUNNING, WAVING, catalogue_of

pytestmark = pytest.mark.unit
STEMS = (*WAVING, *RUNNING[:8], *HAIR[:5], *HAIR[30:35], *HEARTS, *CIRCLES, *PLAIN)
KNOWN = catalogue_of(STEMS, size=64)


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(KNOWN, composed=True)


def drawn(compositions) -> np.ndarray:
    return np.stack([render(one, KNOWN) for one in compositions])


def right(reader: Reader, compositions, pictures: np.ndarray, treatments=("",)) -> float:
    read = reader.read(pictures, treatments)
    return float(np.mean([same(a, b, KNOWN) for a, b in zip(read, compositions, strict=True)]))


def composed(count: int = 120) -> list[Composition]:
    """Return compositions of every category."""
    numbers = range(len(KNOWN.entries), len(KNOWN.entries) + count)
    return [sample(KNOWN, n, 1, np.random.default_rng(n)).composition for n in numbers]


def singles(step: int = 1, **more) -> list[Composition]:
    return [Composition.single(entry.key, **more) for entry in KNOWN.entries[::step]]


def test_every_drawing_is_read_back(reader):
    assert right(reader, singles(), drawn(singles())) == 1
    assert right(Reader(KNOWN, composed=False), singles(), drawn(singles())) == 1


@pytest.mark.parametrize("ground", BACKGROUNDS)
def test_every_drawing_is_read_back_on_each_background_and_in_each_single_cell(reader, ground):
    for layout in (one for one in LAYOUTS if len(one) == 1):
        given = singles(4, cell=layout[0], background=ground)
        assert right(reader, given, drawn(given)) == 1, layout


def test_every_layout_of_several_drawings_is_read_back(reader):
    rng = np.random.default_rng(0)
    for layout in (one for one in LAYOUTS if len(one) > 1):
        keys = [
            [KNOWN.entries[int(i)].key for i in rng.integers(len(KNOWN.entries), size=len(layout))] for _ in range(20)
        ]
        given = [Composition(tuple(zip(layout, each, strict=True))) for each in keys]
        assert right(reader, given, drawn(given)) == 1, layout


def test_every_category_of_compositions_is_read_back(reader):
    assert right(reader, composed(), drawn(composed())) == 1


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_a_treated_drawing_is_read_as_treated_and_an_untreated_one_is_not(reader, treatment):
    plain = [Composition.single(key) for key in ("openmoji-1F44B-1F3FC", "openmoji-1F34E", "openmoji-1F436")]
    treated = [one.with_(treatment=treatment) for one in plain]
    changed = [not np.array_equal(render(a, KNOWN), render(b, KNOWN)) for a, b in zip(plain, treated, strict=True)]
    assert all(changed)
    for given in (plain, treated):
        assert right(reader, given, drawn(given), ("", treatment)) == 1
    assert right(reader, treated, drawn(treated)) == 0  # where nobody asks for it, it is no known picture


def jpeg(picture: np.ndarray) -> np.ndarray:
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def noisy(picture: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(picture[::7].sum()).normal(0, 12, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


DAMAGES = {
    "jpeg": jpeg,
    "blur": lambda picture: cv2.GaussianBlur(picture, (0, 0), 0.8),
    "noise": noisy,
    "paler": lambda picture: np.clip(picture * 0.9 + 12, 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_picture_is_mostly_read_as_what_it_shows(reader, name):
    for given in (singles(3), composed(60)):
        pictures = np.stack([DAMAGES[name](picture) for picture in drawn(given)])
        assert right(reader, given, pictures) >= 0.9


def test_drawings_that_are_alike_count_as_one(reader):
    group = next(group for group in KNOWN.classes.values() if len(group) > 1)
    given = [Composition.single(entry.key) for entry in group]
    assert right(reader, given[::-1], drawn(given)) == 1
    other = next(entry for entry in KNOWN.entries if entry.alike != group[0].alike)
    assert not same(given[0], Composition.single(other.key), KNOWN)
    pair = [Composition(tuple(zip(PAIRS[0], (e.key, other.key), strict=True))) for e in group[:2]]
    assert same(*pair, KNOWN) and not same(pair[0], pair[0].with_(items=pair[0].items[::-1]), KNOWN)


def test_an_empty_picture_and_pure_noise_are_read_as_something_and_as_nothing_that_was_asked(reader):
    blank = np.full((64, 64, 3), 255, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    read = reader.read(np.stack([blank, noise]))
    assert len(read) == 2
    apple = Composition.single("openmoji-1F34E")
    assert not any(same(one, apple, KNOWN) for one in read)


def test_pictures_are_read_one_by_one_whatever_stands_beside_them(reader, monkeypatch):
    given = [*singles(4), *singles(4, background="blue"), *composed(20)]
    together = reader.read(drawn(given))
    assert together == [reader.read(picture[None])[0] for picture in drawn(given)]
    monkeypatch.setattr("components.pictures.read.CHUNK", 7)
    assert CHUNK > 7 and reader.read(drawn(given)) == together
    assert reader.read(np.zeros((0, 64, 64, 3), np.uint8)) == []
