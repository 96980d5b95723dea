"""Batches of latents for the generator: captions and edit pairs, from Arrow shards alone, texts of like length
together.

Any step's batch follows from (seed, step): a window of steps is drawn as one, sorted by length and cut, so that little
is padded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from components.data.latent_reader import LatentDataset
from components.data.order import EpochSampler, epoch_order
from components.data.tables import read_table
from pipelines.errors import UserError
from pipelines.stage import derive_seed
from pipelines.store.artifacts import Artifact
from pipelines.store.verified_read import fetch_checked
from pipelines.training.worker import BuildContext

WINDOW = 8  # steps that are drawn together and sorted by length


@dataclass
class Rows:
    """Rows of a latent data set, each with its texts: captioned pictures, or edits with their instructions."""

    dataset: LatentDataset
    numbers: list[int] = field(default_factory=list)
    texts: list[tuple[str, ...]] = field(default_factory=list)  # of which a step takes one

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass
class Samples:
    """One side of the held-out split."""

    captions: Rows  # of the samples, and of what edits made of them where that has a caption
    edits: Rows


def open_samples(context: BuildContext) -> tuple[Samples, Samples]:
    """Return what is trained on, and what is held out, of the latents of `encode_latents`. `UserError` where there are
    no captions.
    """
    latents, index = context.inputs["encode_latents"], context.inputs["index"]
    files = latents.files("*.arrow")
    for path in files[context.rank :: context.world]:  # the workers share the hashing
        fetch_checked(context.store, path, context.scratch)
    paths = [context.store.fetch(path, context.scratch) for path in files]
    if not paths:
        raise UserError(f"the artifact {latents.path} holds no latents; see: pixsem verify")
    dataset = LatentDataset(paths, latents.manifest.inputs["train_tokenizer"]["digest"])
    held, captions, texts = _index(context, index)
    sides = tuple(Samples(Rows(dataset), Rows(dataset)) for _ in range(2))
    for number in range(len(dataset)):
        row = dataset.row(number)
        samples = sides[held[row.key]]
        own = texts.get(row.key, (row.text,))
        if row.flipped:  # a text may name a side, and only the first is known not to
            own = own[:1]
        if row.source is None:
            _add(samples.captions, number, own)
            continue
        _add(samples.edits, number, own)
        if captions.get(row.key) and not row.flipped:
            _add(samples.captions, number, (captions[row.key],))
    if not sides[0].captions:
        raise UserError("there are no captioned latents to train on: no sample of the training side has a caption.")
    return sides[0], sides[1]


def _add(rows: Rows, number: int, texts: tuple[str, ...]) -> None:
    if texts:  # none: a picture for reconstruction alone
        rows.numbers.append(number)
        rows.texts.append(texts)


def _index(
    context: BuildContext, index: Artifact
) -> tuple[dict[str, bool], dict[str, str], dict[str, tuple[str, ...]]]:
    """Return {key: held out}, {key of an edit: its target's caption}, and {key: its texts} where there are several or
    none.
    """
    held: dict[str, bool] = {}
    captions: dict[str, str] = {}
    texts: dict[str, tuple[str, ...]] = {}
    for path in index.files("index/*.parquet"):
        table = read_table(fetch_checked(context.store, path, context.scratch))
        several = table.get("texts") or [None] * len(table["key"])  # an index of before has no such column
        for key, role, side, caption, said in zip(
            table["key"], table["role"], table["held_out"], table["caption"], several, strict=True
        ):
            if role in ("picture", "target"):
                held[key] = side
                if said is not None:
                    texts[key] = tuple(said)
            if role == "target" and caption:
                captions[key] = caption
    return held, captions, texts


Chosen = tuple[Rows, int, str]  # a row by its place among `Rows`, and the text that a step takes of it


class LatentSource:
    """Batches `{"latents", "ids", "text"}`, with `{"sources", "has_source"}` where there are edits, of one rank, of any
    step.
    """

    def __init__(
        self,
        samples: Samples,
        text_tokenizer: Any,
        longest: int,
        batch: int,
        edit_share: float,
        source_tokens: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.samples, self._text_tokenizer, self._longest, self._batch = samples, text_tokenizer, longest, batch
        self._source_tokens, self._seed, self._rank, self._world = source_tokens, seed, rank, world
        self.kinds = ("captions", "edits") if edit_share else ("captions",)  # that it is asked for
        edits = round(batch * WINDOW * edit_share)
        if edits and not samples.edits:
            raise UserError(
                "there are no edit pairs to train on: set generator.edit_share=0, or let synthesize_edits make some."
            )
        self._draws = []
        for rows, count, name in (
            (samples.captions, batch * WINDOW - edits, "captions"),
            (samples.edits, edits, "edits"),
        ):
            if count:
                self._draws.append((rows, EpochSampler(len(rows), count, derive_seed(seed, name) % 2**63)))
        self._window = -1
        self._steps: list[list[Chosen]] = []

    def batch(self, step: int) -> tuple[dict[str, Any], list[str]]:
        """Return the batch of a step, and the keys of its samples."""
        window, place = divmod(step, WINDOW)
        if window != self._window:
            self._steps, self._window = self._draw(window), window
        return self.collate(self._steps[place][self._rank :: self._world])

    def _draw(self, window: int) -> list[list[Chosen]]:
        """Return the samples of each step of a window."""
        from components.generator.text import token_rows

        rng = np.random.default_rng([self._seed % 2**63, window])
        chosen = []
        for rows, sampler in self._draws:
            for n in sampler.at(window):
                texts = rows.texts[int(n)]
                chosen.append((rows, int(n), texts[int(rng.integers(len(texts)))]))
        found = token_rows(self._text_tokenizer, [text for _, _, text in chosen], self._longest)
        lengths = [
            len(ids) + self._source_tokens * (rows is self.samples.edits)
            for ids, (rows, _, _) in zip(found, chosen, strict=True)
        ]
        order = epoch_order(
            len(chosen), self._seed % 2**63, window
        )  # so that texts of one length are not sorted by kind
        ordered = sorted(order.tolist(), key=lambda i: lengths[i])
        steps = [[chosen[i] for i in ordered[k * self._batch : (k + 1) * self._batch]] for k in range(WINDOW)]
        return [steps[i] for i in epoch_order(WINDOW, self._seed % 2**63, window)]

    def collate(self, chosen: list[Chosen]) -> tuple[dict[str, Any], list[str]]:
        """Return samples as one batch, and their keys."""
        import torch

        from components.generator.text import encode_texts

        ids, text = encode_texts(self._text_tokenizer, [text for _, _, text in chosen], self._longest)
        read = self.samples.captions.dataset.batch([rows.numbers[n] for rows, n, _ in chosen])
        batch = {"latents": read.latents, "ids": ids, "text": text}
        edits = torch.tensor([rows is self.samples.edits for rows, _, _ in chosen])
        if bool(edits.any()):
            assert read.sources is not None
            batch |= {"sources": read.sources * edits[:, None, None, None], "has_source": edits}
        return batch, read.keys

    def first(self, kind: str, count: int) -> dict[str, Any] | None:
        """Return evenly spread samples as one batch, the same every time: `captions` or `edits`; None where there are
        none.
        """
        rows: Rows = getattr(self.samples, kind)
        if not len(rows):
            return None
        count = min(count, len(rows))
        chosen = [i * len(rows) // count for i in range(count)]
        return self.collate([(rows, n, rows.texts[n][0]) for n in chosen])[0]
