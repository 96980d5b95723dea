"""Examples of what to ask: held-out texts that a model got right come first, of every category, and a file is read."""

from __future__ import annotations

import json

import pytest

from pipelines.errors import UserError
from pipelines.store.files import Store
from pipelines.tracking.examples import FILE, LONGEST, MOST, example_prompt, examples_of, read_examples
from tests.unit.registry import small_world

pytestmark = pytest.mark.unit
NONE = {"prompts": [], "instructions": []}


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """Return what `evaluate_generator` wrote for given rows."""

    def make(rows):
        monkeypatch.setattr(small_world, "ROWS", rows)
        store = Store(str(tmp_path / "store"))
        store.prepare()
        return small_world.artifacts(store)["evaluate_generator"]

    return make


def prompt(text, right=True, similarity=0.5, split="held out prompts", category="one"):
    judges = {"clip": {"similarity": similarity}}
    return {"prompt": text, "right": right, "split": split, "category": category, "judges": judges}


def edit(text, truth, right=True, category="colour"):
    return {"prompt": text, "right": right, "split": "edits", "category": category, "source": {}, "truth": truth}


def test_held_out_prompts_that_were_drawn_right_come_by_likeness_over_categories_in_turn(judged):
    found = judged(
        [
            prompt("wrong", right=False, similarity=0.9), prompt("unread", right=None, similarity=0.9),
            prompt("good", similarity=0.6), prompt("best", similarity=0.8), prompt("seen", split="taught pictures"),
            prompt("two", category="two"), prompt("x" * (LONGEST + 1)),
        ]
    )  # fmt: skip
    assert examples_of(found)["prompts"] == ["best", "two", "good"]
    assert example_prompt(found) == "best"
    assert examples_of(judged([prompt("wrong", right=False)]))["prompts"] == ["wrong"]


def test_instructions_that_worked_on_many_different_pictures_come_before_those_of_one(judged):
    rows = [edit("paint the heart blue", "heart"), edit("paint the heart blue", "heart"), edit("make it blue", "heart")]
    rows += [
        edit("make it blue", "square"),
        edit("make it red", "square", right=False),
        edit("turn", 1, category="turn"),
    ]
    wanted = ["make it blue", "turn", "paint the heart blue", "make it red"]
    assert examples_of(judged(rows))["instructions"] == wanted


def test_data_without_verdicts_or_similarity_has_examples_and_no_more_than_are_wanted(judged):
    rows = [{"prompt": f"caption {n}", "right": None, "split": "held out captions", "judges": {}} for n in range(20)]
    assert examples_of(judged(rows)) == {"prompts": [f"caption {n}" for n in range(MOST)], "instructions": []}
    assert examples_of(judged([])) == NONE and example_prompt(judged([])) == ""


def test_a_folder_without_examples_has_none_and_one_with_another_file_is_refused_in_words(tmp_path):
    assert read_examples(tmp_path) == NONE
    told = {"prompts": ["a"], "instructions": []}
    (tmp_path / FILE).write_text(json.dumps(told))
    assert read_examples(tmp_path) == told
    for wrong in ("[]", '{"prompts": [1], "instructions": []}', '{"prompts": []}', json.dumps(told) + " " * 70_000):
        (tmp_path / FILE).write_text(wrong)
        with pytest.raises(UserError, match="is no file of examples"):
            read_examples(tmp_path)
