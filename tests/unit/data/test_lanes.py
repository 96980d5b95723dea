"""Lanes through shards: no row lost or seen twice in an epoch, any step without those before it, pages of few shards at
a time.
"""

import numpy as np
import pytest

from components.data.order import EpochSampler, LaneOrder, Layout, MixedSampler

pytestmark = pytest.mark.unit
SIZES = np.array([5, 0, 17, 3, 8, 8, 1, 30, 4, 9, 0, 11])
OF = np.repeat(np.arange(len(SIZES)), SIZES)  # the shard of each row


def lanes(world: int, seed: int = 3, window: int = 3, sizes: np.ndarray = SIZES) -> list[LaneOrder]:
    return [LaneOrder(sizes, seed, window, lane, world) for lane in range(world)]


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_no_row_of_an_epoch_is_lost_or_in_two_lanes_and_lanes_are_equally_long(world):
    for epoch in range(3):
        own = [lane.at(epoch * lane.rows + np.arange(lane.rows)) for lane in lanes(world)]
        assert sorted(np.concatenate(own).tolist()) == list(range(SIZES.sum()))
        assert max(map(len, own)) - min(map(len, own)) <= 1


def test_a_batch_may_span_epochs_and_every_row_still_comes_once_in_each():
    for lane in lanes(2):
        sampler = EpochSampler(lane, 7)
        rows = np.concatenate([sampler.at(step) for step in range(40)])
        whole = rows[: len(rows) // lane.rows * lane.rows].reshape(-1, lane.rows)
        assert len(whole) > 3 and len({tuple(epoch) for epoch in whole}) == len(whole)
        assert all(len(set(epoch)) == lane.rows for epoch in whole)


def test_any_step_is_found_without_those_before_it_and_the_same_after_a_restart():
    walked = [[EpochSampler(lane, 6).at(step).tolist() for step in range(60)] for lane in lanes(3)]
    for rank, lane in enumerate(lanes(3)):
        resumed = EpochSampler(lane, 6)
        for step in (59, 0, 17, 33, 16):
            assert resumed.at(step).tolist() == walked[rank][step]
    assert walked[0] != [EpochSampler(lanes(3, seed=4)[0], 6).at(step).tolist() for step in range(60)]


def test_the_rows_of_a_window_come_from_its_shards_alone_and_are_named_ahead():
    (lane,) = lanes(1, window=2)
    step = 4
    for position in range(0, 3 * lane.rows, step):
        coming = lane.coming(position)
        assert len(coming) <= 4 and set(OF[lane.at(position + np.arange(step))].tolist()) <= set(coming)


def test_the_order_differs_by_epoch_in_shards_and_in_rows():
    (lane,) = lanes(1, window=1)
    first, second = (lane.at(epoch * lane.rows + np.arange(lane.rows)) for epoch in range(2))
    assert [k for k, _ in zip(OF[first], range(5), strict=False)] != [
        k for k, _ in zip(OF[second], range(5), strict=False)
    ]
    longest = int(np.argmax(SIZES))
    inside = [rows[OF[rows] == longest].tolist() for rows in (first, second)]
    assert inside[0] != inside[1] != sorted(inside[1]) and sorted(inside[0]) == sorted(inside[1])


def test_memory_grows_with_shards_and_not_with_rows():
    many = LaneOrder(np.full(100_000, 10_000), 0, 1, 3, 8)
    rows = many.at(np.arange(100) + 70_000_000)
    assert len(set(rows.tolist())) == 100 and len(set((rows // 10_000).tolist())) <= 2


def test_groups_keep_their_shares_and_rows_in_a_lane():
    layout = Layout(SIZES, ["a" if n % 3 else "b" for n in range(len(SIZES))])
    groups = [layout.of_source(source) for source in ("a", "b")]
    seen: list[list[int]] = [[], []]
    for lane in range(2):
        orders = [LaneOrder(SIZES, 5 + n, 2, lane, 2, group) for n, group in enumerate(groups)]
        rows = np.concatenate([MixedSampler(orders, [3, 1], 8).at(step) for step in range(20)])
        for source, (order, group) in enumerate(zip(orders, groups, strict=True)):
            own = rows[np.isin(OF[rows], np.flatnonzero(group))]
            assert len(own) / len(rows) == (0.75, 0.25)[source]
            assert len(set(own[: order.rows].tolist())) == order.rows
            seen[source] += own[: order.rows].tolist()
    assert [sorted(own) for own in seen] == [layout.numbers(source).tolist() for source in ("a", "b")]


def test_too_few_rows_for_the_lanes_are_refused():
    with pytest.raises(ValueError, match="2 rows are not enough for each of 3 lanes"):
        LaneOrder(np.array([1, 1]), 0, 16, 0, 3)
