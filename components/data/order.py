"""The order of samples: endless, epoch after epoch, from a seed alone; each rank's share of every step, and groups of
samples mixed by given shares. The rows of any step are found without those of the steps before it.

Where all data lies at hand, all rows of an epoch are shuffled together (`WholeOrder`). Where shards must be fetched,
each rank has a lane of its own through them, and shuffles the rows of a window of shards at a time (`LaneOrder`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np


def permutation(rows: int, *seeds: int) -> np.ndarray:
    """A permutation of range(rows), int64, from the seeds alone; the same on every numpy and machine."""
    # raw bits and a sort: numpy promises the stream of a bit generator for good, that of Generator.permutation not
    bits = np.random.Philox(np.random.SeedSequence(list(seeds)))
    return np.argsort(bits.random_raw(rows), kind="stable")


@dataclass(frozen=True)
class Layout:
    """How rows lie in shards, in the order of their numbers: the rows of each shard, and its source."""

    sizes: np.ndarray  # int64
    sources: Sequence[str]

    @classmethod
    def of_parts(cls, parts: np.ndarray, sources: Sequence[str]) -> Layout:
        """The layout of rows of which each is in one of the parts; `sources` are the parts'."""
        starts = np.flatnonzero(np.diff(parts, prepend=-1))
        return cls(np.diff(starts, append=len(parts)), [sources[part] for part in parts[starts].tolist()])

    @property
    def rows(self) -> int:
        """All of them together."""
        return int(self.sizes.sum())

    def of_source(self, source: str) -> np.ndarray:
        """Which shards are of a source and have rows, bool."""
        return np.array([own == source for own in self.sources], bool) & (self.sizes > 0)

    def numbers(self, source: str) -> np.ndarray:
        """The numbers of a source's rows, in order."""
        return np.flatnonzero(np.repeat(self.of_source(source), self.sizes))


class Order(Protocol):
    """An endless sequence of row numbers, epoch after epoch."""

    rows: int  # of an epoch

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the rows at these positions, int64."""

    def coming(self, position: int) -> list[int]:
        """Return the shards that rows are taken from, from a position on for a while; [] where all are at hand."""


class WholeOrder:
    """All rows of an epoch, shuffled together. `numbers` gives the rows their numbers; None: 0, 1, ..."""

    def __init__(self, rows: int, seed: int, numbers: np.ndarray | None = None) -> None:
        if rows < 1:
            raise ValueError("the data set has no rows to take batches from")
        self.rows, self._seed, self._numbers = rows, seed, numbers
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the rows at these positions, int64."""
        epochs, places = np.divmod(positions, self.rows)
        found = np.empty(len(positions), np.int64)
        for epoch in np.unique(epochs).tolist():
            if epoch != self._epoch:
                self._epoch, self._order = epoch, permutation(self.rows, self._seed, epoch)
            found[epochs == epoch] = self._order[places[epochs == epoch]]
        return found if self._numbers is None else self._numbers[found]

    def coming(self, position: int) -> list[int]:
        """Nothing is fetched ahead."""
        return []


class _Lane(NamedTuple):
    """One epoch of a lane: its pieces of shards in order, and its windows of pieces."""

    shards: np.ndarray
    firsts: np.ndarray  # row number of each piece's first row
    sizes: np.ndarray  # rows of each piece
    ends: np.ndarray  # positions in the lane at which its windows end


class LaneOrder:
    """One of `lanes` equal lanes through shards: no row is in two, and all together are every row of an epoch, once.

    The order of shards follows from (seed, epoch). It is cut by rows, so a shard at a cut belongs to two lanes, each
    with its own rows. Within a lane the rows of each `window` pieces of shards are shuffled by (seed, epoch, lane,
    window). Memory grows with the shards, not with their rows. ValueError where there are fewer rows than lanes.
    """

    def __init__(
        self,
        sizes: np.ndarray,
        seed: int,
        window: int = 16,
        lane: int = 0,
        lanes: int = 1,
        only: np.ndarray | None = None,
    ) -> None:
        """`sizes` are the rows of each shard, in the order of their numbers; `only` says which shards are wanted."""
        self._seed, self._window, self._lane = seed, window, lane
        self._starts = np.cumsum(sizes) - sizes
        self._sizes = np.asarray(sizes, np.int64) if only is None else np.where(only, sizes, 0)
        total = int(self._sizes.sum())
        if total < lanes or window < 1 or not 0 <= lane < lanes:
            raise ValueError(
                f"{total} rows are not enough for each of {lanes} lanes, or window {window} holds no shard"
            )
        self._begin, self._end = total * lane // lanes, total * (lane + 1) // lanes
        self.rows = self._end - self._begin
        self._epoch = functools.lru_cache(2)(self._of_epoch)
        self._rows = functools.lru_cache(2)(self._of_window)

    def _of_epoch(self, epoch: int) -> _Lane:
        order = permutation(len(self._sizes), self._seed, epoch)
        order = order[self._sizes[order] > 0]
        ends = np.cumsum(self._sizes[order])
        starts = ends - self._sizes[order]
        inside = (ends > self._begin) & (starts < self._end)
        shards, starts, ends = order[inside], starts[inside], ends[inside]
        first, last = np.maximum(starts, self._begin), np.minimum(ends, self._end)
        windows = np.append(np.arange(self._window, len(shards), self._window), len(shards)) - 1
        return _Lane(shards, self._starts[shards] + first - starts, last - first, (last - self._begin)[windows])

    def _of_window(self, epoch: int, window: int) -> np.ndarray:
        """Return the rows of a window in their order."""
        lane = self._epoch(epoch)
        pieces = slice(window * self._window, (window + 1) * self._window)
        firsts, sizes = lane.firsts[pieces], lane.sizes[pieces]
        rows = np.repeat(firsts - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
        # one more than each number: seeds that end in zeros are as if they were shorter
        return rows[permutation(len(rows), self._seed, epoch, self._lane + 1, window + 1)]

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the rows at these positions, int64."""
        epochs, places = np.divmod(positions, self.rows)
        found = np.empty(len(positions), np.int64)
        for epoch in np.unique(epochs).tolist():
            ends = self._epoch(epoch).ends
            windows = np.searchsorted(ends, places, side="right")
            for window in np.unique(windows[epochs == epoch]).tolist():
                chosen = (epochs == epoch) & (windows == window)
                first = 0 if window == 0 else int(ends[window - 1])
                found[chosen] = self._rows(epoch, window)[places[chosen] - first]
        return found

    def coming(self, position: int) -> list[int]:
        """Return the shards of the window of a position, and of the one after it."""
        found: list[int] = []
        for _ in range(2):
            epoch, place = divmod(position, self.rows)
            lane = self._epoch(epoch)
            window = int(np.searchsorted(lane.ends, place, side="right"))
            found += lane.shards[window * self._window : (window + 1) * self._window].tolist()
            position = epoch * self.rows + int(lane.ends[window])
        return found


class EpochSampler:
    """Row numbers of any step, without a state: int64 [batch / world], this rank's slice of the step's global batch.

    Every row comes once per epoch, and a batch may span two. The ranks of any world size see the same global batches.
    """

    def __init__(self, order: Order, batch: int, rank: int = 0, world: int = 1) -> None:
        self.order, self.batch, self.rank, self.world = order, batch, rank, world
        _check_slice(batch, rank, world)

    def at(self, step: int) -> np.ndarray:
        """Return the rows of a step."""
        return self.order.at(_slots(self, step))

    def coming(self, step: int) -> list[int]:
        """Return the shards that rows are taken from, from a step on for a while."""
        return self.order.coming(int(_slots(self, step)[0]))


PATTERN = 4096  # slots after which the mix of groups begins again


class MixedSampler:
    """Row numbers of any step, without a state, where each group of rows gives its share of all samples.

    Groups take turns as evenly as their shares allow, in a pattern of `PATTERN` slots; within a group epoch follows
    epoch, as in `EpochSampler`. `orders` are those of the groups, `shares` any positive numbers. ValueError where there
    is no group, or one has so small a share that it never comes.
    """

    def __init__(
        self, orders: Sequence[Order], shares: Sequence[float], batch: int, rank: int = 0, world: int = 1
    ) -> None:
        if not orders:
            raise ValueError("there are no groups to take batches from")
        self._orders, self.batch, self.rank, self.world = list(orders), batch, rank, world
        _check_slice(batch, rank, world)
        self._pattern = _turns(np.asarray(shares, np.float64) / sum(shares))
        self._each = np.bincount(self._pattern, minlength=len(orders))
        if not self._each.all():
            raise ValueError(f"a share is below one in {PATTERN}: it would never come. Raise it")
        ranks = np.zeros((len(orders), PATTERN), np.int64)
        for group in range(len(orders)):
            ranks[group, 1:] = np.cumsum(self._pattern == group)[:-1]
        self._before = ranks  # slots of each group before each slot

    def at(self, step: int) -> np.ndarray:
        """Return the rows of a step, int64 [batch / world]."""
        turns, places = np.divmod(_slots(self, step), PATTERN)
        groups = self._pattern[places]
        found = np.empty(len(places), np.int64)
        for group in np.unique(groups).tolist():
            own = groups == group
            found[own] = self._orders[group].at(turns[own] * self._each[group] + self._before[group, places[own]])
        return found

    def coming(self, step: int) -> list[int]:
        """Return the shards that rows are taken from, from a step on for a while."""
        turn, place = divmod(int(_slots(self, step)[0]), PATTERN)
        return [
            shard
            for group, order in enumerate(self._orders)
            for shard in order.coming(turn * int(self._each[group]) + int(self._before[group, place]))
        ]


Sampler = EpochSampler | MixedSampler


def _check_slice(batch: int, rank: int, world: int) -> None:
    if not 0 <= rank < world or batch < 1 or batch % world:
        raise ValueError(
            f"rank {rank} of {world} cannot take its slice of batches of {batch}; rank is below world, and the "
            "global batch size a multiple of it"
        )


def _slots(sampler: Sampler, step: int) -> np.ndarray:
    """Return the places of a rank's rows among all that are ever drawn."""
    share = sampler.batch // sampler.world
    return step * sampler.batch + sampler.rank * share + np.arange(share)


def _turns(shares: np.ndarray) -> np.ndarray:
    """Return which group each slot of the pattern is of: always the one that is furthest behind its share."""
    counts, found = np.zeros(len(shares)), np.empty(PATTERN, np.int64)
    for slot in range(PATTERN):
        found[slot] = group = int(np.argmax(shares * (slot + 1) - counts))
        counts[group] += 1
    return found
