"""Batches of latents for the generator: captions and edit pairs, from Arrow shards alone, texts of like length
together.

Any step's batch follows from (seed, step): a window of steps is drawn as one, sorted by length and cut, so that little
is padded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from components.data.latent_reader import LatentDataset
from components.data.order import epoch_order
from components.data.tables import read_table
from pipelines.errors import UserError
from pipelines.stage import derive_seed, source_of
from pipelines.stages.mixing import Weights, mixed
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
    sources: list[str] = field(default_factory=list)  # of each row
    shares: list[tuple[float, ...] | None] = field(default_factory=list)  # of each text; None: all alike

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
    indexed = _index(context, index)
    mix = dict(context.config.generator.captions)
    sides = tuple(Samples(Rows(dataset), Rows(dataset)) for _ in range(2))
    shards = [path.stem for path, size in zip(dataset.paths, dataset.shard_sizes, strict=True) for _ in range(size)]
    captioned = context.given.get("captions_of")
    for number, shard in enumerate(shards):
        row = dataset.row(number)
        of = indexed[shard, row.source is not None]
        samples = sides[of.held[row.key]]
        own, origins = of.texts.get(row.key, ((row.text,), None))
        if row.flipped:  # a text may name a side, and only the first is known not to
            own = own[:1]
        source = source_of(shard)
        if row.source is None:
            _add(samples.captions, number, own, source, text_shares(origins, mix, len(own)))
            continue
        _add(samples.edits, number, own, source)
        caption = of.captions.get(row.key)
        if caption and not row.flipped and (captioned is None or source in captioned):
            _add(samples.captions, number, (caption,), source)
    if not sides[0].captions:
        raise UserError("there are no captioned latents to train on: no sample of the training side has a caption.")
    return sides[0], sides[1]


def _add(rows: Rows, number: int, texts: tuple[str, ...], source: str, shares: tuple[float, ...] | None = None) -> None:
    if texts:  # none: a picture for reconstruction alone
        rows.numbers.append(number)
        rows.texts.append(texts)
        rows.sources.append(source)
        rows.shares.append(shares)


def text_shares(origins: tuple[str, ...] | None, mix: Mapping[str, float], count: int) -> tuple[float, ...] | None:
    """Return the share of each of a sample's `count` texts by a mix {origin: weight}, which its texts of an origin
    divide among them. None, all alike, without a mix, and where the mix gives none of the texts a weight.
    """
    if not mix or origins is None or len(origins) != count:
        return None
    times = Counter(origins)
    weights = [mix.get(origin, 0.0) / times[origin] for origin in origins]
    total = sum(weights)
    return tuple(weight / total for weight in weights) if total else None


@dataclass
class IndexedShard:
    """What the index says of the samples, or of the edit pairs, of one shard, by key."""

    held: dict[str, bool] = field(default_factory=dict)  # out
    captions: dict[str, str] = field(default_factory=dict)  # of an edit's target
    texts: dict[str, tuple[tuple[str, ...], tuple[str, ...] | None]] = field(default_factory=dict)
    # where there are several or none, with the origin of each


Indexed = dict[tuple[str, bool], IndexedShard]  # by the shard's name, and whether its rows are edit pairs


def _index(context: BuildContext, index: Artifact) -> Indexed:
    """Return what the index says of each shard's samples and edit pairs."""
    found: Indexed = {}
    for path in index.files("index/*.parquet"):
        add_rows(found, read_table(fetch_checked(context.store, path, context.scratch)))
    return found


def add_rows(found: Indexed, table: Mapping[str, Sequence[Any]]) -> None:
    """Add the rows of an index. A pair's key is made of its sample's and a number, and the data may have a sample of
    that very key: so samples and pairs are kept apart.
    """
    none = [None] * len(table["key"])  # an index of before lacks the later columns
    several, origins = table.get("texts") or none, table.get("origins") or none
    columns = (table[name] for name in ("shard", "key", "role", "held_out", "caption"))
    for shard, key, role, side, caption, said, of in zip(*columns, several, origins, strict=True):
        if role not in ("picture", "target"):
            continue
        indexed = found.setdefault((PurePosixPath(shard).stem, role == "target"), IndexedShard())
        indexed.held[key] = side
        if said is not None:
            indexed.texts[key] = tuple(said), None if of is None else tuple(of)
        if role == "target" and caption:
            indexed.captions[key] = caption


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
        weights: tuple[Weights | None, Weights | None] = (None, None),
    ) -> None:
        """`weights` are those of the sources, among captions and among edits."""
        self.samples, self._text_tokenizer, self._longest, self._batch = samples, text_tokenizer, longest, batch
        self._source_tokens, self._seed, self._rank, self._world = source_tokens, seed, rank, world
        self.kinds = ("captions", "edits") if edit_share else ("captions",)  # that it is asked for
        edits = round(batch * WINDOW * edit_share)
        if edits and not samples.edits:
            raise UserError(
                "there are no edit pairs to train on: set generator.edit_share=0, or let synthesize_edits make some."
            )
        self._draws = []
        for rows, count, name, shares in (
            (samples.captions, batch * WINDOW - edits, "captions", weights[0]),
            (samples.edits, edits, "edits", weights[1]),
        ):
            if count:
                sources = rows.sources or [""] * len(rows)
                self._draws.append((rows, mixed(sources, shares, count, derive_seed(seed, name) % 2**63)))
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
                texts, shares = rows.texts[int(n)], rows.shares[int(n)] if rows.shares else None
                place = int(rng.integers(len(texts))) if shares is None else int(rng.choice(len(texts), p=shares))
                chosen.append((rows, int(n), texts[place]))
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
