"""The order of samples: a shuffle of each epoch that (seed, epoch) alone decides, each rank's share of every step, and
groups of samples mixed by given shares.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def epoch_order(
    rows: int, seed: int, epoch: int, shard_sizes: Sequence[int] | None = None, shards_per_window: int = 16
) -> np.ndarray:
    """The order of an epoch: a permutation of range(rows), int64, from (seed, epoch) alone; the same on every numpy and
    machine.

    With `shard_sizes` (rows per shard, in order) shards are shuffled, then rows among each `shards_per_window` shards
    in turn: for data sets larger than memory, whose pages are then read once an epoch instead of at random. Without,
    all rows are shuffled together.
    """
    # raw bits and a sort: numpy promises the stream of a bit generator for good, that of Generator.permutation not
    bits = np.random.Philox(np.random.SeedSequence([seed, epoch]))
    if shard_sizes is None:
        return np.argsort(bits.random_raw(rows), kind="stable")
    if sum(shard_sizes) != rows:
        raise ValueError(f"the shards have {sum(shard_sizes)} rows together, not {rows}; give the sizes of all shards")
    place = np.empty(len(shard_sizes), np.int64)
    place[np.argsort(bits.random_raw(len(shard_sizes)), kind="stable")] = np.arange(len(shard_sizes))
    window = np.repeat(place // shards_per_window, shard_sizes)
    return np.lexsort((bits.random_raw(rows), window))


class EpochSampler:
    """Row numbers of any step, without a state: int64 [batch / world], this rank's slice of the step's global batch.

    Epoch follows epoch: every row comes once per epoch, and a batch may span two. The global order depends on (seed,
    epoch) alone, so the ranks of any world size see the same global batches, and resuming at a step is exact.
    """

    def __init__(
        self,
        rows: int,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        shard_sizes: Sequence[int] | None = None,
        shards_per_window: int = 16,
    ) -> None:
        if rows < 1:
            raise ValueError("the data set has no rows to take batches from")
        if not 0 <= rank < world or batch < 1 or batch % world:
            raise ValueError(
                f"rank {rank} of {world} cannot take its slice of batches of {batch}; rank is below world, and the "
                "global batch size a multiple of it"
            )
        self.rows, self.batch, self.seed, self.rank, self.world = rows, batch, seed, rank, world
        self._windows = (shard_sizes, shards_per_window)
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def at(self, step: int) -> np.ndarray:
        """Return the rows of a step."""
        share = self.batch // self.world
        start = step * self.batch + self.rank * share
        parts: list[np.ndarray] = []
        while share:
            epoch, place = divmod(start, self.rows)
            if epoch != self._epoch:
                self._epoch, self._order = epoch, epoch_order(self.rows, self.seed, epoch, *self._windows)
            parts.append(self._order[place : place + share])
            start, share = start + len(parts[-1]), share - len(parts[-1])
        return np.concatenate(parts)


PATTERN = 4096  # slots after which the mix of groups begins again


class MixedSampler:
    """Row numbers of any step, without a state, where each group of rows gives its share of all samples.

    Groups take turns as evenly as their shares allow, in a pattern of `PATTERN` slots; within a group epoch follows
    epoch, as in `EpochSampler`. `groups` are arrays of row numbers, `shares` any positive numbers. ValueError where a
    group has no rows, or so small a share that it never comes.
    """

    def __init__(
        self,
        groups: Sequence[np.ndarray],
        shares: Sequence[float],
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if not groups or any(not len(rows) for rows in groups):
            raise ValueError("every group to take batches from needs rows")
        if not 0 <= rank < world or batch < 1 or batch % world:
            raise ValueError(f"rank {rank} of {world} cannot take its slice of batches of {batch}")
        self._groups, self.batch, self.rank, self.world = list(groups), batch, rank, world
        self._pattern = _turns(np.asarray(shares, np.float64) / sum(shares))
        self._each = np.bincount(self._pattern, minlength=len(groups))
        if not self._each.all():
            raise ValueError(f"a share is below one in {PATTERN}: it would never come. Raise it")
        ranks = np.zeros((len(groups), PATTERN), np.int64)
        for group in range(len(groups)):
            ranks[group, 1:] = np.cumsum(self._pattern == group)[:-1]
        self._before = ranks[self._pattern, np.arange(PATTERN)]  # slots of its group before each slot
        self._seeds = [(seed * 1_000_003 + group + 1) % 2**63 for group in range(len(groups))]
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def at(self, step: int) -> np.ndarray:
        """Return the rows of a step, int64 [batch / world]."""
        share = self.batch // self.world
        slots = step * self.batch + self.rank * share + np.arange(share)
        turns, places = np.divmod(slots, PATTERN)
        found = np.empty(share, np.int64)
        for n, (turn, place) in enumerate(zip(turns.tolist(), places.tolist(), strict=True)):
            group = int(self._pattern[place])
            rows = self._groups[group]
            epoch, position = divmod(turn * int(self._each[group]) + int(self._before[place]), len(rows))
            if self._orders.get(group, (-1,))[0] != epoch:
                self._orders[group] = epoch, epoch_order(len(rows), self._seeds[group], epoch)
            found[n] = rows[self._orders[group][1][position]]
        return found


def _turns(shares: np.ndarray) -> np.ndarray:
    """Return which group each slot of the pattern is of: always the one that is furthest behind its share."""
    counts, found = np.zeros(len(shares)), np.empty(PATTERN, np.int64)
    for slot in range(PATTERN):
        found[slot] = group = int(np.argmax(shares * (slot + 1) - counts))
        counts[group] += 1
    return found
