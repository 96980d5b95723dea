"""The catalogue: words, factors that vary, drawings that are alike, and a split that keeps what it promises."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from components.pictures.catalogue import (
    ALIKE,
    HELD_OUT,
    RECONSTRUCTION,
    TRAIN,
    Catalogue,
    Entry,
    build_catalogue,
    on_white,
)
from components.pictures.options import FACTORS, PictureOptions
from tests.unit.pictures.drawings import ALL, CLOCKS, HAIR, HEARTS, PLAIN, RUNNING, WAVING, catalogue_of, drawing

pytestmark = pytest.mark.unit
# Two concepts of which some drawings are the same picture: a person, and a person with blond hair.
TWINS = (*WAVING, *(f"{one}{tone}" for one in ("1F9D1", "1F471") for tone in ("", "-1F3FB", "-1F3FC", "-1F3FF")))


def built(stems, seed: int = 1, size: int = 32, **options) -> Catalogue:
    return build_catalogue([drawing(stem, size) for stem in stems], PictureOptions(size=size, **options), seed)


def distances(catalogue: Catalogue, pictures: np.ndarray) -> np.ndarray:
    """Return the mean difference of each picture, [M, S, S, 3], from each known drawing, [M, N]."""
    known = on_white(catalogue.cutouts)
    return np.stack([np.abs(known - picture).mean((1, 2, 3)) for picture in pictures])


@pytest.fixture(scope="module", params=[(1, 0.2), (2, 0.2), (3, 0.6)], ids=str)
def split(request) -> Catalogue:
    return catalogue_of(ALL, seed=request.param[0], held_out=request.param[1])


def test_no_held_out_drawing_looks_like_one_that_is_trained_on(split):
    held = [n for n, entry in enumerate(split.entries) if entry.split == HELD_OUT]
    taught = [n for n, entry in enumerate(split.entries) if entry.split != HELD_OUT]
    assert len(held) > 10
    assert distances(split, on_white(split.cutouts[held]))[:, taught].min() >= ALIKE


def test_each_value_of_a_held_out_combination_is_trained_on_elsewhere_and_so_is_half_of_its_concept(split):
    taught = {value for entry in split.by_split[TRAIN] for value in entry.factors.items()}
    for entry in split.by_split[HELD_OUT]:
        assert set(entry.factors.items()) <= taught
        classes = {e.alike for e in split.concepts[entry.concept]}
        kept = {e.alike for e in split.concepts[entry.concept] if e.split == TRAIN}
        assert 2 * len(kept) >= len(classes)


def test_the_asked_share_of_combinations_is_held_out_and_of_the_plain_concepts_for_reconstruction():
    catalogue = catalogue_of(ALL, held_out=0.2)
    classes = {e.alike for e in catalogue.entries if e.factors}
    held = {e.alike for e in catalogue.by_split[HELD_OUT]}
    assert len(held) == round(0.2 * len(classes))
    apart = catalogue.by_split[RECONSTRUCTION]
    assert len(apart) == round(0.2 * len(PLAIN)) and all(not e.factors for e in apart)
    assert all(len(catalogue.concepts[e.concept]) == 1 for e in apart)
    nothing = built(ALL, combinations_held_out=0, concepts_held_out=0)
    assert {e.split for e in nothing.entries} == {TRAIN}


def test_a_split_follows_from_the_seed_alone_and_not_from_the_order_of_the_files():
    stems = (*WAVING, *HAIR, *PLAIN)
    first, again = built(stems), built(stems[::-1])
    assert first.entries == again.entries and np.array_equal(first.cutouts, again.cutouts)
    assert [e.split for e in built(stems, seed=2).entries] != [e.split for e in first.entries]


def test_a_value_that_one_drawing_alone_has_is_never_held_out():
    catalogue = built((*CLOCKS, *HEARTS), combinations_held_out=0.85)
    assert not catalogue.by_split[HELD_OUT]  # each time and each colour comes once


def test_drawings_that_are_alike_are_one_class_and_on_one_side():
    catalogue = catalogue_of(ALL)
    man, woman = catalogue["openmoji-1F468-200D-1F9B2"], catalogue["openmoji-1F469-200D-1F9B2"]
    assert man.alike == woman.alike == man.key and man.factors != woman.factors
    assert catalogue.classes[man.key] == [e for e in catalogue.entries if e.alike == man.key]
    assert all(len({e.split for e in group}) == 1 for group in catalogue.classes.values())
    firsts = [catalogue.at[key] for key in catalogue.classes]
    apart = distances(catalogue, on_white(catalogue.cutouts[firsts]))[:, firsts]
    assert (apart + np.eye(len(firsts)) * 255).min() >= ALIKE


@pytest.mark.parametrize("seed", range(8))
def test_a_drawing_that_two_concepts_have_is_one_class_and_trained_on(seed):
    catalogue = built(TWINS, seed, combinations_held_out=0.6)
    shared = [group for group in catalogue.classes.values() if len({e.concept for e in group}) > 1]
    assert shared and all(e.split == TRAIN for group in shared for e in group)
    assert catalogue.by_split[HELD_OUT]
    same = [drawing("1F1EB-1F1F7"), drawing("1F1E8-1F1F5")]  # the flags of France and of Clipperton Island
    flags = build_catalogue(same, PictureOptions(size=32, concepts_held_out=0.5), seed)
    assert {e.split for e in flags.entries} == {TRAIN} and len(flags.classes) == 1


def test_a_known_drawing_is_recognised_on_white_and_another_picture_is_not():
    catalogue = catalogue_of(ALL)
    for key in ("openmoji-1F3C3", "openmoji-1F49B"):
        picture = np.rint(on_white(catalogue.cutout(key)[None])[0]).astype(np.uint8)
        assert catalogue.shows(picture) and not catalogue.shows(picture[::-1]) and not catalogue.shows(255 - picture)


def test_only_factors_that_vary_in_a_concept_are_its_factors():
    catalogue = catalogue_of(ALL)
    assert dict(catalogue["openmoji-1F44B"].factors) == {"skin_tone": "yellow"}
    runner = {"skin_tone": "yellow", "gender": "woman", "direction": "left"}
    assert dict(catalogue["openmoji-1F3C3-200D-2640"].factors) == runner
    assert not catalogue["openmoji-1F34E"].factors
    alone = built(("1F3C3-1F3FB-200D-2640-FE0F", "1F3C3-1F3FC-200D-2640-FE0F"))
    assert [dict(e.factors) for e in alone.entries] == [{"skin_tone": "light"}, {"skin_tone": "medium-light"}]
    assert {e.noun for e in alone.entries} == {"woman running"}


@pytest.mark.parametrize(
    ("stem", "noun", "bare", "hair"),
    [
        ("1F3C3-1F3FB-200D-2640-FE0F", "woman running", "someone running", ""),
        ("1F3C3-1F3FC-200D-27A1-FE0F", "person running", "someone running", ""),
        ("1F468-200D-2695-FE0F", "man health worker", "health worker", ""),
        ("1F9D1-200D-1F9B2", "person", "", "no hair"),
        ("1F469-1F3FF-200D-1F9B3", "woman", "", "white hair"),
        ("1F468", "man", "", "plain hair"),
        ("1F49C", "purple heart", "heart", ""),
        ("1F562", "clock at half past seven", "clock", ""),
        ("1F312", "waxing crescent moon", "moon", ""),
        ("1F34E", "red apple", "", ""),
    ],
)
def test_the_words_for_a_drawing_are_its_name_and_for_its_concept_what_they_share(stem, noun, bare, hair):
    entry = catalogue_of(ALL)["-".join(["openmoji", *stem.replace("-FE0F", "").split("-")])]
    assert (entry.noun, entry.bare, entry.hair) == (noun, bare, hair)


@pytest.mark.parametrize(
    ("stems", "nouns"),
    [
        (("1F468-200D-1F9B0", "1F469-200D-1F9B0"), ["man", "woman"]),
        (("1F3C3-200D-2640-FE0F-200D-27A1-FE0F",), ["woman running"]),
        (("1F468-1F3FB-200D-1F9B0",), ["man"]),
        (("1F934", "1F478-1F3FB"), ["princess", "prince"]),
    ],
)
def test_a_set_that_lacks_the_plain_drawings_has_words_all_the_same(stems, nouns):
    assert [e.noun for e in built(stems).entries] == nouns


def test_neighbours_differ_in_one_factor_both_ways_and_are_never_alike():
    catalogue = catalogue_of(ALL)
    found = {(a.key, b.key): name for a in catalogue.entries for name, b in catalogue.neighbours(a)}
    assert Counter(found.values()).keys() == set(FACTORS) - {"style"}
    for (first, second), name in found.items():
        a, b = catalogue[first], catalogue[second]
        assert found[second, first] == name and a.concept == b.concept and a.alike != b.alike
        assert [f for f in FACTORS if a.factors.get(f) != b.factors.get(f)] == [name]


def test_two_sets_give_a_style_and_keep_each_others_drawings_apart():
    stems = (*WAVING, *RUNNING[:6], *PLAIN[:2])
    given = [(style, *drawing(stem)[1:]) for style in ("flat", "round") for stem in stems]
    catalogue = build_catalogue(given, PictureOptions(size=32, combinations_held_out=0.2), 1)
    assert len(catalogue.at) == 2 * len(stems)
    assert {e.factors["style"] for e in catalogue.entries} == {"flat", "round"}
    assert ("style", catalogue["round-1F34E"]) in catalogue.neighbours(catalogue["flat-1F34E"])
    assert not catalogue.by_split[RECONSTRUCTION]  # each has a factor now
    held = catalogue.by_split[HELD_OUT]
    assert held and all(set(e.factors) > {"style"} for e in held)
    assert all("style" not in e.factors for e in catalogue_of(ALL).entries)


def test_entries_come_back_from_json_as_they_were_and_nothing_else_is_taken_for_one():
    for entry in catalogue_of(ALL).entries:
        assert Entry.from_dict(entry.to_dict()) == entry
    value = catalogue_of(ALL).entries[0].to_dict()
    for damaged in (
        {}, {**value, "split": "test"}, {**value, "factors": {"size": "large"}}, {**value, "factors": None},
        {**value, "more": 1}, {name: value[name] for name in value if name != "noun"},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="this is no entry of a catalogue"):
            Entry.from_dict(damaged)


def test_an_empty_set_of_drawings_is_an_empty_catalogue():
    catalogue = build_catalogue([], PictureOptions(), 0)
    assert catalogue.entries == [] and all(not found for found in catalogue.by_split.values())
    assert not catalogue.shows(np.zeros((16, 16, 3), np.uint8))


@pytest.mark.parametrize(
    "options",
    [
        {"size": 15}, {"size": 66}, {"size": 2048}, {"combinations_held_out": 0.95}, {"concepts_held_out": -0.1},
        {"compositions": -1}, {"phrasings": 0}, {"factor_edits": 65}, {"composition_edits": -1},
        {"leave_out": ("birds",)},
    ],
    ids=str,
)  # fmt: skip
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        PictureOptions(**options)
