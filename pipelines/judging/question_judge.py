"""The judge `questions`: a vision-language model answers each prompt's questions about its picture, as DPG-Bench asks
them, and GenEval 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from components.evaluation.questions import YES_NO, hold, plain
from pipelines.judging.cases import Asked
from pipelines.judging.judge import RIGHT, Judge, Row
from pipelines.judging.judge_options import ModelSection, place_of
from pipelines.tracking.figures import encoder_slug

if TYPE_CHECKING:
    from components.vision_models.loading import Place


class QuestionOptions(ModelSection):
    """`kind: questions`. `{question}` stands in both templates."""

    tokens: Annotated[int, Field(ge=1, le=1024)] = 8  # of an answer, at most
    size: Annotated[int, Field(ge=32, le=8192)] = 1024  # pixels of a picture's longer side, as the model is shown it
    yes_no: str = "{question} Answer with one word: yes or no."
    other: str = "{question} Answer with one word or number."  # where another answer is expected

    @field_validator("yes_no", "other")
    @classmethod
    def _asks(cls, template: str) -> str:
        if "{question}" not in template:
            raise ValueError("a template holds {question}")
        return template


class QuestionJudge(Judge):
    """Gives the share of questions that are answered as expected, and whether all are. Its name says which model."""

    section = QuestionOptions
    compared: ClassVar[bool] = False  # each picture costs many answers

    def __init__(self, name: str, options: QuestionOptions, place: Place) -> None:
        from components.vision_models.vision_language import VisionLanguage

        self.options = options
        self.name = f"{name}_{encoder_slug(self.options.path)}"
        self._model = VisionLanguage(self.options.path, self.options.revision, place_of(place, self.options))

    def protocol(self) -> dict[str, Any]:
        """Return the model, its revision, and how it is asked."""
        return {"kind": "questions", **self.options.model_dump(exclude={"batch"})}

    def judge_prompts(self, asked: Sequence[Asked], pictures: np.ndarray) -> list[Row]:
        """Return a row for each picture: `score`, `right`, how many questions were `unread`, and each answer as a note.
        A prompt without questions has no figures.
        """
        from components.curation.images import reduced

        shown = [reduced(picture, self.options.size) for picture in pictures]
        waiting = [(n, question) for n, each in enumerate(asked) for question in _questions(each)]
        said: list[list[str]] = [[] for _ in asked]
        for first in range(0, len(waiting), self.options.batch):
            part = waiting[first : first + self.options.batch]
            prompts = [self._template(q["answer"]).replace("{question}", q["question"]) for _, q in part]
            answers = self._model.answer([[shown[n]] for n, _ in part], prompts, self.options.tokens)
            for (n, _), (answer,) in zip(part, answers, strict=True):
                said[n].append(answer)
        return [self._row(_questions(each), answers) for each, answers in zip(asked, said, strict=True)]

    def _template(self, expected: str) -> str:
        return self.options.yes_no if plain(expected) in YES_NO else self.options.other

    @staticmethod
    def _row(questions: Sequence[dict[str, Any]], answers: Sequence[str]) -> Row:
        if not questions:
            return {RIGHT: None, "score": None}
        held = hold(questions, answers)
        notes = [
            {"question": q["question"], "expected": q["answer"], "category": q["category"], "answer": answer,
             "right": right, "counted": counted}
            for q, answer, right, counted in zip(questions, answers, held.right, held.counted, strict=True)
        ]  # fmt: skip
        return {RIGHT: held.all_right, "score": held.score, "unread": held.unread, "answers": notes}


def _questions(asked: Asked) -> Sequence[dict[str, Any]]:
    return asked.about.get("questions", ()) if isinstance(asked.about, dict) else ()
