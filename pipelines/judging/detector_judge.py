"""The judge `detector`: GenEval's rules over any object detector of transformers, colours by an image-text model."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from components.evaluation.geneval import (
    COLOURS,
    PUBLISHED,
    Found,
    Rules,
    class_name,
    colour_crop,
    colour_prompts,
    kept,
    verdict,
)
from pipelines.errors import UserError, nearest
from pipelines.judging.cases import Asked
from pipelines.judging.judge import RIGHT, Judge, Row
from pipelines.judging.judge_options import ModelSection, place_of
from pipelines.tracking.figures import encoder_slug

if TYPE_CHECKING:
    from components.vision_models.loading import Place

Share = Annotated[float, Field(ge=0, le=1)]


class DetectorOptions(ModelSection):
    """`kind: detector`. The thresholds are GenEval's, unless said."""

    colours: str | None = None  # hub id or folder of an image-text model; needed where prompts ask for colours
    colours_revision: str | None = None
    threshold: Share = PUBLISHED.threshold
    counting_threshold: Share = PUBLISHED.counting_threshold
    max_objects: Annotated[int, Field(ge=1)] = PUBLISHED.max_objects
    max_overlap: Share = PUBLISHED.max_overlap
    position_threshold: Annotated[float, Field(ge=0)] = PUBLISHED.position_threshold


class DetectorJudge(Judge):
    """Says whether a picture holds the objects of its prompt's `include`, and none of `exclude`. Its name says which
    detector.
    """

    section = DetectorOptions

    def __init__(self, name: str, options: DetectorOptions, place: Place) -> None:
        from components.vision_models.detector import load_detector
        from components.vision_models.towers import HubTowers

        self.options = options
        self.name = f"{name}_{encoder_slug(self.options.path)}"
        self.rules = Rules(**{each.name: getattr(self.options, each.name) for each in dataclasses.fields(Rules)})
        where = place_of(place, self.options)
        self._detector = load_detector(self.options.path, self.options.revision, where)
        self._towers = None
        if self.options.colours:
            self._towers = HubTowers(self.options.colours, self.options.colours_revision, where)
        self._by_words = self._detector.classes is None
        self._named = str if self._by_words else class_name  # a detector by words is told the prompt's own
        self._colours: dict[str, Any] = {}  # class -> [10, D]: the directions of its colours

    def protocol(self) -> dict[str, Any]:
        """Return the models, their revisions and the thresholds."""
        return {"kind": "detector", "rules": "GenEval", **self.options.model_dump(exclude={"batch"})}

    @classmethod
    def check(cls, options: DetectorOptions, asked: Sequence[Asked]) -> None:
        """Raise UserError where a prompt asks for a class that the detector does not know, or for a colour that is none
        or that nothing tells.
        """
        from components.vision_models.detector import known_classes
        from components.vision_models.loading import load_config

        if options.colours:
            load_config(options.colours, options.colours_revision)
        _check(options, known_classes(options.path, options.revision), asked)

    def judge_prompts(self, asked: Sequence[Asked], pictures: np.ndarray) -> list[Row]:
        """Return a row for each picture: `right`, and as notes what is wrong and what was found. A prompt that names no
        objects has no verdict.
        """
        _check(self.options, self._detector.classes, asked)
        return [row for part, shown in self._batches(asked, pictures) for row in self._judge(part, shown)]

    def _batches(self, asked: Sequence[Asked], pictures: np.ndarray) -> Iterator[tuple[list[Asked], np.ndarray]]:
        """Pictures that the detector can take at once: one by words is told one prompt's classes."""
        first = 0
        for _, group in itertools.groupby(asked, lambda each: _classes(each) if self._by_words else []):
            same = list(group)
            for start in range(0, len(same), self.options.batch):
                part = same[start : start + self.options.batch]
                yield part, pictures[first : first + len(part)]
                first += len(part)

    def _judge(self, asked: list[Asked], pictures: np.ndarray) -> list[Row]:
        named = [each for each in asked if _classes(each)]
        if not named:
            return [{RIGHT: None} for _ in asked]
        lowest = min(self.rules.threshold, self.rules.counting_threshold)
        seen = self._detector.detect(list(pictures), _classes(named[0]), lowest)
        rows: list[Row] = []
        for each, picture, objects in zip(asked, pictures, seen, strict=True):
            if not _classes(each):
                rows.append({RIGHT: None})
                continue
            found: dict[str, list[Found]] = {}
            for one in objects:
                found.setdefault(self._named(one.label), []).append(Found(one.box, one.score, one.mask))
            # A user's own class may be spelled as a detector spells it.
            about = {key: [{**c, "class": self._named(c["class"])} for c in each.about.get(key, ())] for key in _KEYS}
            there = kept(found, each.about.get("tag", ""), self.rules)
            wrong = verdict(about, there, functools.partial(self._colour, picture), self.rules)
            boxes = {
                name: [[round(number, 3) for number in (*one.box, one.score)] for one in those]
                for name, those in sorted(there.items())
            }
            rows.append({RIGHT: not wrong, "wrong": wrong, "found": boxes})
        return rows

    def _colour(self, picture: np.ndarray, name: str, objects: Sequence[Found]) -> list[str]:
        """Return the colour of each object, "" where its box holds no pixel."""
        import torch
        from torch.nn.functional import normalize

        assert self._towers is not None  # `check` holds it
        if name not in self._colours:
            texts = [text for colour in COLOURS for text in colour_prompts(name, colour)]
            of_each = self._towers.texts(texts)
            self._colours[name] = normalize(of_each.view(len(COLOURS), -1, of_each.shape[1]).mean(1), dim=1)
        crops = [colour_crop(picture, one) for one in objects]
        shown = [self._towers.prepare(crop) for crop in crops if crop is not None]
        if not shown:
            return ["" for _ in crops]
        best = iter(torch.argmax(self._towers.pictures(shown) @ self._colours[name].T, 1).tolist())
        return ["" if crop is None else COLOURS[next(best)] for crop in crops]


def _check(options: DetectorOptions, labels: Collection[str] | None, asked: Sequence[Asked]) -> None:
    known = None if labels is None else {class_name(label) for label in labels}
    for each in asked:
        for name in _classes(each):
            if known is not None and class_name(name) not in known:
                raise UserError(
                    f"the prompt {each.text!r} asks for {name!r}. The detector {options.path} has no such "
                    f"class{nearest(name, known) or '.'} Name a detector by words, such as OWLv2."
                )
        colours = [clause["color"] for clause in _include(each) if "color" in clause]
        unknown = [colour for colour in colours if colour not in COLOURS]
        if unknown:
            raise UserError(f"the prompt {each.text!r} asks for {unknown[0]!r}: colours are {', '.join(COLOURS)}.")
        if colours and options.colours is None:
            raise UserError(
                f"the prompt {each.text!r} asks for a colour: name an image-text model by `colours`, such as "
                "openai/clip-vit-large-patch14."
            )


_KEYS = ("include", "exclude")


def _include(asked: Asked) -> Sequence[dict[str, Any]]:
    return asked.about.get("include", ()) if isinstance(asked.about, dict) else ()


def _classes(asked: Asked) -> list[str]:
    """Return the classes that a prompt names, each once."""
    about = asked.about if isinstance(asked.about, dict) else {}
    return list(dict.fromkeys(clause["class"] for key in _KEYS for clause in about.get(key, ())))
