"""Keys that came later, with the value that does what was done before there were any.

At that value a key is no part of a stage's identity: an upgrade makes nothing again, least of all a download.
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
    "tokenizer.pixel_decoder.refine": 0,
}


def as_before(key: str, value: Any) -> Any:
    """Return a configuration's value at a dotted key without the newer keys that are at their old behaviour. Those of a
    named source, at `sources.NAME`, are those of `source`.
    """
    key = NAMED_SOURCE.sub("source", key)
    if not isinstance(value, dict):
        return value
    return {
        name: as_before(f"{key}.{name}", part)
        for name, part in value.items()
        if f"{key}.{name}" not in NEWER or part != NEWER[f"{key}.{name}"]
    }
