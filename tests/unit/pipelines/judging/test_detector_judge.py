"""The judge `detector`: every kind of detector runs end to end, its detections decide by the rules, and its name says
which it is.
"""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.errors import UserError
from pipelines.judging.cases import Asked
from pipelines.judging.table import check_judge, make_judge
from tests.unit.pipelines.judging import tiny_detectors
from tests.unit.vision_models import tiny_models

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def judge():
    import torch

    from components.vision_models.loading import Place

    place = Place(torch.device("cpu"))
    return lambda path, **options: make_judge(
        "geneval", {"kind": "detector", "path": str(path), "batch": 2, **options}, place
    )


def asked(*include, exclude=(), tag="single_object"):
    include = [{"count": 1, **clause} for clause in include]
    return Asked("a prompt", tag, {"tag": tag, "include": include, "exclude": list(exclude), "prompt": "a prompt"})


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("detectors")
    return {
        "yolos": tiny_detectors.yolos(root / "yolos"),
        "sure": tiny_detectors.yolos(root / "Sure-Of-Mouse", sure_of="mouse"),
        "mask2former": tiny_detectors.mask2former(root / "mask2former"),
        "owlv2": tiny_detectors.owlv2(root / "owlv2"),
        "clip": tiny_models.clip_of_colours(root / "clip"),
    }


@pytest.mark.parametrize("kind", ["yolos", "mask2former", "owlv2"])
def test_every_kind_of_detector_gives_named_boxes_in_the_picture(judge, folders, pictures, kind):
    made = judge(folders[kind], threshold=0, counting_threshold=0)
    rows = made.judge_prompts([asked({"class": name}) for name in ("dog", "dog", "dog", "bench", "bench")], pictures)
    boxes = [box for row in rows for those in row["found"].values() for box in those]
    assert len(rows) == 5 and len(boxes) > 4
    assert all(0 <= left <= right <= 24 and 0 <= top <= bottom <= 24 and 0 <= score <= 1
               for left, top, right, bottom, score in boxes)  # fmt: skip
    known = {"dog", "bench"} if kind == "owlv2" else {"n/a", "person", "computer mouse", "dog", "bench"}
    assert {name for row in rows for name in row["found"]} <= known
    alone = [made.judge_prompts([asked({"class": "dog"})], picture[None])[0] for picture in pictures[:3]]
    assert [sorted(row["found"]) for row in alone] == [sorted(row["found"]) for row in rows[:3]]


def test_masks_are_those_of_the_picture_and_their_boxes_hold_them(folders, pictures):
    import torch

    from components.vision_models.detector import load_detector
    from components.vision_models.loading import Place

    found = load_detector(str(folders["mask2former"]), None, Place(torch.device("cpu"))).detect(pictures[:1], [], 0.0)
    assert found[0]
    for one in found[0]:
        left, top, right, bottom = map(int, one.box)
        assert one.mask.shape == (24, 24) and one.mask.any()
        assert one.mask[top:bottom, left:right].sum() == one.mask.sum()
        assert one.mask[top].any() and one.mask[bottom - 1].any() and one.mask[:, left].any()


def test_known_detections_decide_by_the_rules(judge, folders, pictures):
    made = judge(folders["sure"])  # it sees a mouse in each of its five queries, at a confidence near 1
    cases = [
        asked({"class": "computer mouse"}),
        asked({"class": "dog"}),
        asked({"class": "computer mouse", "count": 5}, exclude=[{"class": "computer mouse", "count": 6}]),
        asked({"class": "mouse", "count": 4}, exclude=[{"class": "mouse", "count": 5}]),
        asked({"class": "computer mouse"}, {"class": "dog"}),
    ]
    rows = made.judge_prompts(cases, pictures)
    assert [row["right"] for row in rows] == [True, False, True, False, False]
    assert rows[1]["wrong"] == ["expected dog>=1, found 0"]
    assert [len(row["found"]["computer mouse"]) for row in rows] == [5] * 5


def test_counting_has_a_threshold_of_its_own(judge, folders, pictures):
    made = judge(folders["sure"], counting_threshold=1.0)
    case = {"class": "computer mouse"}
    rows = made.judge_prompts([asked(case), asked(case, tag="counting")], pictures[:2])
    assert [row["right"] for row in rows] == [True, False]


def test_colours_are_those_that_the_image_text_model_sees_in_the_boxes(judge, folders):
    made = judge(folders["sure"], colours=str(folders["clip"]))
    shown = np.stack([tiny_models.coloured(colour, 7, 24) for colour in ("red", "green", "blue")])
    right = {
        colour: [row["right"] for row in made.judge_prompts([asked({"class": "mouse", "color": colour})] * 3, shown)]
        for colour in ("red", "green", "blue", "pink")
    }
    assert right == {
        "red": [True, False, False], "green": [False, True, False], "blue": [False, False, True], "pink": [False] * 3
    }  # fmt: skip


def test_the_name_and_the_protocol_say_which_detector(judge, folders):
    made = judge(folders["sure"], revision=None, colours=str(folders["clip"]))
    assert made.name == "geneval_sure_of_mouse"
    said = made.protocol()
    assert said["path"] == str(folders["sure"]) and said["colours"] == str(folders["clip"])
    assert (said["threshold"], said["counting_threshold"], said["max_objects"], said["position_threshold"]) == (
        0.3, 0.9, 16, 0.1
    )  # fmt: skip


def test_a_prompt_that_names_no_objects_has_no_verdict(judge, folders, pictures):
    plain = Asked("a cat", "prompts", {"prompt": "a cat"})
    rows = judge(folders["sure"]).judge_prompts([plain, asked({"class": "mouse"})], pictures[:2])
    assert rows[0] == {"right": None} and rows[1]["right"] is True


@pytest.mark.parametrize(
    ("options", "case", "said"),
    [
        ({}, {"class": "dogs"}, "no such class; did you mean 'dog'"),
        ({}, {"class": "dog", "color": "red"}, "colours"),
        ({"colours": "clip"}, {"class": "dog", "color": "mauve"}, "'mauve'"),
        ({"threshhold": 0.2}, {"class": "dog"}, "did you mean 'threshold'"),
        ({"threshold": 2}, {"class": "dog"}, "threshold"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_words(judge, folders, pictures, options, case, said):
    options = {name: str(folders["clip"]) if name == "colours" else value for name, value in options.items()}
    with pytest.raises(UserError, match=said):
        judge(folders["sure"], **options).judge_prompts([asked(case)], pictures[:1])


def test_a_model_that_finds_no_objects_is_refused_in_words(judge, folders):
    with pytest.raises(ValueError, match="finds no objects"):
        judge(folders["clip"])


def test_what_a_detector_cannot_judge_is_told_from_its_config_alone(tmp_path):
    tiny_detectors.yolos(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    kind, options = check_judge({"kind": "detector", "path": str(tmp_path)})
    kind.check(options, [asked({"class": "computer mouse"})])
    with pytest.raises(UserError, match=r"'zebra'.*no such class"):
        kind.check(options, [asked({"class": "zebra"})])
    with pytest.raises(UserError, match="name an image-text model by `colours`"):
        kind.check(options, [asked({"class": "dog", "color": "red"})])
    with pytest.raises(ValueError, match="cannot be loaded"):
        kind.check(check_judge({"kind": "detector", "path": str(tmp_path / "none")})[1], [])
