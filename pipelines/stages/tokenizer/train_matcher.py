"""train_matcher: a small image-text encoder, trained before curation on the very samples whose captions it then
judges.

Only there where a model of `measure.models` is of kind matcher. It needs no hub: most captions are true of their
pictures, and beside them it is shown captions that are wrong by a word. Artifact: `model/` (an image-text model),
`curve.jsonl`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.errors import UserError
from pipelines.stage import StageContext, base_of, derive_seed, fetched
from pipelines.stages.evaluation import spread
from pipelines.stages.mixing import Draw
from pipelines.stages.tokenizer.picture_batches import CaptionSource, Pictures
from pipelines.stages.tokenizer.train_encoder import COUNTED, EncoderTask
from pipelines.store.artifacts import Artifact
from pipelines.store.files import Store
from pipelines.training.start_workers import train_in_workers
from pipelines.training.worker import BuildContext, Built


def run(context: StageContext) -> None:
    """Train, and report how long and how fast."""
    measured = context.inputs_of("measure")
    whole = sum(artifact.manifest.counts.get("kept", 0) for artifact in measured)
    samples = min(whole, context.config.matcher.samples)
    train_in_workers(context, "pipelines.stages.tokenizer.train_matcher:build", "matcher", samples)


def build(context: BuildContext) -> Built:
    """Make the image-text model and its batches."""
    import torch

    from components.tokenizer.blocks import Block
    from components.tokenizer.image_text import ImageTextModel, Vocabulary, save_image_text, small_encoder

    settings = context.config.matcher
    side = settings.size or context.config.image_size
    pictures = Pictures.of_rows(
        context.store,
        context.scratch,
        captioned_rows(context.store, context.inputs, context.scratch, settings.samples),
        side,
        context.config.measure.limits,
        context.config.execution.cache_bytes,
        context.threads,
    )
    captions = list(pictures.rows["caption"])
    vocabulary = Vocabulary.of(captions)
    torch.manual_seed(context.seed % 2**63)
    model = ImageTextModel(small_encoder(settings.small, side), len(vocabulary), settings.small)
    length = settings.small.max_words
    model.expect(vocabulary.encode(spread(captions, COUNTED), length))
    source = MatcherSource(
        pictures, lambda captions: vocabulary.encode(captions, length), settings.training.batch,
        Draw(context.seed, context.rank, context.world),
    )  # fmt: skip

    def save(folder: Path) -> dict[str, Any]:
        save_image_text(model, vocabulary, folder / "model")
        source.swaps.save(folder / "model")
        return {"parameters": sum(p.numel() for p in model.parameters()), "words": len(vocabulary)}

    return Built(EncoderTask(model, (Block,)), source, settings.training, save, samples=len(pictures))


class MatcherSource(CaptionSource):
    """Batches as an encoder's, and for each caption one that is wrong by a word (`wrong`)."""

    def __init__(self, pictures: Pictures, encode: Any, batch: int, draw: Draw) -> None:
        from components.tokenizer.word_swaps import WordSwaps

        super().__init__(pictures, encode, batch, draw)
        self._seed = draw.seed
        self.swaps = WordSwaps(encode(list(pictures.rows["caption"])))

    def batch(self, step: int) -> tuple[dict[str, Any], list[str]]:
        """Return the batch of a step, and the names of its pictures."""
        import torch

        batch, names = super().batch(step)
        seeds = [derive_seed(self._seed, "swap", step, name) for name in names]
        ids = batch["ids"][:, : max(1, int((batch["ids"] != 0).sum(1).max()))]  # padding costs as words do
        wrong = [self.swaps.swapped(one, seed) for one, seed in zip(ids, seeds, strict=True)]
        return {**batch, "ids": ids, "wrong": torch.stack(wrong)}, names


def captioned_rows(store: Store, inputs: Mapping[str, Artifact], scratch: Path, most: int) -> dict[str, list[Any]]:
    """Return rows, as an index has them, of ingested samples that can be decoded and have a caption.

    Of many samples, those of as many shards as hold `most`, spread over all shards of all sources.
    """
    shards = {
        PurePosixPath(path).stem: path
        for name, artifact in inputs.items()
        if base_of(name) == "ingest"
        for path in artifact.files("shards/*.tar")
    }
    measured = [
        (PurePosixPath(path).stem, path)
        for name, artifact in inputs.items()
        if base_of(name) == "measure"
        for path in artifact.files("signals/*.parquet")
    ]
    whole = sum(
        artifact.manifest.counts.get("kept", 0) for name, artifact in inputs.items() if base_of(name) == "measure"
    )
    wanted = spread(measured, max(1, -(-len(measured) * most // max(1, whole))))
    found = [row for name, path in wanted for row in _rows(store, shards[name], path, scratch)]
    if len(found) < 2:
        raise UserError("train_matcher: fewer than two samples have a picture and a caption. Bring more samples.")
    chosen = spread(found, most)
    return {name: [row[name] for row in chosen] for name in chosen[0]}


def _rows(store: Store, shard: str, signals: str, scratch: Path) -> list[dict[str, Any]]:
    from components.data.samples import IMAGE_EXTENSIONS
    from components.data.shard_index import index_shard
    from components.data.tables import read_table
    from pipelines.store.verified_read import fetch_checked

    with fetched(store, signals) as local:
        table = read_table(local)
    sound = {
        key
        for key, error, characters in zip(table["key"], table["error"], table["characters"], strict=True)
        if not error and characters
    }
    path = fetch_checked(store, shard, scratch)
    rows = []
    with path.open("rb") as handle:
        for sample in index_shard(path):
            if sample.key not in sound:
                continue
            sound.discard(sample.key)  # of two samples with one key, the first
            handle.seek(sample.parts["txt"][0])
            caption = handle.read(sample.parts["txt"][1]).decode("utf-8-sig").strip()
            image = next(sample.parts[e] for e in IMAGE_EXTENSIONS if e in sample.parts)
            rows.append(
                {"shard": shard, "key": sample.key, "group": sample.key, "role": "picture", "caption": caption,
                 "offset": image[0], "size": image[1]}
            )  # fmt: skip
    return rows
