"""The report of curated samples: their signals, the rules that have a number, and what each reason means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.curation.decide import Decision, rules_in_order
from components.curation.options import CurationRules
from components.curation.report.facts import Bound, End, Facts, gather
from components.curation.report.page_html import Words

NO_SIGNALS = ("shard", "key", "error", "detail", "phash", "thumbnail", "sha256", "pixel_hash", "caption_hash")
STAGES = {
    "ingest": "while the source was read",
    "measure": "the sample's files could not be read",
    "curate": "a rule decided against the sample",
}
AFTER_RULES = ("caption_repeated", "exact_duplicate", "near_duplicate")  # decided over all samples, after the rules
MEANING = {
    "too_small": "the picture's shorter side is too short",
    "too_long": "the picture is a narrow strip",
    "animated": "the file holds several frames",
    "flat_image": "the picture is of nearly one colour",
    "blurred_image": "the picture has no fine detail",
    "no_caption": "there is no caption",
    "caption_has_url": "the caption holds a web address",
    "caption_has_markup": "the caption holds HTML",
    "caption_boilerplate": "the caption is stock phrases or a file name",
    "caption_symbols": "the caption is mostly symbols and digits",
    "caption_too_short": "the caption has too few words",
    "caption_too_long": "the caption has too many words",
    "caption_repetitive": "the caption repeats itself",
    "caption_language": "the caption is in another language than asked for",
    "caption_language_unsure": "the caption's language could not be told",
    "caption_repeated": "the same caption stands on too many pictures",
    "exact_duplicate": "the same pixels as a sample that was kept",
    "near_duplicate": "nearly the same picture as a sample that was kept",
    "unknown_format": "the file is no picture that can be read",
    "broken_image": "the picture's file is damaged",
    "no_image": "the sample holds no picture",
}
WORDS = Words("Curation", "samples", MEANING, STAGES)


def sample_facts(
    columns: Mapping[str, Sequence[Any]],
    decisions: Sequence[Decision],
    sources: Sequence[str],
    rules: CurationRules,
    before: Mapping[str, Mapping[End, int]] | None = None,
) -> Facts:
    """Return the facts of measured samples. Columns that a model added are signals as all others are. `before`: what
    was lost while the sources were read.
    """
    checks = rules_in_order(rules)
    sides = [min(w, h) for w, h in zip(columns["width"], columns["height"], strict=True)]
    signals = {name: values for name, values in columns.items() if len(values) == len(decisions)} | {"min_side": sides}
    bounds = [
        Bound(check.reason, check.signal, check.least, check.most)
        for check in checks
        if check.most is not None or (check.least or 0) != 0  # at least 0 asks for nothing
    ]
    ruled = {bound.signal: signals[bound.signal] for bound in bounds if bound.signal in signals}
    rest = {name: values for name, values in signals.items() if name not in ruled and name not in NO_SIGNALS}
    order = (*(check.reason for check in checks), *AFTER_RULES)
    return gather(decisions, columns["shard"], sources, ruled | rest, bounds, tuple(STAGES), order, before)
