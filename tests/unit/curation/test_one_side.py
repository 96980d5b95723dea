"""Groups that share a picture are on one side: whose side it is, whose word stands, and what is no sign."""

from __future__ import annotations

import numpy as np
import pytest

from components.curation.one_side import NOT_SAID, PictureRows, one_side

pytestmark = pytest.mark.unit
RNG = np.random.default_rng(0)
LOOKS = RNG.integers(0, 160, (64, 192), dtype=np.uint8)
HASHES = RNG.integers(0, 2**63, 64, dtype=np.uint64)


def rows(*given: tuple, shift: int = 0) -> PictureRows:
    """Rows of (group, picture, held out by name, source says, of a picture source, compared)."""
    group, picture, held, said, pictures, compared = zip(*given, strict=True)
    look = np.array(picture)
    return PictureRows(
        np.array(group, np.uint64), np.array(held), np.array(said, np.int8), np.array(pictures), np.array(compared),
        look.astype(np.uint64), HASHES[look], LOOKS[look] + np.uint8(shift),
    )  # fmt: skip


def moved(found: PictureRows, distance: int = 4) -> list[int]:
    return one_side(found, distance, 6.0, 10.0).groups.tolist()


def photo(group: int, picture: int, held: bool, said: int = NOT_SAID) -> tuple:
    return group, picture, held, said, True, True


def pair(group: int, picture: int, held: bool, compared: bool = True) -> tuple:
    return group, picture, held, NOT_SAID, False, compared


@pytest.mark.parametrize("held", [True, False])
def test_a_pair_goes_to_the_side_of_the_picture_that_it_repeats_with_all_turns_of_its_edit(held):
    turns = [pair(5, 1, not held), pair(5, 2, not held), pair(5, 3, not held), pair(6, 3, not held)]
    assert moved(rows(photo(9, 1, held), *turns, pair(7, 4, not held))) == [5, 6]
    assert moved(rows(*turns, photo(9, 1, held))) == [5, 6]


def test_two_pictures_that_one_pair_joins_are_on_one_side():
    found = one_side(rows(photo(1, 1, True), photo(2, 2, False), pair(3, 1, True), pair(3, 2, True)), 4, 6.0, 10.0)
    assert len(found.groups) in (1, 2) and set(found.groups.tolist()) in ({2}, {1, 3})
    assert (found.sharing, found.largest, found.conflicts) == (3, 3, 0)


def test_groups_of_pairs_alone_that_share_a_picture_are_on_one_side_and_not_always_held_out():
    sides = []
    for group in range(100, 300):
        found = one_side(rows(pair(group, 1, True), pair(group * 7919 + 1, 1, False)), 4, 6.0, 10.0)
        (only,) = found.groups.tolist()
        sides.append(only != group)  # the other one joined the side that is held out
    assert 60 < sum(sides) < 140


def test_what_a_source_says_of_its_own_stands_moves_the_others_and_conflicts_are_counted():
    found = one_side(rows(photo(1, 1, False, said=1), pair(2, 1, False)), 4, 6.0, 10.0)
    assert found.groups.tolist() == [2] and found.conflicts == 0
    found = one_side(
        rows(photo(1, 1, False, said=0), photo(2, 2, True, said=1), pair(3, 1, False), pair(3, 2, False)), 4, 6.0, 10.0
    )
    assert found.groups.tolist() == [3] and found.conflicts == 1, "held out, and the first stays where its source says"


def test_near_duplicates_count_as_one_picture_within_the_bounds_and_flat_ones_do_not():
    near, far = rows(pair(3, 1, True), shift=3), rows(pair(3, 1, True), shift=90)
    for other, distance, expected in ((near, 4, [3]), (far, 4, []), (near, -1, [])):
        both = [np.concatenate(columns) for columns in zip(vars(rows(photo(1, 1, False))).values(),
                                                           vars(other).values(), strict=True)]  # fmt: skip
        found = PictureRows(*both[:5], np.array([7, 8], np.uint64), *both[6:])
        assert moved(found, distance) == expected
    assert moved(rows(photo(1, 1, False), pair(3, 1, True, compared=False))) == []


def test_a_picture_in_more_groups_than_a_byte_can_count_is_still_one_and_the_order_is_no_matter():
    given = [photo(1, 1, True), *(pair(n % 700 + 2, 1, False) for n in range(1400))]
    expected = moved(rows(*given))
    assert expected == list(range(2, 702))
    order = np.random.default_rng(1).permutation(len(given))
    assert moved(rows(*(given[n] for n in order))) == expected


def test_no_rows_ask_for_nothing():
    empty = rows(photo(1, 1, True))
    none = one_side(PictureRows(*(column[:0] for column in vars(empty).values())), 4, 6.0, 10.0)
    assert none.groups.tolist() == [] and (none.sharing, none.largest, none.conflicts) == (0, 0, 0)
