"""Which sources serve a stage, and how the samples of a training are shared among them.

The graph tells a stage what serves it (`Stage.given`): names, or names with weights. A stage that is told nothing takes
from every source. The source of a sample is known by the name of its shard.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.data.order import EpochSampler, LaneOrder, Layout, MixedSampler, Order, Sampler, WholeOrder
from pipelines.config.source_kinds import source_key
from pipelines.errors import UserError
from pipelines.stage import source_of

if TYPE_CHECKING:
    from pipelines.training.worker import BuildContext

Weights = Mapping[str, float | None]  # source -> weight; None: it has none


@dataclass(frozen=True)
class Draw:
    """How rows are drawn by one rank."""

    seed: int
    rank: int = 0
    world: int = 1
    window: int | None = None  # shards whose rows are shuffled together, in a lane of each rank; None: all rows

    @classmethod
    def of(cls, context: BuildContext, size: int) -> Draw:
        """Return how a training draws from data of `size` bytes: shuffled as a whole where it is small. `UserError`
        where a whole shuffle would fetch the same files again and again.
        """
        shuffle, limit = context.config.shuffle, context.config.execution.node_cache_gb
        if size > shuffle.full_gb * 2**30:
            return cls(context.seed, context.rank, context.world, shuffle.window_shards)
        if not context.store.is_local and size > limit * 2**30:
            raise UserError(
                f"{size / 2**30:.1f} GB are shuffled as a whole (shuffle.full_gb={shuffle.full_gb:g}), and a node "
                f"keeps {limit:g} GB of the store's files. Raise execution.node_cache_gb, or lower shuffle.full_gb."
            )
        return cls(context.seed, context.rank, context.world)

    def own(self, batch: int) -> int:
        """Return how many of a batch a rank draws by itself: all, or its share in its lane. ValueError where the ranks
        cannot share it equally.
        """
        if self.window is None:
            return batch
        if batch % self.world:
            raise ValueError(
                f"{self.world} workers cannot share a batch of {batch} equally; make it a multiple of them"
            )
        return batch // self.world


def of_sources(paths: Sequence[str], names: Collection[str] | None) -> list[str]:
    """Return the shards that are of these sources; all where `names` is None."""
    return [path for path in paths if names is None or source_of(path) in names]


def mixed(layout: Layout, weights: Weights | None, batch: int, draw: Draw) -> Sampler:
    """Return what draws the rows of each step, by how they lie in shards. Without weights every row comes equally
    often; with them, each source gives its share of the samples. `UserError` where a source with a weight has no row.
    """
    given = {name: weight for name, weight in (weights or {}).items() if weight is not None}
    batch = draw.own(batch)
    rank, world = (draw.rank, draw.world) if draw.window is None else (0, 1)
    if not given:
        return EpochSampler(_order(layout, None, draw.seed, draw), batch, rank, world)
    names = sorted(given)
    empty = [source_key(name) for name in names if not layout.of_source(name).any()]
    if empty:
        raise UserError(
            f"{empty[0]} has a weight, and none of its samples can be trained on here. Bring more of them, or take "
            "what it cannot serve out of its `use`."
        )
    seeds = [(draw.seed * 1_000_003 + group + 1) % 2**63 for group in range(len(names))]
    orders = [_order(layout, name, seed, draw) for name, seed in zip(names, seeds, strict=True)]
    return MixedSampler(orders, [given[name] for name in names], batch, rank, world)


def _order(layout: Layout, source: str | None, seed: int, draw: Draw) -> Order:
    if draw.window is not None:
        only = None if source is None else layout.of_source(source)
        return LaneOrder(layout.sizes, seed, draw.window, draw.rank, draw.world, only)
    if source is None:
        return WholeOrder(layout.rows, seed)
    numbers = layout.numbers(source)
    return WholeOrder(len(numbers), seed, numbers)
