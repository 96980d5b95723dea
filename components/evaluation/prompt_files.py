"""Files of prompts: GenEval's lines of JSON, DPG-Bench's table of questions, and plain lines of text.

A user's own files are read as the published ones are. What a line holds beside its prompt is its judge's business:

| key of a line (`.jsonl`) | meaning |
|---|---|
| `prompt` | the text, always there |
| `tag`, or `category` | the task, whose share of right pictures is a figure of its own |
| `picture` | its true picture: a path, from the folder of the file. All lines of a file have one, or none |
| `include`, `exclude` | objects that must be there, and must not: {class, count, color, position: [relation, number]} |
| `questions` | [{question, answer, id, parents, category}]: `answer` is "yes" unless said, `parents` are ids |
| `vqa_list`, `skills` | questions as GenEval 2 writes them: [[question, answer], ...] and the skill of each |

`.csv` and `.tsv` have DPG-Bench's columns (item_id, text, proposition_id, dependency, category_broad,
question_natural_language), a row for each question, or PartiPrompts' (Prompt, Category). `.txt` has a prompt on each
line.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

MAX_BYTES = 64 * 2**20
MAX_PROMPTS = 100_000
MAX_CHARACTERS = 8_000  # of a prompt, or of a question
MAX_CLAUSES = 64  # of `include` or `exclude`
MAX_COUNT = 1_000  # of one object
MAX_QUESTIONS = 500  # of one prompt
RELATIONS = ("left of", "right of", "above", "below")
UNTAGGED = "prompts"  # the category of prompts without a tag


@dataclass(frozen=True)
class Prompt:
    """A prompt, its category, and its line as a dict: `include`, `exclude` and `questions` are checked and whole."""

    text: str
    category: str
    about: dict[str, Any]


@dataclass(frozen=True)
class PromptFile:
    """The prompts of a file, in its order, and the SHA-256 of its bytes."""

    prompts: tuple[Prompt, ...]
    digest: str


class Unreadable(ValueError):
    """A file of prompts that cannot be read: says the file, the line and what to do."""


def read_prompts(path: Path) -> PromptFile:
    """Return the prompts of a file, by its ending. `Unreadable`, with the line, where it cannot be read."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise Unreadable(f"{path}: prompts are read from {', '.join(READERS)}, and this is none of them.")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise Unreadable(f"{path} has {size:,} bytes; a file of prompts has {MAX_BYTES:,} at most.")
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Unreadable(f"{path}, line {line}: this is no UTF-8. Save the file as UTF-8.") from error
    found: list[Prompt] = []
    try:
        for number, prompt in reader(text):
            found.append(prompt)
            if len(found) > MAX_PROMPTS:
                raise _AtLine(number, f"there are over {MAX_PROMPTS:,} prompts. Split the file.")
    except _AtLine as error:
        raise Unreadable(f"{path}, line {error.line}: {error}") from None
    if not found:
        raise Unreadable(f"{path} holds no prompt.")
    return PromptFile(tuple(found), hashlib.sha256(data).hexdigest())


class _AtLine(ValueError):
    def __init__(self, line: int, said: str) -> None:
        super().__init__(said)
        self.line = line


def _plain(text: str) -> Iterator[tuple[int, Prompt]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, _told(number, prompt_of, {"prompt": line})


def _json_lines(text: str) -> Iterator[tuple[int, Prompt]]:
    # Only line feeds end a line: JSON may hold other separators of Unicode as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _told(number, _line_prompt, line)


def _told(number: int, make: Callable[[Any], Prompt], of: Any) -> Prompt:
    try:
        return make(of)
    except (ValueError, RecursionError) as error:
        raise _AtLine(number, str(error)) from None


def _line_prompt(line: str) -> Prompt:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"this is no JSON: {error.msg} at column {error.colno}.") from None
    if not isinstance(found, dict):
        raise ValueError('a line holds one JSON object, such as {"prompt": "a photo of a bench"}.')
    return prompt_of(found)


def _table(text: str) -> Iterator[tuple[int, Prompt]]:
    first = text.split("\n", 1)[0]
    rows = csv.DictReader(io.StringIO(text, newline=""), dialect="excel-tab" if "\t" in first else "excel")
    columns = set(rows.fieldnames or ())
    try:
        if {"item_id", "text", "proposition_id", "question_natural_language"} <= columns:
            yield from _questioned(rows)
        elif "Prompt" in columns:
            for row in rows:
                about = {"prompt": row["Prompt"], "category": row.get("Category") or ""}
                yield rows.line_num, _told(rows.line_num, prompt_of, about)
        else:
            raise _AtLine(1, "a table of prompts has DPG-Bench's columns, or a column Prompt.")
    except csv.Error as error:
        raise _AtLine(rows.line_num, f"this is no row of a table: {error}.") from None


def _questioned(rows: csv.DictReader[str]) -> Iterator[tuple[int, Prompt]]:
    """A row of DPG-Bench's table is a question; rows of one item follow each other or not."""
    items: dict[str, dict[str, Any]] = {}
    lines: dict[str, int] = {}
    for row in rows:
        key = row["item_id"] or ""
        item = items.setdefault(key, {"prompt": row["text"], "item_id": key, "questions": []})
        lines.setdefault(key, rows.line_num)
        parents = [part.strip() for part in (row.get("dependency") or "").split(",")]
        item["questions"].append(
            {
                "question": row["question_natural_language"],
                "id": (row["proposition_id"] or "").strip(),
                "parents": [part for part in parents if part not in ("", "0")],  # 0: it has none
                "category": (row.get("category_broad") or "").strip(),
            }
        )
    for key, item in items.items():
        yield lines[key], _told(lines[key], prompt_of, item)


READERS: dict[str, Callable[[str], Iterator[tuple[int, Prompt]]]] = {
    ".jsonl": _json_lines,
    ".csv": _table,
    ".tsv": _table,
    ".txt": _plain,
}


def prompt_of(line: dict[str, Any]) -> Prompt:
    """Return the prompt of a line. ValueError, in words, where a key of the table above does not hold what it must."""
    text = _text(line.get("prompt"), "prompt")
    tag = line.get("tag") or line.get("category") or ""
    if not isinstance(tag, str):
        raise ValueError(f"the tag is {tag!r}; it is a text.")
    about = dict(line)
    if "picture" in line:
        about["picture"] = _path(line["picture"])
    include = _clauses(line, "include")
    for number, clause in enumerate(include):
        _check_position(clause, number)
    if include:
        about["include"] = include
    exclude = _clauses(line, "exclude")
    if exclude:
        about["exclude"] = exclude
    questions = line.get("questions")
    if questions is None and "vqa_list" in line:
        questions = _paired(line["vqa_list"], line.get("skills"))
    if questions is not None:
        about["questions"] = _questions(questions)
    return Prompt(text, slug(tag) or UNTAGGED, about)


def slug(name: str) -> str:
    """Return a name of lower-case letters, digits and `_`, as figures have them."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"the {what} is missing or empty.")
    if len(value) > MAX_CHARACTERS:
        raise ValueError(f"the {what} has {len(value):,} characters, and {MAX_CHARACTERS:,} is the most.")
    if not value.isprintable() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"the {what} holds half a character (\\ud800 to \\udfff).")
    return value.strip()


def _path(value: Any) -> str:
    """Return a path that stays below the folder that it starts from."""
    path = PurePosixPath(value if isinstance(value, str) else "")
    if not path.name or path.is_absolute() or ".." in path.parts or "\0" in str(path):
        raise ValueError(f"the picture is {value!r}; it is a path below the folder of this file.")
    return str(path)


def _list(value: Any, what: str, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"{what} is no list of {most} entries at most.")
    return value


def _clauses(line: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = []
    for clause in _list(line.get(name, []), name, MAX_CLAUSES):
        if not isinstance(clause, dict) or not isinstance(clause.get("class"), str) or not clause["class"]:
            raise ValueError(f'an entry of {name} names its "class".')
        count = clause.get("count", 1)
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_COUNT:
            raise ValueError(f"the count of {clause['class']!r} in {name} is {count!r}; it is from 1 to {MAX_COUNT:,}.")
        if not isinstance(clause.get("color", ""), str):
            raise ValueError(f"the color of {clause['class']!r} in {name} is no text.")
        found.append({**clause, "count": count})
    return found


def _check_position(clause: dict[str, Any], number: int) -> None:
    if "position" not in clause:
        return
    said = clause["position"]
    if not isinstance(said, list) or len(said) != 2 or said[0] not in RELATIONS:
        raise ValueError(f"the position of {clause['class']!r} is not [one of {', '.join(RELATIONS)}; a number].")
    if not isinstance(said[1], int) or isinstance(said[1], bool) or not 0 <= said[1] < number:
        raise ValueError(f"the position of {clause['class']!r} names entry {said[1]!r}, which is none before its own.")


def _paired(pairs: Any, skills: Any) -> list[dict[str, Any]]:
    pairs = _list(pairs, "vqa_list", MAX_QUESTIONS)
    skills = [""] * len(pairs) if skills is None else _list(skills, "skills", MAX_QUESTIONS)
    if len(skills) != len(pairs) or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise ValueError("vqa_list is no list of [question, answer], with a skill for each.")
    return [
        {"question": question, "answer": answer, "category": skill}
        for (question, answer), skill in zip(pairs, skills, strict=True)
    ]


def _questions(said: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, question in enumerate(_list(said, "questions", MAX_QUESTIONS), 1):
        if not isinstance(question, dict):
            raise ValueError('a question is a JSON object, such as {"question": "is there a bench?"}.')
        parents = _list(question.get("parents", []), "parents", MAX_QUESTIONS)
        if not isinstance(question.get("category", ""), str):
            raise ValueError(f"the category of question {number} is no text.")
        found.append(
            {
                "question": _text(question.get("question"), f"text of question {number}"),
                "answer": _text(question.get("answer", "yes"), f"answer of question {number}"),
                "id": str(question.get("id", number)),
                "parents": [str(parent) for parent in parents],
                "category": slug(question.get("category", "")),
            }
        )
    ids = [question["id"] for question in found]
    if not found or len(set(ids)) < len(ids):
        raise ValueError("there are no questions, or two of them have one id.")
    unknown = [parent for question in found for parent in question["parents"] if parent not in ids]
    if unknown:
        raise ValueError(f"a question depends on question {unknown[0]!r}, which is not there.")
    _check_circles(found)
    return found


def _check_circles(questions: Sequence[dict[str, Any]]) -> None:
    left = {question["id"]: set(question["parents"]) for question in questions}
    while left:
        free = {name for name, parents in left.items() if not parents & left.keys()}
        if not free:
            raise ValueError(f"the questions {', '.join(sorted(left))} depend on each other in a circle.")
        left = {name: parents for name, parents in left.items() if name not in free}
