"""Which sources serve a stage, and how the samples of a training are shared among them.

The graph tells a stage what serves it (`Stage.given`): names, or names with weights. A stage that is told nothing takes
from every source. The source of a sample is known by the name of its shard.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from components.data.order import EpochSampler, MixedSampler
from pipelines.config.source_kinds import source_key
from pipelines.errors import UserError
from pipelines.stage import source_of

Weights = Mapping[str, float | None]  # source -> weight; None: it has none


def of_sources(paths: Sequence[str], names: Collection[str] | None) -> list[str]:
    """Return the shards that are of these sources; all where `names` is None."""
    return [path for path in paths if names is None or source_of(path) in names]


def mixed(
    sources: Sequence[str], weights: Weights | None, batch: int, seed: int, rank: int = 0, world: int = 1
) -> EpochSampler | MixedSampler:
    """Return what draws the rows of each step, from the source of each row. Without weights every row comes equally
    often; with them, each source gives its share of the samples. `UserError` where a source with a weight has no row.
    """
    given = {name: weight for name, weight in (weights or {}).items() if weight is not None}
    if not given:
        return EpochSampler(len(sources), batch, seed, rank, world)
    at = np.asarray(sources)
    groups = [np.flatnonzero(at == name) for name in sorted(given)]
    empty = [source_key(name) for name, rows in zip(sorted(given), groups, strict=True) if not len(rows)]
    if empty:
        raise UserError(
            f"{empty[0]} has a weight, and none of its samples can be trained on here. Bring more of them, or take "
            "what it cannot serve out of its `use`."
        )
    return MixedSampler(groups, [given[name] for name in sorted(given)], batch, seed, rank, world)
