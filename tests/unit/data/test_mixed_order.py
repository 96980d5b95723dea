"""Samples of several groups mixed by shares: exact shares, every row of a group in turn, the same on every rank."""

import numpy as np
import pytest

from components.data.order import PATTERN, EpochSampler, MixedSampler, WholeOrder

pytestmark = pytest.mark.unit
GROUPS = [np.arange(0, 7), np.arange(7, 30), np.arange(30, 33)]


def mixed(shares: list[float], batch: int, seed: int, rank: int = 0, world: int = 1) -> MixedSampler:
    orders = [WholeOrder(len(rows), seed + group, rows) for group, rows in enumerate(GROUPS[: len(shares)])]
    return MixedSampler(orders, shares, batch, rank, world)


def drawn(sampler: MixedSampler, steps: range) -> np.ndarray:
    return np.concatenate([sampler.at(step) for step in steps])


def test_each_group_gives_its_share_of_every_stretch():
    rows = drawn(mixed([0.5, 0.3, 0.2], 10, 3), range(200))
    for group, share in zip(GROUPS, (0.5, 0.3, 0.2), strict=True):
        inside = np.isin(rows, group)
        assert inside.mean() == pytest.approx(share, abs=0.002)
        assert np.abs(np.cumsum(inside) - share * np.arange(1, len(rows) + 1)).max() < 2


def test_a_groups_rows_come_once_an_epoch_across_the_pattern():
    rows = drawn(mixed([2, 1, 1], 16, 5), range(PATTERN // 4))  # four turns of the pattern
    for group in GROUPS:
        own = rows[np.isin(rows, group)]
        epochs = len(own) // len(group)
        whole = own[: epochs * len(group)].reshape(epochs, len(group))
        assert all(set(epoch) == set(group) for epoch in whole)
        assert len({tuple(epoch) for epoch in whole[:20]}) > 1


def test_any_step_follows_from_the_seed_alone_and_ranks_see_one_batch():
    whole = mixed([3, 1, 1], 8, 7)
    halves = [mixed([3, 1, 1], 8, 7, rank, 2) for rank in range(2)]
    for step in (1000, 3, 512, 4):
        assert np.array_equal(whole.at(step), mixed([3, 1, 1], 8, 7).at(step))
        assert np.array_equal(whole.at(step), np.concatenate([half.at(step) for half in halves]))
    assert not np.array_equal(whole.at(3), mixed([3, 1, 1], 8, 8).at(3))


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(ValueError, match="has no rows"):
        WholeOrder(0, 0)
    with pytest.raises(ValueError, match="no groups"):
        MixedSampler([], [], 8)
    with pytest.raises(ValueError, match="would never come"):
        mixed([1, 1e-6], 8, 0)
    with pytest.raises(ValueError, match="cannot take its slice"):
        mixed([1, 1, 1], 9, 0, 0, 2)
    assert len(EpochSampler(WholeOrder(33, 0), 8).at(0)) == len(mixed([1, 1, 1], 8, 0).at(0))
