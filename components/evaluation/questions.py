"""Answers of a model to questions about a picture, held to what the prompt asks for: DPG-Bench's and GenEval 2's kinds.

An answer that cannot be read is neither right nor wrong: it is counted as unread and leaves the score. A question
counts only where every question that it depends on was answered rightly; else it is wrong, whatever was answered, as in
DPG-Bench: there is no colour of a ball that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

YES_NO = ("yes", "no")
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
NONE = {"none": "zero", "no": "zero"}  # as answers to "how many"
_BEFORE = re.compile(r"^(?:the )?answer(?: is)? ")  # what models put before an answer


def plain(text: str) -> str:
    """Return a text in lower case, of words and single spaces, numbers as words up to twelve."""
    words = re.sub(r"[^\w]+", " ", text.lower().replace("_", " ")).split()
    return " ".join(NUMBERS[int(word)] if word.isdecimal() and int(word) < len(NUMBERS) else word for word in words)


def is_right(answer: str, expected: str) -> bool | None:
    """Return whether an answer says what is expected; None where it says neither that nor anything else of its kind.

    Expected "yes" or "no": the answer's first word is one of them. Expected a number: the first number in the answer.
    Anything else: the answer is that text, whatever its case and punctuation; None where it is empty.
    """
    wanted, said = plain(expected), _BEFORE.sub("", plain(answer))
    words = said.split()
    if not words:
        return None
    if wanted in YES_NO:
        return words[0] == wanted if words[0] in YES_NO else None
    if wanted in NUMBERS or wanted.isdecimal():
        found = [word for word in (NONE.get(word, word) for word in words) if word in NUMBERS or word.isdecimal()]
        return found[0] == wanted if found else None
    return said.removeprefix("a ").removeprefix("an ") == wanted.removeprefix("a ").removeprefix("an ")


@dataclass(frozen=True)
class Answered:
    """What the answers to one picture's questions come to."""

    right: tuple[bool | None, ...]  # each as answered, of its own; None: unread
    counted: tuple[bool | None, ...]  # each with what it depends on; None: unread, or it depends on one that is

    @property
    def score(self) -> float | None:
        """The share of right ones among those that were read; None where none was."""
        read = [right for right in self.counted if right is not None]
        return sum(read) / len(read) if read else None

    @property
    def all_right(self) -> bool | None:
        """Whether the picture holds all that was asked for; None where that depends on an answer that was not read."""
        return False if False in self.counted else None if None in self.counted else True

    @property
    def unread(self) -> int:
        """How many questions have no reading, their own or of one that they depend on."""
        return self.counted.count(None)


def hold(questions: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> Answered:
    """Hold answers to questions of `prompt_files`: each with `answer`, `id` and `parents`."""
    right = tuple(is_right(said, q["answer"]) for q, said in zip(questions, answers, strict=True))
    by_id = {question["id"]: n for n, question in enumerate(questions)}
    found: dict[int, bool | None] = {}

    def counted(n: int) -> bool | None:
        if n not in found:
            above = [counted(by_id[parent]) for parent in questions[n]["parents"]]
            found[n] = False if False in above else None if None in above else right[n]
        return found[n]

    return Answered(right, tuple(counted(n) for n in range(len(questions))))
