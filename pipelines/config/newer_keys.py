"""Keys that came later, with the value that does what was done before there were any; and keys that are gone.

A newer key at that value is no part of a stage's identity, and a key that is gone stays in it as the null that it was:
an upgrade makes nothing again, least of all a download.
"""

from __future__ import annotations

import re
from typing import Any

NAMED_SOURCE = re.compile(r"^sources\.\w+")
NEWER: dict[str, Any] = {
    "source.faults": None,
    "source.use": ["tokenizer", "text_to_image", "editing"],
    "source.weight": None,
    "sources": {},
    "source.columns.captions": {},
    "source.files.captions": {},
    "source.captions": {},
    "source.allow_pipe": False,
    "generator.captions": {},
    "synthesize_edits.editors": {},
    "synthesize_edits.photos.composed": False,
    "synthesize_edits.photos.family_weights.model": 0.0,
    "synthesize_edits.photos.inverse": False,
    "synthesize_edits.photos.share": 1.0,
    "synthesize_edits.faults": {"unchanged": 0.0, "wrong_edit": 0.0, "wrong_instruction": 0.0, "spilled": 0.0},
    "tokenizer.pixel_decoder.refine": 0,
    "curate.signals": {},
    "recaption.engine": "transformers",
    "recaption.url": None,
    "recaption.vllm": {},
    "evaluate_generator.features": {},
    "evaluate_generator.judges": {},
}
# What is written instead of a key that is gone. All of them asked for nothing while they were null.
GONE = {
    "measure.image_text": "measure.models={clip: {kind: image_text, path: FOLDER}}",
    "curate.min_image_text_similarity": "curate.signals={clip: {min: 0.2}}, by the name of a model in measure.models",
    "curate.min_aesthetic": "curate.signals={aesthetic: {min: 4.5}}, by the name of a model in measure.models",
    "curate.max_watermark": "curate.signals={watermark: {max: 0.5}}, by the name of a model in measure.models",
    "curate.max_nsfw": "curate.signals={nsfw: {max: 0.5}}, by the name of a model in measure.models",
}


def as_before(key: str, value: Any) -> Any:
    """Return a configuration's value at a dotted key without the newer keys that are at their old behaviour. Those of a
    named source, at `sources.NAME`, are those of `source`.
    """
    key = NAMED_SOURCE.sub("source", key)
    if not isinstance(value, dict):
        return value
    gone = {name.rpartition(".")[2]: None for name in GONE if name.rpartition(".")[0] == key}
    return gone | {
        name: as_before(f"{key}.{name}", part)
        for name, part in value.items()
        if f"{key}.{name}" not in NEWER or part != NEWER[f"{key}.{name}"]
    }


def without_gone(values: Any, prefix: str = "") -> Any:
    """Return a configuration of an older version without the keys that are gone, where they asked for nothing."""
    if not isinstance(values, dict):
        return values
    keys = {name: f"{prefix}.{name}" if prefix else str(name) for name in values}
    return {
        name: without_gone(part, keys[name])
        for name, part in values.items()
        if part is not None or keys[name] not in GONE
    }
