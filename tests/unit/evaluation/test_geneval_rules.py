"""GenEval's rules decide on known detections as its published code does, each rule at its edges."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluation.geneval import (
    Found,
    Rules,
    class_name,
    colour_crop,
    colour_prompts,
    kept,
    overlap,
    relations,
    verdict,
)

pytestmark = pytest.mark.unit
BOX = (0.0, 0.0, 10.0, 10.0)


def objects(*scores, box=BOX):
    return [Found(box, score) for score in scores]


def no_colours(name, found):
    raise AssertionError("no colour was asked for")


def wrong(include, found, exclude=(), colours=no_colours):
    return verdict({"include": include, "exclude": exclude}, found, colours)


def one(name, **keys):
    return {"class": name, "count": 1, **keys}


def test_confidence_must_lie_above_the_threshold_and_counting_has_its_own():
    found = {"dog": objects(0.3, 0.31, 0.9, 0.91)}
    assert [f.score for f in kept(found, "single_object")["dog"]] == [0.91, 0.9, 0.31]
    assert [f.score for f in kept(found, "counting")["dog"]] == [0.91]
    assert kept({"dog": objects(0.3)}, "colors") == {}


def test_of_each_class_the_most_confident_count_up_to_a_number():
    many = objects(*np.linspace(0.4, 0.99, 40))
    taken = kept({"dog": many, "cat": objects(0.5)}, "two_object")
    assert len(taken["dog"]) == 16 and taken["dog"][0].score == 0.99
    assert len(taken["cat"]) == 1


def test_boxes_that_overlap_are_kept_unless_it_is_asked():
    same, apart = objects(0.9, 0.8), objects(0.7, box=(50, 50, 60, 60))
    assert len(kept({"dog": same + apart}, "single_object")["dog"]) == 3
    rules = Rules(max_overlap=0.5)
    assert [f.score for f in kept({"dog": same + apart}, "single_object", rules)["dog"]] == [0.9, 0.7]


def test_overlap_counts_the_last_pixel():
    assert overlap(BOX, BOX) == 1
    assert overlap((0, 0, 9, 9), (10, 0, 19, 9)) == 0
    assert overlap((0, 0, 9, 9), (5, 0, 14, 9)) == pytest.approx(50 / 150)


def test_single_object_is_right_where_it_is_there_among_others():
    assert not wrong([one("bench")], {"bench": objects(0.5), "dog": objects(0.9)})
    assert wrong([one("bench")], {"dog": objects(0.9)}) == ["expected bench>=1, found 0"]


def test_two_objects_must_both_be_there():
    two = [one("bench"), one("dog")]
    assert not wrong(two, {"bench": objects(0.5), "dog": objects(0.9)})
    assert wrong(two, {"bench": objects(0.5)}) == ["expected dog>=1, found 0"]
    assert len(wrong(two, {})) == 2


def test_counting_is_right_at_the_number_alone():
    include, exclude = [{"class": "clock", "count": 2}], [{"class": "clock", "count": 3}]
    said = {n: wrong(include, {"clock": objects(*[0.95] * n)} if n else {}, exclude) for n in range(5)}
    assert [n for n, faults in said.items() if not faults] == [2]
    assert said[1] == ["expected clock>=2, found 1"] and said[3] == ["expected clock<3, found 3"]


def test_colour_is_read_of_the_most_confident_objects_alone():
    asked = []

    def colours(name, found):
        asked.append((name, [f.score for f in found]))
        return ["red" if f.score > 0.5 else "blue" for f in found]

    found = {"car": objects(0.9, 0.4)}
    assert not wrong([one("car", color="red")], found, colours=colours)
    assert wrong([one("car", color="blue")], found, colours=colours) == ["expected blue car>=1, found 0; and red"]
    assert asked == [("car", [0.9])] * 2
    assert wrong([{"class": "car", "count": 2, "color": "red"}], found, colours=colours)


def test_colour_attribution_needs_both_colours():
    by_class = {"bus": "green", "cup": "purple"}
    found = {"bus": objects(0.9), "cup": objects(0.9)}
    include = [one("bus", color="green"), one("cup", color="purple")]
    assert not wrong(include, found, colours=lambda name, these: [by_class[name]] * len(these))
    swapped = {"bus": "purple", "cup": "green"}
    assert len(wrong(include, found, colours=lambda name, these: [swapped[name]] * len(these))) == 2


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((100, 0, 110, 10), {"right of"}),
        ((-100, 0, -90, 10), {"left of"}),
        ((0, 100, 10, 110), {"below"}),
        ((0, -100, 10, -90), {"above"}),
        ((100, 100, 110, 110), {"right of", "below"}),
        ((0, 0, 10, 10), set()),  # at the same place
        ((2, 0, 12, 10), set()),  # a tenth of both widths is the least distance
        ((3, 0, 13, 10), set()),  # of 3 pixels 1 is left: less than half
        ((5, 0, 15, 10), {"right of"}),  # of 5 pixels 3 are left
    ],
)
def test_position_is_that_of_centres_less_a_tenth_of_both_sizes(box, said):
    assert relations(box, BOX) == said


def test_position_needs_its_target_and_every_object_of_both():
    include = [one("dog"), one("cat", position=["left of", 0])]
    right, left = (100.0, 0.0, 110.0, 10.0), BOX
    assert not wrong(include, {"dog": objects(0.9, box=right), "cat": objects(0.9, box=left)})
    said = wrong(include, {"dog": objects(0.9, box=left), "cat": objects(0.9, box=right)})
    assert said == ["expected cat left of target, found right of target"]
    assert wrong(include, {"cat": objects(0.9)}) == ["expected dog>=1, found 0", "no target for cat to be left of"]
    # Only as many as were asked for are compared: the less confident dog lies on the other side.
    dogs = objects(0.9, box=right) + objects(0.5, box=(-50.0, 0.0, -40.0, 10.0))
    assert not wrong(include, {"dog": dogs, "cat": objects(0.9, box=left)})


def test_detectors_of_other_vocabularies_are_understood():
    names = ("mouse", "Sofa", "diningtable", "tvmonitor", "remote", "Potted_Plant", "zebra")
    assert [class_name(n) for n in names] == [
        "computer mouse", "couch", "dining table", "tv", "tv remote", "potted plant", "zebra"
    ]  # fmt: skip


def test_colours_are_told_by_the_three_published_texts():
    assert colour_prompts("car", "red") == (
        "a photo of a red car",
        "a photo of a red-colored car",
        "a photo of a red object",
    )


def test_a_crop_is_the_box_with_grey_outside_the_mask():
    picture = np.full((8, 8, 3), 200, np.uint8)
    mask = np.zeros((8, 8), bool)
    mask[2:4, 2:4] = True
    crop = colour_crop(picture, Found((1.6, 1.6, 5.4, 5.4), 0.9, mask))
    assert crop.shape == (3, 3, 3)
    assert np.array_equal(crop[..., 0] == 200, mask[2:5, 2:5]) and crop[2, 2].tolist() == [0x99] * 3
    assert colour_crop(picture, Found((6, 6, 20, 20), 0.9)).shape == (2, 2, 3)
    assert colour_crop(picture, Found((3, 3, 3.2, 6), 0.9)) is None
    assert colour_crop(picture, Found((9, 9, 20, 20), 0.9)) is None
