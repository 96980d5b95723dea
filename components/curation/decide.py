"""Decisions from signals: every sample is kept, dropped with a reason, or failed with a reason. The first rule that fails decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.curation.duplicates import find_duplicates
from components.curation.options import CurationRules


@dataclass(frozen=True)
class Decision:
    """What becomes of a sample: `state` is kept, dropped or failed; `reason` in snake_case; `detail` for people."""

    state: str
    reason: str = ""
    detail: str = ""


Rule = tuple[str, str, Callable[[Any], bool], str]


def rules_in_order(rules: CurationRules) -> list[Rule]:
    """Return the rules as (reason, signal, is it too bad?, what is asked for), in the order in which they decide."""
    listed: list[Rule] = [
        ("too_small", "min_side", lambda v: v < rules.min_side, f"at least {rules.min_side}"),
        ("too_long", "aspect", lambda v: v > rules.max_aspect, f"at most {rules.max_aspect}"),
        ("flat_image", "contrast", lambda v: v < rules.min_contrast, f"at least {rules.min_contrast}"),
        ("blurred_image", "sharpness", lambda v: v < rules.min_sharpness, f"at least {rules.min_sharpness}"),
        ("no_caption", "characters", lambda v: v == 0, "a caption"),
        ("caption_has_url", "url_share", lambda v: v > rules.max_url_share, f"at most {rules.max_url_share}"),
        (
            "caption_has_markup",
            "markup_share",
            lambda v: v > rules.max_markup_share,
            f"at most {rules.max_markup_share}",
        ),
        ("caption_boilerplate", "boilerplate", lambda v: v > rules.max_boilerplate, f"at most {rules.max_boilerplate}"),
        ("caption_symbols", "symbol_share", lambda v: v > rules.max_symbol_share, f"at most {rules.max_symbol_share}"),
        ("caption_too_short", "words", lambda v: v < rules.min_words, f"at least {rules.min_words}"),
        ("caption_too_long", "words", lambda v: v > rules.max_words, f"at most {rules.max_words}"),
        ("caption_repetitive", "repetition", lambda v: v > rules.max_repetition, f"at most {rules.max_repetition}"),
    ]
    if rules.animated == "drop":
        listed.insert(2, ("animated", "frames", lambda v: v > 1, "one frame"))
    if rules.languages:
        asked = ", ".join(rules.languages)
        listed.append(("caption_language", "language", lambda v: v not in rules.languages, asked))
        least = rules.min_language_confidence
        listed.append(("caption_language_unsure", "language_confidence", lambda v: v < least, f"at least {least}"))
    for reason, name, threshold, sign in (
        ("low_similarity", "image_text_similarity", rules.min_image_text_similarity, 1),
        ("low_aesthetic", "aesthetic", rules.min_aesthetic, 1),
        ("watermark", "watermark", rules.max_watermark, -1),
        ("nsfw", "nsfw", rules.max_nsfw, -1),
    ):
        if threshold is not None:
            bad = (lambda v, t=threshold: v < t) if sign > 0 else (lambda v, t=threshold: v > t)
            listed.append((reason, name, bad, f"{'at least' if sign > 0 else 'at most'} {threshold}"))
    return listed


def decide(columns: dict[str, list[Any]], rules: CurationRules) -> list[Decision]:
    """Return one decision per row of signals.

    After the rules of `rules_in_order` come captions that stand on too many pictures (all of them go), then duplicates,
    looked for only among what is left, so that a copy of a dropped sample may stay. Raises ValueError where a threshold
    asks for a signal that was not measured.
    """
    if not columns:
        return []
    columns = {**columns, "min_side": [min(w, h) for w, h in zip(columns["width"], columns["height"], strict=True)]}
    checked = rules_in_order(rules)
    for reason, name, _, _ in checked:
        if name not in columns:
            raise ValueError(
                f"a threshold for {reason} is set, but the signal {name} was not measured: set it to null, or measure it"
            )
    count = len(columns["key"])
    decisions: list[Decision | None] = [None] * count
    for row in range(count):
        if columns["error"][row]:
            decisions[row] = Decision("failed", columns["error"][row], columns["detail"][row])
            continue
        for reason, name, bad, asked in checked:
            value = columns[name][row]
            if value is None or bad(value):  # no model measures a sample without picture or caption
                decisions[row] = Decision("dropped", reason, f"{name} {_short(value)}, asked for {asked}")
                break
    left = [row for row in range(count) if decisions[row] is None]
    repeats = Counter(columns["caption_hash"][row] for row in left)
    for row in left:
        times = repeats[columns["caption_hash"][row]]
        if times > rules.max_caption_repeats:
            detail = f"the same caption on {times} pictures, asked for at most {rules.max_caption_repeats}"
            decisions[row] = Decision("dropped", "caption_repeated", detail)
    rest = np.array([row for row in left if decisions[row] is None], np.int64)
    found = find_duplicates(
        columns,
        rest,
        rules.exact_duplicates,
        rules.near_duplicate_distance,
        rules.near_duplicate_colour,
        rules.near_duplicate_peak,
    )
    for row, (reason, kept) in found.items():
        decisions[row] = Decision("dropped", reason, f"of {columns['shard'][kept]}/{columns['key'][kept]}")
    return [decision or Decision("kept") for decision in decisions]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value)
