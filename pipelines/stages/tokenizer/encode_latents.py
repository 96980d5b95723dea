"""encode_latents: every curated sample and every edit pair as latents, one Arrow shard for each input shard.

Artifact: `captions/NAME.arrow`, `edits/NAME.arrow` (see `components.data.latents`), `keys/KIND-NAME.parquet` with what
they hold beside latents, and `failed/KIND-NAME.parquet` with one row and a reason for each sample that is not in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from components.curation.options import ImageLimits
from pipelines.config.schema import LatentsSection
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext
from pipelines.stages.mixing import of_sources
from pipelines.stages.read_ahead import ahead
from pipelines.store.artifacts import Artifact, Manifest
from pipelines.store.files import Store

KEYS_SCHEMA = {"key": "string", "text": "string", "flipped": "bool"}  # of each row of a latent shard, in its order
FAILED_SCHEMA = {"key": "string", "reason": "string", "detail": "string"}
Kind = Literal["captions", "edits"]
KINDS: tuple[tuple[str, Kind], ...] = (("curate", "captions"), ("curate_pairs", "edits"))
SIDED = re.compile(r"\b(left|right)\b", re.IGNORECASE)
_LOADED: dict[str, Any] = {}  # the tokenizer this worker process has loaded, by digest


@dataclass(frozen=True)
class Encoding:
    """What encoding one shard needs."""

    shard: str  # path of its tar in the store
    kind: Kind
    tokenizer: dict[str, Any]  # manifest of train_tokenizer
    latents: LatentsSection
    image_size: int  # pixels
    limits: ImageLimits
    threads: int


def run(context: StageContext) -> None:
    """Encode every shard that is not encoded yet."""
    tokenizer = context.inputs["train_tokenizer"].manifest.to_json()  # one for all tasks
    settings = context.config.latents
    tasks = []
    for stage, kind in KINDS:
        if kind == "captions":
            paths = list(context.curated_shards(context.stage.given.get("captions_of")).values())
        else:
            paths = of_sources(context.inputs[stage].files("shards/*.tar"), context.stage.given.get("pairs_of"))
        for path in paths:
            encoding = Encoding(
                shard=path,
                kind=kind,
                tokenizer=tokenizer,
                latents=settings,
                image_size=context.config.image_size,
                limits=context.config.measure.limits,
                threads=max(1, int(context.config.execution.resources.encode_latents.cpus)),
            )
            tasks.append(ShardTask(f"{kind}-{PurePosixPath(path).stem}", encoding))
    records = context.map_shards("pipelines.stages.tokenizer.encode_latents:encode_shard", tasks)
    rows = {"captions": 0, "edits": 0, "flipped": 0}
    for record in records:
        for name in rows:
            rows[name] += record.metrics.get(name, 0)
    size = sum(f.size for f in context.outputs if f.path.endswith(".arrow"))
    context.metrics["latents"] = {**rows, "bytes": size, "shape": list(records[0].metrics["shape"]) if records else []}


def load_once(store: Store, manifest: dict[str, Any], scratch: Path) -> Any:
    """Return the tokenizer; a worker that encodes many shards loads it once."""
    from pipelines.stages.tokenizer.space_setup import load_space

    digest = manifest["digest"]
    if digest not in _LOADED:
        _LOADED.clear()
        _LOADED[digest] = load_space(store, Artifact(store, Manifest.from_json(manifest, "train_tokenizer")), scratch)
    return _LOADED[digest]


def encode_shard(context: ShardContext) -> ShardResult:
    """Encode one shard; pictures are decoded in a thread of their own while the encoder works."""
    import torch

    from components.data.latents import LatentSpec, LatentWriter
    from components.training.machine import best_device
    from pipelines.stages.data.parquet_rows import write_rows

    args: Encoding = context.task.args
    device = best_device()
    torch.set_num_threads(args.threads)
    tokenizer = load_once(context.store, args.tokenizer, context.scratch).to(device)
    channels, height, width = tokenizer.latent_shape
    mean, std = tokenizer.latent_mean.flatten().tolist(), tokenizer.latent_std.flatten().tolist()
    kind = args.kind
    spec = LatentSpec(channels, height, width, args.tokenizer["digest"], tuple(mean), tuple(std), kind)
    name = context.task.name.removeprefix(f"{kind}-")
    failed: list[dict[str, str]] = []
    rows: list[dict[str, Any]] = []
    kept = flips = 0
    encode = Encoder(tokenizer, device, args.latents.precision)
    with LatentWriter(context.file(f"{kind}/{name}.arrow"), spec) as writer:
        for keys, texts, images, sources in ahead(batches(context.fetch(args.shard), args, failed)):
            both = images if sources is None else torch.cat([images, sources])
            latents = encode(both)
            writer.add(
                keys,
                texts,
                latents[: len(keys)],
                None if sources is None else latents[len(keys) :],
                [False] * len(keys),
            )
            rows += [{"key": k, "text": t, "flipped": False} for k, t in zip(keys, texts, strict=True)]
            kept += len(keys)
            if args.latents.flip:
                # A text that names a side would be false of the mirrored picture.
                chosen = [i for i, text in enumerate(texts) if not SIDED.search(text)]
                mirrored = images[chosen].flip(-1)
                both = mirrored if sources is None else torch.cat([mirrored, sources[chosen].flip(-1)])
                latents = encode(both) if chosen else latents[:0]
                writer.add(
                    [keys[i] for i in chosen], [texts[i] for i in chosen], latents[: len(chosen)],
                    None if sources is None else latents[len(chosen) :], [True] * len(chosen),
                )  # fmt: skip
                rows += [{"key": keys[i], "text": texts[i], "flipped": True} for i in chosen]
                flips += len(chosen)
    write_rows(context.file(f"keys/{context.task.name}.parquet"), rows, KEYS_SCHEMA)
    write_rows(context.file(f"failed/{context.task.name}.parquet"), failed, FAILED_SCHEMA)
    counts = {"input": kept + len(failed), "kept": kept, "dropped": 0, "failed": len(failed)}
    return ShardResult(counts, {kind: kept, "flipped": flips, "shape": [channels, height, width]})


class Encoder:
    """Pictures uint8 `[b, 3, S, S]` to the mean of their standardised latents, float16 numpy `[b, C, h, w]`."""

    def __init__(self, tokenizer: Any, device: Any, precision: str) -> None:
        from components.training.machine import choose_precision

        self.tokenizer, self.device = tokenizer, device
        self.bf16 = choose_precision(precision, device) == "bf16"

    def __call__(self, images: Any) -> Any:
        """Encode."""
        import torch

        from components.tokenizer.objectives import to_pictures

        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            latent = self.tokenizer.encode(to_pictures(images.to(self.device))).latent_dist.mode()
        return latent.float().cpu().numpy()


Batch = tuple[list[str], list[str], Any, Any]


def batches(path: Path, args: Encoding, failed: list[dict[str, str]]) -> Iterator[Batch]:
    """Yield (keys, texts, images, sources or None) of a shard; what cannot be read gets a row in `failed`."""
    import numpy as np
    import torch

    from components.data.records import Record, read_records

    def stacked(pictures: list[Any]) -> Any:
        return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy())

    keys: list[str] = []
    texts: list[str] = []
    pictures: dict[str, list[Any]] = {"image": [], "source": []}
    paired = args.kind == "edits"
    for record in read_records(path):
        found: Any = _sample(record, args) if isinstance(record, Record) else (record.reason, record.detail)
        if len(found) == 2:
            failed.append({"key": record.key, "reason": found[0], "detail": found[1]})
            continue
        text, image, source = found
        keys.append(record.key)
        texts.append(text)
        pictures["image"].append(image)
        if paired:
            pictures["source"].append(source)
        if len(keys) == args.latents.batch:
            yield keys, texts, stacked(pictures["image"]), stacked(pictures["source"]) if paired else None
            keys, texts, pictures = [], [], {"image": [], "source": []}
    if keys:
        yield keys, texts, stacked(pictures["image"]), stacked(pictures["source"]) if paired else None


def _sample(record: Any, args: Encoding) -> Any:
    """Return (text, picture, source or None), or (reason, detail)."""
    from components.curation.images import ImageError, decode_image, square
    from components.data.samples import BadRecord, caption_of, image_part, side_part

    text = caption_of(record)
    if isinstance(text, BadRecord):
        return text.reason, text.detail
    if text is None:
        return "no_caption", "the sample has no text"
    try:
        if args.kind == "edits":
            pair = [side_part(record.parts, side) for side in ("target", "source")]
            if None in pair:
                return "no_image", "the pair lacks its source or its target"
            pictures = [square(decode_image(part[1], args.limits).rgb, args.image_size) for part in pair if part]
            return text, pictures[0], pictures[1]
        part = image_part(record)
        if part is None:
            return "no_image", "the sample has no picture"
        return text, square(decode_image(part[1], args.limits).rgb, args.image_size), None
    except ImageError as error:
        return error.reason, error.detail
