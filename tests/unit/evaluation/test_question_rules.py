"""Answers are read strictly, and a question counts only where what it depends on is true, as DPG-Bench counts."""

from __future__ import annotations

import pytest

from components.evaluation.questions import hold, is_right

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("answer", "expected", "right"),
    [
        ("yes", "yes", True), ("Yes.", "yes", True), ("**Yes**, there is", "yes", True), ("no", "yes", False),
        ("No, it is not", "no", True), ("Answer: yes", "yes", True), ("The answer is no.", "yes", False),
        ("", "yes", None), ("maybe", "yes", None), ("yesterday", "yes", None), ("There is no ball", "yes", None),
        ("four", "four", True), ("4", "four", True), ("There are 4 cows.", "four", True), ("5", "four", False),
        ("many", "four", None), ("none", "two", False), ("14", "14", True), ("four", "4", True),
        ("A wooden", "wooden", True), ("Wooden!", "wooden", True), ("metal", "wooden", False), ("", "wooden", None),
    ],
)  # fmt: skip
def test_an_answer_is_right_wrong_or_unread(answer, expected, right):
    assert is_right(answer, expected) is right


def question(name, *parents, answer="yes"):
    return {"question": f"{name}?", "answer": answer, "id": name, "parents": list(parents)}


ASKED = [question("ball"), question("red", "ball"), question("bright", "red"), question("cat")]


@pytest.mark.parametrize(
    ("answers", "score", "right", "unread"),
    [
        (["yes"] * 4, 1.0, True, 0),
        (["no", "yes", "yes", "yes"], 0.25, False, 0),  # no ball, so nothing of it counts
        (["yes", "no", "yes", "yes"], 0.5, False, 0),
        (["yes", "yes", "yes", "hm"], 1.0, None, 1),
        (["hm", "yes", "yes", "yes"], 1.0, None, 3),  # whether there is a ball is not known
        (["hm", "yes", "yes", "no"], 0.0, False, 3),
        (["hm"] * 4, None, None, 4),
    ],
)
def test_a_question_counts_only_where_what_it_depends_on_is_true(answers, score, right, unread):
    held = hold(ASKED, answers)
    assert (held.score, held.all_right, held.unread) == (score, right, unread)


def test_questions_may_stand_before_what_they_depend_on():
    backwards = hold(ASKED[::-1], ["yes", "yes", "yes", "no"])
    assert backwards.counted == (True, False, False, False)
    assert backwards.right == (True, True, True, False)
