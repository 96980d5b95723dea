"""Known faults for scoring the curation of edit pairs: which pair gets which, what each does, and how well they are
found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from components.curation.decide import Decision
from components.curation.pairs.options import PairFaultOptions

PAIR_FAULTS = tuple(f.name for f in fields(PairFaultOptions))
# The reasons by which each fault is meant to be found.
REASONS: dict[str, tuple[str, ...]] = {
    "unchanged": ("no_change", "no_change_in_mask"),
    "wrong_edit": ("wrong_edit", "spills_outside_mask", "wrong_direction", "not_as_instructed", "judged_bad"),
    "wrong_instruction": ("wrong_instruction", "not_as_instructed", "judged_bad"),
    "spilled": ("spills_outside_mask", "wrong_edit"),
}
MODELS = "a model (measure_pairs.image_text, measure_pairs.judge)"
# What sees a fault where neither a mask nor a world's own description does.
NEEDS = {
    "wrong_edit": f"needs a mask, {MODELS}, or pairs of scenes or drawings",
    "wrong_instruction": f"needs {MODELS}, or pairs of scenes or drawings",
}
SEEING = {"wrong_edit": ("exact", "spill_share"), "wrong_instruction": ("exact",)}  # signals, where there is no model
LEAST = 6.0  # mean difference in levels, 0-255, that another edit must make to be one
ROOM = 0.1  # share of the picture outside the mask that a spill needs


def draw_fault(options: PairFaultOptions, rng: np.random.Generator) -> str | None:
    """Return the fault of one pair, or None."""
    drawn, passed = float(rng.random()), 0.0
    for name in PAIR_FAULTS:
        passed += getattr(options, name)
        if drawn < passed:
            return name
    return None


def other_edit(source: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Return the source, uint8 [H, W, 3], edited as nobody asked for: unlike source and target; None where none is."""
    edits = (source[:, ::-1], source[::-1], 255 - source, source[..., [1, 2, 0]], source[..., [2, 0, 1]])
    for index in rng.permutation(len(edits)):
        made = np.ascontiguousarray(edits[index])
        if min(_difference(made, source), _difference(made, target)) >= LEAST:
            return made
    return None


def spilled(target: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Return the target, uint8 [H, W, 3], with a patch changed outside the mask, bool [H, W]; None where is no room."""
    outside = ~mask
    if outside.mean() < ROOM:
        return None
    height, width = mask.shape
    rows, columns = np.nonzero(outside)
    centre = int(rng.integers(len(rows)))
    reach = (max(2, height // 4), max(2, width // 4))
    patch = np.zeros_like(mask)
    patch[
        max(0, rows[centre] - reach[0]) : rows[centre] + reach[0],
        max(0, columns[centre] - reach[1]) : columns[centre] + reach[1],
    ] = True
    patch &= outside
    made = target.copy()
    shift = np.where(target[patch].mean() > 127, -70, 70)
    made[patch] = np.clip(target[patch].astype(np.int16) + shift, 0, 255).astype(np.uint8)
    return made


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    return (
        float(np.abs(first.astype(np.int16) - second.astype(np.int16)).mean()) if first.shape == second.shape else 255.0
    )


def score_pair_faults(
    planted: Sequence[Sequence[str]], decisions: Sequence[Decision], signals: Mapping[str, Sequence[Any]], models: bool
) -> dict[str, dict[str, Any]]:
    """Return {fault: {planted, caught, recall, precision}}; a figure that is not defined is left out and `absent` says
    why.

    Caught: dropped or failed, for whatever reason. Precision: of the pairs that went for the fault's reasons, the share
    planted with it or with another fault that gives the same reason. `signals` are the rows' `exact` and `spill_share`,
    null where there is no description to check, and no outside of a mask. `models` says whether a model's signal
    decides.
    """
    scores: dict[str, dict[str, Any]] = {}
    for fault in PAIR_FAULTS:
        rows = [number for number, faults in enumerate(planted) if fault in faults]
        if not rows:
            continue
        score: dict[str, Any] = {"planted": len(rows)}
        scores[fault] = score
        blamed = [number for number, decision in enumerate(decisions) if decision.reason in REASONS[fault]]
        seeing = SEEING.get(fault)
        if seeing and not models and all(signals[name][number] is None for name in seeing for number in rows):
            score["absent"] = NEEDS[fault]
            continue
        score["caught"] = sum(decisions[number].state != "kept" for number in rows)
        score["recall"] = score["caught"] / len(rows)
        if blamed:
            right = sum(any(decisions[n].reason in REASONS[name] for name in planted[n]) for n in blamed)
            score["precision"] = right / len(blamed)
        else:
            score["absent"] = "no pair was dropped for this fault's reasons, so it has no precision"
    return scores
