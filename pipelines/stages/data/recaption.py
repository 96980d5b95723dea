"""recaption: captions by a vision-language model, added to those that curated samples have. Off by default.

Artifact: `shards/NAME.tar` (curated samples with their captions and origins in json), `captions/NAME.parquet` (every
answer). The stage fails where captions fit their own pictures no better than those of other pictures do: then the
model did not see them, whatever it says.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from components.curation.options import ImageLimits
from components.vision_models.options import SignalModel
from pipelines.config.data_sections import RecaptionSection
from pipelines.errors import UserError
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext, derive_seed
from pipelines.stages.data.caption_engines import (
    ENGINES,
    answers_path,
    record_answers,
    recorded_answers,
    shown_picture,
)
from pipelines.stages.data.image_text_models import Opener, matcher_of, place_of
from pipelines.stages.mixing import of_sources
from pipelines.stages.read_ahead import ahead

ORIGIN = "recaption"
CAPTION_SCHEMA = {"shard": "string", "key": "string", "prompt": "int64", "caption": "string"}
FEWEST_PAIRS = 8  # captions that a proof needs
SURE = 2.0  # standard errors by which own captions must fit better
_LOADED: dict[str, Any] = {}  # the model that this worker process has loaded
# Of the numbers of samples in their shard, their pictures and the number of their batch: the answers of each, as
# (prompt's number, answer).
Ask = Callable[[Sequence[int], Sequence[Any], int], list[list[tuple[int, str]]]]


@dataclass(frozen=True)
class Recaptioning:
    """What recaptioning one shard needs."""

    shard: str  # path of its tar in the store
    settings: RecaptionSection
    proof: SignalModel
    matcher: dict[str, Any] | None  # manifest of train_matcher, where the proof is by it
    limits: ImageLimits
    threads: int
    answers: str | None  # path of its recorded answers in the store; None: the model is asked here


def run(context: StageContext) -> None:
    """Recaption every shard, the first one alone: a model that does not see its pictures is found out at once."""
    config = context.config
    name = context.stage.given["proof"]
    proof = config.measure.models[name]
    matcher = matcher_of(proof, context.inputs)
    threads = max(1, int(config.execution.resources.recaption.cpus))
    settings, limits = config.recaption, config.measure.limits
    here = settings.engine not in ENGINES
    paths = of_sources(context.inputs["curate"].files("shards/*.tar"), context.stage.given.get("captions_of"))
    shards = {PurePosixPath(path).stem: path for path in paths}
    tasks = [
        ShardTask(name, Recaptioning(path, settings, proof, matcher, limits, threads, None if here else
                                     f"{context.work.path}/{answers_path(name)}"))
        for name, path in shards.items()
    ]  # fmt: skip
    records = []
    for part in (tasks[:1], tasks[1:]):
        if part:
            if not here:
                record_answers(context, settings, limits, {task.name: shards[task.name] for task in part})
            records += context.map_shards("pipelines.stages.data.recaption:recaption_shard", part)
            found = prove([r.metrics for r in records], str(config.recaption.path), name)
    totals = {key: sum(r.metrics[key] for r in records) for key in ("captions", "empty", "unreadable")}
    context.metrics["recaption"] = {**totals, "proof": found if tasks else {}}


def prove(shards: Sequence[dict[str, Any]], path: str, name: str) -> dict[str, float]:
    """Return how well captions fit their own pictures and other pictures. `UserError` where that is alike."""
    own = [value for shard in shards for value in shard["own"]]
    other = [value for shard in shards for value in shard["other"]]
    count = len(own)
    if count < FEWEST_PAIRS:
        raise UserError(
            f"recaption: {count} captions of {path} can be compared with their pictures, and a proof that the model "
            f"sees them needs {FEWEST_PAIRS}. Bring more samples, or raise recaption.tokens where answers are empty."
        )
    gains = [a - b for a, b in zip(own, other, strict=True)]
    mean = sum(gains) / count
    error = math.sqrt(sum((gain - mean) ** 2 for gain in gains) / (count - 1) / count)
    if mean <= SURE * error or mean <= 0:
        raise UserError(
            f"recaption: the captions of {path} fit other pictures as well as their own ({sum(other) / count:.3f} and "
            f"{sum(own) / count:.3f} by {name}, over {count}). The model does not see its pictures, or {name} cannot "
            "tell: try another recaption.path, prompt, or recaption.proof."
        )
    return {"own": sum(own) / count, "other": sum(other) / count, "standard_error": error, "pairs": count}


def recaption_shard(context: ShardContext) -> ShardResult:
    """Recaption one shard. Pictures are decoded in threads while the model works."""
    import torch

    from components.data.records import write_records
    from pipelines.stages.data.parquet_rows import write_rows

    args: Recaptioning = context.task.args
    torch.set_num_threads(args.threads)
    made = Made(context, args, asked_of(context, args))
    with ThreadPoolExecutor(args.threads) as pool:
        write_records(context.file(f"shards/{context.task.name}.tar"), made.records(pool))
    write_rows(context.file(f"captions/{context.task.name}.parquet"), made.rows, CAPTION_SCHEMA)
    counts = {"input": made.count, "kept": made.count, "dropped": 0, "failed": 0}
    own, other = made.compared()
    captions = sum(bool(row["caption"]) for row in made.rows)
    about = {"captions": captions, "empty": len(made.rows) - captions, "unreadable": made.unreadable}
    return ShardResult(counts, {**about, "own": own, "other": other})


def asked_of(context: ShardContext, args: Recaptioning) -> Ask:
    """Return what answers for pictures: the model, or what an engine has answered before."""
    settings = args.settings
    if args.answers is None:
        return partial(_answers_here, load_once(args), settings, context.seed)
    answers = recorded_answers(context.fetch(args.answers))
    return lambda numbers, _, __: [answers[number] for number in numbers]


def load_once(args: Recaptioning) -> Any:
    """Return the model; a worker that recaptions many shards loads it once."""
    from components.vision_models.vision_language import VisionLanguage

    settings = args.settings
    key = f"{settings.path} {settings.revision} {settings.precision}"
    if key not in _LOADED:
        _LOADED.clear()
        place = place_of(settings.precision, args.threads)
        _LOADED[key] = VisionLanguage(str(settings.path), settings.revision, place)
    return _LOADED[key]


def _answers_here(
    model: Any, settings: RecaptionSection, seed: int, numbers: Sequence[int], pictures: Sequence[Any], batch: int
) -> list[list[tuple[int, str]]]:
    of_prompts = [
        model.answer(
            [[rgb] for rgb in pictures],
            [prompt] * len(pictures),
            settings.tokens,
            settings.captions,
            settings.temperature,
            derive_seed(seed, batch, place),
        )
        for place, prompt in enumerate(settings.prompts)
    ]
    return [
        [(prompt, text) for prompt, answers in enumerate(of_prompts) for text in answers[place]]
        for place in range(len(numbers))
    ]


class Made:
    """The samples of a shard with their new captions, and what was said of each."""

    def __init__(self, context: ShardContext, args: Recaptioning, ask: Ask) -> None:
        self._context, self._args, self._ask = context, args, ask
        self.rows: list[dict[str, Any]] = []
        self.count = self.unreadable = 0
        self._proof: list[tuple[Any, str]] = []  # picture and caption

    def records(self, pool: ThreadPoolExecutor) -> Iterator[Any]:
        """Yield every sample of the shard, in order."""
        from components.data.records import read_records

        records = read_records(self._context.fetch(self._args.shard))
        batches = iter(lambda: list(islice(records, self._args.settings.batch)), [])
        decoded = ((batch, list(pool.map(self._shown, batch))) for batch in batches)
        for batch_number, (batch, pictures) in enumerate(ahead(decoded)):
            readable = [n for n, rgb in enumerate(pictures) if rgb is not None]
            numbers = [self.count + n for n in readable]
            said = iter(self._ask(numbers, [pictures[n] for n in readable], batch_number) if readable else [])
            for record, rgb in zip(batch, pictures, strict=True):
                self.count += 1
                self.unreadable += rgb is None
                answers = next(said) if rgb is not None else []
                self.rows += [
                    {"shard": self._context.task.name, "key": record.key, "prompt": prompt, "caption": caption}
                    for prompt, caption in answers
                ]
                captions = list(dict.fromkeys(caption for _, caption in answers if caption))
                if captions and len(self._proof) < self._args.settings.proof_samples:
                    self._proof.append((rgb, captions[0]))
                yield with_captions(record, captions) if captions else record

    def _shown(self, record: Any) -> Any:
        return shown_picture(record, self._args.limits, self._args.settings.size)

    def compared(self) -> tuple[list[float], list[float]]:
        """Return how well captions fit their own pictures, and on average the pictures of other captions."""
        import torch

        if len(self._proof) < 2:
            return [], []
        proof, opened = self._args.proof, Opener(self._context.store, self._args.matcher, self._context.scratch)
        towers = opened(proof.path, proof.revision, place_of(proof.precision, self._args.threads))
        captions = [caption for _, caption in self._proof]
        pictures = towers.pictures([towers.prepare(rgb) for rgb, _ in self._proof])
        fits = pictures @ towers.texts(captions).T
        other = torch.tensor([[a != b for b in captions] for a in captions])
        if not other.any():  # a model that says the same of every picture
            other = ~torch.eye(len(captions), dtype=torch.bool)
        told = other.any(0)
        mean = (fits * other).sum(0) / other.sum(0).clamp_min(1)
        return fits.diagonal()[told].tolist(), mean[told].tolist()


def with_captions(record: Any, captions: Sequence[str]) -> Any:
    """Return a sample with captions added to those it has, each with its origin."""
    from components.data.caption_origins import PRIVATE
    from components.data.records import Record
    from components.data.samples import caption_of, metadata_of

    found = metadata_of(record)
    about = (
        dict(found)
        if isinstance(found, dict)
        else {"unreadable_metadata": record.parts["json"].decode("utf-8", "replace")}
    )
    said = dict(about[PRIVATE]) if isinstance(about.get(PRIVATE), dict) else {}
    first = caption_of(record)
    known = said.get("captions")
    if not isinstance(known, list):
        known = [first] if isinstance(first, str) else []
    origins = said.get("caption_origins")
    if not isinstance(origins, list) or len(origins) != len(known):
        origins = ["caption"] * len(known)
    fresh = [caption for caption in captions if caption not in known]
    said |= {"captions": [*known, *fresh], "caption_origins": [*origins, *[ORIGIN] * len(fresh)]}
    about[PRIVATE] = said
    parts = {**record.parts, "json": json.dumps(about, ensure_ascii=False, sort_keys=True).encode()}
    parts.setdefault("txt", captions[0].encode())  # a sample without a caption now has one
    return Record(record.key, parts)
