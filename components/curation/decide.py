"""Decisions from signals: every sample is kept, dropped with a reason, or failed with a reason. The first rule that
fails decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.curation.duplicates import find_duplicates
from components.curation.options import CurationRules, SignalBounds

UNSURE = "?"  # stands for a language that is only guessed
SURE, SURE_WORDS = 0.8, 4  # least confidence, and least words, at which a language in Latin letters counts as known
# Languages that their script gives away, however short the text is.
OTHER_SCRIPTS = frozenset(
    (
        *("am", "ar", "as", "be", "bg", "bn", "el", "fa", "gu", "he", "hi", "hy", "ja", "ka", "kk", "km", "kn", "ko"),
        *("ky", "lo", "mk", "ml", "mn", "mr", "my", "ne", "or", "pa", "ps", "ru", "sa", "sd", "si", "sr", "ta", "te"),
        *("tg", "th", "ug", "uk", "ur", "yi", "zh"),
    )
)


@dataclass(frozen=True)
class Decision:
    """What becomes of a sample: `state` is kept, dropped or failed; `reason` in snake_case; `detail` for people."""

    state: str
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Check:
    """A rule with its threshold: the signal that it reads, whether a value is too bad, and what is asked for, in
    words.
    """

    reason: str
    signal: str
    bad: Callable[[Any], bool]
    asked: str
    least: float | None = None  # what is asked for, where that is a number
    most: float | None = None


def _threshold(reason: str, signal: str, option: str) -> Callable[[CurationRules], Check | None]:
    """A rule by one option of `CurationRules`: the least that a signal may be (`min_...`), or the most (`max_...`);
    null asks for nothing.
    """

    def check(rules: CurationRules) -> Check | None:
        limit = getattr(rules, option)
        if limit is None:
            return None
        if option.startswith("min_"):
            return Check(reason, signal, lambda v: v < limit, f"at least {limit}", least=limit)
        return Check(reason, signal, lambda v: v > limit, f"at most {limit}", most=limit)

    return check


def _one_frame(rules: CurationRules) -> Check | None:
    return Check("animated", "frames", lambda v: v > 1, "one frame") if rules.animated == "drop" else None


def _caption(rules: CurationRules) -> Check | None:
    return Check("no_caption", "characters", lambda v: v == 0, "a caption")


def _language(rules: CurationRules) -> Check | None:
    languages = rules.languages
    allowed = (*languages, UNSURE)
    return (
        Check("caption_language", "language", lambda v: v not in allowed, ", ".join(languages)) if languages else None
    )


def _known_language(language: str | None, confidence: float | None, words: int | None) -> str | None:
    """The language, or UNSURE where the identification is a weak guess: of few words, names among them, it often is."""
    if language is None or confidence is None or language in ("", "und", *OTHER_SCRIPTS):
        return language
    return language if confidence >= SURE and (words or 0) >= SURE_WORDS else UNSURE


def _sure_language(rules: CurationRules) -> Check | None:
    return (
        _threshold("caption_language_unsure", "language_confidence", "min_language_confidence")(rules)
        if rules.languages
        else None
    )


# In the order in which they decide; those of `CurationRules.signals` come after. A new rule is a line here, and a
# `min_...` or `max_...` in `CurationRules`.
RULES: tuple[Callable[[CurationRules], Check | None], ...] = (
    _threshold("too_small", "min_side", "min_side"),
    _threshold("too_long", "aspect", "max_aspect"),
    _one_frame,
    _threshold("flat_image", "contrast", "min_contrast"),
    _threshold("blurred_image", "sharpness", "min_sharpness"),
    _caption,
    _threshold("caption_has_url", "url_share", "max_url_share"),
    _threshold("caption_has_markup", "markup_share", "max_markup_share"),
    _threshold("caption_boilerplate", "boilerplate", "max_boilerplate"),
    _threshold("caption_symbols", "symbol_share", "max_symbol_share"),
    _threshold("caption_too_short", "words", "min_words"),
    _threshold("caption_too_long", "words", "max_words"),
    _threshold("caption_repetitive", "repetition", "max_repetition"),
    _language,
    _sure_language,
)


def rules_in_order(rules: CurationRules) -> list[Check]:
    """Return what these options ask for, in the order in which the rules decide."""
    found = [check for rule in RULES if (check := rule(rules)) is not None]
    return found + [check for name, bounds in rules.signals.items() for check in _of_signal(name, bounds)]


def _of_signal(name: str, bounds: SignalBounds) -> Iterator[Check]:
    """Yield the rules of one signal: `low_<signal>` below its min, `high_<signal>` above its max."""
    low, high = bounds.min, bounds.max
    if low is not None:
        yield Check(f"low_{name}", name, lambda v: v < low, f"at least {low:g}", least=low)
    if high is not None:
        yield Check(f"high_{name}", name, lambda v: v > high, f"at most {high:g}", most=high)


# Signals of the caption: of a sample whose caption nothing reads they decide nothing.
OF_CAPTION = (
    "characters", "url_share", "markup_share", "boilerplate", "symbol_share", "words", "repetition", "language",
    "language_confidence",
)  # fmt: skip


def decide(
    columns: dict[str, list[Any]],
    rules: CurationRules,
    uncaptioned: Collection[int] = (),
    comparing: Collection[str] = (),
) -> list[Decision]:
    """Return one decision per row of signals. `uncaptioned` are rows whose captions nothing reads: no rule of captions
    holds for them, nor one of a signal that compares picture and caption, which `comparing` names.

    After the rules of `rules_in_order` come captions that stand on too many pictures (all of them go), then duplicates,
    looked for only among what is left, so that a copy of a dropped sample may stay. Raises ValueError where a threshold
    asks for a signal that was not measured.
    """
    if not columns:
        return []
    languages = zip(columns["language"], columns["language_confidence"], columns["words"], strict=True)
    columns = {
        **columns,
        "min_side": [min(w, h) for w, h in zip(columns["width"], columns["height"], strict=True)],
        "language": [_known_language(*row) for row in languages],
    }
    checked = rules_in_order(rules)
    for check in checked:
        if check.signal not in columns:
            raise ValueError(
                f"a threshold for {check.reason} is set, but the signal {check.signal} was not measured: measure it, "
                "or leave the threshold out"
            )
    of_caption = {*OF_CAPTION, *comparing}
    count = len(columns["key"])
    decisions: list[Decision | None] = [None] * count
    for row in range(count):
        if columns["error"][row]:
            decisions[row] = Decision("failed", columns["error"][row], columns["detail"][row])
            continue
        for check in checked:
            if row in uncaptioned and check.signal in of_caption:
                continue
            value = columns[check.signal][row]
            if value is None or check.bad(value):  # no model measures a sample without picture or caption
                said = f"{check.signal} {_short(value)}, asked for {check.asked}"
                decisions[row] = Decision("dropped", check.reason, said)
                break
    left = [row for row in range(count) if decisions[row] is None]
    told = [row for row in left if row not in uncaptioned]
    repeats = Counter(columns["caption_hash"][row] for row in told)
    for row in told:
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
