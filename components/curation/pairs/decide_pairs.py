"""Decisions on edit pairs from their signals: every pair is kept, dropped with a reason, or failed with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from components.curation.decide import Check, Decision
from components.curation.pairs.options import JudgeWeights, PairRules

JUDGED = ("compliance", "realism", "preservation", "technical")
# reason, signal, the options of its least and most value; in the order in which they decide.
LIMITS: tuple[tuple[str, str, str, str], ...] = (
    ("too_small", "min_side", "min_side", ""),
    ("no_instruction", "words", "min_words", ""),
    ("instruction_too_long", "words", "", "max_words"),
    ("other_shape", "aspect_change", "", "max_aspect_change"),
    ("no_change", "changed_share", "min_changed_share", ""),
    ("spills_outside_mask", "spill_share", "", "max_spill_share"),
    ("no_change_in_mask", "inside_share", "min_inside_share", ""),
    ("changes_too_much", "changed_share", "", "max_changed_share"),
    ("other_picture", "structure", "min_structure", ""),
    ("too_alike", "structure", "", "max_structure"),
    ("wrong_direction", "direction", "min_direction", ""),
    ("not_as_instructed", "instruction_direction", "min_instruction_direction", ""),
    ("judged_bad", "judge", "min_judge", ""),
)
OF_MODELS = {  # signal -> what measures it
    "direction": "measure_pairs.image_text",
    "instruction_direction": "measure_pairs.image_text",
    "judge": "measure_pairs.judge",
}
EXACT = {"wrong_edit": "its description gives another target", "wrong_instruction": "its instruction says another edit"}


def checks_in_order(rules: PairRules) -> list[Check]:
    """Return what these options ask for, in the order in which they decide."""
    return [
        Check(
            reason,
            signal,
            partial(_outside, limit, bool(low)),
            f"at {'least' if low else 'most'} {limit}",
            least=limit if low else None,
            most=None if low else limit,
        )
        for reason, signal, low, high in LIMITS
        if (limit := getattr(rules, low or high)) is not None
    ]


def _outside(limit: float, least: bool, value: float) -> bool:
    return value < limit if least else value > limit


def judge_score(row: Mapping[str, Any], weights: JudgeWeights) -> float | None:
    """Return the weighted mean of a judge's four scores, 0-1; None where it gave none."""
    scores = [row.get(f"judge_{name}") for name in JUDGED]
    if any(score is None for score in scores):
        return None
    shares = [getattr(weights, name) for name in JUDGED]
    return sum(s * w for s, w in zip(scores, shares, strict=True)) / sum(shares)


def decide_pairs(columns: Mapping[str, list[Any]], rules: PairRules) -> list[Decision]:
    """Return one decision per row of signals; the first rule that fails decides, then duplicates.

    A null of a model's signal is a reason to drop; a null of another says that the rule does not concern the pair.
    Raises ValueError where a threshold asks for a signal that was not measured.
    """
    checked = checks_in_order(rules)
    for check in checked:
        if check.signal in OF_MODELS and not _measured(check.signal, columns):
            raise ValueError(
                f"curate_pairs asks for {check.signal}, which was not measured: name a model in "
                f"{OF_MODELS[check.signal]}, or set the threshold to null"
            )
    decisions: list[Decision] = []
    seen: dict[str, int] = {}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    for number, row in enumerate(rows):
        decision = _decide(row, checked, rules)
        # Of a world's own pairs two may be alike and both right: they follow from two samples.
        if decision.state == "kept" and rules.exact_duplicates and row["exact"] is None:
            first = seen.setdefault(row["pair_hash"], number)
            if first != number:
                decision = Decision("dropped", "exact_duplicate", f"of {rows[first]['shard']}/{rows[first]['key']}")
        decisions.append(decision)
    return decisions


def _measured(signal: str, columns: Mapping[str, list[Any]]) -> bool:
    return "judge_compliance" in columns if signal == "judge" else signal in columns


def _decide(row: dict[str, Any], checked: list[Check], rules: PairRules) -> Decision:
    if row["error"]:
        return Decision("failed", row["error"], row["detail"])
    row["min_side"] = min(row["width"], row["height"], row["target_width"], row["target_height"])
    row["judge"] = judge_score(row, rules.judge_weights)
    for check in checked:
        value = row[check.signal]
        if value is None and check.signal in OF_MODELS:
            return Decision("dropped", check.reason, f"no {check.signal} could be measured, asked for {check.asked}")
        if value is not None and check.bad(value):
            return Decision("dropped", check.reason, f"{check.signal} {value:.3g}, asked for {check.asked}")
    if rules.exact_checks and row["exact"] in EXACT:
        return Decision("dropped", row["exact"], EXACT[row["exact"]])
    return Decision("kept")
