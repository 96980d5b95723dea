"""Files of prompts are read as published, a user's own alike, and what is wrong with one is said with its line."""

from __future__ import annotations

import hashlib
import json

import pytest

from components.evaluation.prompt_files import Unreadable, read_prompts

pytestmark = pytest.mark.unit
POSITION = {
    "tag": "position",
    "include": [{"class": "dog", "count": 1}, {"class": "cat", "count": 1, "position": ["left of", 0]}],
    "prompt": "a photo of a cat left of a dog",
}


def write(tmp_path, text, name="prompts.jsonl"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_lines_of_geneval_are_read_whole_with_the_digest_of_the_file(tmp_path):
    plain = {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}
    text = json.dumps(plain) + "\n\n" + json.dumps(POSITION) + "\n"
    found = read_prompts(write(tmp_path, text))
    assert [(p.text, p.category) for p in found.prompts] == [
        ("a photo of a bench", "single_object"), ("a photo of a cat left of a dog", "position")
    ]  # fmt: skip
    assert found.prompts[1].about == POSITION
    assert found.digest == hashlib.sha256(text.encode()).hexdigest()


def test_a_text_file_has_a_prompt_on_each_line(tmp_path):
    found = read_prompts(write(tmp_path, "\ufeffa red ball\r\n\r\n  a blue ball  \n", "mine.txt"))
    assert [(p.text, p.category) for p in found.prompts] == [("a red ball", "prompts"), ("a blue ball", "prompts")]


def test_a_table_of_dpg_bench_gives_questions_with_what_they_depend_on(tmp_path):
    head = "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,"
    rows = [
        'a1,"two, balls",,1,0,entity,whole,entity - whole (ball),Is there a ball?',
        'a1,"two, balls",,2,1,attribute,color,attribute - color (red),Is the ball red?',
        "b2,a cat,,1,0,entity,whole,entity - whole (cat),Is there a cat?",
        'a1,"two, balls",,3,"1,2",relation,spatial,relation,Is it on the floor?',
    ]
    text = "\n".join([head + "question_natural_language", *rows])
    balls, cat = read_prompts(write(tmp_path, text, "dpg.csv")).prompts
    assert balls.text == "two, balls" and cat.text == "a cat"
    assert [(q["id"], q["parents"], q["category"], q["answer"]) for q in balls.about["questions"]] == [
        ("1", [], "entity", "yes"), ("2", ["1"], "attribute", "yes"), ("3", ["1", "2"], "relation", "yes")
    ]  # fmt: skip


def test_pairs_of_geneval_2_become_questions_with_their_skill(tmp_path):
    line = {"prompt": "four cows", "vqa_list": [["How many cows are there?", "four"]], "skills": ["count"]}
    (prompt,) = read_prompts(write(tmp_path, json.dumps(line))).prompts
    (question,) = prompt.about["questions"]
    assert question == {
        "question": "How many cows are there?", "answer": "four", "id": "1", "parents": [], "category": "count"
    }  # fmt: skip


def test_parti_prompts_have_their_category(tmp_path):
    text = "Prompt\tCategory\tChallenge\tNote\nbond\tAbstract\tBasic\tx\na bird\tWorld Knowledge\tBasic\t\n"
    found = read_prompts(write(tmp_path, text, "parti.tsv"))
    assert [(p.text, p.category) for p in found.prompts] == [("bond", "abstract"), ("a bird", "world_knowledge")]


def changed(**keys):
    return json.dumps({**POSITION, **keys})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "no JSON"),
        ("[1]", "one JSON object"),
        ("{}", "prompt is missing"),
        (changed(prompt=" "), "prompt is missing"),
        (changed(prompt="x" * 9000), "characters"),
        (changed(prompt="\ud800"), "half a character"),
        (changed(tag=3), "tag"),
        (changed(include={}), "include is no list"),
        (changed(include=[{"count": 1}]), "class"),
        (changed(include=[{"class": "dog", "count": 0}]), "count"),
        (changed(include=[{"class": "dog", "count": True}]), "count"),
        (changed(include=[{"class": "dog", "color": 1}]), "color"),
        (changed(include=[{"class": "dog", "position": ["left of", 0]}]), "none before its own"),
        (changed(include=[{"class": "a"}, {"class": "dog", "position": ["beside", 0]}]), "position"),
        (changed(questions=[]), "no questions"),
        (changed(questions=[{"question": ""}]), "question 1"),
        (changed(questions=[{"question": "a?", "id": 1}, {"question": "b?", "id": "1"}]), "one id"),
        (changed(questions=[{"question": "a?", "parents": ["7"]}]), "'7'"),
        (changed(questions=[{"question": "a?", "id": 1, "parents": [1]}]), "circle"),
        (changed(vqa_list=[["a?"]]), "vqa_list"),
        ("[" * 100_000, "line 2"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, line, said):
    with pytest.raises(Unreadable) as caught:
        read_prompts(write(tmp_path, json.dumps(POSITION) + "\n" + line))
    assert "line 2" in str(caught.value) and said in str(caught.value)


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        ("", "a.jsonl", "no prompt"),
        ("x", "a.parquet", ".jsonl"),
        (b"fine\n\xff\xfe", "a.txt", "line 2"),
        ("a,b\n1,2", "a.csv", "DPG-Bench's columns"),
    ],
)
def test_a_file_that_holds_no_prompts_is_refused(tmp_path, data, name, said):
    with pytest.raises(Unreadable, match=said):
        read_prompts(write(tmp_path, data, name))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(Unreadable, match=r"none\.jsonl cannot be read"):
        read_prompts(tmp_path / "none.jsonl")
