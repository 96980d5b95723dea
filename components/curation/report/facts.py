"""What a report says of decided rows, as numbers: sources, funnel, flows, signals, and which rows are examples.

Rows may be samples or edit pairs: each has a source, a state (kept, dropped, failed) with its reason, and signals. The
stages that can lose a row stand in their order: the last decides, the one before it measures, others come before.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

NEAR = 4  # examples on each side of a threshold
OF_REASON = 8  # examples of each reason, and of what is kept
SHOWN_SHARDS = 24  # examples are taken from so many shards, spread evenly: each must be fetched and read


class Decided(Protocol):
    """What became of a row."""

    @property
    def state(self) -> str:
        """Kept, dropped or failed."""
        ...

    @property
    def reason(self) -> str:
        """Why; empty for a kept one."""
        ...


End = tuple[str, str, str]  # (stage, state, reason)


@dataclass(frozen=True)
class Bound:
    """A rule with a number: rows whose signal is below `least` or above `most` go, for `reason`."""

    reason: str
    signal: str
    least: float | None = None
    most: float | None = None

    @property
    def limit(self) -> float:
        """The number."""
        return float(self.most if self.least is None else self.least)  # type: ignore[arg-type]

    def words(self) -> str:
        """`at least 4`."""
        return f"at {'most' if self.least is None else 'least'} {self.limit:g}"


@dataclass(frozen=True)
class Step:
    """One step of the funnel: the rows that a reason took in a stage, and those left after it."""

    stage: str
    state: str  # dropped or failed
    reason: str
    lost: int
    left: int


@dataclass(frozen=True)
class Signal:
    """The values of one signal: of kept rows, of others, and how many rows have none. `near`: for each bound the row
    numbers just on its good side and just on its bad side, nearest first.
    """

    name: str
    kept: np.ndarray
    lost: np.ndarray
    missing: int
    bounds: tuple[Bound, ...]
    near: tuple[tuple[Bound, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def values(self) -> np.ndarray:
        """All values."""
        return np.concatenate([self.kept, self.lost])


@dataclass(frozen=True)
class Facts:
    """All numbers of a report."""

    stages: tuple[str, ...]
    sources: dict[str, Counter[str]]  # source -> input, kept, dropped, failed
    ends: tuple[End, ...]  # where rows were lost and why, in the order of the funnel
    flows: dict[tuple[str, End], int]  # (source, its end) -> rows
    signals: tuple[Signal, ...]
    examples: dict[End, tuple[int, ...]]  # row numbers

    def funnel(self, source: str | None = None) -> list[Step]:
        """The steps of a source; None: of all together."""
        names = self.sources if source is None else (source,)
        left, steps = sum(self.sources[name]["input"] for name in names), []
        for end in self.ends:
            if lost := sum(self.flows.get((name, end), 0) for name in names):
                left -= lost
                steps.append(Step(*end, lost, left))
        return steps

    @property
    def total(self) -> Counter[str]:
        """input, kept, dropped and failed of all sources."""
        return sum(self.sources.values(), Counter())

    def shown(self) -> set[int]:
        """Every row whose picture the page shows."""
        near = {row for signal in self.signals for _, good, bad in signal.near for row in (*good, *bad)}
        return near | {row for rows in self.examples.values() for row in rows}


def gather(
    decisions: Sequence[Decided],
    shards: Sequence[str],
    sources: Sequence[str],
    signals: Mapping[str, Sequence[Any]],
    bounds: Sequence[Bound],
    stages: Sequence[str],
    order: Sequence[str] = (),
    before: Mapping[str, Mapping[End, int]] | None = None,
) -> Facts:
    """Return the facts of rows. `order`: the reasons in which they are decided, first ones first; reasons that it does
    not name come after. `before`: source -> {end: rows} that were lost before rows were measured, of which there is
    nothing but their number. Numeric signals alone are drawn.
    """
    *_, measuring, deciding = stages
    counts: dict[str, Counter[str]] = {}
    flows: Counter[tuple[str, End]] = Counter()
    ends = [(measuring if d.state == "failed" else deciding, d.state, d.reason) for d in decisions]
    for source, end in zip(sources, ends, strict=True):
        counts.setdefault(source, Counter()).update(("input", end[1]))
        flows[source, end] += 1
    for source, lost in (before or {}).items():
        for end, count in lost.items():
            counts.setdefault(source, Counter()).update({"input": count, end[1]: count})
            flows[source, end] += count
    place = {reason: number for number, reason in enumerate(order)}
    ranked = sorted(
        {end for _, end in flows if end[1] != "kept"},
        key=lambda end: (stages.index(end[0]), place.get(end[2], len(place)) if end[0] == deciding else 0, end),
    )
    shown = _shown_rows(shards)
    return Facts(
        tuple(stages),
        {name: counts[name] for name in sorted(counts)},
        tuple(ranked),
        dict(flows),
        tuple(found for name, values in signals.items() if (found := _signal(name, values, decisions, bounds, shown))),
        _examples(ends, shown),
    )


def _shown_rows(shards: Sequence[str]) -> np.ndarray:
    """True for rows of the shards that examples are taken from."""
    names = list(dict.fromkeys(shards))
    chosen = {names[number * len(names) // SHOWN_SHARDS] for number in range(SHOWN_SHARDS)} if names else set()
    return np.array([shard in chosen for shard in shards], bool)


def _examples(ends: Sequence[End], shown: np.ndarray) -> dict[End, tuple[int, ...]]:
    """A few rows of each reason, evenly spread; of shards that are read anyway, where these have any."""
    of_reason: dict[End, list[int]] = {}
    for row, end in enumerate(ends):
        of_reason.setdefault(end, []).append(row)
    found = {}
    for key, rows in sorted(of_reason.items(), key=lambda item: (item[0][1] != "kept", item[0][1:])):
        rows = [row for row in rows if shown[row]] or rows[:1]
        count = min(OF_REASON, len(rows))
        found[key] = tuple(rows[number * len(rows) // count] for number in range(count))
    return found


def _signal(
    name: str, values: Sequence[Any], decisions: Sequence[Decided], bounds: Sequence[Bound], shown: np.ndarray
) -> Signal | None:
    """The figures of one signal; None where it is no number, or the same everywhere and asked for nothing."""
    readable = [
        value if isinstance(value, int | float) and not isinstance(value, bool) and decision.state != "failed" else None
        for value, decision in zip(values, decisions, strict=True)
    ]
    if any(value is not None and not isinstance(value, int | float) for value in values):
        return None
    column = np.array([math.nan if value is None else float(value) for value in readable])
    known = np.isfinite(column)
    own = tuple(bound for bound in bounds if bound.signal == name)
    if not known.any() or (not own and np.ptp(column[known]) == 0):
        return None
    kept = np.array([decision.state == "kept" for decision in decisions], bool)
    missing = sum(decision.state != "failed" for decision in decisions) - int(known.sum())
    near = tuple((bound, *_near(column, bound, known & shown)) for bound in own)
    return Signal(name, column[known & kept], column[known & ~kept], missing, own, near)


def _near(column: np.ndarray, bound: Bound, rows: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    bad = column > bound.limit if bound.least is None else column < bound.limit
    distance = np.abs(column - bound.limit)

    def nearest(chosen: np.ndarray) -> tuple[int, ...]:
        found = np.flatnonzero(rows & chosen)
        return tuple(int(row) for row in found[np.argsort(distance[found], kind="stable")][:NEAR])

    return nearest(~bad), nearest(bad)
