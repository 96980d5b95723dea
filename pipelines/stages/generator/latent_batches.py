"""Batches of latents for the generator: captions and edit pairs, from Arrow shards alone, texts of like length
together.

Any step's batch follows from (seed, step): a window of steps is drawn as one, sorted by length and cut, so that little
is padded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from components.data.latent_reader import LatentShards
from components.data.order import Layout, permutation
from components.data.part_rows import PartRows
from pipelines.errors import UserError
from pipelines.stage import derive_seed
from pipelines.stages.evaluation import FEW_PARTS, spread_rows
from pipelines.stages.indexed_rows import IndexedRows
from pipelines.stages.mixing import Draw, Weights, mixed
from pipelines.training.worker import BuildContext

WINDOW = 8  # steps that are drawn together and sorted by length


class Row(NamedTuple):
    """A captioned picture, or an edit with its instructions."""

    place: tuple[int, int]  # latent shard, and row in it
    texts: Sequence[str]  # of which a step takes one
    shares: tuple[float, ...] | None  # of each text; None: all alike


@dataclass
class Rows:
    """Rows of latents with their texts, of one kind and one side."""

    indexed: PartRows  # with the columns of `index_latents`
    layout: Layout
    shards: Sequence[int]  # the number of each part's latent shard
    dataset: LatentShards
    mix: Mapping[str, float] = field(default_factory=dict)  # of the captions' origins
    ahead: Callable[..., None] = lambda parts, through=True: None  # fetches parts and their latents in the background

    def __len__(self) -> int:
        return len(self.indexed)

    def row(self, number: int) -> Row:
        """Return a row by its number."""
        row, texts, origins = self.indexed.row(number, ("row", "texts", "origins"))
        return Row((self.shards[self.indexed.place(number)[0]], row), texts, text_shares(origins, self.mix, len(texts)))

    def texts(self) -> Iterator[str]:
        """Yield all texts of all rows."""
        for texts in self.indexed["texts"]:
            yield from texts


@dataclass
class Samples:
    """One side of the held-out split."""

    captions: Rows  # of the samples, and of what edits made of them where that has a caption
    edits: Rows


def open_samples(context: BuildContext) -> tuple[Samples, Samples]:
    """Return what is trained on, and what is held out, of the latents of `encode_latents`. `UserError` where there are
    no captions.
    """
    latents, index, cache = context.inputs["encode_latents"], context.inputs["index_latents"], context.cache
    paths = latents.files("*.arrow")
    if not paths:
        raise UserError(f"the artifact {latents.path} holds no latents; see: pixsem verify")
    dataset = LatentShards(paths, latents.manifest.inputs["train_tokenizer"]["digest"], cache.fetch)
    numbers = {path: number for number, path in enumerate(paths)}
    mix = dict(context.config.generator.captions)

    def rows(roles: Mapping[str, Any], held_out: bool) -> Rows:
        found = IndexedRows(index, cache.fetch, roles, held_out)

        def ahead(parts: Sequence[int], through: bool = True) -> None:
            cache.ahead((path for part in parts for path in (found.paths[part], *found.shards[part])), through)

        return Rows(found, found.layout, [numbers[shard] for (shard,) in found.shards], dataset, mix, ahead)

    captions = {"caption": None, "caption_of_edit": context.given.get("captions_of")}
    train, held_out = (Samples(rows(captions, side), rows({"edit": None}, side)) for side in (False, True))
    if not len(train.captions):
        raise UserError("there are no captioned latents to train on: no sample of the training side has a caption.")
    return train, held_out


def draw_of(context: BuildContext) -> Draw:
    """Return how latents are drawn: by what all of them take."""
    files = context.inputs["encode_latents"].manifest.files
    return Draw.of(context, sum(entry.size for entry in files if entry.path.endswith(".arrow")))


def text_shares(origins: Sequence[str] | None, mix: Mapping[str, float], count: int) -> tuple[float, ...] | None:
    """Return the share of each of a sample's `count` texts by a mix {origin: weight}, which its texts of an origin
    divide among them. None, all alike, without a mix, and where the mix gives none of the texts a weight.
    """
    if not mix or origins is None or len(origins) != count:
        return None
    times = Counter(origins)
    weights = [mix.get(origin, 0.0) / times[origin] for origin in origins]
    total = sum(weights)
    return tuple(weight / total for weight in weights) if total else None


class Chosen(NamedTuple):
    """A row as a step takes it."""

    place: tuple[int, int]
    text: str
    edit: bool


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
        draw: Draw,
        weights: tuple[Weights | None, Weights | None] = (None, None),
    ) -> None:
        """`weights` are those of the sources, among captions and among edits."""
        self.samples, self._text_tokenizer, self._longest = samples, text_tokenizer, longest
        self._source_tokens, self._draw = source_tokens, draw
        # Shuffled as a whole, all ranks draw the whole batch, and each takes its share. In lanes each draws its own.
        alone = 1 if draw.window is None else draw.world
        self._batch = batch = draw.own(batch)
        self.kinds = ("captions", "edits") if edit_share else ("captions",)  # that it is asked for
        edits = round(batch * WINDOW * edit_share)
        if edits and not len(samples.edits):
            raise UserError(
                "there are no edit pairs to train on: set generator.edit_share=0, or let synthesize_edits make some."
            )
        self._draws = []
        for rows, count, name, shares in (
            (samples.captions, batch * WINDOW - edits, "captions", weights[0]),
            (samples.edits, edits, "edits", weights[1]),
        ):
            if count:
                seeded = replace(draw, seed=derive_seed(draw.seed, name) % 2**63)
                if draw.window is None:
                    seeded = Draw(seeded.seed)
                self._draws.append((rows, mixed(rows.layout, shares, count * alone, seeded)))
        self._window = -1
        self._steps: list[list[Chosen]] = []

    def batch(self, step: int) -> tuple[dict[str, Any], list[str]]:
        """Return the batch of a step, and the keys of its samples."""
        window, place = divmod(step, WINDOW)
        if window != self._window:
            self._steps, self._window = self._drawn(window), window
        own, draw = self._steps[place], self._draw
        return self.collate(own if draw.window else own[draw.rank :: draw.world])

    def _drawn(self, window: int) -> list[list[Chosen]]:
        """Return the samples of each step of a window. Ranks that draw their own sort them by length alike."""
        from components.generator.text import token_rows

        seed = self._draw.seed % 2**63
        rng = np.random.default_rng([seed, window, *([self._draw.rank + 1] if self._draw.window else [])])
        for rows, sampler in self._draws:
            rows.ahead(sampler.coming(window))
        chosen: list[Chosen] = []
        for rows, sampler in self._draws:
            for n in sampler.at(window).tolist():
                place, texts, shares = rows.row(n)
                text = int(rng.integers(len(texts))) if shares is None else int(rng.choice(len(texts), p=shares))
                chosen.append(Chosen(place, texts[text], rows is self.samples.edits))
        found = token_rows(self._text_tokenizer, [one.text for one in chosen], self._longest)
        lengths = [len(ids) + self._source_tokens * one.edit for ids, one in zip(found, chosen, strict=True)]
        # so that texts of one length are not sorted by kind
        order = permutation(len(chosen), seed, window)
        ordered = sorted(order.tolist(), key=lambda i: lengths[i])
        steps = [[chosen[i] for i in ordered[k * self._batch : (k + 1) * self._batch]] for k in range(WINDOW)]
        return [steps[i] for i in permutation(WINDOW, seed, window).tolist()]

    def collate(self, chosen: list[Chosen]) -> tuple[dict[str, Any], list[str]]:
        """Return samples as one batch, and their keys."""
        import torch

        from components.generator.text import encode_texts

        ids, text = encode_texts(self._text_tokenizer, [one.text for one in chosen], self._longest)
        read = self.samples.captions.dataset.rows([one.place for one in chosen])
        batch = {"latents": read.latents, "ids": ids, "text": text}
        edits = torch.tensor([one.edit for one in chosen])
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
        few = None if self._draw.window is None else FEW_PARTS
        chosen = [rows.row(number) for number in spread_rows(rows.layout.sizes.tolist(), count, few)]
        return self.collate([Chosen(row.place, row.texts[0], kind == "edits") for row in chosen])[0]
