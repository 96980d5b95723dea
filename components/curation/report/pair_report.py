"""The report of edit pairs: their signals, the rules that have a number, and what each reason means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.curation.decide import Decision
from components.curation.pairs.decide_pairs import checks_in_order, judge_score
from components.curation.pairs.options import PairRules
from components.curation.report.facts import Bound, End, Facts, gather
from components.curation.report.page_html import Words

STAGES = {
    "ingest": "while the source was read",
    "synthesize_edits": "no edit pair came of the attempt",
    "measure_pairs": "the pair's files could not be read",
    "curate_pairs": "a rule decided against the pair",
}
SIDES = ("width", "height", "target_width", "target_height")
AFTER_RULES = ("wrong_edit", "wrong_instruction", "exact_duplicate")
MEANING = {
    "no_source": "there is no picture before the edit",
    "no_target": "there is no picture after the edit",
    "no_possible_edit": "no edit of the kinds asked for fits",
    "too_small": "a picture's shorter side is too short",
    "no_instruction": "the instruction has no words, or too few",
    "instruction_too_long": "the instruction has too many words",
    "other_shape": "source and target have other shapes",
    "no_change": "hardly a pixel differs",
    "spills_outside_mask": "much changed outside the mask",
    "no_change_in_mask": "hardly anything changed inside the mask",
    "changes_too_much": "nearly everything changed",
    "other_picture": "the target is another picture",
    "too_alike": "source and target look the same",
    "wrong_direction": "a model sees the pictures differ in another way than the captions",
    "not_as_instructed": "a model sees another change than the instruction's",
    "judged_bad": "a model that looked at the pair judged it bad",
    "wrong_edit": "the target is not what the pair's own description gives",
    "wrong_instruction": "the instruction says another edit than the pair's own description",
    "exact_duplicate": "the same pair was kept before",
}
WORDS = Words("Edit pairs", "edit pairs", MEANING, STAGES)


def pair_signals(columns: Mapping[str, Sequence[Any]], rules: PairRules) -> dict[str, list[Any]]:
    """Return all signals of pairs, with those that are made of others."""
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    sides = [min(row[name] for name in SIDES) for row in rows]
    judged = [judge_score(row, rules.judge_weights) for row in rows]
    return {name: list(values) for name, values in columns.items()} | {"min_side": sides, "judge": judged}


def pair_facts(
    signals: Mapping[str, Sequence[Any]],
    decisions: Sequence[Decision],
    sources: Sequence[str],
    rules: PairRules,
    before: Mapping[str, Mapping[End, int]] | None = None,
) -> Facts:
    """Return the facts of measured pairs, of signals as `pair_signals` gives them. `before`: what was lost while pairs
    were read or made.
    """
    checks = checks_in_order(rules)
    bounds = [Bound(check.reason, check.signal, check.least, check.most) for check in checks]
    ruled = {bound.signal: signals[bound.signal] for bound in bounds if bound.signal in signals}
    rest = {name: values for name, values in signals.items() if name not in ruled and name not in SIDES}
    order = (*(check.reason for check in checks), *AFTER_RULES)
    return gather(decisions, signals["shard"], sources, ruled | rest, bounds, tuple(STAGES), order, before)
