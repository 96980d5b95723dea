"""Gates: what a model's figures must be, by themselves and beside the current champion's. Standard library only, for
the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Gate:
    """One figure of the evaluation, by its dotted name in the report, and its limits."""

    metric: str
    limit: float | None = None  # the least it may be; the most, where lower is better
    max_drop: float | None = None  # how much worse than the champion it may be
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if self.limit is None and self.max_drop is None:
            raise ValueError(f"the gate on {self.metric} asks for nothing: set its limit or max_drop")
        if self.max_drop is not None and self.max_drop < 0:
            raise ValueError(f"max_drop of the gate on {self.metric} is {self.max_drop}; it is not negative")


@dataclass(frozen=True)
class Verdict:
    """Whether a gate was passed, and in words by how much it was not."""

    metric: str
    passed: bool
    words: str
    skipped: bool = False  # it was not held, and lets every version pass


def check_gates(
    gates: Sequence[Gate],
    figures: Mapping[str, float],
    champion: Mapping[str, float] | None,
    skipped: Mapping[str, str] | None = None,
) -> list[Verdict]:
    """Hold figures to every gate. `champion` are the champion's figures of the same evaluation; None: there is nothing
    to compare with. `skipped` are the figures that the data cannot have, each with why.
    """
    skips = skipped or {}
    return [
        Verdict(gate.metric, True, f"the gate on {gate.metric} was skipped: {skips[gate.metric]}", skipped=True)
        if gate.metric in skips
        else _check(gate, figures.get(gate.metric), champion)
        for gate in gates
    ]


def _check(gate: Gate, value: float | None, champion: Mapping[str, float] | None) -> Verdict:
    if value is None:
        return Verdict(gate.metric, False, f"{gate.metric} was not measured, and a gate asks for it")
    sign = 1 if gate.higher_is_better else -1
    if gate.limit is not None and sign * (value - gate.limit) < 0:
        side = "below" if gate.higher_is_better else "above"
        return Verdict(
            gate.metric,
            False,
            f"{gate.metric} is {value:.4g}, {abs(value - gate.limit):.4g} {side} the limit {gate.limit:.4g}",
        )
    if gate.max_drop is None or champion is None:
        return Verdict(gate.metric, True, f"{gate.metric} is {value:.4g}")
    theirs = champion.get(gate.metric)
    if theirs is None:
        return Verdict(gate.metric, True, f"{gate.metric} is {value:.4g}; the champion's was not measured")
    drop = sign * (theirs - value)
    if drop > gate.max_drop:
        return Verdict(
            gate.metric,
            False,
            f"{gate.metric} is {value:.4g}, worse than the champion's {theirs:.4g} by {drop:.4g}; "
            f"{gate.max_drop:.4g} is allowed",
        )
    return Verdict(gate.metric, True, f"{gate.metric} is {value:.4g}, the champion's {theirs:.4g}")
