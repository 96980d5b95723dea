"""Signals of edit pairs by published models, in batches: the direction of their change, and a judge's scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.curation.pairs.options import PairJudge, PairTowers
from pipelines.stages.data.image_text_models import open_towers, place_of

DIRECTIONS = ("direction", "instruction_direction")
NEUTRAL = "a picture"  # the text that an instruction's direction starts from
_LOADED: dict[Any, Any] = {}  # the models that this worker process has loaded, by their options


@dataclass(frozen=True)
class Waiting:
    """A pair that waits for a model: its row, which gets the signals, its pictures, uint8 [H, W, 3], and its texts."""

    row: dict[str, Any]
    source: Any
    target: Any
    instruction: str
    captions: tuple[str, str] | None  # of source and target; None: they have not both one


class PairModels:
    """The models of one shard. Every pair's row has its signals at the latest after `finish`."""

    def __init__(self, towers: PairTowers, judge: PairJudge, threads: int) -> None:
        self._threads = threads
        self._waiting: dict[Any, list[Waiting]] = {settings: [] for settings in (towers, judge) if settings.path}
        self.schema: dict[str, str] = dict.fromkeys(DIRECTIONS, "float64") if towers.path else {}
        if judge.path:
            from components.curation.pairs.judge_prompt import read_scores

            self.schema |= dict.fromkeys(read_scores(""), "float64") | {"judge_answer": "string"}

    def add(self, pair: Waiting) -> None:
        """Take in a pair."""
        for settings, waiting in self._waiting.items():
            waiting.append(pair)
            if len(waiting) == settings.batch:
                self._measure(settings)

    def finish(self) -> None:
        """Measure what waits."""
        for settings, waiting in self._waiting.items():
            if waiting:
                self._measure(settings)

    def _measure(self, settings: PairTowers | PairJudge) -> None:
        pairs, self._waiting[settings] = self._waiting[settings], []
        found = _directions(pairs, self._load(settings)) if isinstance(settings, PairTowers) else None
        if isinstance(settings, PairJudge):
            found = _judgements(pairs, self._load(settings), settings)
        assert found is not None
        for pair, signals in zip(pairs, found, strict=True):
            pair.row.update(signals)

    def _load(self, settings: PairTowers | PairJudge) -> Any:
        """Return the model; a worker that measures many shards loads it once."""
        if settings not in _LOADED:
            import torch

            torch.set_num_threads(self._threads)
            place = place_of(settings.precision, self._threads)
            if isinstance(settings, PairTowers):
                _LOADED[settings] = open_towers(settings.path, settings.revision, place)
            else:
                from components.vision_models.vision_language import VisionLanguage

                _LOADED[settings] = VisionLanguage(str(settings.path), settings.revision, place)
        return _LOADED[settings]


def _directions(pairs: list[Waiting], towers: Any) -> list[dict[str, float | None]]:
    """Return the cosine of each pair's change with that from its source's caption to its target's, null where it has
    not both; and with that from a neutral text to its instruction. 0 where the pictures are the same.
    """
    import torch

    sides = (towers.pictures([towers.prepare(getattr(p, side)) for p in pairs]) for side in ("target", "source"))
    change = next(sides) - next(sides)

    def cosine(texts: Any) -> list[float]:
        return torch.cosine_similarity(change, texts.to(change), dim=1, eps=1e-6).tolist()

    instructed = cosine(towers.texts([p.instruction for p in pairs]) - towers.texts([NEUTRAL]))
    both = [p.captions or ("", "") for p in pairs]
    captioned = cosine(towers.texts([after for _, after in both]) - towers.texts([before for before, _ in both]))
    return [
        {"direction": by_caption if pair.captions else None, "instruction_direction": by_instruction}
        for pair, by_caption, by_instruction in zip(pairs, captioned, instructed, strict=True)
    ]


def _judgements(pairs: list[Waiting], model: Any, settings: PairJudge) -> list[dict[str, Any]]:
    """Return each pair's scores, null where the answer gives none, and the answer itself."""
    from components.curation.images import reduced
    from components.curation.pairs.judge_prompt import ask, read_scores

    shown = [[reduced(rgb, settings.size) for rgb in (pair.source, pair.target)] for pair in pairs]
    answers = model.answer(shown, [ask(pair.instruction) for pair in pairs], settings.tokens)
    return [{**read_scores(answer), "judge_answer": answer} for (answer,) in answers]
