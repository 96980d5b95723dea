"""How well lanes and windows mix, beside a whole shuffle, on data at its worst: sorted by class.

    python -m tests.benchmarks.mixing [SHARDS] [ROWS]

Two numbers for each order, over the steps of an epoch:
- the distance of a step's classes from all data's: half the sum of |share in the step - share in all|, over 20 classes
  of neighbouring shards. 0 is perfect; a whole shuffle's is what chance leaves.
- the share of pairs of a step's samples that are of one shard.
"""

from __future__ import annotations

import sys

import numpy as np

from components.data.order import EpochSampler, LaneOrder, WholeOrder

CLASSES, WORLD, BATCH = 20, 8, 1024


def figures(steps: list[np.ndarray], shards: int, rows: int) -> tuple[float, float]:
    """Return both numbers of steps, each of row numbers."""
    distances, pairs = [], []
    for step in steps:
        shard = step // rows
        share = np.bincount(shard * CLASSES // shards, minlength=CLASSES) / len(step)
        distances.append(np.abs(share - 1 / CLASSES).sum() / 2)
        counts = np.bincount(shard, minlength=shards)
        pairs.append((counts * (counts - 1)).sum() / (len(step) * (len(step) - 1)))
    return float(np.mean(distances)), float(np.mean(pairs))


def main() -> None:
    """Print the numbers of a whole shuffle, of windows of several sizes, and of no shuffle within shards."""
    shards, rows = (int(value) for value in sys.argv[1:3]) if len(sys.argv) > 2 else (1090, 1000)
    count = shards * rows // BATCH
    sizes = np.full(shards, rows)
    whole = EpochSampler(WholeOrder(shards * rows, 1), BATCH)
    orders = {"whole shuffle": [whole.at(step) for step in range(count)]}
    for window in (1, 4, 16, 64):
        lanes = [EpochSampler(LaneOrder(sizes, 1, window, rank, WORLD), BATCH // WORLD) for rank in range(WORLD)]
        orders[f"{WORLD} lanes, windows of {window}"] = [
            np.concatenate([lane.at(step) for lane in lanes]) for step in range(count)
        ]
    orders["none"] = [np.arange(step * BATCH, (step + 1) * BATCH) for step in range(count)]
    print(f"{shards:,} shards of {rows:,} rows, {WORLD} workers, batches of {BATCH}")
    for name, steps in orders.items():
        distance, pairs = figures(steps, shards, rows)
        print(f"{name:<24} distance {distance:.3f}   pairs of one shard {pairs:.4f}")


if __name__ == "__main__":
    main()
