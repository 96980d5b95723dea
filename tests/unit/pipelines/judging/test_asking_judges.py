"""The judges that ask a vision-language model: what it says decides, and what cannot be read is counted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipelines.errors import UserError
from pipelines.judging.cases import Asked, EditCase
from pipelines.judging.table import make_judge
from tests.unit.vision_models import tiny_models

pytestmark = pytest.mark.unit
PROMPT = "describe this picture"
SCORES = {"red": "image quality 9", "green": "image quality 4", "blue": "image quality bad"}


@pytest.fixture(scope="module")
def judge():
    import torch

    from components.vision_models.loading import Place

    return lambda kind, path, **options: make_judge(
        "bench", {"kind": kind, "path": str(path), **options}, Place(torch.device("cpu"))
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        "colours": tiny_models.llava_of_colours(root / "Tiny-VLM", PROMPT),
        "scores": tiny_models.llava_of_colours(root / "scores", PROMPT, SCORES),
    }


@pytest.fixture(scope="module")
def pictures():
    return np.stack([tiny_models.coloured(colour, 3, 24) for colour in ("red", "green", "blue")])


def asked(*answers):
    questions = [
        {"question": PROMPT, "answer": answer, "id": str(n), "parents": [str(p) for p in parents], "category": "colour"}
        for n, (answer, *parents) in enumerate(answers)
    ]
    return Asked("a picture", "prompts", {"prompt": "a picture", "questions": questions})


def test_what_the_model_says_of_a_picture_decides(judge, models, pictures):
    made = judge("questions", models["colours"], other="{question}", batch=2)
    assert made.name == "bench_tiny_vlm" and made.protocol()["other"] == "{question}"
    rows = made.judge_prompts([asked(["a red picture"], ["red picture", 0])] * 3, pictures)
    assert [(row["right"], row["score"]) for row in rows] == [(True, 1), (False, 0), (False, 0)]
    assert [row["answers"][0]["answer"] for row in rows] == ["a red picture", "a green picture", "a blue picture"]
    assert [row["answers"][0]["right"] for row in rows] == [True, False, False]
    assert [row["unread"] for row in rows] == [0, 0, 0]


def test_answers_that_are_neither_yes_nor_no_are_unread(judge, models, pictures):
    made = judge("questions", models["colours"], yes_no="{question}")
    row, none = made.judge_prompts([asked(["yes"], ["yes", 0]), Asked("a cat", "prompts", {})], pictures[:2])
    assert (row["right"], row["score"], row["unread"]) == (None, None, 2)
    assert none == {"right": None, "score": None}


def cases(pictures):
    black = np.zeros_like(pictures[0])
    return [EditCase("colour", "make it red", black, black) for _ in pictures]


ASKS = {
    "followed": {"shows": ["source", "result"], "prompt": PROMPT, "scores": ["image_quality"]},
    "natural": {"shows": ["result"], "prompt": PROMPT, "scores": ["quality"], "combine": "min"},
}


def test_scores_are_read_and_combined_as_asked(judge, models, pictures):
    one = {"natural": ASKS["natural"]}
    edits = judge("vlm_score", models["scores"], asks=one).judge_edits(cases(pictures), pictures)
    prompts = judge("vlm_score", models["scores"], asks=one).judge_prompts([asked()] * 3, pictures)
    for rows in (edits, prompts):
        assert [(row["quality"], row["natural"], row["score"]) for row in rows[:2]] == [(9, 9, 9), (4, 4, 4)]
    both = judge("vlm_score", models["scores"], asks=ASKS, combine="geometric", batch=2)
    scored = [row for row in both.judge_edits(cases(pictures), pictures) if row["score"] is not None]
    assert scored
    for row in scored:
        assert row["score"] == pytest.approx(math.sqrt(row["followed"] * row["natural"]))


def test_an_answer_without_a_score_is_unread_and_never_0(judge, models, pictures):
    made = judge("vlm_score", models["scores"], asks={"natural": ASKS["natural"]})
    rows = made.judge_edits(cases(pictures), pictures)
    assert [row["unread"] for row in rows] == [0, 0, 1]
    assert rows[2]["score"] is None and rows[2]["quality"] is None and rows[2]["natural_answer"] == "image quality bad"
    off = judge("vlm_score", models["scores"], asks={"natural": ASKS["natural"]}, lowest=1, highest=5)
    assert [row["score"] for row in off.judge_edits(cases(pictures), pictures)] == [None, 4, None]


def test_prompts_are_not_scored_by_asks_that_show_a_source(judge, models, pictures):
    made = judge("vlm_score", models["scores"], asks=ASKS)
    rows = made.judge_prompts([asked()] * 3, pictures)
    assert "followed" not in rows[0] and rows[0]["score"] == 9


def test_an_edit_kind_may_be_asked_in_words_of_its_own(judge, models, pictures):
    own = {"style": {"styled": {"shows": ["result"], "prompt": PROMPT, "scores": ["image_quality"]}}}
    made = judge("vlm_score", models["scores"], asks={"natural": ASKS["natural"]}, by_kind=own)
    styled = EditCase("style", "make it red", pictures[0], pictures[0])
    rows = made.judge_edits([styled, cases(pictures)[0]], pictures[:2])
    assert rows[0]["styled"] == 9 and "natural" not in rows[0] and rows[1]["natural"] == 4


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("questions", {"yes_no": "is it?"}, "question"),
        ("questions", {"token": 3}, "did you mean 'tokens'"),
        ("vlm_score", {}, "asks"),
        ("vlm_score", {"asks": {"a": {"shows": ["result"], "prompt": "x", "scores": ["a"]}}}, "names two scores"),
        ("vlm_score", {"asks": ASKS, "lowest": 5, "highest": 1}, "lowest"),
        ("vlm_score", {"asks": {"a": {"shows": ["sauce"], "prompt": "x", "scores": ["b"]}}}, "shows"),
    ],
)
def test_options_that_are_wrong_are_refused_in_words(judge, kind, options, said):
    with pytest.raises(UserError, match=said):
        judge(kind, "nowhere", **options)
