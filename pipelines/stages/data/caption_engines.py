"""Captions through `ray.data.llm`: rows of pictures and prompts, a processor of Ray's, and the answers by shard.

The answers of a shard are written as soon as they are all there, into the stage's work folder: `answers/NAME.parquet`.
A stage that goes on asks for the other shards alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.curation.options import ImageLimits
from pipelines.cluster.resources import label_options
from pipelines.config.data_sections import RecaptionSection
from pipelines.config.schema import Resources
from pipelines.errors import UserError, one_line
from pipelines.stage import StageContext, derive_seed, publish
from pipelines.stages.data.chat_session import ChatSession, Refused
from pipelines.stages.data.parquet_rows import write_rows
from pipelines.store.files import Store
from pipelines.store.verified_read import fetch_checked

SCHEMA = {"number": "int64", "prompt": "int64", "answer": "int64", "text": "string"}
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


@dataclass(frozen=True)
class Engine:
    """One way through `ray.data.llm`."""

    config: Callable[[RecaptionSection, Resources], Any]  # returns the processor's configuration
    request: Callable[[dict[str, Any], RecaptionSection], dict[str, Any]]  # of a row: the columns that it reads
    text: Callable[[dict[str, Any]], str]  # of a processed row: the answer


@dataclass(frozen=True)
class AskedShard:
    """A shard whose pictures are asked about."""

    name: str
    path: str  # of its tar in the store
    seed: int


def _vllm_config(settings: RecaptionSection, wanted: Resources) -> Any:
    from ray.data.llm import vLLMEngineProcessorConfig

    return vLLMEngineProcessorConfig(
        model_source=str(settings.path),
        batch_size=settings.batch,
        concurrency=max(1, wanted.actors),
        engine_kwargs={
            "dtype": DTYPES[settings.precision],
            "limit_mm_per_prompt": {"image": 1},
            "tensor_parallel_size": max(1, int(wanted.gpus)),
            **settings.vllm,
        },
        prepare_multimodal_stage={"enabled": True, "chat_template_content_format": "openai"},
        tokenize_stage=False,  # the engine does both itself
        detokenize_stage=False,
        log_engine_metrics=False,
    )


def _vllm_request(row: dict[str, Any], settings: RecaptionSection) -> dict[str, Any]:
    from components.vision_models.chat_requests import conversation, sampling

    return {
        "messages": conversation(row["picture"], settings.prompts[row["prompt"]]),
        "sampling_params": sampling(settings.tokens, settings.temperature, row["seed"]),
    }


def _http_config(settings: RecaptionSection, wanted: Resources) -> Any:
    from ray.data.llm import HttpRequestProcessorConfig

    return HttpRequestProcessorConfig(
        url=f"{settings.url}/chat/completions",
        batch_size=settings.batch,
        concurrency=max(1, wanted.actors),
        session_factory=ChatSession,
        http_request_stage={"num_cpus": 0},  # it waits
    )


def _http_request(row: dict[str, Any], settings: RecaptionSection) -> dict[str, Any]:
    # Flat, and put into OpenAI's form where it is sent: Arrow would fill nested messages up with nulls.
    asked = {"model": settings.path, "prompt": settings.prompts[row["prompt"]], "tokens": settings.tokens}
    return {
        "payload": {**asked, "temperature": settings.temperature, "picture": row["picture"], "seed": row["seed"]},
    }


def _generated(row: dict[str, Any]) -> str:
    from components.vision_models.vision_language import clean_answer

    return clean_answer(row["generated_text"])


ENGINES = {
    "vllm": Engine(_vllm_config, _vllm_request, _generated),
    "http": Engine(_http_config, _http_request, lambda row: row["http_response"]["text"]),
}


def record_answers(
    context: StageContext, settings: RecaptionSection, limits: ImageLimits, shards: Mapping[str, str]
) -> None:
    """Ask about every picture of these shards, {name: path}, whose answers are not recorded yet. `UserError`, in words,
    where the engine fails.
    """
    work, made = context.work, context.work.records()
    recorded = work.store.files(work.path)
    asked = [
        AskedShard(name, path, context.shard_seed(name) or 0)
        for name, path in shards.items()
        if name not in made and answers_path(name) not in recorded
    ]
    context.log.info("%d shards, %d of them asked before", len(shards), len(shards) - len(asked))
    if not asked:
        return
    found: dict[str, list[dict[str, Any]]] = {shard.name: [] for shard in asked}
    wanted: dict[str, int] = {}
    try:
        for row in _answers(context, settings, limits, asked):
            name = row["shard"]
            found[name].append(row)
            if row["rows"]:
                wanted[name] = row["rows"]
            if len(found[name]) == wanted.get(name):
                _record(context, name, found.pop(name))
                context.progress(f"{settings.engine} answered for {len(asked) - len(found)} of {len(asked)} shards")
    except Exception as error:
        raise UserError(f"recaption: {settings.engine} failed: {_cause(error)}") from error
    for name, rows in found.items():
        if rows:
            raise UserError(
                f"recaption: {settings.engine} gave {len(rows)} answers for shard {name} and not all of them."
            )
        _record(context, name, [])  # none of its pictures can be read


def answers_path(shard: str) -> str:
    """Return where the answers of a shard are, in the stage's work folder."""
    return f"answers/{shard}.parquet"


def recorded_answers(path: Path) -> dict[int, list[tuple[int, str]]]:
    """Return {sample's number in its shard: [(prompt's number, answer)]}."""
    from components.data.tables import read_table

    table = read_table(path)
    found: dict[int, list[tuple[int, str]]] = {}
    for number, prompt, text in zip(table["number"], table["prompt"], table["text"], strict=True):
        found.setdefault(number, []).append((prompt, text))
    return found


def shown_picture(record: Any, limits: ImageLimits, size: int) -> Any:
    """Return a sample's picture, uint8 [H, W, 3], its longer side reduced to `size`; None where it cannot be had."""
    from components.curation.images import ImageError, decode_image, reduced
    from components.data.samples import Record, image_part

    part = image_part(record) if isinstance(record, Record) else None
    if part is None:
        return None
    try:
        return reduced(decode_image(part[1], limits).rgb, size)
    except ImageError:
        return None


def questions(
    shard: AskedShard, store: str, settings: RecaptionSection, limits: ImageLimits
) -> Iterator[dict[str, Any]]:
    """Yield one row for each answer that is wanted of a shard. `rows` of the last one says how many there are."""
    from components.data.records import read_records
    from components.vision_models.chat_requests import picture_url

    opened = Store(store)
    held: dict[str, Any] | None = None
    count = 0
    with tempfile.TemporaryDirectory(dir=opened.scratch()) as folder:
        for number, record in enumerate(read_records(fetch_checked(opened, shard.path, Path(folder)))):
            rgb = shown_picture(record, limits, settings.size)
            url = "" if rgb is None else picture_url(rgb)
            for prompt in range(len(settings.prompts)) if url else ():
                for answer in range(settings.captions):
                    if held:
                        yield held
                    count += 1
                    seed = derive_seed(shard.seed, number, prompt, answer)
                    held = {"shard": shard.name, "number": number, "prompt": prompt, "answer": answer,
                            "seed": seed, "picture": url, "rows": 0}  # fmt: skip
    if held:
        yield {**held, "rows": count}


def _answers(
    context: StageContext, settings: RecaptionSection, limits: ImageLimits, asked: Sequence[AskedShard]
) -> Iterator[dict[str, Any]]:
    """Yield the row of each answer, in any order."""
    import ray
    from ray.data.llm import build_processor

    engine, resources = ENGINES[settings.engine], context.config.execution.resources.recaption
    of_process = ray.data.DataContext.get_current()
    of_process.enable_progress_bars = of_process.print_on_execution_start = False
    of_process.raise_original_map_exception = True  # the words of ours, for `_cause`
    store = context.work.store.absolute_url

    def request(row: dict[str, Any]) -> dict[str, Any]:
        return {**engine.request(row, settings), "picture": ""}  # which the request holds

    def answer(row: dict[str, Any]) -> dict[str, Any]:
        return {name: row[name] for name in ("shard", "number", "prompt", "answer", "rows")} | {
            "text": engine.text(row)
        }

    processor = build_processor(
        engine.config(settings, resources),
        preprocess=request,
        postprocess=answer,
        postprocess_map_kwargs={"num_cpus": 0},
    )
    labels: dict[str, Any] = label_options(resources)
    rows = ray.data.from_items([{"place": n} for n in range(len(asked))], override_num_blocks=len(asked)).flat_map(
        lambda row: questions(asked[row["place"]], store, settings, limits), **labels
    )
    yield from processor(rows).iter_rows()


def _record(context: StageContext, name: str, rows: list[dict[str, Any]]) -> None:
    rows.sort(key=lambda row: (row["number"], row["prompt"], row["answer"]))
    with tempfile.TemporaryDirectory(dir=context.work.store.scratch()) as folder:
        local = Path(folder) / "answers.parquet"
        write_rows(local, rows, SCHEMA)
        publish(context.work, local, answers_path(name))


def _cause(error: Exception) -> str:
    """Return what went wrong in a worker, without Ray's account of it, which stands behind the first line."""
    import ray

    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
    return str(cause).splitlines()[0] if isinstance(cause, UserError | Refused) else one_line(cause)
