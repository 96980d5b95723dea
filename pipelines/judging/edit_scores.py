"""The judge `vlm_score`: a vision-language model scores edits, or pictures of prompts, in words that the configuration
says: VIEScore's kind (GEdit-Bench) and ImgEdit-Bench's.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from pipelines.config.source_kinds import Section
from pipelines.judging.cases import Asked, EditCase
from pipelines.judging.judge import EDITS, PROMPTS, Judge, Row
from pipelines.judging.judge_options import ModelSection, place_of
from pipelines.tracking.figures import encoder_slug

if TYPE_CHECKING:
    from components.vision_models.loading import Place

Shown = Literal["source", "result", "truth"]
Scale = Annotated[str, Field(pattern=r"[a-z][a-z0-9_]{0,39}")]


class Ask(Section):
    """One question to the model: what it is shown, what it is told, and the scores that its answer must hold.

    `{instruction}` in the prompt becomes the edit's instruction, or the picture's prompt. `combine` makes one score of
    the answer's: VIEScore takes the lowest.
    """

    shows: Annotated[tuple[Shown, ...], Field(min_length=1)]
    prompt: str
    scores: Annotated[tuple[Scale, ...], Field(min_length=1)]
    combine: Literal["min", "mean"] = "mean"


class ScoreOptions(ModelSection):
    """`kind: vlm_score`."""

    asks: Annotated[dict[Scale, Ask], Field(min_length=1)]
    combine: Literal["geometric", "mean"] = "mean"  # of the asks' scores; VIEScore: the root of their product
    lowest: float = 0.0
    highest: float = 10.0
    by_kind: dict[str, dict[Scale, Ask]] = Field(default_factory=dict)  # asks of an edit kind of its own, instead
    tokens: Annotated[int, Field(ge=1, le=4096)] = 128  # of an answer, at most
    size: Annotated[int, Field(ge=32, le=8192)] = 1024  # pixels of a picture's longer side, as the model is shown it

    @field_validator("asks")
    @classmethod
    def _names(cls, asks: dict[str, Ask]) -> dict[str, Ask]:
        names = [name for ask in asks.values() for name in ask.scores] + list(asks) + ["score", "unread"]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{twice[0]} names two scores")
        return asks

    @model_validator(mode="after")
    def _range(self) -> ScoreOptions:
        if not 0 <= self.lowest < self.highest <= 100:
            raise ValueError("lowest is below highest, and both are from 0 to 100")
        return self


class ScoreJudge(Judge):
    """Gives each ask's scores and one `score` of them, on the scale that was asked for. Its name says which model.

    An answer that lacks a score, or has one off the scale, gives its ask no score, and its row none: `unread` is 1
    there. A missing score is never 0.
    """

    section = ScoreOptions
    judges: ClassVar[tuple[str, ...]] = (PROMPTS, EDITS)
    compared: ClassVar[bool] = False  # each picture costs several answers

    def __init__(self, name: str, options: ScoreOptions, place: Place) -> None:
        from components.vision_models.vision_language import VisionLanguage

        self.options = options
        self.name = f"{name}_{encoder_slug(self.options.path)}"
        self._model = VisionLanguage(self.options.path, self.options.revision, place_of(place, self.options))

    def protocol(self) -> dict[str, Any]:
        """Return the model, its revision, the scale, and every prompt in full."""
        return {"kind": "vlm_score", **self.options.model_dump(mode="json", exclude={"batch"})}

    def judge_prompts(self, asked: Sequence[Asked], pictures: np.ndarray) -> list[Row]:
        """Return a row of scores for each picture, by the asks that show the result alone."""
        shown = [{"result": picture} for picture in pictures]
        return self._rows([(each.category, each.text) for each in asked], shown)

    def judge_edits(self, cases: Sequence[EditCase], pictures: np.ndarray) -> list[Row]:
        """Return a row of scores for each result of an edit."""
        shown = [
            {"source": case.source, "result": picture, "truth": case.target}
            for case, picture in zip(cases, pictures, strict=True)
        ]
        return self._rows([(case.kind, case.instruction) for case in cases], shown)

    def _rows(self, told: Sequence[tuple[str, str]], shown: Sequence[dict[str, Any]]) -> list[Row]:
        from components.curation.images import reduced

        rows: list[Row] = [{} for _ in told]
        waiting = []
        for n, (kind, text) in enumerate(told):
            for name, ask in self._asks(kind, shown[n]).items():
                pictures = [reduced(shown[n][which], self.options.size) for which in ask.shows]
                waiting.append((n, name, ask, pictures, ask.prompt.replace("{instruction}", text)))
        # Prompts with as many pictures go together, since some processors take no others in one batch.
        waiting.sort(key=lambda each: len(each[3]))
        for _, group in itertools.groupby(waiting, lambda each: len(each[3])):
            alike = list(group)
            for first in range(0, len(alike), self.options.batch):
                part = alike[first : first + self.options.batch]
                told_of = [each[4] for each in part]
                answers = self._model.answer([each[3] for each in part], told_of, self.options.tokens)
                for (n, name, ask, _, _), (answer,) in zip(part, answers, strict=True):
                    rows[n] |= self._read(name, ask, answer)
        return [self._whole(row, self._asks(kind, one)) for row, (kind, _), one in zip(rows, told, shown, strict=True)]

    def _asks(self, kind: str, shown: dict[str, Any]) -> dict[str, Ask]:
        asks = self.options.by_kind.get(kind, self.options.asks)
        return {name: ask for name, ask in asks.items() if all(shown.get(which) is not None for which in ask.shows)}

    def _read(self, name: str, ask: Ask, answer: str) -> Row:
        from components.curation.pairs.judge_prompt import named_score

        low, high = self.options.lowest, self.options.highest
        scores = {each: named_score(answer, each, low, high) for each in ask.scores}
        found = [value for value in scores.values() if value is not None]
        combine: Callable[[Sequence[float]], float] = min if ask.combine == "min" else statistics.fmean
        whole = combine(found) if len(found) == len(scores) else None
        return {**scores, name: whole, f"{name}_answer": answer}

    def _whole(self, row: Row, asks: dict[str, Ask]) -> Row:
        found = [row[name] for name in asks]
        if not found:
            return {"score": None, "unread": None}
        if None in found:
            return {**row, "score": None, "unread": 1}
        geometric = math.prod(found) ** (1 / len(found))
        return {
            **row,
            "score": geometric if self.options.combine == "geometric" else statistics.fmean(found),
            "unread": 0,
        }
